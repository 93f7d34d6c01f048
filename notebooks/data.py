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
# # The hands
#
# Every run starts with frames in the layout of the Rendered Hand Pose dataset (RHD). Where the real dataset is not
# at hand they are rendered here: an articulated hand with anatomical joint limits, 20 subjects, 39 actions, any view,
# and backgrounds made of overlapping shapes, blurred shapes, clouds of noise and plain walls. They are **synthetic hands, not RHD**; they only share its
# files, so that one loader reads both.

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
output_dir: str = "runs"  # relative to the checkout
threads: int = 1  # processor threads of this notebook

# %% tags=["hide-input"]
from handpose.notebook import check_parameters

check_parameters(globals(), "preset", "dataset", "data_root", "output_dir", "threads")

# %% tags=["remove-input", "nbval-ignore-output"]
from handpose.budget import fit_frames

preset, threads = fit_frames(globals())

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from handpose import figures, geometry
from handpose.decisions import as_html
from handpose.experiments import find_preset
from handpose.notebook import project_path, show_pictures
from handpose.results import dataset_name, results_folder
from handpose.runs import mean_pose, measure, prepare_data

# %% tags=["hide-input", "nbval-ignore-output"]
data = prepare_data(preset, dataset, project_path(data_root), project_path(output_dir), workers=threads)
# %% tags=["hide-input"]
training, evaluation = data.frames("training"), data.frames("evaluation")
kind = dataset_name({"dataset": dataset, "rendered": (data.root / "synthetic.json").exists()})
print(f"preset {preset}, dataset {kind}")
print(f"{len(training)} training frames, {len(evaluation)} evaluation frames, {training[0].image.shape[1]} px wide")
print(f"{len(data.training)} and {len(data.evaluation)} hands usable, stored {data.training.crops.shape[1]} px wide, "
      f"so that crops of {find_preset(preset).size} px can be turned")

# %% [markdown]
# ## At first glance
#
# Training frames as the files hold them, and the same with their labels drawn on.

# %% caption="What a network is trained on, before it is cut out: hands of many people, in any view." mystnb={"image": {"alt": "Grid of training frames: hands with forearms before cluttered backgrounds"}} tags=["hide-input"]
chosen = np.linspace(0, len(training) - 1, 24).astype(int)
frames = [training[index] for index in chosen]
show_pictures(figures.frame_grid([frame.image for frame in frames], columns=8))

# %% caption="The same labels as in the files. A hidden joint has a label too: the renderer knows where it is." mystnb={"image": {"alt": "Twelve training frames with the 21 joints drawn on, one colour a finger"}} tags=["hide-input"]
show_pictures(figures.frame_grid([frame.image for frame in frames[:12]], uv=[frame.uv for frame in frames[:12]]))

# %% [markdown]
# RHD's frames come with a part mask and a depth map, STB's with a depth map of their own camera; the method uses neither.

# %% caption="What the files hold for one frame. The method uses the colour picture alone." mystnb={"image": {"alt": "One frame in colour, as part mask and as depth map"}} tags=["hide-input"]
from handpose.data import rhd, stb
from handpose.data.frame import read_image

pictures = {"colour": frames[0].image}
if dataset == "stb":
    path = training.paths[chosen[0]]
    held, decode, far = path.with_name(path.name.replace("color", "depth")), stb.decode_depth, 2**16
else:
    name = f"{chosen[0]:05d}.png"
    pictures["mask: part ids"] = read_image(training.folder / "mask" / name, "L")
    held, decode, far = training.folder / "depth" / name, rhd.decode_depth, 4900
if held.exists():  # who needs the room may remove it
    depth = decode(read_image(held, "RGB"))
    near = (depth > 0) & (depth < far)  # 0: no reading
    pictures["depth (mm)"] = np.where(near, depth, depth[near].max(initial=1.0) * 1.1)
show_pictures(figures.frame_grid(list(pictures.values()), titles=list(pictures), columns=len(pictures), width=8))

# %% [markdown]
# ## What the network sees
#
# A square around the joints, left hands mirrored to right ones; in training turned, and, where the preset has the paper's
# flip, mirrored top to bottom half of the time, all in one warp with the pose. The joints drawn here are the pose itself,
# seen along the view axis. Above: as in evaluation. Below: as in training.

# %% caption="The pose goes with the picture: where a crop is turned, its joints are turned with it." mystnb={"image": {"alt": "Six crops as the network sees them, above without and below with augmentation, joints drawn on"}} tags=["hide-input"]
import torch

from handpose.data.augment import draw_augmentation, warp

