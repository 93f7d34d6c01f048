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
# # Results
#
# The plain baseline and the whole method (row D3), beside what predicting the mean pose gets. **Our figures are measured
# on the dataset and preset named below, the paper's on RHD**: they can't be compared as numbers, only what a step gains.

# %% tags=["parameters", "hide-input"]
preset: str = "smoke"  # smoke (a minute, only proves that it runs), quick, desktop or paper
dataset: str = "synthetic"  # synthetic, rhd or stb
data_root: str = ""  # folder of the dataset; empty: hands are rendered
seed: int = 0
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
device: str = "auto"  # auto, cpu or cuda

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(globals(), "preset", "dataset", "data_root", "seed", "output_dir", "threads", "device")

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from myst_nb import glue

from handpose import figures
from handpose.experiments import ROWS
from handpose.metrics import joint_errors
from handpose.notebook import project_path, show, show_card, show_pictures
from handpose.runs import mean_pose, prepare_data, row_card, run_row
from handpose.tables import ablation_table

where = dict(preset=preset, dataset=dataset, data_root=project_path(data_root), output_dir=project_path(output_dir))
options = dict(where, seed=seed, threads=threads, device=device)

# %% tags=["nbval-ignore-output"]
rows = ["baseline", "D3"]
runs = {row: run_row(row, **options) for row in rows}
data = prepare_data(**where)

# %%
target, floor = data.evaluation.target, mean_pose(data)
print(f"preset {preset}, dataset {dataset}, seed {seed}")
unseen = "an unseen background" if dataset == "stb" else "unseen subjects and actions"
print(f"{len(data.evaluation)} evaluation frames of {unseen}")

# %% tags=["hide-input"]
table = ablation_table(runs, data)
table

# %% [markdown]
# ## PCK

# %% mystnb={"image": {"alt": "PCK curves of mean pose, baseline and proposed, 0 to 50 mm"}} tags=["hide-input"]
curves = {"mean pose": floor, "baseline": runs["baseline"].predictions, "proposed (D3)": runs["D3"].predictions}
figures.pck_curves(curves, target, root=data.root_joint)
plt.show()

# %% tags=["hide-input", "nbval-ignore-output"]
show(figures.interactive_pck(curves, target, root=data.root_joint), "pck-results", "PCK of mean pose, baseline and proposed against the error threshold, 0 to 50 mm")

# %% [markdown]
# ## Hands one can turn
#
# Ground truth, baseline and proposed on evaluation frames spread over the range of errors (the paper's figure 4).

# %% tags=["hide-input", "nbval-ignore-output"]
errors = {name: joint_errors(runs[row].predictions, target, data.root_joint).mean(1) for name, row in (("baseline", "baseline"), ("proposed", "D3"))}
order = np.argsort(errors["baseline"] + errors["proposed"])
shown = order[np.linspace(0.02 * len(order), 0.95 * len(order) - 1, 6).astype(int)]
poses = {"ground truth": target[shown], "baseline": runs["baseline"].predictions[shown], "proposed": runs["D3"].predictions[shown]}
labels = [str(data.evaluation.frame[index]) for index in shown]
show(figures.interactive_poses(poses, labels, root=data.root_joint), "poses-results", "3D hands: ground truth, baseline and proposed side by side, six evaluation frames")

# %% mystnb={"image": {"alt": "Evaluation frames, each with ground truth, baseline and proposed drawn in 3D"}} tags=["hide-input"]
evaluation = data.frames("evaluation")
images = [evaluation[int(data.evaluation.frame[index])].image for index in shown]
show_pictures(figures.poses_static(images, poses, {name: value[shown] for name, value in errors.items()}, width=9, root=data.root_joint))

# %% [markdown]
# ## Where this comes from

# %% tags=["hide-input", "nbval-ignore-output"]
for row in rows:
    show_card(row_card(row, **options))

# %% tags=["remove-cell"]
best, plain = (runs[row].card["metrics"] for row in ("D3", "baseline"))
mean_mepe = joint_errors(floor, target, data.root_joint).mean()
for name, value in {
    "preset": preset, "dataset": dataset, "seed": seed, "frames": len(data.evaluation),
    "mepe_mean": f"{mean_mepe:.1f}", "mepe_baseline": f"{plain['mepe']:.1f}", "mepe_D3": f"{best['mepe']:.1f}",
    "auc_baseline": f"{plain['auc']:.3f}", "auc_D3": f"{best['auc']:.3f}",
    "origin": (
        "These are synthetic hands, rendered for this book, in RHD's file format: not RHD."
        if dataset == "synthetic" else f"These are frames of the dataset {dataset}, read from disk."
    ),
    "change": f"{100 * (best['mepe'] / plain['mepe'] - 1):+.1f} %", "change_paper": f"{100 * (ROWS['D3'].paper / ROWS['baseline'].paper - 1):+.1f} %",
}.items():
    glue(name, value, display=False)
