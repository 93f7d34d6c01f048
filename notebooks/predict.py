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
# # Your own hand
#
# Trained networks, one picture, one hand: here are its 21 joints in millimetres. Without a picture of yours this page
# takes a frame that the networks were not trained on. For a picture of yours it is one command, from the checkout:
#
# ```bash
# python -m handpose predict hand.jpg --hand left --box 120 80 460 430
# ```
#
# It writes four files beside the picture. `hand-pose.png` is the picture with the skeleton drawn on it, `hand-pose.html`
# the hand to turn with the mouse, without network; `hand-pose.csv` and `hand-pose.json` hold the joints. What you did not
# give is assumed, and every file but the table says so. Several pictures can be named at once. It needs a trained run:
# `make book` leaves one, and `python -m handpose train D3 --preset quick` trains it alone, in a fraction of the time. Such networks have seen
# rendered hands and no photograph: expect errors at least as large as on these pages.
#
# The same on this page: `papermill notebooks/predict.ipynb out.ipynb -p preset quick -p picture hand.jpg -p hand left -p box "120 80 460 430"`.

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
dataset: str = "synthetic"  # synthetic, rhd or stb: what the networks were trained on
data_root: str = ""  # folder of the dataset; empty: hands are rendered
row: str = "D3"  # whose networks: a row of Table 1 or 2
seed: int = 0
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
device: str = "auto"  # auto, cpu or cuda
recorded: bool = False  # only show the results that come with the repository
picture: str = ""  # your picture, its path from the checkout or a whole one; empty: an evaluation frame, with everything given
hand: str = ""  # which hand your picture shows: left or right
box: str = ""  # "x0 y0 x1 y1" in px, tight around the hand; empty: the whole picture
K: str = ""  # "fx fy cx cy" in px; empty: focal length as long as the picture is wide
root: str = ""  # "x y z" in mm; empty: estimated from the box
scale: float = 0.0  # mm, middle finger from MCP to PIP joint; 0: the mean of the training hands

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(
    globals(), "preset", "dataset", "data_root", "row", "seed", "output_dir", "threads", "device", "recorded",
    "picture", "hand", "box", "K", "root", "scale",
)  # fmt: skip

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit

preset, threads, recorded = fit(globals())

# %% tags=["hide-input"]
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display

import handpose
from handpose import figures_own, own_picture, pictures
from handpose.given import ALL, ONLY, given, unpack
from handpose.notebook import project_path, show, show_card, show_pictures, show_run
from handpose.photo import read_photo
from handpose.predictor import checked
from handpose.results import Results, dataset_name, obtain
from handpose.runs import open_run, prepare_data
from handpose.tables_html import as_html

if picture and recorded:
    raise ValueError("a picture of your own needs the networks, which are not kept with the recorded results: leave recorded out")
options = dict(preset=preset, dataset=dataset, data_root=project_path(data_root), output_dir=project_path(output_dir),
               threads=threads, device=device)
if picture:  # what can't be right is said before anything is trained
    if not hand:
        raise ValueError('say which hand the picture shows: hand = "left" or hand = "right"')
    image = read_photo(project_path(Path(picture).expanduser()))
    given_here = (own_picture.camera(K), own_picture.numbers("box", box, 4), hand, own_picture.numbers("root", root, 3), scale or None)
    checked(image, *given_here)


def wrapped(lines):
    return [textwrap.fill(line, 86, subsequent_indent="    ") for line in lines]


# %% tags=["hide-input", "nbval-ignore-output"]
result = obtain(row, seed=seed, recorded=recorded, **options)
everything = Results(result.folder.parent)

# %% tags=["hide-input"]
print(f"row {row}, preset {preset}, dataset {everything.data_name}, seed {seed}, {len(everything)} evaluation frames")
print(*wrapped(own_picture.run_lines(result.card)[1:]), sep="\n")
if result.stale:
    print(f"stale: {result.stale}")

# %% [markdown]
# ## One picture
#
# Left: the picture, with the box that is looked at. Right: the part around the hand, with the joints projected on it.

# %% tags=["hide-input"]
predictor = None if recorded else handpose.load(result.folder / "run.json")
if picture:
    pose = own_picture.pose_of(predictor, image, *given_here)
    print(f"{Path(picture).name}, {image.shape[1]} x {image.shape[0]} px")
