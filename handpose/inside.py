"""What goes on inside the method, as numbers: latent clouds, exchanged pictures, what the kinematic losses see and pull at.

Pure functions of kept results; ``figures_inside`` draws them. Poses (21, 3) or (N, 21, 3) in mm, canonical order.
"""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from . import losses
from .analysis import exchanged, probe
from .data.synthetic import draw_frame, render
from .experiments import find_preset
from .geometry import palm_centre
from .models import POSE_LATENT
from .pictures import DrawnFrames, evaluation_frame
from .records import read_json
from .skeleton import BONES, FINGERS, JOINTS, MIDDLE_MCP, WRIST
from .tables import mean_and_spread

#: Rows whose latents show one part of the method after another.
STATES = {
    "A": "before disentanglement",
    "B": "after disentanglement",
    "D0": "after alignment",
    "D3": "after refinement",
}
#: All lines through two of the 21 joints, as pairs of joints; each joint is on 20 of them.
LINES = np.array(list(itertools.combinations(range(len(JOINTS)), 2)))
_INDEX_MCP, _LITTLE_MCP = 5, 17


def clouds(analysis):
    """The two kinds of latents that a row has for the same frames: of the pictures and of the true poses, (N, 64) each.

    analysis: a ``Result.analysis`` with "read_rgb". With alignment both are what the shared decoder reads; before, the
    poses' are what the pose encoder gives. Of a picture's 128 undivided latents (row A) these are the first 64. Raises
    ValueError for an analysis without latents.
    """
    if "read_rgb" not in analysis or not {"read_pose", "latent_pose"} & set(analysis):
        raise ValueError("this row's latents were not kept: rows A, B, D0 and D3 have them")
    picture = np.asarray(analysis["read_rgb"], np.float64)[:, :POSE_LATENT]
    pose = analysis["read_pose"] if "read_pose" in analysis else analysis["latent_pose"][: len(picture)]
    return picture, np.asarray(pose, np.float64)


def gap(picture, pose):
    """Distance of the means of two clouds (N, D), in spreads: root of a cloud's mean squared distance from its mean, both together."""
    spread = np.sqrt((picture.var(0).sum() + pose.var(0).sum()) / 2)
    return float(np.linalg.norm(picture.mean(0) - pose.mean(0)) / spread)


