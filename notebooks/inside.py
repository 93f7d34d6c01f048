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
# # See the method work
#
# Five looks inside: where pictures and poses lie in the latent space, what the pose latent means, what a new background or
# a new light does, what the kinematic losses see and pull at, and what injection does to the gradients. Everything is
# computed from results that were kept.

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
data_root: str = ""  # folder of the dataset; empty: hands are rendered
seed: int = 0
seeds: int = 1  # how many seeds, from `seed` on
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
device: str = "auto"  # auto, cpu or cuda
recorded: bool = False  # only show the results that come with the repository

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(globals(), "preset", "dataset", "data_root", "seed", "seeds", "output_dir", "threads", "device", "recorded")

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit

from handpose import inside

preset, threads, recorded = fit(globals(), rows=("baseline", *inside.STATES))

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from handpose import claims, figures_inside, figures_losses, pictures
from handpose.analysis import CHANGES
from handpose.explorer import decode, effect_table, hands_to_start_from, show_explorer
from handpose.geometry import hand_scale
from handpose.notebook import project_path, show, show_pictures, show_run
from handpose.results import Results, dataset_name, obtain, results_folder
from handpose.tables import mean_and_spread, seeds_of
from handpose.tables_html import as_html

where = dict(preset=preset, dataset=dataset, output_dir=project_path(output_dir), recorded=recorded)
options = dict(where, data_root=project_path(data_root), threads=threads, device=device)
chosen = list(range(seed, seed + seeds))

# %% [markdown]
# Rows that have not been run are trained first; the pages of a recorded run only open what was kept.

# %% tags=["nbval-ignore-output"]
if not recorded:
    for row in ("baseline", *inside.STATES):
        for number in chosen:
            obtain(row, seed=number, **options)

# %% tags=["hide-input"]
results = Results(results_folder(**where))
run = {row: seeds_of(results, row, chosen) for row in ("baseline", *inside.STATES)}
run = {row: numbers for row, numbers in run.items() if numbers}
if not run:
    raise FileNotFoundError("none of the rows of this page has been run with these seeds: run `make book` first")
first = {row: results[row, numbers[0]] for row, numbers in run.items()}
card = next(iter(first.values())).card
print(f"dataset {dataset_name(card)}, preset {preset}, " + (f"seeds {chosen[0]} to {chosen[-1]}" if seeds > 1 else f"seed {seed}"))
print(f"{len(results)} evaluation frames; pictures and points are those of seed {seed}")

# %% tags=["hide-input", "nbval-ignore-output"]
for row, result in first.items():
    print(f"{row}: MEPE {result.card['metrics']['mepe']:.1f} mm" + (f"; stale: {result.stale}" if result.stale else ""))


def runs_of(rows):
    return [results[row, number] for row in rows if row in run for number in run[row]]


def kept(row, name, number):
    result = results[row, number]
    return (result.folder / "analysis.npz").exists() and name in result.analysis


# %% [markdown]
# ## Two kinds of latents
#
# Each evaluation frame is here twice: as its picture, and as its true pose. **What to look for:** disentanglement and
# alignment should bring the two clouds together, and alignment each picture to its own pose.
#
# Move the slider from part to part of the method. The plane is fitted anew at each stop: the two directions in which both
# clouds together vary most. Thin lines join a picture with its own pose, for the first frames.

# %% tags=["hide-input", "nbval-ignore-output"]
with_latents = {row: [number for number in run[row] if kept(row, "read_rgb", number)] for row in inside.STATES if row in run}
analysed = {row: [results[row, number].analysis for number in numbers] for row, numbers in with_latents.items() if numbers}
maps = {f"{row}: {inside.STATES[row]}": inside.state_map(analyses[0]) for row, analyses in analysed.items()}
if maps:
    count = len(next(iter(maps.values()))[0])
    names = {"view_z": "seen from (palm −1, back +1)", "background": "background", "kelvin": "light (kelvin)", "subject": "subject"}
    factors = results.factors.iloc[:count].astype({"subject": str}) if len(results.factors) else {}
    colourings = {words: factors[name].to_numpy() for name, words in names.items() if name in factors}
    show(figures_inside.interactive_latents(maps, colourings), "latents",
         f"Scatter of latents of {count} pictures and of their true poses on a plane, a stop of the slider each: {', '.join(maps)}",
         "Move the slider from before disentanglement to after refinement, and watch whether the two clouds meet.")