settings = find_preset(preset)
rows = np.arange(6)
draws = torch.Generator().manual_seed(0)
print(f"in training: turned by up to {settings.max_rotation:.0f} degrees, mirrored with probability {settings.flip_probability:g}")
crops, pose = torch.from_numpy(np.array(data.training.crops[rows])), torch.from_numpy(data.training.pose[rows])
pictures, joints = [], []
for augmentation in [(None, None), draw_augmentation(6, draws, settings.max_rotation, settings.flip_probability)]:
    batch = warp(crops, pose, settings.size, *augmentation)
    shown = batch.images.permute(0, 2, 3, 1).numpy()
    pictures += list((shown - shown.min()) / (shown.max() - shown.min()))
    spread = np.ptp(batch.pose[..., :2].numpy(), axis=1).max(-1)
    scale = settings.size / geometry.BOX_MARGIN / spread
    for one, s in zip(batch.pose[..., :2].numpy(), scale):
        joints.append((one - (one.min(0) + one.max(0)) / 2) * s + settings.size / 2)
show_pictures(figures.frame_grid(pictures, uv=joints))

# %% [markdown]
# ## What the frames are made of
#
# Because the pictures are made here, the table beside them says what the paper could only assume: subject, action,
# view, light, exposure, background, skin. Training and evaluation share neither subjects nor actions.

# %% tags=["hide-input"]
factors = {split: data.root / split / "factors.csv" for split in ("training", "evaluation")}
if all(path.exists() for path in factors.values()):
    factors = {split: pd.read_csv(path) for split, path in factors.items()}
    for split, table in factors.items():
        print(f"{split}: {table.subject.nunique()} subjects, {table.action.nunique()} actions, "
              f"{(table.hand == 'left').mean():.0%} left hands")
    shared = {name: len(set(factors["training"][name]) & set(factors["evaluation"][name])) for name in ("subject", "action")}
    print(f"shared by both: {shared['subject']} subjects, {shared['action']} actions")
    shown = {"subject": "subject", "person": "person", "action": "action", "phase": "phase", "hand": "hand", "roll": "roll (°)",
             "kelvin": "lamp (K)", "exposure": "exposure (stops)", "background": "background", "melanin": "melanin",
             "sleeve": "sleeve (mm)"}  # fmt: skip
    table = factors["training"][list(shown)].head(6).round({"roll": 0, "kelvin": 0, "sleeve": 0, "phase": 2, "exposure": 2, "melanin": 2})
    table = table.rename(columns=shown).map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))
    display(HTML(as_html(table, "What the first training frames are made of")))
    print(f"{len(factors['training'].columns)} columns in all, the angle of every joint among them")
else:
    print("this dataset comes without such a table")

# %% caption="People and actions differ between training and evaluation, but sizes and distances should lie in the same range." mystnb={"image": {"alt": "Histograms for training and evaluation: hand size in the picture, hand scale, distance from the camera"}} tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8))
for split, colour in (("training", "#0072B2"), ("evaluation", "#D55E00")):
    shards = getattr(data, split)
    source = {"training": training, "evaluation": evaluation}[split]
    K = source.K[shards.frame]
    _, side = geometry.crop_box(geometry.project(shards.target, K), 1.0)
    style = dict(bins=30, density=True, histtype="step", color=colour, label=split)
    axes[0].hist(side, **style)
    one_hand = np.ptp(shards.scale) < 0.1  # STB: one person
    axes[1].hist(shards.scale, range=shards.scale[0] + np.array([-1, 1]) if one_hand else None, **style)
    axes[2].hist(shards.root[:, 2], **style)
for ax, label in zip(axes, ("hand in the picture (px)", "scale: middle MCP to PIP (mm)", "distance of the root (mm)")):
    ax.set(xlabel=label, yticks=[])
axes[0].legend(fontsize=8)
figure.tight_layout()
plt.show()

# %% [markdown]
# ## The least a method must beat
#
# Predicting the mean training pose for every evaluation frame, with the true root, scale and hand given as to
# every other method:

# %% tags=["hide-input"]
floor = measure(mean_pose(data), data.evaluation.target, data.evaluation.visible, data.root_joint)
print(f"mean pose: MEPE {floor['mepe']:.1f} mm, AUC {floor['auc']:.3f}")

# %% [markdown]
# ## Where this comes from
#
# Every figure of this page is computed from these frames:

# %% tags=["hide-input", "nbval-ignore-output"]
from handpose.records import environment, read_json

where = environment()
commit = (where["commit"] or "not in git")[:12] + (" with local changes" if where["dirty"] else "")
print(f"dataset {kind}, preset {preset}, data fingerprint {data.fingerprint}, commit {commit}, source {where['source']}")
cards = [read_json(path) for path in sorted(results_folder(preset, dataset, recorded=True).glob("*/run.json"))]
others = [card["data_fingerprint"] for card in cards if card["data_fingerprint"] != data.fingerprint]
if others:
    print(f"{len(others)} of {len(cards)} recorded results: fingerprint {', '.join(sorted(set(others)))}; "
          "rendered on another machine, where a pixel may differ by a grey level")
