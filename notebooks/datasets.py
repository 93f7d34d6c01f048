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
# # The datasets, and how the field measures on them
#
# RHD and STB, for those who have them on disk or want to: what is in them, how joints are numbered, what poses are centred
# on, what view correction and augmentation do to a picture, and how differently the field measures.
#
# **The pictures here are rendered by this book, in the file layouts of both datasets, unless a real one is named below.**
# Neither RHD nor STB comes with it. Facts about the real datasets have their source beside them; code is named by its
# repository.

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
preset: str = "smoke"  # smoke (only proves that it runs), minutes, quick, desktop, gpu or paper: whose results are measured below
dataset: str = "synthetic"  # synthetic, rhd or stb
data_root: str = ""  # folder of the dataset; empty: hands are rendered
seed: int = 0
seeds: int = 1  # how many seeds, from `seed` on
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook
recorded: bool = False  # measure the results that come with the repository

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(globals(), "preset", "dataset", "data_root", "seed", "seeds", "output_dir", "threads", "recorded")

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit

preset, threads, recorded = fit(globals())

# %% tags=["hide-input", "nbval-ignore-output"]
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, display

from handpose import examples, figures_data, protocols
from handpose.conventions import CONVENTIONS, EXTRAPOLATIONS, PALMS, index_array, wrist_errors
from handpose.data import RHD, STB
from handpose.decisions import as_html
from handpose.notebook import project_path, show_pictures, show_run
from handpose.results import Results, results_folder
from handpose.skeleton import JOINTS
from handpose.tables import trained_apart

place = (dataset, project_path(data_root), project_path(output_dir), threads)
root = {layout: examples.dataset_root(layout, *place) for layout in ("rhd", "stb")}
# %% tags=["hide-input"]
kind = {layout: "rendered hands in its layout" if (path / "synthetic.json").exists() else "real frames" for layout, path in root.items()}
print("\n".join(f"{layout.upper()}: {text}" for layout, text in kind.items()))

# %% [markdown]
# ## RHD
#
# The Rendered Hand Pose dataset (Zimmermann & Brox 2017): 20 characters in 39 actions, rendered, before photographs.
#
# - **Get it** from [its authors' page](https://lmb.informatik.uni-freiburg.de/resources/datasets/RenderedHandposeDataset.en.html).
# - **Licence**: research only, no commercial use, cite the paper, don't pass it on (its README).
# - **Size**: 41258 frames to train on, 2728 to measure on; three PNGs of 320 × 320 pixels each.
# - **Is it whole?** `python -m handpose.data check FOLDER` says what is missing, and what to type next.
#
# ```text
# RHD_published_v2/
#     training/
#         color/00000.png ... 41257.png     the picture
#         mask/00000.png ...                which part of which hand each pixel shows
#         depth/00000.png ...               distance
#         anno_training.pickle              the labels of all frames
#     evaluation/                           the same: 00000 to 02727, anno_evaluation.pickle
# ```
#
# The pickle holds a dict from the frame's number to `xyz` (42 × 3, metres, camera frame), `uv_vis` (42 × 3: u, v in pixels,
# and whether the joint is visible) and `K` (3 × 3).

# %% caption="What RHD stores for one frame." mystnb={"image": {"alt": "One frame in RHD's layout: the picture, the picture with the joints of the dominant hand, the mask of parts, the depth map"}} tags=["hide-input"]
show_pictures(figures_data.picture_row(examples.rhd_pictures(root["rhd"], 3)))

