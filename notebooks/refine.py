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
# # Stage 3: refine
#
# The prediction is refined by two losses that see the hand as a hand: bones through the kinematic chain space (KCS), and
# distances of joints to lines through other joints (GEO), which take turns from step to step (eqs. 8-17).

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

preset, threads, recorded = fit(globals(), "refine")

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np

from handpose import figures
from handpose.notebook import project_path, show_run
from handpose.results import dataset_name, obtain

options = dict(preset=preset, dataset=dataset, data_root=project_path(data_root), output_dir=project_path(output_dir),
               seed=seed, threads=threads, device=device, recorded=recorded)

# %% [markdown]
# ## Training
#
# Earlier stages are trained first where they are missing; a finished stage is only opened.

# %% tags=["nbval-ignore-output"]
result = obtain(row, "refine", **options)

# %% tags=["hide-input"]
print(f"preset {preset}, dataset {dataset_name(result.card)}, row {row}, seed {seed}, stage {result.card['stage']}")
print(f"MEPE {result.card['metrics']['mepe']:.1f} mm, AUC {result.card['metrics']['auc']:.3f} on the evaluation split")
if result.stale:
    print(f"stale: {result.stale}")

# %% caption="The squared error and the two kinematic losses as they enter eq. 17, and what they do to the error on hands not trained on. After the warm-up; dotted lines divide the stages: the last is this one, after those it stands on." mystnb={"image": {"alt": "Left: weighted loss terms over the epochs. Right: evaluation MEPE over the epochs"}} tags=["hide-input", "nbval-ignore-output"]
figures.training_curves(result.history)
plt.show()
show_run(result)

# %% [markdown]
# ## Bones before and after
#
# The refined hands should have bones of the right length. Mean absolute error of the 20 bone lengths, evaluation split:

# %% tags=["hide-input"]
from handpose.experiments import row_stages
from handpose.plausibility import bone_length_error
from handpose.results import Results

stages = row_stages(row, preset)
before = obtain(row, stages[stages.index("refine") - 1], **options)
target = Results(result.folder.parent).target
for name, one in (("before", before), ("after", result)):
    error = bone_length_error(one.predicted, target).mean()
    print(f"{name} stage 3: bone lengths off by {error:.2f} mm, MEPE {one.card['metrics']['mepe']:.1f} mm")

# %% [markdown]
# Training alone, without the new losses, may do as much: the page of the [claims](claims.ipynb) holds this row against one
# that trained as long without them.

# %% tags=["hide-input", "nbval-ignore-output"]
from handpose.notebook import show_card

show_card(result.card)
