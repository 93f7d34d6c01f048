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
# # What the choices change
#
# The paper leaves things open, and [another page](../decisions.md) lists what we chose. Here is what some of these choices
# change. **All figures come from the dataset and preset named below.** A choice that does not matter here
# may matter there, with other pictures and longer training.

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
preset: str = "smoke"  # smoke (only proves that it runs), minutes, quick, desktop, gpu or paper
dataset: str = "synthetic"  # synthetic, rhd or stb
data_root: str = ""  # not needed here: this page reads stored results
output_dir: str = "runs"  # relative to the checkout
recorded: bool = False  # only show the results that come with the repository

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(globals(), "preset", "dataset", "data_root", "output_dir", "recorded")

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit

preset, threads, recorded = fit(globals())

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
from IPython.display import HTML, display

from handpose.decisions import VARIANTS, as_html, forest_plot, measured, measured_text, measures, measures_text, seeds_text
from handpose.notebook import glue, project_path, show_card, show_run
from handpose.results import Results, results_folder
from handpose.tables import counted

where = (preset, dataset, project_path(output_dir), recorded)
results = Results(results_folder(*where))

# %% tags=["hide-input", "nbval-ignore-output"]
rows = sorted({variant.row for variant in VARIANTS} | {"baseline", "baseline-longer", "D3"})
used = [results[row, seed] for row in rows for seed in results.seeds(row)]
print(f"dataset {results.data_name}, preset {preset}, {len(results)} evaluation frames")
if dataset == "synthetic":
    print("synthetic hands, rendered for this book: not RHD")
print("seeds: " + counted({row: results.seeds(row) for row in rows}))

# %% [markdown]
# ## Choices of measuring
#
# These need no training: the same stored predictions are measured in another way. Baseline, the baseline trained for as long as the
# whole method, and the whole method (row D3); ± is the standard deviation over seeds. "Against" is D3's change. A lower error is
# better, and a higher AUC. Look at whether a change stays what it was: where it does, the choice shifts all figures alike and decides
# nothing. Where two rows lie close together, a way of measuring may decide which is ahead: then neither is.

# %% tags=["hide-input", "nbval-ignore-output"]
display(HTML(as_html(measures_text(measures(results)), "The same predictions, measured in other ways")))

# %% [markdown]
# **Should I compare my AUC with the paper's?** Only with the same thresholds. "AUC 20-50 mm" is computed in at least two
# ways, and from 0 mm it is another number again. Say which one you used.
#
# **Should hidden joints count?** We count all joints, since the paper leaves none out. The field's code skips hidden ones.
# Say which you do before you compare.
#
# **Mean or median?** The mean is what all tables report. Where the median is well below it, a few joints and frames are
# far off.
#
# **Is the scale given?** The paper gives the hand's true size to each prediction, and so do we. In use nobody knows it.
# The second line gives all hands the mean size instead: that is the error to expect without a measured hand.
#
# **What should I centre poses on?** The root's own error moves all other joints with it. A single joint such as the wrist
# may be less steady than the midpoint of two. Figures with different roots can't be compared.
#
# One more choice is measured on another page: the field's older code centres the true pose only, so the predicted root counts. Where
# a run has kept that root, [the datasets and protocols](datasets.ipynb) compare the two: "hand3d" and "hand3d, both centred".

# %% [markdown]
# ## Choices of training
#
# Each line is one row of the ablation trained with one other setting, held against the same row with our setting, on the
# same evaluation frames and from the same seed.
#
# - **Effect**: MEPE with the other setting minus MEPE with ours. Negative: the other setting is better. The interval
#   holds 95 % of 2000 bootstrap draws of the frames; with several seeds it is the wider of that, seeds drawn too, and Student's *t*
#   over them, as on [the claims, measured](claims.ipynb).
# - **Seeds**: the seeds compared. With one seed the interval knows of the frames alone. It says nothing of how
#   another seed would have come out.
# - **Chance** stands in for that: how far two trainings of this kind come to lie apart by chance, in 95 of 100 cases.
#   It is estimated from rows of the tables with the same last stage: from what is left of their errors when each row's mean and
#   each seed's is taken away. Where a setting changes earlier stages too, it is that of the rows whose stages before are not shared
#   either. It is a rough guide, and a wide one where few rows can be used. "Not known": too few seeds.
# - **Verdict**: an effect counts when its interval leaves out 0 and it is larger than chance. With so many lines one may
#   pass by luck. "No clear difference" is not "no difference".

