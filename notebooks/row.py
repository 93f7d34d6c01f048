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
# # One row of the ablation
#
# Every row of Table 1 is this notebook with another `row`.

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
import numpy as np

from handpose import figures
from handpose.experiments import find_row
from handpose.metrics import joint_errors
from handpose.notebook import project_path, show, show_card, show_pictures
from handpose.records import write_json
from handpose.runs import mean_pose, prepare_data, row_card, run_row, run_stage

where = dict(preset=preset, dataset=dataset, data_root=project_path(data_root), output_dir=project_path(output_dir))
options = dict(where, seed=seed, threads=threads, device=device)

# %%
run = run_row(row, **options)

# %% tags=["hide-input"]
parts = find_row(row)
card = row_card(row, **options)
write_json(project_path(output_dir) / "rows" / f"{dataset}-{preset}-{row}-seed{seed}" / "run.json", card)
print(f"row {row}, preset {preset}, dataset {dataset}, seed {seed}")
print(f"parts: {parts.parts}")
print(f"MEPE {card['metrics']['mepe']:.1f} mm, AUC {card['metrics']['auc']:.3f}")
print(f"the paper, on RHD: MEPE {parts.paper:.2f} mm")

# %% [markdown]
# ## Stage by stage

# %% mystnb={"image": {"alt": "Left: weighted loss terms over the epochs of all stages. Right: evaluation MEPE"}} tags=["hide-input"]
for stage in parts.stages:
    one = run_stage(stage, row, **options)
    print(f"{stage:12s} MEPE {one.card['metrics']['mepe']:.1f} mm, AUC {one.card['metrics']['auc']:.3f}")
history = [record for stage in parts.stages for record in run_stage(stage, row, **options).history]
figures.training_curves(history)
plt.show()

# %% [markdown]
# ## PCK

# %% mystnb={"image": {"alt": "PCK curves of this row and of the mean pose, 0 to 50 mm"}} tags=["hide-input"]
data = prepare_data(**where)
target, predicted = data.evaluation.target, run.predictions
curves = {f"row {row}": predicted, "mean pose": mean_pose(data)}
figures.pck_curves(curves, target, root=data.root_joint)
plt.show()

# %% tags=["hide-input", "nbval-ignore-output"]
show(figures.interactive_pck(curves, target, root=data.root_joint), f"pck-row-{row}",
     f"PCK of row {row} and of the mean pose against the error threshold, 0 to 50 mm")

# %% [markdown]
# ## Hands
#
# Evaluation frames from the best to the worst, by rank of their error: turn them with the mouse, choose the frame with
# the slider. Below, the same as a still picture.

# %% tags=["hide-input", "nbval-ignore-output"]
errors = joint_errors(predicted, target, data.root_joint).mean(1)
order = np.argsort(errors)
shown = order[np.linspace(0, len(order) - 1, 7).astype(int)[[0, 2, 3, 4, 6]]]
evaluation = data.frames("evaluation")
labels = [f"{data.evaluation.frame[index]} ({errors[index]:.0f} mm)" for index in shown]
poses = {"ground truth": target[shown], f"row {row}": predicted[shown]}
show(figures.interactive_poses(poses, labels, root=data.root_joint), f"poses-row-{row}", f"3D hands: ground truth beside row {row}, {len(shown)} evaluation frames")

# %% mystnb={"image": {"alt": "Evaluation frames, each with ground truth and prediction drawn in 3D"}} tags=["hide-input"]
images = [evaluation[int(data.evaluation.frame[index])].image for index in shown]
show_pictures(figures.poses_static(images, poses, {f"row {row}": errors[shown]}, width=7, root=data.root_joint))

# %% [markdown]
# ## Where this comes from

# %% tags=["hide-input", "nbval-ignore-output"]
show_card(card)
