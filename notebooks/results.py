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
# All rows of the paper's Tables 1 and 2, and what predicting the mean training pose gets. **Our figures are measured on
# the dataset and preset named below, the paper's on RHD**: they can't be compared as numbers, only what a step gains.
# Where a row has a page in this book, its name leads there.
#
# The paper has two datasets, and the rendered hands come in the file layouts of both: RHD's is on [Results](results.ipynb), STB's,
# smaller, on [Results on STB's layout](results-stb.ipynb). What `make book` trains in less than an hour on two
# processor cores is on [Results of the quick run](results-quick.ipynb); all rows and methods at the paper's picture size and with as
# many frames as RHD has, one seed, trained on one GPU, are on [Results at the paper's picture size](results-gpu.ipynb).

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
seed: int = 0
seeds: int = 1  # how many seeds, from `seed` on
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
device: str = "auto"  # auto, cpu or cuda
recorded: bool = False  # only show the results that come with the repository
links: bool = True  # figures lead to the pages of their rows

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(
    globals(), "preset", "dataset", "data_root", "seed", "seeds", "output_dir", "threads", "device", "recorded", "links"
)

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit

preset, threads, recorded = fit(globals())

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from handpose import figures, figures_pose, pictures
from handpose.experiments import CONTROLS, OWN_ROWS, ROWS, TABLE_1, TABLE_2, find_row
from handpose.notebook import glue, project_path, show, show_pictures, show_run
from handpose.pretrained import started_from
from handpose.results import Results, dataset_name, results_folder, training_size
from handpose.runs import measure
from handpose.tables import MEAN_POSE, METHODS, ablation_table, mean_and_spread, per_finger_table, per_joint_table, percent, seeds_of, trained_apart
from handpose.tables_html import as_html
from handpose.tables_peers import comparison_table

results = Results(results_folder(preset, dataset, project_path(output_dir), recorded))
chosen = list(range(seed, seed + seeds))

# %% tags=["hide-input"]
rows = [row for row in ROWS if seeds_of(results, row, chosen)]
controls = [row for row in CONTROLS if seeds_of(results, row, chosen)]
print(f"dataset {results.data_name}, preset {preset}, " + (f"seeds {chosen[0]} to {chosen[-1]}" if seeds > 1 else f"seed {seed}"))
unseen = "an unseen background" if dataset == "stb" else "unseen subjects and actions"
print(f"{len(results)} evaluation frames of {unseen}")
trained = next((results[row, number] for row in rows + controls for number in seeds_of(results, row, chosen)), None)
if trained:
    print(training_size(trained.card))
floor = measure(results.mean_pose, results.target, results.visible, results.root_joint)
print(f"predicting the mean training pose: MEPE {floor['mepe']:.2f} mm")
if dataset == "stb":
    print("joint 0 of STB is the palm centre, which is also the root: it has no error of its own, and counts as one joint of 21")

# %% tags=["hide-input"]
if not rows:
    raise FileNotFoundError("no row of Tables 1 and 2 has been run with these seeds: run `make book`, or execute row.ipynb")
missing = [row for row in (*ROWS, *CONTROLS) if row not in rows + controls]
if missing:
    print(f"not run, so left out: {', '.join(missing)}")
shown = {row: [results[row, number] for number in seeds_of(results, row, chosen)] for row in rows + controls}
for row, runs in shown.items():
    for result in runs:
        if result.stale:
            print(f"stale: row {row}, seed {result.card['seed']}: {result.stale}")
everyone = [result for runs in shown.values() for result in runs]
for line in trained_apart(shown):
    print(line)
data_name, link = dataset_name(everyone[0].card), "row-{}.html" if links else ""


def change(base):
    common = [number for number in seeds_of(results, "D3", chosen) if number in results.seeds(base)]
    ratios = [results.errors("D3", number).mean() / results.errors(base, number).mean() for number in common]
    return percent(np.mean(ratios) - 1) if ratios else "not run"


