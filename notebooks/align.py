# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Stage 2: align
#
# Two variational mappers take the picture's pose latent and the true pose latent into new Gaussians, and one decoder reads
# both (eqs. 5-7). First the encoders stay as they are, then everything is finetuned.

# %% tags=["remove-cell"]
# On Google Colab: fetches the code of this book, at the version of this page, and installs what Colab lacks.
# Anywhere else it does nothing. To keep what you train when the runtime ends, connect your Drive before you go on:
# folder icon at the left, then the icon with the Drive.
import os
import subprocess
import sys

if "COLAB_NOTEBOOK_ID" in os.environ or "google.colab" in sys.modules:
    _address, _version = "", "main"
    if not _address:
        raise RuntimeError("this copy does not know its repository: write its https address between the first quotes above")
    _code = os.path.abspath("handpose-book")
    subprocess.run(["git", "init", "--quiet", _code], check=True)
    for _wanted in dict.fromkeys((_version, "main")):
        if subprocess.run(["git", "-C", _code, "fetch", "--quiet", "--depth=1", _address, _wanted]).returncode == 0:
            break
        print(f"{_wanted} can't be had from {_address}")
    subprocess.run(["git", "-C", _code, "checkout", "--quiet", "FETCH_HEAD"], check=True)
    sys.path.insert(0, _code)
    from handpose.colab import set_up

    set_up()

# %% tags=["parameters", "hide-input"]
preset: str = "smoke"  # smoke (a minute, only proves that it runs), minutes, quick, desktop, gpu or paper
dataset: str = "synthetic"  # synthetic, rhd or stb
data_root: str = ""  # folder of the dataset; empty: hands are rendered
row: str = "D3"  # a row of Table 1 or 2
seed: int = 0
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
device: str = "auto"  # auto, cpu or cuda
recorded: bool = False  # only show the results that come with the repository

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(globals(), "preset", "dataset", "data_root", "row", "seed", "output_dir", "threads", "device", "recorded")

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit

preset, threads, recorded = fit(globals(), "align")

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from handpose import figures, figures_inside, inside
from handpose.notebook import project_path, show_run
from handpose.results import dataset_name, obtain

options = dict(preset=preset, dataset=dataset, data_root=project_path(data_root), output_dir=project_path(output_dir),
               seed=seed, threads=threads, device=device, recorded=recorded)

# %% [markdown]
# ## Training
#
# Earlier stages are trained first where they are missing; a finished stage is only opened.

# %% tags=["nbval-ignore-output"]
result = obtain(row, "align", **options)

# %% tags=["hide-input"]
print(f"preset {preset}, dataset {dataset_name(result.card)}, row {row}, seed {seed}, stage {result.card['stage']}")
print(f"MEPE {result.card['metrics']['mepe']:.1f} mm, AUC {result.card['metrics']['auc']:.3f} on the evaluation split")
if result.stale:
    print(f"stale: {result.stale}")

# %% caption="Each term of the loss as it enters the sum, and what it does to the error. mse and kl: eqs. 6 and 7, rgb for pictures, pose for true poses. Left, the lower the better term by term; right, the error that counts. After the warm-up; dotted lines divide the stages and their phases: the last two are of this one." mystnb={"image": {"alt": "Left: weighted loss terms over the epochs. Right: evaluation MEPE over the epochs"}} tags=["hide-input", "nbval-ignore-output"]
figures.training_curves(result.history)
plt.show()
show_run(result)

# %% [markdown]
# What the shared decoder reads from the picture and from the true pose, on the plane in which both together vary most. Thin lines join a
# picture with its own pose; the line below says how far apart the two clouds are.

# %% caption="What the one decoder reads. Alignment would put each picture's point on its own pose's; a decoder can also learn to read two clouds that lie apart." mystnb={"image": {"alt": "Scatter of the shared decoder's inputs from picture and from true pose on the plane in which they vary most"}} tags=["hide-input", "nbval-ignore-output"]
if (result.folder / "analysis.npz").exists() and "read_rgb" in result.analysis:
    clouds = inside.state_map(result.analysis)
    figures_inside.latents_static({f"row {result.card['row']}": clouds}, width=4.4)
    plt.show()
    print(clouds[2])
    show_run(result)
else:
    print("latents are kept for the rows that the claims need: see row D0")

# %% tags=["hide-input", "nbval-ignore-output"]
from handpose.notebook import show_card

show_card(result.card)