# %% [markdown]
# **What goes wrong with RHD**
#
# - *Both hands are labelled*, 42 joints, the left hand first. One hand a frame is used: the one with more pixels in the
#   mask (left: ids 2 to 17, right: 18 to 33). Left only if it has **strictly** more; a tie is a right hand. The other hand
#   is dropped. (hand3d `data/BinaryDbReader.py`; vae-hands-3d issue 13, hand-graph-cnn issue 21)
# - *Fingers run from tip to base*: 1 is the thumb's tip, not its root. Skeletons drawn in the wrong order are a known
#   bug (mmpose issue 1261).
# - *Two frames a split are left out* by several loaders: 20500 and 28140 in training, 1012 and 1324 in evaluation. Nobody says
#   why. The reader here lists them as `skipped`.
# - *The pickle seems to be Python 2's.* If a plain load fails, `encoding="latin1"` helps. A pickle can run any code when it is
#   loaded; the reader here only ever makes arrays and plain containers of it.
# - *v1 and v1.1 differ*: pictures of v1 are off by one grey value now and then (hand3d README). The folder
#   `RHD_published_v2` holds v1.1.
# - *Depth*: red is the **high** byte, `(256 R + G) / 65535 × 5 m`. In 8 bits `256 R` overflows without a word.
# - *Metres*, where STB has millimetres.
#
# ## STB
#
# The Stereo Hand Pose Tracking Benchmark (Zhang et al. 2017): twelve video sequences, six backgrounds B1 to B6, counting and
# random motion, 1500 frames each, seen by a stereo pair (BB) and by a colour and a depth camera (SK).
#
# - **Get it** through [its repository](https://github.com/zhjwustc/icip17_stereo_hand_pose_dataset), whose text has the current
#   link. *Links have died again and again* (its issues 2, 3 and 6): ask there, not in third places.
# - **Licence**: none is stated. Cite the paper, and ask its authors before you do more than research with it.
# - **Size**: 18000 frames for each of four cameras, 640 × 480 pixels. B2 to B6 train (15000), B1 measures (3000).
# - **Is it whole?** `python -m handpose.data check FOLDER`.
#
# ```text
# images/
#     B1Counting/
#         BB_left_0.png ... BB_left_1499.png      no leading zeros
#         BB_right_0.png ...
#         SK_color_0.png ...
#         SK_depth_0.png ...
#     B1Random/ ... B6Random/                     eleven more
# labels/
#     B1Counting_BB.mat, B1Counting_SK.mat ...    handPara: 3 x 21 x 1500, millimetres
# ```

# %% caption="In the fourth picture the labels were not moved from the depth camera to the colour camera: they miss the hand." mystnb={"image": {"alt": "One moment in STB's layout seen by the left and right stereo camera, the colour camera with labels moved and not moved, which miss the hand, and the depth camera"}} tags=["hide-input"]
show_pictures(figures_data.picture_row(examples.stb_pictures(root["stb"]), around=2.0))

# %% [markdown]
# **What goes wrong with STB**
#
# - *SK's labels are in the depth camera's frame*, also for the colour pictures. The fourth picture shows labels that were
#   not moved. The README's R and t lead from colour to depth, so colour = Rᵀ (x − t), for rows `(x - t) @ R`.
#   One code has Rᵀ x − t, which is a third of a millimetre off. (hand-graph-cnn issue 7)
# - *BB's labels are in the left camera's frame.* For the right camera take the baseline
#   (`handpose.data.stb.BASELINE`) away from x. (hand3d `create_db.m`)
# - *Joint 0 is no wrist*: "palm center (not wrist or hand center)", says the README. More below, under "Palm against wrist".
# - *The paper says 640 × 640*; the files are 640 × 480.
# - *Which camera?* The paper has 15K and 3K frames, which is one camera. It does not say which. hand3d and its
#   successors measure on both pictures of the stereo pair, 6000 frames; others on SK's colour, 3000. This book takes
#   SK's colour unless told otherwise: `STB(root, split, camera=...)`.
# - *One person, and only the left hand.* The hand's side is a constant here, and so is its size. A low error on STB says
#   little about other people.
# - *All joints count as visible*: none is marked as hidden.
# - *Depth*: green is the **high** byte, `R + 256 G` mm, the other way round than in RHD.
#
# What we decided where the paper is silent stands on [a page of its own](../decisions.md).

# %% [markdown]
# ## Joint orders
#
# The same hand, numbered four times. Two joints with one number are not one joint; a network that was trained on one order and
# is measured on another has a large error, and nothing says why.

# %% caption="Find one joint in all four, the tip of the index finger say: four numbers." mystnb={"image": {"alt": "An open hand four times with the numbers of its 21 joints: canonical order as OpenPose, RHD for left and right hands, STB, MANO"}} tags=["hide-input"]
hand, mask = examples.open_hand()
show_pictures(figures_data.joint_orders(hand.image, mask, hand.uv))