means = {row: np.mean([results.errors(row, number).mean() for number in seeds_of(results, row, chosen)]) for row in shown}
best = min(means, key=means.get)
print(f"lowest error of all rows and controls: {best}, {means[best]:.2f} mm")
print(f"the whole method (D3) changes the baseline's error by {change('baseline')}"
      + f", that of the baseline trained as long by {change('baseline-longer')}" * ("baseline-longer" in shown))
found = {name: [results.errors(row, number).mean() for number in seeds_of(results, row, chosen)] for name, row in METHODS.items()}
beyond = [name for name, errors in found.items() if errors and np.mean(errors) >= floor["mepe"]]
if beyond:
    print(f"no better than the mean pose: {', '.join(beyond)}")

# %% [markdown]
# ## Table 1: what each part adds
#
# Mean ± standard deviation over seeds. "change" is against the row that a row builds on: A on the baseline, B and C on A,
# D0 on B, D1, D2 and D3 on D0. Whether a change is more than chance is said on [the claims, measured](claims.ipynb), for the run that
# page was made from; one seed alone supports no claim.

# %% tags=["hide-input", "nbval-ignore-output"]
HTML(as_html(ablation_table(results, TABLE_1, chosen), link, f"Ablation on {data_name}, preset {preset}; the paper's on RHD"))

# %% [markdown]
# ## Table 2: which latents the decoder reads
#
# "concat": pose and context latents together; "pose": the pose part alone. The last row is row B by its other name. "change" is
# again against the row that a row builds on: linear-concat on the baseline, injection-concat on A, and each "pose" on its
# "concat"; so injection-pose has another change here than B has above.

# %% tags=["hide-input", "nbval-ignore-output"]
HTML(as_html(ablation_table(results, TABLE_2, chosen), link, f"Decoders on {data_name}, preset {preset}; the paper's on RHD"))

# %% tags=["hide-input", "nbval-ignore-output"]
if any(row in rows for row in OWN_ROWS):
    display(HTML(as_html(ablation_table(results, OWN_ROWS, chosen), link, f"Rows beside the paper's on {data_name}, preset {preset}")))

# %% [markdown]
# ## Table 3: beside other methods
#
# The paper's columns are its own figures and those that it quotes, measured by others on RHD and STB under protocols that differ (the
# [datasets and protocols](datasets.ipynb) page says how much that alone can change). Our column is this run's: all methods
# trained on the same frames. [The seven methods](peers.ipynb) shows costs and curves, for the book's own run. A
# method that was not trained on this run's frames has no figure there, and figures on other data do not take its place. Of AUCs
# the paper prints its own; on STB it calls Theodoridis et al. "on par" with that, so the same figure stands for both.

# %% tags=["hide-input", "nbval-ignore-output"]
HTML(as_html(comparison_table(results, chosen), link, f"Table 3: the paper's figures, and ours on {data_name}, preset {preset}"))

# %% tags=["hide-input", "nbval-ignore-output"]
methods = {method: [results[row, number] for number in seeds_of(results, row, chosen)] for method, row in METHODS.items()}
methods = {method: runs for method, runs in methods.items() if runs}
if len(methods) > 1 and not links:  # the recorded run's curves are on the page of the seven methods
    curves = {method: [result.predicted for result in runs] for method, runs in methods.items()} | {MEAN_POSE: [results.mean_pose]}
    show(figures.interactive_pck_bands(curves, results.target, root=results.root_joint), "pck-methods",
         "PCK of the methods of Table 3, all trained here, and of the mean pose against the error threshold, 0 to 50 mm",
         "The paper's Figure 3 with every method trained on the same hands. A click on a name switches its line off.")
    show_run(*[result for runs in methods.values() for result in runs])

# %% [markdown]
# ## Controls
#
# Not in the paper: rows trained on with no new loss, A, B and D0 for as long as the rows after them train more, the baseline for as
# long as the whole method. A part has to beat its control, not only the row that it builds on.

# %% tags=["hide-input", "nbval-ignore-output"]
if controls:
    display(HTML(as_html(ablation_table(results, tuple(CONTROLS), chosen), link, f"Controls on {data_name}, preset {preset}")))