# %% tags=["hide-input", "nbval-ignore-output"]
table = measured(*where)
others = []
for variant in VARIANTS:
    folder = results_folder(variant.preset(preset), *where[1:])
    if folder.exists():
        found = Results(folder)
        others += [found[variant.row, seed] for seed in found.seeds(variant.row)]
display(HTML(as_html(measured_text(table), "Rows trained with one other setting")))
for words, result in [("ours", run) for run in used] + [(f"{run.card['preset']}", run) for run in others]:
    ends = [epoch["discriminator"] for epoch in result.history if "discriminator" in epoch]
    if result.card["row"] == "B" and ends:
        print(f"discriminator's loss in the last epoch of stage 1, seed {result.card['seed']}, {words}: {ends[-1]:.2f}")
compared = sorted({seed for text in table["seeds"] if text for seed in text.split(", ")})
missing = table.loc[table["verdict"] == "not run", "setting"]
if len(compared) == 1:
    print(f"One seed (seed {compared[0]}): these are first findings, not proofs.")
if len(missing):
    print(f"not run: {', '.join(missing)}")
    print(f"to train what is missing: python -m handpose.decisions --preset {preset} --dataset {dataset}"
          + " --data-root FOLDER" * (dataset != "synthetic"))

# %% caption="The rows of the table as a picture: a dot outside its grey bar is more than chance. Left is better than our choice." mystnb={"image": {"alt": "Effect of each other setting on MEPE in mm with its 95 % interval around a line at 0, and a grey bar as wide as chance; the same numbers as in the table above"}} tags=["hide-input", "nbval-ignore-output"]
if len(missing) < len(table):
    forest_plot(table)
    plt.show()
    show_run(*used, *others)

# %% [markdown]
# **How strong should the adversarial term be?** It is meant to pull the pose latents of pictures towards those of true poses. The
# paper does not print its weight. Too strong, it competes with the pose itself; at 0 there is no disentanglement by
# the discriminator at all. Under the table stands how the discriminator's loss ends: near 0 it tells the two kinds of latents apart,
# at ln 2 it can't tell at all. Whether the two come together stands on
# [the claims, measured](claims.ipynb); with other weights than ours it was not measured.
#
# **Should the KCS loss be a mean or a sum?** The paper's l1 could be either. The sum over 20 × 20 entries is the mean with
# 400 times the weight.
#
# **Should the GEO loss be a sum or a mean?** The mean over 21 × 190 entries is the sum with a weight 3990 times smaller,
# which nearly switches it off. The other line makes it 100 times larger.
#
# **Should the two losses take turns?** The paper alternates. The other line takes half of each at every step.
#
# **Should I warp the picture for view correction?** The pose is rotated in any case. Ours crops the picture and leaves it
# unturned; the other setting turns it just as the pose, at the cost of a resampled picture. It trains from other crops,
# its warm-up included.
#
# **Should the mapper read a sample or the mean?** A sample passes noise on and regularises; the mean is the
# cleaner input.
#
# **How fast should the discriminator learn?** It sees 64 numbers, the encoder a picture: it is the quicker one. The paper names one
# rate for all. At a fifth of it the discriminator's loss ends higher: there is more left for the encoder to answer. Even so it does not
# fool it, and the two kinds of latents move apart: [the claims, measured](claims.ipynb).
#
# **Which batch normalises the shared decoder?** Two clouds of latents pass it in stage 2, those of pictures and those of true poses.
# In one batch each is normalised by a mixture of both. Ours decodes one after the other; the running statistics, by which poses are
# predicted later, are those of the pictures.
#
# **With how much noise should a mapper start?** A new mapper's means are near 0: with the encoders' first variance its samples are
# more noise than signal, until it has learnt to make less of it. How much was not measured, the error was.
#
# **Why the last line?** All three the other way was how this book first had them. They were changed for what they did to the error on
# these very frames: where one of the three alone is no more than chance, the three together may be. So D3's figures are in
# the method's favour, as far as one can tune by three choices, and those of the seven other methods are not tuned like that.

# %% [markdown]
# ## Where this comes from

# %% tags=["hide-input", "nbval-ignore-output"]
for result in used + others:
    if result.stale:
        print(f"stale: row {result.card['row']}, preset {result.card['preset']}, seed {result.card['seed']}: {result.stale}")
if used:
    show_run(*used)
for result in others:
    show_card(result.card, unfolded=False)

# %% tags=["remove-cell"]
three = table[table["setting"] == VARIANTS[-1].changes].iloc[0]
glue("effect_of_three", three["verdict"] if not three["seeds"] else f"{three['verdict']}, {seeds_text(three['seeds'])}")