# %% caption="The stops of the slider, side by side. Thin lines join a picture with its own pose; axes differ from panel to panel." mystnb={"image": {"alt": "The latent clouds of pictures and of true poses, one panel each before disentanglement, after it, after alignment and after refinement"}} tags=["hide-input", "nbval-ignore-output"]
if maps:
    figures_inside.latents_static(maps, width=9)
    plt.show()
    show_run(*[first[row] for row in analysed])

# %% [markdown]
# The figure as numbers, all 64 latents instead of the plane:

# %% tags=["hide-input", "nbval-ignore-output"]
if analysed:
    caption = "Pictures' latents and true poses', mean ± standard deviation over seeds"
    display(HTML(as_html(inside.apart_table(analysed), "row-{}.html", caption)))
    print(inside.drawn_together(analysed))

# %% [markdown]
# - **Distance of the means**, in spreads (a cloud's root mean squared distance from its mean). Zero is what alignment is after.
# - **Told apart**: right answers of a linear classifier that must say which kind a point is, on points that it has not
#   seen. Half would mean that the clouds can't be told apart. It finds any offset, however small beside the spread.
# - **Own pose nearer than others**: with both clouds moved to a common centre, how many of the other frames' poses lie
#   farther from a picture than its own pose. Half is chance, all is a perfect match.
#
# In row A nothing ties the two spaces to each other: its picture has 128 undivided latents, and the first 64 are shown. In
# row B the discriminator is there to push the pictures' pose part towards the true poses as a whole; the line under the table
# says whether it did. From D0 on, both are shown as
# the mappers give them to the shared decoder. Stage 3 (D3) moves only the pictures' side. A decoder can read two clouds that
# lie apart, as long as the offset does not matter to it: what counts is the error.
#
# ## The pose latent, slider by slider
#
# This is the trained injection decoder of row D3, running in your browser: move a slider and the hand is computed anew from
# the latent. The sliders are the main directions of the 64 latents as the decoder reads them from pictures, in standard
# deviations. **What to look for:** smooth ways from hand to hand; which directions turn the hand, and which bend fingers. It
# starts from a picture's hand. With all sliders at zero stands the mean latent's, an average of all views that no picture
# shows.

# %% tags=["hide-input", "nbval-ignore-output"]
explored = first.get("D3")
arrays = explored.explorer if explored and (explored.folder / "explorer.npz").exists() else None
if arrays is None:
    print("the decoder was not kept with this run: there is nothing to explore")
else:
    starts = hands_to_start_from(arrays, explored.analysis["read_rgb"])
    show_explorer(arrays, starts)

# %% [markdown]
# What each direction does to the hands that one can start from, from one standard deviation below to one above: how far the
# joints move, and how much of that is left when the hand may be turned back, which is a change of shape. Below, the first hand
# two standard deviations to either side.

# %% caption="Read a column from top to bottom: what one direction does to a hand. How much of it is turning, the table says." mystnb={"image": {"alt": "One picture's hand, and the hands two standard deviations below and above it, one column for each direction"}} tags=["hide-input", "nbval-ignore-output"]
if arrays is not None:
    table, count = effect_table(arrays, starts), len(arrays["share"])
    display(HTML(as_html(table, "", "From one standard deviation below to one above, along each direction")))
    sizes = (-2, 0, 2)
    hands = np.stack([decode(arrays, starts[0] + size * np.eye(count)) for size in sizes], 1)
    figures_inside.directions_static(hands, table.index, [f"{size:+d} sd" if size else "start" for size in sizes])
    plt.show()
    show_run(explored)

# %% [markdown]
# How it fits into a page: the latent is held to the plane of these directions, batch normalisation is folded into the
# layers, and the weights between hidden layers are rounded to four bits, each rounding error made up for by the weights
# after it. A test holds the hands that come out against those of the network itself.
#
# ## The same pose, another background, another light
#
# Evaluation frames were drawn again with everything the same but the background, or the light. **What to look for:** hands
# that stay where they are. On the left the three pictures; on the right what each row predicts from them, in the colour
# of the picture's title, over the true pose in grey.