else:
    print("no control was trained in this run")

# %% [markdown]
# ## What it cost
#
# "training" is the time of the training steps alone, mean over seeds, with the stages that a row shares with others; "in all" has what
# goes with it too, the measuring after each epoch above all, but not the making of the frames. Images a second are over all stages of a
# row, as timed in this run; several trainings may have run side by side on one processor or GPU. So the table says what this run took,
# not which row is fast.

# %% tags=["hide-input", "nbval-ignore-output"]
costs = {}
for row, runs in shown.items():
    epochs = [epoch for result in runs for epoch in result.history]
    seconds = sum(epoch["seconds"] for epoch in epochs)
    images = sum(epoch["seconds"] * epoch["images_per_second"] for epoch in epochs)
    whole = np.mean([result.card["wall_seconds"] for result in runs])
    costs[row] = {"training (s)": f"{seconds / len(runs):.0f}", "in all (s)": f"{whole:.0f}", "images/s in training": f"{images / seconds:.0f}"}
trainings = {stage["identity"]: stage["seconds"] for result in everyone for stage in result.card["stages"].values()}
machines = sorted({result.card["device"] for result in everyone})
display(HTML(as_html(pd.DataFrame.from_dict(costs, orient="index").rename_axis("row"), link, f"Cost on {data_name}, preset {preset}")))
print(f"{len(trainings)} trainings, those that rows share counted once: {sum(trainings.values()):.0f} s on {', '.join(machines)}")

# %% [markdown]
# ## PCK
#
# Share of joints within an error threshold. Lines: mean over seeds; bands: from the lowest seed to the highest. A click on
# a name switches its line and band off, a double click shows it alone. Below, the same as a still picture, and how much
# more of the joints a row has within each threshold than the baseline.

# %% tags=["hide-input", "nbval-ignore-output"]
curves = {row: [result.predicted for result in shown[row]] for row in rows + controls} | {MEAN_POSE: [results.mean_pose]}
show(figures.interactive_pck_bands(curves, results.target, root=results.root_joint), "pck-results",
     "PCK of every row of Tables 1 and 2, of the controls and of the mean pose against the error threshold, 0 to 50 mm",
     "After the paper's Figure 3. The grey part is what the AUC is taken over.")

# %% caption="Left, the share of joints found; right, the difference to the baseline shows which row finds more joints, and at which distance." mystnb={"image": {"alt": "Left: PCK curves of every row of Tables 1 and 2, of the controls and of the mean pose, 0 to 50 mm. Right: the same less the baseline's"}} tags=["hide-input", "nbval-ignore-output"]
figures.pck_bands(curves, results.target, root=results.root_joint, against="baseline" if "baseline" in rows else None)
plt.show()
show_run(*everyone)

# %% [markdown]
# ## Joint by joint
#
# Numbers: mean error in mm, over frames and seeds. Colours: the difference to the baseline; blue is better, red is worse. With the palm
# as root, wrist and middle MCP have the same error: the root is their midpoint.

# %% caption="Where a row is better or worse than the baseline, finger by finger. Blue is better." mystnb={"image": {"alt": "Table of numbers and colours: mean error of the wrist and of each finger, one line a row"}} tags=["hide-input", "nbval-ignore-output"]
figures.error_map(per_finger_table(results, rows + controls, chosen).T, against="baseline")
plt.show()

# %% caption="The same joint by joint: errors grow from the palm to the fingertips." mystnb={"image": {"alt": "Table of numbers and colours: mean error of each of the 21 joints, one line a row"}} tags=["hide-input", "nbval-ignore-output"]
figures.error_map(per_joint_table(results, rows + controls, chosen).T, against="baseline")
plt.show()
show_run(*everyone)

# %% [markdown]
# ## Hands one can turn
#
# Ground truth, baseline and proposed (row D3) on evaluation frames spread over the range of errors (the paper's figure 4),
# by the first seed. Below, the same as a still picture.

