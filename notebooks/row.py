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
# Every row of Tables 1 and 2, every control, and every method of Table 3 is this notebook with another `row`. Side by side:
# [results](results.ipynb), and [the seven methods](peers.ipynb).

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
row: str = "D3"  # a row of Table 1 or 2, a control, or a method of Table 3 ("Iqbal")
seed: int = 0
seeds: int = 1  # how many seeds, from `seed` on
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
device: str = "auto"  # auto, cpu or cuda
recorded: bool = False  # only show the results that come with the repository

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(
    globals(), "preset", "dataset", "data_root", "row", "seed", "seeds", "output_dir", "threads", "device", "recorded"
)

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit

preset, threads, recorded = fit(globals())

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from handpose import figures, figures_pose, peers, pictures
from handpose.claims import CLAIMS, measure_claims
from handpose.experiments import PEERS, TABLE_3, find_row, row_stages, stage_owner
from handpose.notebook import project_path, show, show_card, show_pictures, show_run
from handpose.results import Results, obtain, results_folder
from handpose.runs import measure
from handpose.tables import METHODS, mean_and_spread, seeds_of, trained_apart
from handpose.tables_html import as_html, claims_frame, claims_html

where = dict(preset=preset, dataset=dataset, output_dir=project_path(output_dir), recorded=recorded)
options = dict(where, data_root=project_path(data_root), threads=threads, device=device)
chosen = list(range(seed, seed + seeds))

# %% [markdown]
# ## The run
#
# What is missing is trained, the stages below first; what is finished is only opened.

# %%
results = [obtain(row, seed=number, **options) for number in chosen]

# %% tags=["hide-input"]
stale = [f"stale: row {row}, seed {number}: {result.stale}" for number, result in zip(chosen, results) if result.stale]
print("\n".join(stale) if stale else "trained by this book's code, or by code that was found to train alike")

# %% tags=["hide-input"]
everything = Results(results_folder(**where))
target, root = everything.target, everything.root_joint
parts = find_row(row)
base = "D3" if row in PEERS else parts.builds_on
measured = [measure(result.predicted, target, everything.visible, root) for result in results]
mepe, auc = ([one[name] for one in measured] for name in ("mepe", "auc"))
shown_seeds = f"seeds {chosen[0]} to {chosen[-1]}" if seeds > 1 else f"seed {seed}"
print(f"row {row}: {parts.parts}" + (f"; held against row {base}" if row in PEERS else f"; builds on row {base}" if base else ""))
print(f"dataset {everything.data_name}, preset {preset}, {shown_seeds}, {len(everything)} evaluation frames")
over = " (mean ± standard deviation over seeds)" if seeds > 1 else ""
print(f"MEPE {mean_and_spread(mepe, 2)} mm, AUC 20-50 mm {mean_and_spread(auc, 3)}{over}")
print(f"mean training pose: MEPE {everything.errors('mean pose', None).mean():.2f} mm")
print(f"the paper, on RHD: MEPE {parts.paper:.2f} mm" if parts.paper else "not in the paper: a control, or a row of one's own")
published = next((TABLE_3[method] for method, name in METHODS.items() if name == row), None)
if dataset == "stb" and published and published.stb:
    print(f"the paper, on STB: MEPE {published.stb:.2f} mm")

# %% [markdown]
# Each seed, and the same seed of the row that this one is held against: the one it builds on; row D3 for a method of Table 3.
# Whether a difference is more than chance is said on [the claims, measured](claims.ipynb), and of the methods of Table 3 on
# [their own page](peers.ipynb).

# %% tags=["hide-input", "nbval-ignore-output"]
base_seeds = seeds_of(everything, base, chosen) if base else []
claimed = [one for one in CLAIMS if one.row == row and one.kind == "mepe"]
against = dict.fromkeys(name for one in claimed for name in (one.base, one.control))  # and the row that this one builds on
control = next((one.control for one in claimed if one.base == base and one.control and seeds_of(everything, one.control, chosen)), None)
others = {name: [everything[name, number] for number in seeds_of(everything, name, chosen)] for name in (base, *against) if name}
for line in trained_apart({row: results} | others):
    print(line)