def apart(picture, pose, seed=0):
    """How far apart two clouds (N, D) of the same N frames are: {"gap", "told apart", "own pose"}.

    "gap": as ``gap`` has it. "told apart": share of right answers of a linear classifier on points that it has not seen;
    0.5 is chance. "own pose": each cloud centred on its own mean, the share of the other frames' poses that lie farther
    from a picture's point than its own pose does; 0.5 is chance, 1 is a perfect match. Raises ValueError for shapes that
    differ, and as ``analysis.probe`` does.
    """
    if picture.shape != pose.shape or picture.ndim != 2:
        raise ValueError(f"two clouds of the same frames are needed, got {picture.shape} and {pose.shape}")
    count, order = len(picture), np.random.default_rng(seed).permutation(len(picture))
    one, other = order[: count // 2], order[count // 2 :]  # of each frame one point: its twin in the fit would give it away
    found = probe(np.concatenate([picture[one], pose[other]]), np.repeat(["picture", "pose"], [len(one), len(other)]), "class", seed)
    distance = np.linalg.norm((picture - picture.mean(0))[:, None] - (pose - pose.mean(0))[None], axis=-1)
    farther = (distance > np.diag(distance)[:, None]).sum(1) / (count - 1)
    return {
        "gap": gap(picture, pose),
        "told apart": found.score,
        "own pose": float(farther.mean()),
    }


def apart_table(analyses):
    """``apart`` of rows, a line each: {row: [``Result.analysis``, one a seed]} -> DataFrame of texts, mean ± sd over seeds."""
    lines = {}
    for row, seeds in analyses.items():
        measured = [apart(*clouds(analysis)) for analysis in seeds]
        lines[row] = {
            "": STATES[row],
            "distance of the means (spreads)": mean_and_spread([one["gap"] for one in measured], 2),
            "told apart (%)": mean_and_spread([100 * one["told apart"] for one in measured], 1),
            "own pose nearer than others (%)": mean_and_spread([100 * one["own pose"] for one in measured], 1),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("row")


def drawn_together(analyses):
    """What one row after another does to the distance of the two clouds' means, in words: ``analyses`` as in ``apart_table``."""
    gaps = {row: np.mean([gap(*clouds(analysis)) for analysis in seeds]) for row, seeds in analyses.items()}
    words = [f"{row} {value:.2f}" for row, value in gaps.items()]
    for place, (before, after) in enumerate(itertools.pairwise(gaps.values()), 1):
        words[place] += " (farther apart)" if after > before else " (closer together)"
    return f"distance of the means, one row after another: {', '.join(words)}" if words else ""


def state_map(analysis):
    """One stop of the figure of clouds: ``flat_map``'s two clouds, and what is to be said of them, a text."""
    picture, pose = clouds(analysis)
    measured, (flat_picture, flat_pose, share) = apart(picture, pose), flat_map(picture, pose)
    told = 100 * measured["told apart"]
    note = f"means {measured['gap']:.1f} spreads apart; told apart {told:.0f} %; plane: {100 * share.sum():.0f} % of the variance"
    return flat_picture, flat_pose, note


def flat_map(picture, pose):
    """Both clouds (N, D) on the plane that keeps most of their common variance: (N, 2) twice, and the shares kept (2,).

    Principal components of all 2 N points; the largest entry of each is positive.
    """
    points = np.concatenate([picture, pose])
    _, values, vectors = np.linalg.svd(points - points.mean(0), full_matrices=False)
    axes = vectors[:2] * np.sign(vectors[np.arange(2), np.abs(vectors[:2]).argmax(1)])[:, None]
    flat = (points - points.mean(0)) @ axes.T
    return flat[: len(picture)], flat[len(picture) :], values[:2] ** 2 / (values**2).sum()


def exchanged_pictures(results, places, preset, data_root=None):
    """Lines ``places`` of ``results`` drawn again as ``analysis.redraw`` does: a list of (``Frame``, {change: uint8 picture}).

    The frame is the evaluation frame as measured, for its camera and joints. For hands rendered in RHD's layout alone.
    Raises ValueError when a frame no longer shows the pose that was measured.
    """
    settings = {"seed": 0, "size": find_preset(preset).frame_size}
    if data_root:
        settings |= read_json(Path(data_root) / "synthetic.json")
    frames, shown = DrawnFrames(settings["size"], settings["seed"]), []
    for place in places:
        frame, index = evaluation_frame(results, place, frames), int(results.frame[place])
        drawn = draw_frame(settings["seed"], "evaluation", index, settings["size"])
        others = {name: render(one)[0] for name, one in exchanged(drawn, settings["seed"], index).items() if name != "same"}
        shown.append((frame, {"same": frame.image} | others))
    return shown


def bend(pose, finger, degrees, left=False):
    """``pose`` with one finger (a name of ``FINGERS``) turned about its base joint by ``degrees`` towards the palm: (21, 3).

    Bones keep their lengths. ``left``: it is a left hand. Raises ValueError for another name.
    """
    if finger not in FINGERS:
        raise ValueError(f"no finger {finger!r}; choose from {', '.join(FINGERS)}")
    pose = np.array(pose, np.float64)
    base = 1 + 4 * FINGERS.index(finger)
    back = np.cross(pose[_LITTLE_MCP] - pose[_INDEX_MCP], pose[MIDDLE_MCP] - pose[WRIST]) * (-1.0 if left else 1.0)
    axis = np.cross(back, pose[base + 1] - pose[base])
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    pose[base + 1 : base + 4] = (pose[base + 1 : base + 4] - pose[base]) @ turn.T + pose[base]
    return pose


def upright(pose, left=False):
    """``pose`` (21, 3) around its palm's centre, turned so that the fingers point up and the palm faces the camera; ``left``: it
    is a left hand.
    """
    pose = np.array(pose, np.float64)
    up = pose[MIDDLE_MCP] - pose[WRIST]
    back = np.cross(pose[_LITTLE_MCP] - pose[_INDEX_MCP], up) * (-1.0 if left else 1.0)
    axes = np.stack([np.cross(back, up), -up, back])  # x right, y down, z away
    return (pose - palm_centre(pose)) @ (axes / np.linalg.norm(axes, axis=1, keepdims=True)).T


def open_hand(results):
    """Line of ``results`` with the most open right hand (left where there is no right one): fingertips farthest from the wrist."""
    reach = np.linalg.norm(results.target[:, 4::4] - results.target[:, :1], axis=-1).mean(1)
    right = ~np.asarray(results.left)
    return int(np.where(right, reach, -1.0).argmax() if right.any() else reach.argmax())


def pulls(predicted, target, scale, jitter=0.5, draws=64):
    """Where each loss pulls the joints of ``predicted``: {"MSE" | "KCS" | "GEO": (21, 3)}, minus the loss's gradient.

    predicted, target (21, 3) mm, relative to the root; scale: mm, by which both are divided before the losses, so that
    pulls are loss per hand scale. The losses are those that train (eqs. 2, 13 and 16), before their weights. The absolute
    values of KCS and GEO have a kink where a bone or distance is right to the last digit, and no one direction there: the
    gradient is the mean over ``draws`` hands, each joint moved at random by ``jitter`` mm (standard deviation), in pairs of
    opposite sign. ``jitter`` 0: of ``predicted`` itself.
    """
    kinds = {"MSE": losses.mean_squared_error, "KCS": losses.kcs_loss, "GEO": losses.geometrical_loss}
    noise = np.random.default_rng(0).normal(size=(draws // 2, len(JOINTS), 3)) * jitter if jitter else np.zeros((1, 1, 1))
    hands = torch.from_numpy((np.asarray(predicted, np.float64) + np.concatenate([noise, -noise])) / scale)
    fixed = torch.from_numpy(np.asarray(target, np.float64) / scale).expand_as(hands)
    found = {}
    for name, loss in kinds.items():
        free = hands.clone().requires_grad_()
        found[name] = -torch.autograd.grad(loss(free, fixed), free)[0].sum(0).numpy()  # the losses are means over the hands
    return found


def pull_table(pulls, finger):
    """``pulls`` as a table, a line a loss: DataFrame of texts. ``finger``: the one that was bent."""
    base = 1 + 4 * FINGERS.index(finger)
    lines = {}
    for name, pull in pulls.items():
        length = np.linalg.norm(pull, axis=1)
        largest = max(length.max(), 1e-30)
        lines[name] = {
            "strongest pull at": in_words(int(length.argmax())),
            "pull at the joints that moved (% of all)": f"{100 * length[base + 1 : base + 4].sum() / max(length.sum(), 1e-30):.0f}",
            "sum of all arrows (% of the strongest)": f"{100 * np.linalg.norm(pull.sum(0)) / largest:.0f}",
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("loss")


def gradient_ratios(row, base):
    """Gradient norms of ``row`` over those of ``base``, lists of ``claims.gradient_norms`` of the same seeds: DataFrame of texts,
    a line a layer, a column an epoch; geometric means over seeds.
    """
    logarithms = [np.log(one.to_numpy(float)) - np.log(other.to_numpy(float)) for one, other in zip(row, base)]
    ratio = np.exp(np.mean(logarithms, axis=0))
    columns = [f"epoch {epoch}" for epoch in range(1, len(ratio) + 1)]
    return pd.DataFrame(ratio.T, row[0].columns, columns).map("× {:.2f}".format).rename_axis("layer")


def chain_space(pose, scale):
    """What KCS sees of a ``pose`` (21, 3): {"kcs": (20, 20), of the pose over ``scale``; "angle": (20, 20) degrees between
    bones; "length": (20,) mm}.
    """
    kcs = losses.kinematic_chain_space(torch.from_numpy(np.asarray(pose, np.float64) / scale)[None])[0].numpy()
    length = np.sqrt(np.diag(kcs))
    cosine = kcs / np.maximum(np.outer(length, length), 1e-12)
    return {"kcs": kcs, "angle": np.degrees(np.arccos(cosine.clip(-1, 1))), "length": length * scale}


def line_distances(pose):
    """What GEO sees of a ``pose`` (21, 3) mm: (21, 210), mm, from each joint to each line of ``LINES``.

    The 21 x 190 distances of eq. 14, all joints with the same columns: NaN for the 20 lines that a joint is on.
    """
    distances = losses.joint_line_distances(torch.from_numpy(np.asarray(pose, np.float64))[None])[0].numpy()
    table = np.full((len(JOINTS), len(LINES)), np.nan)
    on_line = (LINES[None] == np.arange(len(JOINTS))[:, None, None]).any(-1)
    table[~on_line] = distances.ravel()
    return table


def in_words(joint):
    """Name of joint number ``joint`` for a reader: "index MCP"."""
    finger, _, part = JOINTS[joint].partition("_")
    return f"{finger} {part if part == 'tip' else part.upper()}".strip()


def bone_in_words(bone):
    """Name of bone number ``bone`` for a reader: "index MCP – index PIP"."""
    return " – ".join(in_words(joint) for joint in BONES[bone])


__all__ = [
    "LINES", "STATES", "apart", "apart_table", "bend", "bone_in_words", "chain_space", "clouds", "exchanged_pictures", "flat_map",
    "gradient_ratios", "in_words", "line_distances", "open_hand", "pull_table", "pulls", "state_map",
    "upright",
]  # fmt: skip
