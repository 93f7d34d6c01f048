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
# # Change this row
#
# Pick the decoder, the losses and their weights in the cell of parameters, then run all cells. Your row trains for about
# two minutes on two processor cores. Its PCK curve is then drawn on top of the recorded ones.
#
# As it stands, the notebook shows a row that the paper does not have: the kinematic losses with no alignment before them.
# That one comes trained with the repository. Change anything and it is trained here.

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

# %% tags=["parameters"]
injection: bool = True  # the injection decoder; False: the plain one
disentangle: bool = True  # pose and context latents apart, with the discriminator
align: bool = False  # stage 2: mappers and the shared decoder
kcs: bool = True  # stage 3 with the KCS loss
geo: bool = True  # stage 3 with the GEO loss
concat: bool = False  # the decoder reads pose and context latents together
beta: float = 1e-5  # weight of the divergences
adversarial_weight: float = 0.01  # weight of fooling the discriminator; needs disentangle
alignment_weight: float = 0.01  # weight w of the pose's side in stage 2; needs align
kcs_weight: float = 0.01  # needs kcs
geo_weight: float = 1e-6  # needs geo
preset: str = "minutes"  # the size: smoke (only proves that it runs), minutes, quick, desktop, gpu or paper
dataset: str = "synthetic"  # synthetic, rhd or stb
data_root: str = ""  # folder of the dataset; empty: hands are rendered
seed: int = 0
output_dir: str = "runs"  # relative to the checkout
threads: int = 0  # processor threads; 0: all cores, four at most
device: str = "auto"  # auto, cpu or cuda
recorded: bool = False  # only show the results that come with the repository

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(
    globals(), "injection", "disentangle", "align", "kcs", "geo", "concat", "beta", "adversarial_weight", "alignment_weight",
    "kcs_weight", "geo_weight", "preset", "dataset", "data_root", "seed", "output_dir", "threads", "device", "recorded",
)  # fmt: skip

# %% tags=["hide-input"]
import shlex
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML

from handpose import figures, figures_pose
from handpose.budget import fit
from handpose.experiments import Row, row_name, row_stages, stage_owner
from handpose.metrics import joint_errors
from handpose.notebook import project_path, show, show_card, show_pictures, show_run
from handpose.records import available_cores
from handpose.results import Results, obtain
from handpose.runs import measure
from handpose.tables import trained_apart
from handpose.tables_html import as_html
from handpose.trial import LARGE, changed_preset, comes_along, held_against, trial_table

parts = Row(injection=injection, disentangle=disentangle, align=align, kcs=kcs, geo=geo, concat=concat)
row = row_name(parts)
changed = changed_preset(
    preset, beta=beta, adversarial_weight=adversarial_weight, alignment_weight=alignment_weight,
    kcs_weight=kcs_weight, geo_weight=geo_weight,
)  # fmt: skip
recorded = recorded or comes_along(row, changed, dataset, seed, data_root)
threads = threads or min(4, available_cores())

# %% tags=["hide-input", "nbval-ignore-output"]
changed, threads, recorded = fit(globals() | {"preset": changed}, rows=(row,))
where = dict(dataset=dataset, output_dir=project_path(output_dir), recorded=recorded)
options = dict(where, data_root=project_path(data_root), seed=seed, threads=threads, device=device)

# %% [markdown]
# ## The training
#
# What is finished is only opened. Stages that another row has trained with the same settings are not trained again: a
# change of `kcs_weight` costs stage 3 alone, and the warm-up of the backbone is one for all rows.

# %%
result = obtain(row, preset=changed, analysed=False, **options)

# %% tags=["hide-input"]
results = Results(result.folder.parent)
name = "your row" + (f" ({row})" if "+" not in row else "")


def measured(predicted):
    return measure(predicted, results.target, results.visible, results.root_joint)


print(f"{name}: {parts.parts}")
print(f"settings: {changed}, dataset {results.data_name}, seed {seed}, {len(results)} evaluation frames")
print(f"MEPE {result.card['metrics']['mepe']:.2f} mm, AUC 20-50 mm {result.card['metrics']['auc']:.3f}")
print(f"mean training pose: MEPE {measured(results.mean_pose)['mepe']:.2f} mm")

# %% [markdown]
# ## PCK
#
# The share of joints within an error threshold, on the same evaluation frames for every curve. The curves named after the
# preset that you trained with are comparable with yours: the same frames, the same epochs in each stage, the same seed (less so where a line below says that the
# warm-ups differ). A row with
# more stages still trains longer, as the table below says: its control, with `longer` or `longest` among its parts, tells what that
# alone brings. The ones named after the recorded run are **no fair fight**: they saw more frames for longer. They are measured on
# this page's frames, so their errors differ a little from those on the page of results.