# %% [markdown]
# The table is made from the code that converts, `handpose.conventions`; so are the index arrays under it.

# %% tags=["hide-input"]
table = pd.DataFrame({"joint": JOINTS} | {name: one.order for name, one in CONVENTIONS.items()})
display(HTML(as_html(table, "The number of each joint in four orders")))
for name, one in CONVENTIONS.items():
    print(f"{name}: {one.users}; {one.note}")

# %% tags=["hide-input"]
pairs = [("RHD, left", "canonical"), ("RHD, right", "canonical"), ("STB", "canonical"), ("MANO", "canonical"),
         ("canonical", "RHD, left"), ("canonical", "STB"), ("canonical", "MANO"), ("RHD, left", "MANO"),
         ("STB", "RHD, left"), ("STB", "MANO")]  # fmt: skip
arrays = [", ".join(map(str, index_array(*pair))) for pair in pairs]
display(HTML(as_html(pd.DataFrame({"from": [source for source, _ in pairs], "to": [to for _, to in pairs], "take joints": arrays}), "From one order to another")))

# %% [markdown]
# - **MANO has no tips.** Its skeleton has 16 joints; tips are points of the surface. Which points, and where they go in the
#   array, is up to the code: here as in manopth and otaheri/mano. CalciferZh/Minimal-IK puts the thumb's tip last.
# - **Ring and little finger change places in MANO.** A wrong order of these two is easily overlooked: the picture still
#   looks like a hand.
# - **One name, several places.** Each dataset puts its joints where its own skeleton or labels have them. Even in one order an
#   MCP is not the same point everywhere (HandMesh issues 35 and 79), and no index array mends that.

# %% [markdown]
# ## Root and scale
#
# Networks predict a pose relative to a root, divided by a scale; the evaluation supplies both. Which ones is a choice:
#
# - **Root**: the palm centre, halfway from the wrist to the middle finger's MCP (hand3d, Spurr et al., this book); the wrist
#   (InterNet); the middle MCP (BiHand, Minimal-Hand).
# - **Scale**: the middle finger from MCP to PIP (hand3d, Spurr et al., this book); wrist to middle MCP (BiHand).
#
# Millimetres measured around different roots can't be compared. How much it matters is at the end of this page.
#
# ### Palm against wrist
#
# STB has the palm and no wrist. Codes that want a wrist go on from an MCP through the palm: wrist = MCP + factor × (palm − MCP).
# They don't agree on the joint and the factor.

# %% caption="Left: what others centre and scale by. Right: four ways to make up a wrist for STB, and where each puts it." mystnb={"image": {"alt": "An open hand twice. Left: wrist, palm centre, middle MCP, STB's palm, and the two bones used as scale. Right: the wrists that four codes make up from STB's palm, one on the true wrist, the others beside it"}} tags=["hide-input"]
show_pictures(figures_data.roots_on_hand(hand.image, mask, hand.xyz, hand.K))

# %% tags=["hide-input"]
poses = examples.stb_truth()
errors = wrist_errors(poses)
lines = [
    {"Wrist from": one.name, "Code": one.users} | {f"palm half-way to {palm}": f"{errors[one.name, palm].mean():.1f}" for palm in PALMS}
    for one in EXTRAPOLATIONS
]
print(f"distance from the true wrist, mm: mean over {len(poses)} rendered frames")
display(HTML(as_html(pd.DataFrame(lines), "Made-up wrists: distance from the true one (mm), by where the palm lies")))

# %% [markdown]
# **Read the zero with care.** The true wrist is known because these hands are rendered; where STB's authors put the palm is
# not. Our frames have it half-way from the wrist to the *ring* MCP, since that is what the most common formula takes for
# granted; so this formula gets the wrist back by construction. The other columns put the palm elsewhere. One person's hand:
# in the first three lines the distance is the same in all frames, since a palm's bones don't move; in the last it goes with
# the index finger. What the table does show: the formulas can't all be right, and whoever picks the wrong one moves the
# wrist, and with it every pose that is centred on it.
#
# **How much does it change the figure** to be measured around a made-up wrist, and not around the palm? Both poses get it:

