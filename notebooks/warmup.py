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
# # Before stage 1: the warm-up
#
# The paper starts from ImageNet's weights. They can't be fetched everywhere, and minutes of training are too few to learn
# to see from nothing. So in all presets but `paper` the backbone first learns where the joints are in the picture, their x and y
# and nothing of depth, from the training frames. It is done **once, for all rows and all seeds** of a run on one machine: what the rows
# differ in comes after it. At preset `paper` there is no warm-up.

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

preset, threads, recorded = fit(globals(), "warmup")

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
# A warm-up that is finished is only opened.

# %% tags=["nbval-ignore-output"]
from handpose.experiments import find_preset

warmed = find_preset(preset).weights == "warmup"
result = obtain(row, "warmup" if warmed else "disentangle", **options)

# %% tags=["hide-input"]
if not warmed:
    print(f"this preset starts from weights {find_preset(preset).weights!r}: no warm-up; what follows is stage 1")
of = "for all rows" if warmed else f"row {row}, seed {seed}"
print(f"preset {preset}, dataset {dataset_name(result.card)}, {of}, stage {result.card['stage']}")
print(f"MEPE {result.card['metrics']['mepe']:.1f} mm, AUC {result.card['metrics']['auc']:.3f} on the evaluation split (depth predicted as zero)")
if result.stale:
    print(f"stale: {result.stale}")

# %% caption="Only where the joints are on the picture is learned here, so the error on the right, with depth unknown, is still large." mystnb={"image": {"alt": "Left: weighted loss terms over the epochs. Right: evaluation MEPE over the epochs"}} tags=["hide-input", "nbval-ignore-output"]
figures.training_curves([epoch for epoch in result.history if epoch["stage"] == result.card["stage"]])
plt.show()
show_run(result)

# %% tags=["hide-input", "nbval-ignore-output"]
from handpose.notebook import show_card

show_card(result.card)