table = pd.DataFrame({"MEPE (mm)": np.round(mepe, 2), "AUC 20-50": [f"{one:.3f}" for one in auc]}, index=pd.Index(chosen, name="seed"))
if base_seeds:
    base_mepe = pd.Series({number: everything.errors(base, number).mean() for number in base_seeds})
    table[f"MEPE of row {base}"] = base_mepe.round(2)
    table["change (mm)"] = (pd.Series(mepe, chosen) - base_mepe).round(2)
display(HTML(as_html(table.fillna("not run"), "", f"Row {row}, seed by seed")))
if base_seeds:
    ratios = [everything.errors(row, number).mean() / everything.errors(base, number).mean() for number in base_seeds]
    change = f"against row {base}: {100 * (np.mean(ratios) - 1):+.1f} %"
    if parts.paper and find_row(base).paper:
        change += f"; the paper, on RHD: {100 * (parts.paper / find_row(base).paper - 1):+.1f} %"
    print(change)
elif base:
    print(f"row {base} has not been run: no change to show")

# %% [markdown]
# A row that trains longer than the one it builds on is to be held against a control, which only trains on for as long. What the
# paper claims of this row's error, with the verdict, over all seeds that were run:

# %% tags=["hide-input", "nbval-ignore-output"]
if claimed:
    display(HTML(claims_html(claims_frame(measure_claims(everything, claimed)), "", f"What the paper claims of row {row}")))
else:
    print("the paper's claim on this method is taken up on the page of the seven methods" if row in PEERS
          else "the row that the others are held against" if row == "baseline" else "the paper claims nothing of this row's error")

# %% [markdown]
# ## Stage by stage
#
# A stage that several rows share is trained once: "trained as" names the row. The first is called *disentangle* in all of the paper's
# rows; those without disentanglement run it without discriminator. *Further* and *onward* are a control's: stage 1 goes on for as
# long as stage 2, then 3, would take. The warm-up, where there is one, predicts no depth. The error after a stage is the whole
# network's, in the training's precision: it may differ from the one above in the last digit, and where a part is left that only a
# later stage trains, it says little.
# Seconds are the mean over seeds, as timed when the stage was trained; machines were under different load.

# %% tags=["hide-input", "nbval-ignore-output"]
lines = []
for stage in row_stages(row, preset):
    epochs = [[epoch for epoch in result.history if epoch["stage"] == stage] for result in results]
    lines.append({
        "stage": stage,
        "trained as": {"warmup": "no row: it comes before all"}.get(stage, f"row {stage_owner(stage, row)}"),
        "epochs": len(epochs[0]),
        "seconds a seed": round(np.mean([result.card["stages"][stage]["seconds"] for result in results])),
        "MEPE after it (mm)": mean_and_spread([one[-1]["mepe"] for one in epochs[: 1 if stage == "warmup" else None]], 2),
    })
display(HTML(as_html(pd.DataFrame(lines).set_index("stage"), "", f"The stages of row {row}")))
if row in PEERS and peers.module(PEERS[row].module).NETWORKS.in_picture:
    print("This method predicts in the picture. During training no camera is used: the pose is taken as seen from far away. So the errors")
    print("of this table and of the curve below differ from the MEPE above, for which the camera lifts the pose.")

# %% caption="After the warm-up. Dotted lines divide the stages and their phases. Left: the terms of the objective as they enter its sum; in the paper's own rows those of eqs. 1 to 7 and 17, rgb for pictures, pose for true poses. Right: the error that counts." mystnb={"image": {"alt": "Left: weighted loss terms over the epochs of all stages. Right: evaluation MEPE over the epochs, falling from stage to stage where the training works"}} tags=["hide-input", "nbval-ignore-output"]
figures.training_curves(*[result.history for result in results])
plt.show()
if seeds > 1:
    print(f"thick: seed {seed}; thin: the other seeds")
show_run(*results)

# %% [markdown]
# ## PCK

# %% caption="The higher curve finds more joints within the same distance; where this row is held against another, at the right how many more than that one. The grey part is what the AUC is taken over." mystnb={"image": {"alt": "PCK curves of this row, of the row it is held against, of its control and of the mean pose, 0 to 50 mm; beside it, the same less that of the row it is held against"}} tags=["hide-input", "nbval-ignore-output"]
curves = {f"row {row}": [result.predicted for result in results]}
if base_seeds:
    curves[f"row {base}"] = [everything[base, number].predicted for number in base_seeds]
if control:
    curves[f"row {control}"] = [everything[control, number].predicted for number in seeds_of(everything, control, chosen)]
