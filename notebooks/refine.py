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
# The last stage adds what makes a hand a hand: bone lengths and angles through the kinematic chain space (KCS), and
# the distances of every joint to the lines through all others (GEO), one at a time in turn (eqs. 8-17).

# %% tags=["parameters", "hide-input"]
preset: str = "smoke"  # smoke (a minute, only proves that it runs), quick, desktop or paper
dataset: str = "synthetic"  # synthetic, rhd or stb
data_root: str = ""  # folder of the dataset; empty: hands are rendered
row: str = "D3"  # a row of Table 1
seed: int = 0
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
device: str = "auto"  # auto, cpu or cuda

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(globals(), "preset", "dataset", "data_root", "row", "seed", "output_dir", "threads", "device")

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from handpose import figures
from handpose.notebook import project_path, show_card
from handpose.runs import prepare_data, run_stage

where = dict(preset=preset, dataset=dataset, data_root=project_path(data_root), output_dir=project_path(output_dir))
options = dict(where, seed=seed, threads=threads, device=device)

# %% [markdown]
# ## Training
#
# Stages below this one are trained first where they are missing; a finished stage is only opened.

# %% tags=["nbval-ignore-output"]
run = run_stage("refine", row, **options)

# %%
print(f"preset {preset}, dataset {dataset}, row {row}, seed {seed}")
print(f"MEPE {run.card['metrics']['mepe']:.1f} mm, AUC {run.card['metrics']['auc']:.3f} on the evaluation split")

# %% mystnb={"image": {"alt": "Left: weighted loss terms over the epochs. Right: evaluation MEPE over the epochs"}} tags=["hide-input"]
figures.training_curves(run.history)
plt.show()

# %% [markdown]
# ## Bones before and after
#
# The refined hands should have bones of the right length. Mean absolute error of the 20 bone lengths, evaluation split:

# %% tags=["hide-input"]
import numpy as np

from handpose.skeleton import BONES

data = prepare_data(**where)
before = run_stage("align", row, **options)
parents, children = np.array(BONES).T


def bone_lengths(pose):
    return np.linalg.norm(pose[:, children] - pose[:, parents], axis=-1)


truth = bone_lengths(data.evaluation.target)
for name, one in (("before", before), ("after", run)):
    error = np.abs(bone_lengths(one.predictions) - truth).mean()
    print(f"{name} stage 3: bone lengths off by {error:.2f} mm, MEPE {one.card['metrics']['mepe']:.1f} mm")

# %% tags=["hide-input", "nbval-ignore-output"]
show_card(run.card)