# %% caption="A row that ignored background and light would show one hand only, three times on top of itself." mystnb={"image": {"alt": "Three frames: the unchanged picture, the one with another background and the one with another light; then what each row predicts from the three, over the true pose"}} tags=["hide-input", "nbval-ignore-output"]
paired = [row for row in run if kept(row, "pair_background", run[row][0])]
if not paired:
    print("frames of this dataset can't be drawn again, or no row was analysed")
else:
    exchanged = {row: first[row].analysis for row in paired}
    most = claims.moved(results, paired[0], run[paired[0]][0], "background")
    picked = np.argsort(most)[(np.array([0.3, 0.7, 0.96]) * (len(most) - 1)).astype(int)]
    places = exchanged[paired[0]]["pair"][picked]
    drawn = inside.exchanged_pictures(results, places, preset, project_path(data_root))
    joints = {"true pose": [{"same": frame.uv} for frame, _ in drawn]}
    for row, arrays_of in exchanged.items():
        joints[row] = [
            {change: pictures.on_picture(arrays_of[f"pair_{change}"][number], frame, results.root_joint) for change in CHANGES}
            for number, (frame, _) in zip(picked, drawn)
        ]
    show_pictures(figures_inside.pairs_static([images for _, images in drawn], joints, width=9))
    show_run(*[first[row] for row in paired])

# %% [markdown]
# The same hands to turn: the row without any of the method's parts beside the whole method.

# %% tags=["hide-input", "nbval-ignore-output"]
ends = {row if row == "baseline" else f"row {row}": row for row in (paired[:1] + paired[-1:] if paired else [])}
if ends:
    true = {"true": results.target[places]}
    poses = {name: true | {change: exchanged[row][f"pair_{change}"][picked] for change in CHANGES} for name, row in ends.items()}
    show(figures_inside.interactive_pairs(poses, [str(results.frame[place]) for place in places]), "pairs",
         f"3D hands predicted from the unchanged picture, with another background, and in another light: {' beside '.join(ends)}",
         "The closer the three coloured hands lie to each other, the less the row minds background and light.")
    show_run(*[first[row] for row in ends.values()])

# %% [markdown]
# How far the prediction moves from the one for the unchanged picture, mean over the joints of a hand. Boxes hold the middle
# half of all frames and seeds, whiskers the middle 90 %; dashed is the mean. A row that always answers much the same moves
# little too: read it beside the error above. Whether the differences are more than chance:
# [the claims, measured](claims.ipynb).

# %% tags=["hide-input", "nbval-ignore-output"]
if paired:
    seeds_of_pairs = {row: [number for number in run[row] if kept(row, "pair_light", number)] for row in paired}
    moved = {
        row: {change: np.concatenate([claims.moved(results, row, number, change) for number in numbers]) for change in CHANGES[1:]}
        for row, numbers in seeds_of_pairs.items()
    }
    show(figures_inside.interactive_moved(moved), "moved",
         f"Box plot: how far predictions move under another background and in another light, rows {', '.join(paired)}",
         "Lower is steadier. Compare boxes of one colour.")
    means = {f"other {change} (mm)": {row: f"{one[change].mean():.1f}" for row, one in moved.items()} for change in CHANGES[1:]}
    display(HTML(as_html(pd.DataFrame(means).rename_axis("row"), "row-{}.html", "Predictions move by, mean over frames and seeds")))
    show_run(*runs_of(paired))

# %% [markdown]
# ## What the kinematic losses see
#
# A true pose of the evaluation split, turned so that the palm faces us, and the same hand with its index finger bent 40° at its
# base. The bones keep their lengths.
#
# **The kinematic chain space** (eqs. 8-12) is the table of inner products of all 20 bones. **What to look for:** the bent
# finger stands out as a band in the difference, and the diagonal, which holds the squared bone lengths, stays as it is.
# Point at a cell for its bones, their angle and their lengths. Entries are of the pose over the hand's scale.

# %% tags=["hide-input", "nbval-ignore-output"]
place = inside.open_hand(results)
true = inside.upright(results.target[place], bool(results.left[place]))
scale = float(hand_scale(true))
bent = inside.bend(true, "index", 40, left=bool(results.left[place]))
print(f"evaluation frame {results.frame[place]}, scale {scale:.1f} mm")
hands = {"true pose": true, "index finger bent": bent}
show(figures_losses.interactive_chain_space({name: inside.chain_space(hand, scale) for name, hand in hands.items()}), "kcs",
     "Heat map of the 20 by 20 kinematic chain space matrix of a hand, with the index finger bent, and the difference",
     "What the KCS loss sees. Point at a cell for its two bones; choose \"difference\" to see what bending one finger changes.")