# %% tags=["hide-input", "nbval-ignore-output"]
folder = results_folder(preset, dataset, project_path(output_dir), recorded)
results, chosen = (Results(folder) if folder.exists() else None), range(seed, seed + seeds)
if results is None:
    print("no results yet: run `make book`, or execute notebooks/row.ipynb, first")
else:
    print(f"dataset {results.data_name}, preset {preset}, {len(results)} evaluation frames, MEPE in mm")
    display(HTML(as_html(protocols.palm_or_wrist(results, seeds=chosen), "MEPE (mm) around the palm and around made-up wrists")))

# %% [markdown]
# ## View correction
#
# A camera sees a hand at the picture's edge from the side. Cut out, it looks like another pose in front of the camera. So the
# pose is turned until the ray through the box's middle is the camera's axis. Below, the pose is drawn without perspective,
# as the network's target has it: unturned it does not lie on the hand that the network sees, turned it does. Hands far from
# the middle, the farthest first:

# %% caption="Compare the second and the third line: only the turned pose lies on the hand that the network sees." mystnb={"image": {"alt": "Five hands at the edge of their pictures: picture with box; crop with the unturned pose, which misses the hand; crop with the turned pose, which fits; warped picture with the turned pose"}} tags=["hide-input"]
frames = STB(root["stb"], "evaluation") if dataset == "stb" else RHD(root["rhd"], "evaluation")
edge = examples.at_the_edge(frames, 5)
corrections = [examples.corrected(frame, frames.root_joint) for frame in edge]
show_pictures(figures_data.view_correction([frame.image for frame in edge], corrections))

# %% [markdown]
# - **Does it change the error?** Not by itself. It is a rotation, undone before measuring: lengths stay. It changes what has to
#   be learned.
# - **Crop or warp?** The last line turns the picture exactly as the pose, by the homography K′ R K⁻¹. The references crop only.
#   What it does to the error is [measured](decisions.ipynb).
# - **Two rotations do it**: first about y, then about x, or in one go about the axis that is square to both the ray and z. They
#   differ by a roll about the new z. Either is right. Use one.
# - **Code made for RHD takes u₀ for v₀** and one focal length for two. That is right on RHD and wrong on STB.

# %% [markdown]
# ## Augmentation
#
# In training a picture is turned by up to 45 degrees about the box's middle, and, in the presets `smoke` and `paper`
# half of the time, mirrored top to bottom first; the others leave that out. The pose is turned and mirrored with it. Left hands are mirrored to right ones before.

# %% caption="Picture and pose are turned and mirrored together, so they still fit." mystnb={"image": {"alt": "One hand as it is, turned by four angles, mirrored top to bottom, mirrored and turned; below with the pose drawn on, which follows"}} tags=["hide-input"]
changes = [(0, False), (-45, False), (-20, False), (20, False), (45, False), (0, True), (30, True)]
titles = ["as it is", "-45°", "-20°", "+20°", "+45°", "mirrored", "mirrored, +30°"]
pictures, joints = examples.augmented(edge[-1], changes)
show_pictures(figures_data.augmentations(pictures, joints, titles))

# %% [markdown]
# ## How the field measures
#
# Everyone reports "the mean error" and "the AUC". These are the settings behind them, each read in the code that the second
# table names. `handpose.protocols` holds them as data; one function measures by any of them.

# %% tags=["hide-input"]
how, who = protocols.described(protocols.PROTOCOLS)
display(HTML(as_html(how, "Protocols: how each measures")))

# %% tags=["hide-input"]
display(HTML(as_html(who, "Protocols: who measures so, and where it is written")))