else:
    place = int(np.argsort(everything.errors(row, seed).mean(1))[len(everything) // 2])
    frames = pictures.evaluation_frames(preset, dataset, project_path(data_root))
    if frames is None:
        pose = None
        print(f"the pictures of {dataset} do not come with this book: give data_root, or a picture of yours")
    else:
        known = own_picture.known(pictures.evaluation_frame(everything, place, frames), everything.root_joint)
        print(f"evaluation frame {everything.frame[place]}, the one of median error: box, K, root and scale are its true ones")
        if recorded:
            pose = own_picture.kept_pose(result.predicted[place], result.card, **known)
            print("the prediction is the one that was kept: the networks do not come with the repository")
        else:
            pose = own_picture.pose_of(predictor, **known)
            print("predicted now, by the networks of the run")

# %% caption="The network is shown a square around this box, somewhat larger; the joints are what it answers." mystnb={"image": {"alt": "Left: the whole picture with the box. Right: the part around the hand with the predicted skeleton"}} tags=["hide-input"]
if pose:
    show_pictures(figures_own.box_and_close(pose.image, pose.uv, pose.box))

# %% tags=["hide-input", "nbval-ignore-output"]
if pose:
    print(*wrapped(own_picture.pose_lines(pose)), sep="\n")
    show_run(result)

# %% [markdown]
# ## The hand in 3D
#
# Turn it with the mouse. Point at a joint to see its name and where it is. Below, the same as a still picture.

# %% tags=["hide-input", "nbval-ignore-output"]
if pose:
    drawing = figures_own.interactive_hand(pose.relative, f"{pose.hand} hand", everything.root_joint)
    show(drawing, "own-hand", f"The predicted {pose.hand} hand in 3D: 21 joints and the bones between them",
    "What the network answers, in millimetres. Point at a joint for its name and place.")
    show_run(result)

# %% caption="One prediction from three sides. Depth, seen from the left and from above, is what a single picture tells least." mystnb={"image": {"alt": "The predicted hand, still: as the camera sees it, from the left, from above"}} tags=["hide-input"]
if pose:
    show_pictures(figures_own.three_views(pose.relative, everything.root_joint))

# %% tags=["remove-input", "nbval-ignore-output"]
if pose:
    show_run(result)

# %% [markdown]
# The table of joints, as it is written to the CSV: relative to the root, in the camera's frame, and on the picture.

# %% tags=["hide-input", "nbval-ignore-output"]
if pose:
    table = pd.DataFrame(pose.columns).set_index("joint").map("{:.1f}".format).rename(columns=lambda name: name.replace("_", " "))
    display(HTML(as_html(table.rename(index=lambda name: name.replace("_", " ")), "", "The 21 joints of this hand")))

# %% [markdown]
# ## What must I give?
#
# | | must I? | if not |
# |---|---|---|
# | `hand` | yes: left or right | nothing runs |
# | `box` | unless the picture is cut to the hand already | the whole picture |
# | `K`, the camera | no | a camera as wide as the picture: focal length = width, centre in the middle |
# | `scale`, the hand's size | no | the mean of the hands in training |
# | `root`, where the hand is | no | the pose itself needs none; its place is estimated from the box |
#
# The paper's networks are given all of it, and so they are on all other pages of this book.
#
# **How do I find a box?** Open the picture in any viewer that shows the pointer's position in pixels. Note the smallest
# rectangle that holds the joints from the wrist (of a run on STB: from the palm) to the tips of all fingers, the forearm left out: x and y of its upper left
# corner, then of its lower right one. Count on the picture as you see it: one that a phone stores lying down is turned
# upright first. A hand detector's box will do, too, if it ends at the wrist. What counts is how far it is off beside its own
# size: see below how much a wrong box does.
#
# **Which hand is it?** The person's own left or right, not the side of the picture that it is on. In a mirrored
# selfie a left hand looks like a right one: say what it looks like.
#
# **Why must I say left or right?** The networks know right hands only. A left hand is mirrored before they see it, and the
# pose is mirrored back. A hand alone, seen from somewhere, can often be taken for either. What the wrong answer
# costs stands below.
#
# **I have no K.** Leave it out. K turns the pose a little, by the angle between the camera's axis and the hand, and places
# the hand in the room. For a hand in the middle of the picture it does next to nothing. If the picture has not been cut, its
# EXIF data often give the focal length "in 35 mm": divide it by 36 mm and multiply by the longer side in pixels.
# That is about fx and fy. The centre is cx, cy = half the width, half the height.
#
# **I don't know the scale.** It is the length of one bone, from the base of the middle finger (the knuckle) to its middle
# joint. Measure it at the bent finger with a ruler, in millimetres. Without it the hand gets the mean size of the training
# hands: its shape is the same, all lengths are off by one factor.
#
# **I don't know the root.** Nobody does, from one picture. Joints relative to the root don't depend on it. To draw them on
# the picture the hand must stand somewhere: it is put where the box around its projected joints has the middle and the
# diagonal of your box. So a hand assumed too large stands too far away in proportion, and so does one seen by a camera
# whose focal length is assumed too long. All columns that depend on such a root have `estimated` in their names.
#
# **What picture works?** One in which a hand fills a good part of the box, sharp, whole and well lit. JPEG, PNG, WebP and
# other common files are read, in grey or colour; HEIC is not: save it as JPEG first. The networks see the hand in few pixels
# (`size` of the preset), so small pictures are enough.
#
# - **Two hands**: one box and one call each. Where they touch or overlap, expect errors: synthetic pictures have one hand each.
# - **Hands that hold something**: not among the synthetic hands. Fingers behind the thing are guessed.
# - **Gloves and drawings**: not among them either. Hands cut off by the edge are rare there: expect errors.
# - **How should it be cut?** Not at all, or with room around the hand. The networks look at a square 1.3 times the box's
#   longer side; what lies outside the picture is black to them.
#
# **A photograph, with networks trained on rendered hands?** They have never seen one. The errors of this book don't hold for
# it. Train on a dataset of photographs for those: [run it yourself](../reproduce.md) says how.
#
# **What comes out?** 21 joints: wrist, then thumb, index, middle, ring and little finger, each from its base to
# its tip. Millimetres, in the camera's frame: x to the right, y down, z away from the camera. The root is the
# palm's centre, midway between the wrist and the base of the middle finger (for STB, its labelled palm). Pixels count from
# the upper left corner of the upright picture, u to the right and v down.

# %% [markdown]
# ## What does it cost not to give it?
#
# The same networks look at evaluation frames again, each time with one thing wrong or unknown, and at last with what
# one knows of most photographs. As on all pages, poses are centred on their roots before they are compared; so an
# unknown root changes nothing here. "95 %" is where 95 % of the bootstrap draws of the frames lie.

# %% tags=["hide-input", "nbval-ignore-output"]
try:
    measured = unpack(result.analysis)
except FileNotFoundError:
    measured = None
if measured is None and not recorded:
    data = prepare_data(preset, dataset, options["data_root"], options["output_dir"], progress=False)
    measured = given(open_run(result.folder / "run.json"), data)
if measured is None:
    print("not kept with this run: run this page with recorded=False")
else:
    print(f"MEPE of row {row}, preset {preset}, {len(measured.errors[ALL])} evaluation frames of {dataset_name(result.card)}")
    display(HTML(as_html(figures_own.cost_table(measured.errors, ALL).rename_axis("given"), "", "What it costs not to give something")))

# %% caption="How much longer than the grey bar: what it costs not to know, or to be wrong." mystnb={"image": {"alt": "Bars: MEPE with everything given, and with box, hand, camera or scale off or unknown"}} tags=["hide-input", "nbval-ignore-output"]
if measured is not None:
    figures_own.cost_bars(measured.errors, ALL)
    plt.show()
    show_run(result)

# %% [markdown]
# And the estimated root: how far from the true one, in the median frame.

# %% tags=["hide-input", "nbval-ignore-output"]
for case in (ALL, ONLY) if measured is not None else ():
    aside, along = np.median(np.hypot(*measured.offsets[case].T[:2])), np.median(np.abs(measured.offsets[case][:, 2]))
    print(f"{'everything but the root given' if case == ALL else case}: off by {aside:.0f} mm sideways, {along:.0f} mm in depth")

# %% [markdown]
# ## In Python
#
# ```python
# import handpose
# from handpose.photo import read_photo
#
# predictor = handpose.load("runs/stages/D3-refine-...")
# joints = predictor(read_photo("hand.jpg"), hand="left", box=(120, 80, 460, 430))  # (21, 3), mm
# ```
#
# `K`, `root` and `scale` are arguments, too. What can't be meant, a box outside the picture, a root behind the camera,
# a length that is not positive, is refused in one line that says what to give.

# %% tags=["hide-input", "nbval-ignore-output"]
show_card(result.card)
