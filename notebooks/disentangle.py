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
# # Stage 1: disentangle
#
# The picture's encoder gives 128 latents. Half of them should hold the pose and nothing else: the decoder reads only
# these, and a discriminator compares them with the latents of a VAE that has only ever seen poses (eqs. 1-4).

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
run = run_stage("disentangle", row, **options)

# %%
print(f"preset {preset}, dataset {dataset}, row {row}, seed {seed}")
print(f"MEPE {run.card['metrics']['mepe']:.1f} mm, AUC {run.card['metrics']['auc']:.3f} on the evaluation split")

# %% mystnb={"image": {"alt": "Left: weighted loss terms over the epochs. Right: evaluation MEPE over the epochs"}} tags=["hide-input"]
figures.training_curves(run.history)
plt.show()

# %% [markdown]
# Where the two kinds of pose latent lie: the first two principal axes of the true poses' latents, evaluation split.
# The discriminator works to make the two clouds one.

# %% mystnb={"image": {"alt": "Scatter of pose latents from pose encoder and picture encoder on two principal axes"}} tags=["hide-input"]
import numpy as np
import torch

from handpose.data.augment import warp
from handpose.experiments import find_preset

data = prepare_data(**where)
networks = run.networks()
rows = np.arange(min(512, len(data.evaluation)))
batch = warp(torch.from_numpy(np.array(data.evaluation.crops[rows])), torch.from_numpy(data.evaluation.pose[rows]),
             find_preset(preset).size)
with torch.no_grad():
    z_rgb = networks.pose_part(networks.rgb_encoder(batch.images))[0].numpy()
    z_true = networks.pose_encoder(batch.pose)[0].numpy()
if z_rgb.shape[1] == z_true.shape[1]:
    centre = z_true.mean(0)
    axes_2d = np.linalg.svd(z_true - centre, full_matrices=False)[2][:2].T
    figure, axes = plt.subplots(figsize=(4.5, 4))
    for z, name, colour in ((z_true, "pose encoder", "#0072B2"), (z_rgb, "picture encoder, pose part", "#D55E00")):
        axes.scatter(*((z - centre) @ axes_2d).T, s=5, alpha=0.5, label=name, color=colour)
    axes.set(xlabel="first axis", ylabel="second axis")
    axes.legend(fontsize=8)
    figure.tight_layout()
    plt.show()
else:
    print("without disentanglement the picture has one block of 128 latents, the pose 64: nothing to lay side by side")

# %% tags=["hide-input", "nbval-ignore-output"]
show_card(run.card)