# %% [markdown]
# - **Centred**: "both" moves both poses so that their roots meet. "target" moves the true pose alone: the predicted one stays
#   where the network put it, and if it put its palm 5 mm beside the origin, every joint pays.
# - **Joint 0**: RHD's code replaces the wrist by the palm. Centred on both sides it has no error, one joint of 21. On STB joint 0
#   is the palm as labelled, also where a line says wrist.
# - **Average**: "per joint" takes each joint's mean (or median, or curve) over frames, then the mean over joints. Where all joints
#   count, this is the pooled mean; where hidden ones are left out, each error of a joint that is
#   often hidden weighs more. Medians differ in any case.
# - **Scale**: "own bone" makes the predicted hand as large as the true one. "best fit" also turns it.
#
# ### The same predictions under each
#
# Nothing is trained here: stored predictions are measured again. Means in millimetres, over the seeds. Where the true pose alone is
# centred, over those that kept the predicted root; the line says which, and compares with no other.

# %% tags=["hide-input", "nbval-ignore-output"]
if results is None:
    print("no results yet: run `make book`, or execute notebooks/row.ipynb, first")
else:
    comparison = protocols.compare_protocols(results, seeds=chosen)
    print(f"dataset {results.data_name}, preset {preset}, {len(results)} evaluation frames")
    compared = protocols.compared(comparison)
    display(HTML(as_html(compared, "The same predictions under each protocol")))
    last = compared.iloc[-1]
    said = [f"{last[name]} against the {name[1]}" for name in compared.columns if name[0] == "D3 against" and last[name]]
    if said:
        print(f"{last['', 'Protocol']}: D3 changes the error by {' and by '.join(said)}")
    rows = ("baseline", "baseline-longer", "D3")
    runs = {row: [results[row, number] for number in results.seeds(row) if number in chosen] for row in rows}
    for line in trained_apart(runs):
        print(line)
    runs = [run for each in runs.values() for run in each]

# %% caption="The same predictions, so all that moves from line to line is the protocol, but for the lines of fewer seeds in the table above." mystnb={"image": {"alt": "Mean error and AUC of mean pose, baseline, baseline-longer and D3 under each protocol, one line a protocol"}} tags=["hide-input", "nbval-ignore-output"]
if results is not None:
    figures_data.protocol_dots(comparison)
    plt.show()
    if runs:
        show_run(*runs)

# %% [markdown]
# - **"hand3d"** needs to know where the network put the root. Results that were stored by older code have lost it (a "?" in the
#   figure). The line "hand3d, both centred" is all else of that protocol, over all seeds. The mean pose has its root at the
#   origin by construction.
# - **Our `protocol="hand3d"`**, the `auc_hand3d` of the run cards, is that code's grid and its averages on our 21 joints, both
#   poses centred. The line "hand3d" is its protocol to the letter, tested against the formulas.
# - **The grid.** "this book" and "STB's old curves" differ in nothing but the number of thresholds, "BiHand" and "Minimal-Hand"
#   in that and the scale. An AUC from 0 mm on, as of "hand3d, lifting", is another number.
# - **The root.** "this book", "wrist as root" and "middle MCP as root" differ in nothing else. The error of a single joint goes to
#   all the others; of the midpoint of two joints it is the mean of theirs.
# - **Procrustes is a warning.** Turning and scaling the prediction until it fits takes out what is hard to see in a single
#   picture: how the hand is turned. FreiHAND's benchmark reports it beside the plain error and says so. Where a paper
#   doesn't say which of the two it has, ask. And look whether methods still differ after it: the table's last line.
# - **Who is ahead** may hang on the protocol where two rows lie close together. Look down each of D3's last two columns: where the sign
#   changes from line to line, neither row is ahead.
#
# **So what should I report?** The root, both sides or one, the scale, which joints, the averages, the thresholds. Then
# others can compare. What each of our own choices changes is on [the page of choices](decisions.ipynb).

# %% [markdown]
# ## Where this comes from

# %% tags=["hide-input", "nbval-ignore-output"]
from handpose.records import environment

where = environment()
commit = (where["commit"] or "not in git")[:12] + (" with local changes" if where["dirty"] else "")
print(f"pictures: RHD: {kind['rhd']}; STB: {kind['stb']}")
print(f"results: dataset {results.data_name if results is not None else dataset}, preset {preset}{', recorded' if recorded else ''}; commit {commit}, source {where['source']}")
if results is not None:
    for run in runs:
        if run.stale:
            print(f"stale: row {run.card['row']}, seed {run.card['seed']}: {run.stale}")