curves["mean pose"] = [everything.mean_pose]
figures.pck_bands(curves, target, root=root, against=f"row {base}" if base_seeds else None)
plt.show()

# %% tags=["hide-input", "nbval-ignore-output"]
show(figures.interactive_pck_bands(curves, target, root=root), f"pck-row-{row}",
     f"PCK of row {row}, of the row it is held against, of its control and of the mean pose against the error threshold, 0 to 50 mm",
     "The same, to read numbers off; a click on a name switches its line off.")
if seeds > 1:
    print("lines: mean over seeds; bands: from the lowest seed to the highest")
show_run(*results)

# %% [markdown]
# ## Joint by joint

# %% caption="Errors grow from the palm to the fingertips. A tick, of the row that this one is held against, above its bar: this row is better there." mystnb={"image": {"alt": "Mean error of each of the 21 joints: bars for this row, ticks for the row it is held against"}} tags=["hide-input", "nbval-ignore-output"]
joint_errors = {f"row {row}": np.stack([everything.errors(row, number).mean(0) for number in chosen])}
if base_seeds:
    joint_errors[f"row {base}"] = np.stack([everything.errors(base, number).mean(0) for number in base_seeds])
figures.error_per_joint(joint_errors)
plt.show()

# %% caption="The same, finger by finger." mystnb={"image": {"alt": "Mean error of the wrist and of each finger: bars for this row, ticks for the row it is held against"}} tags=["hide-input", "nbval-ignore-output"]
figures.error_per_finger(joint_errors)
plt.show()
show_run(*results)

# %% [markdown]
# ## Hands
#
# Frames around the median error and the worst ones, by the first seed: the true pose and the prediction drawn on the
# picture. Predictions are relative to the root; they stand at the true one here.

# %% caption="Left: what the typical error looks like. Right: where the network is wrong altogether." mystnb={"image": {"alt": "Three evaluation frames of median error and the three worst, each with the true pose and with the predicted pose drawn on the picture"}} tags=["hide-input"]
predicted = results[0].predicted
errors = everything.errors(row, seed).mean(1)
order, middle = np.argsort(errors), len(errors) // 2
frames = pictures.evaluation_frames(preset, dataset, project_path(data_root), results[0].card)
if frames is None:
    print(f"the pictures of {dataset} do not come with this book: give data_root")
else:
    places = [*order[middle - 1 : middle + 2], *order[:-4:-1]]
    photos = [pictures.evaluation_frame(everything, place, frames) for place in places]
    drawn = {
        "true pose": [photo.uv for photo in photos],
        f"row {row}": [pictures.on_picture(predicted[place], photo, root) for place, photo in zip(places, photos)],
    }
    titles = [f"{kind}: {errors[place]:.0f} mm" for kind, place in zip(["median"] * 3 + ["worst"] * 3, places)]
    show_pictures(figures.poses_on_pictures([photo.image for photo in photos], drawn, titles))

# %% tags=["remove-input", "nbval-ignore-output"]
show_run(results[0])

# %% [markdown]
# From the best to the worst, by rank of their error: turn them with the mouse, choose the frame with the slider. Below,
# the same as a still picture.

# %% tags=["hide-input", "nbval-ignore-output"]
shown = order[np.linspace(0, len(order) - 1, 7).astype(int)[[0, 2, 3, 4, 6]]]
labels = [f"{everything.frame[index]} ({errors[index]:.0f} mm)" for index in shown]
poses = {"ground truth": target[shown], f"row {row}": predicted[shown]}
show(figures_pose.interactive_poses(poses, labels, root=root), f"poses-row-{row}",
     f"3D hands: ground truth beside row {row}, {len(shown)} evaluation frames",
     "The truth beside this row. The slider goes from the best frame to the worst, its error in brackets.")

# %% caption="The same frames as above, with their pictures. The number is the frame's mean error." mystnb={"image": {"alt": "Evaluation frames from best to worst: the picture, the ground truth and the prediction in 3D"}} tags=["hide-input", "nbval-ignore-output"]
images = None if frames is None else [pictures.evaluation_frame(everything, index, frames).image for index in shown]
show_pictures(figures_pose.poses_static(images, poses, {f"row {row}": errors[shown]}, width=7, root=root))
show_run(results[0])

# %% [markdown]
# ## Where this comes from

# %% tags=["hide-input", "nbval-ignore-output"]
for result in results:
    show_card(result.card, unfolded=result is results[0])