# %% tags=["hide-input", "nbval-ignore-output"]
both = {name: row for name, row in (("baseline", "baseline"), ("proposed", "D3")) if seed in results.seeds(row)}
errors = {name: results.errors(row, seed).mean(1) for name, row in both.items()}
order = np.argsort(sum(errors.values(), np.zeros(len(results))))
places = order[np.linspace(0.02 * len(order), 0.95 * len(order) - 1, 6).astype(int)]
poses = {"ground truth": results.target[places]} | {name: results[row, seed].predicted[places] for name, row in both.items()}
labels = [str(results.frame[index]) for index in places]
show(figures_pose.interactive_poses(poses, labels, root=results.root_joint), "poses-results",
     f"3D hands side by side: {', '.join(poses)}; six evaluation frames",
     "After the paper's Figure 4. Drag one hand and the others turn with it; the slider goes from an easy frame to a hard one.")

# %% caption="From a frame that both predict well to one that both miss. The number is the frame's mean error." mystnb={"image": {"alt": "Six evaluation frames, each with ground truth, baseline and proposed drawn in 3D"}} tags=["hide-input", "nbval-ignore-output"]
frames = pictures.evaluation_frames(preset, dataset, project_path(data_root), everyone[0].card)
images = None if frames is None else [pictures.evaluation_frame(results, index, frames).image for index in places]
if frames is None:
    print(f"the pictures of {dataset} do not come with this book: give data_root")
notes = {name: values[places] for name, values in errors.items()}
show_pictures(figures_pose.poses_static(images, poses, notes, width=9, root=results.root_joint))
show_run(*[results[row, seed] for row in both.values()] or everyone)

# %% tags=["remove-cell", "nbval-ignore-output"]
def over_seeds(row, name, digits):
    runs = [measure(result.predicted, results.target, results.visible, results.root_joint) for result in shown.get(row, [])]
    return mean_and_spread([one[name] for one in runs], digits)


leading = min((name for name, errors in found.items() if errors), key=lambda name: np.mean(found[name]), default=None)
card = shown.get("D3", everyone)[0].card
epochs = {name: count for one in card["stages"].values() for name, count in one["settings"].items() if name.endswith("_epochs")}
warmup = epochs.pop("warmup_epochs", 0)
backbone = started_from(card).partition(",")[0].removeprefix("from ")  # its hash stands in the run card
start = f"{warmup} epochs of warm-up" if warmup else f"a backbone from {backbone}"
for name, value in {
    "best": f"{best} ({find_row(best).parts}), {over_seeds(best, 'mepe', 1)} mm",
    "best_method": f"{leading}, {mean_and_spread(found[leading], 1)} mm" if leading else "not run",
    "preset": preset, "dataset": data_name, "seed": seed, "seeds": "one seed" if seeds == 1 else f"{seeds} seeds", "frames": len(results),
    "mepe_mean": f"{floor['mepe']:.1f}", "mepe_baseline": over_seeds("baseline", "mepe", 1), "mepe_D3": over_seeds("D3", "mepe", 1),
    "mepe_baseline-longer": over_seeds("baseline-longer", "mepe", 1),
    "auc_mean": f"{floor['auc']:.3f}", "auc_baseline": over_seeds("baseline", "auc", 3), "auc_D3": over_seeds("D3", "auc", 3),
    "auc_baseline-longer": over_seeds("baseline-longer", "auc", 3),
    "origin": (
        f"These are synthetic hands, rendered for this book, in {'STB' if dataset == 'stb' else 'RHD'}'s file format: not the dataset itself."
        if everyone[0].card["rendered"] else f"These are frames of the dataset {dataset}, read from disk."
    ),
    "change": change("baseline"), "change_longer": change("baseline-longer"),
    "change_paper": percent(ROWS["D3"].paper / ROWS["baseline"].paper - 1),
    "size": f"{card['frames']['training']} frames to learn from, crops of {card['settings']['size']} pixels, "
            f"{start} and {sum(epochs.values())} epochs of the method",
}.items():
    glue(name, value)