# %% tags=["hide-input"]
on = f" DATASET={dataset}" * (dataset != "synthetic") + f" DATA_ROOT={shlex.quote(data_root)}" * bool(data_root)
beside = held_against(result, preset, **where)
for line in trained_apart({name: [result]} | {label.partition(",")[0]: runs for label, (_, runs) in beside.items() if label.endswith(f", {preset}")}):
    print(line)
curves = {name: ([result.predicted], [result])} | beside
drawn = {label: predictions for label, (predictions, _) in curves.items()} | {"mean pose": [results.mean_pose]}
if not any(label.endswith(f", {preset}") for label in beside):
    print(f'no other row has been trained at this size: make batch ROWS="baseline D3" SEEDS={seed} PRESET={preset}{on}')
if not any(label.endswith(f", {LARGE}") for label in beside):
    print("the recorded run was measured on other frames: its curves are left out")

# %% caption="Hold your row against the curves named after the same preset; those of the recorded run saw more." mystnb={"image": {"alt": "PCK curves: your row, rows trained at the same size, rows of the recorded run, the mean pose"}} tags=["hide-input"]
figures.pck_bands(drawn, results.target, root=results.root_joint)
plt.show()
show_run(result, *[one for _, runs in beside.values() for one in runs])

# %% [markdown]
# Those of the same size alone, and at the right how much more of the joints each has within a threshold than the baseline.

# %% caption="Rows trained at the same size. On the right, above zero is better than the baseline." mystnb={"image": {"alt": "Left: PCK curves of your row and of rows trained at the same size. Right: the same less the baseline's"}} tags=["hide-input"]
fair = {label: predictions for label, predictions in drawn.items() if not label.endswith(f", {LARGE}") or preset == LARGE}
if f"baseline, {preset}" in fair:
    figures.pck_bands(fair, results.target, root=results.root_joint, against=f"baseline, {preset}")
    plt.show()
    show_run(result, *[one for label, (_, runs) in beside.items() if label in fair for one in runs])

# %% [markdown]
# All of them once more: a click on a name switches its line off, a double click shows it alone.

# %% tags=["hide-input", "nbval-ignore-output"]
show(figures.interactive_pck_bands(drawn, results.target, root=results.root_joint), "pck-change-row",
     "PCK of your row, of rows trained at the same size, of the recorded run and of the mean pose against the error threshold",
     "All curves together; a click on a name switches it off.")
show_run(result, *[one for _, runs in beside.values() for one in runs])

# %% tags=["hide-input"]
HTML(as_html(trial_table(curves, measured), link="", caption=f"Trained on what, on {results.data_name}"))

# %% [markdown]
# Two trainings differ by chance alone, and one seed does not say by how much. `make batch` runs several seeds of your row, beside
# the baseline and, of a row with `align`, a control that trains as long:

# %% tags=["hide-input"]
without = dict(kcs=False, geo=False) if kcs or geo else dict(align=False)
controls = [replace(parts, longer=True, **without)] if align else []
print(f'make batch ROWS="{" ".join(dict.fromkeys(["baseline", row, *map(row_name, controls)]))}" SEEDS="0 1 2" PRESET={changed}{on}')

# %% [markdown]
# ## Hands one can turn
#
# From the best frame to the worst, by your row's error.

# %% tags=["hide-input", "nbval-ignore-output"]
errors = results.errors(row, seed).mean(1)
places = np.argsort(errors)[np.linspace(0, len(errors) - 1, 7).astype(int)[[0, 2, 3, 4, 6]]]
poses = {"ground truth": results.target[places]} | {label: predictions[0][places] for label, (predictions, _) in list(curves.items())[:3]}
labels = [f"{results.frame[place]} ({errors[place]:.0f} mm)" for place in places]
show(figures_pose.interactive_poses(poses, labels, root=results.root_joint), "poses-change-row",
     f"3D hands side by side: {', '.join(poses)}; {len(places)} evaluation frames",
     "Your row between the truth and the others, from your best frame to your worst. Drag one hand and the others turn with it.")
show_run(*[runs[0] for _, runs in list(curves.values())[:3]])

# %% caption="The number above a hand is its mean error." mystnb={"image": {"alt": "The same frames as a still picture: the ground truth and the predictions in 3D"}} tags=["hide-input"]
notes = {label: joint_errors(pose, poses["ground truth"], results.root_joint).mean(1) for label, pose in poses.items()}
del notes["ground truth"]
still = figures_pose.poses_static(None, {label: pose[:3] for label, pose in poses.items()}, notes, width=9, root=results.root_joint)
still.subplots_adjust(top=0.93)
show_pictures(still)

# %% [markdown]
# ## Where this comes from

# %% tags=["hide-input", "nbval-ignore-output"]
for stage in row_stages(row, changed):
    print(f"{stage}: trained as {stage_owner(stage, row)}, {result.card['stages'][stage]['seconds']:.0f} s")
show_card(result.card)
