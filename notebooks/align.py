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
# Two variational mappers carry the latents of picture and pose into one new space, read by the one decoder they share
# (eqs. 5-7). The encoders are frozen at first; then everything is finetuned. The dotted line marks the change.

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
from handpose.runs import run_stage

where = dict(preset=preset, dataset=dataset, data_root=project_path(data_root), output_dir=project_path(output_dir))
options = dict(where, seed=seed, threads=threads, device=device)

# %% [markdown]
# ## Training
#
# Stages below this one are trained first where they are missing; a finished stage is only opened.

# %% tags=["nbval-ignore-output"]
run = run_stage("align", row, **options)

# %%
print(f"preset {preset}, dataset {dataset}, row {row}, seed {seed}")
print(f"MEPE {run.card['metrics']['mepe']:.1f} mm, AUC {run.card['metrics']['auc']:.3f} on the evaluation split")

# %% mystnb={"image": {"alt": "Left: weighted loss terms over the epochs. Right: evaluation MEPE over the epochs"}} tags=["hide-input"]
figures.training_curves(run.history)
plt.show()

# %% tags=["hide-input", "nbval-ignore-output"]
show_card(run.card)