# %% [markdown]
# **Joint-line distances** (eq. 14): from each joint, a line of the map, to the lines through two other joints, its columns.
# White: the lines that a joint is on. **What to look for:** bending one finger changes all lines through its joints, and
# every joint's distance to them. This is why GEO pulls at the whole hand.

# %% tags=["hide-input", "nbval-ignore-output"]
show(figures_losses.interactive_lines({name: inside.line_distances(hand) for name, hand in hands.items()}), "joint-lines",
     "Heat map of the distances of 21 joints to all lines through two others, with the index finger bent, and the difference",
     "What the GEO loss sees. Point at a cell for its joint and line.")

# %% [markdown]
# ## Where the losses pull
#
# The bent hand as a prediction, the true pose (grey) as the target. Arrows point along minus the gradient of each loss with
# respect to the joints, the strongest equally long for each loss; joints with less than 4 % of it have none. **What to
# look for:** the squared error pulls each joint straight to where it belongs, and leaves the others alone. GEO pulls at the
# whole hand. KCS draws the bent bones along the other fingers: at the joint between two of them this cancels, so that its arrows
# stand at the ends of the finger, and need not point at the target. The arrows of KCS and GEO add up to nothing: these losses
# know only how joints lie to each other, and never move the hand as a whole.
#
# KCS and GEO are made of absolute values. Where a bone or distance is right they have a kink and no one gradient, so each
# arrow is the mean over hands whose joints are moved at random by half a millimetre.

# %% tags=["hide-input", "nbval-ignore-output"]
pulls = inside.pulls(bent, true, scale)
show(figures_losses.interactive_pulls(bent, true, pulls), "pulls",
     "3D hand with a bent index finger, and arrows at its joints along minus the gradient of squared error, KCS or GEO",
     "Which way each loss pulls the joints. Choose a loss above, then turn the hand.")

# %% caption="Squared error, KCS and GEO on the same hand. Only the squared error says where the finger has to go." mystnb={"image": {"alt": "The bent hand over its target, with arrows where the squared error, KCS and GEO pull, one panel each"}} tags=["hide-input", "nbval-ignore-output"]
show_pictures(figures_losses.pulls_static(bent, true, pulls, width=9))
display(HTML(as_html(inside.pull_table(pulls, "index"), "", "Where the losses pull, in numbers")))

# %% [markdown]
# ## What injection does to the gradients
#
# In stage 1 the mean norm of each watched layer's gradient was kept, epoch by epoch. **What to look for:** how much reaches
# the backbone's first layer, and how much is lost between the decoder's last hidden layer and its first, with injection
# (row A) and without (baseline). What this says of the paper's claim: [the claims, measured](claims.ipynb).

# %% tags=["hide-input", "nbval-ignore-output"]
def kept_norms(row):
    try:
        return [claims.gradient_norms(result) for result in runs_of([row])]
    except FileNotFoundError as missing:  # float16 scales gradients: none are kept
        print(missing)
        return []


norms = {row: kept_norms(row) for row in ("baseline", "A")}
norms = {row: found for row, found in norms.items() if found}
if len(norms) == 2:
    show(figures_inside.interactive_gradients(norms), "gradients",
         "Gradient norm of each layer, baseline and row A, with a slider over the epochs of stage 1",
         "One epoch at a time, each seed a thin line. A line that falls less towards the left has lost less gradient.")

# %% caption="All epochs at once. The claim would be a line that falls less towards the left." mystnb={"image": {"alt": "Gradient norm of each layer on a logarithmic axis, row A and baseline, a line an epoch"}} tags=["hide-input", "nbval-ignore-output"]
if len(norms) == 2:
    claims.gradient_plot(norms)
    plt.show()
    caption = "Row A's gradient norm over the baseline's, geometric mean over seeds"
    display(HTML(as_html(inside.gradient_ratios(norms["A"], norms["baseline"]), "", caption)))
    show_run(*runs_of(norms))
