"""How the field measures: each protocol is data, and one pure function makes its figures.

Poses are (N, 21, 3), mm, canonical order. Mean, median and AUC follow the code of Zimmermann & Brox 2017, which most
of the others have copied: per joint first, then over joints.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from . import metrics
from .conventions import EXTRAPOLATIONS, with_palm, with_wrist
from .geometry import hand_scale, palm_centre
from .skeleton import MIDDLE_MCP, WRIST


class Figures(NamedTuple):
    """Mean and median error, mm, and AUC in [0, 1]; NaN where a protocol has none."""

    mean: float
    median: float
    auc: float


@dataclass(frozen=True)
class Protocol:
    """One way to measure. ``who`` uses it; the file of theirs that says so: ``source``; ``note``: what else to know.

    root: "palm", "wrist" or "middle MCP"; centred: "both" poses, or the "target" alone, the prediction standing where the
    network put it; joint_0: "wrist" or "palm", what is measured as joint 0; scale: "given", "training mean" (the mean hand
    for all), "own bone" (the prediction's wrist to middle MCP made as long as the true one) or "best fit" (scale and
    rotation that fit the true pose best); joints: "all" or "visible"; average: "pooled" over frames and joints, or
    "per joint" first; thresholds of the AUC: ``points`` from ``low`` to ``high`` mm, no AUC where points is 0, those
    below ``start`` not used.
    """

    name: str
    who: str
    source: str = ""
    root: str = "palm"
    centred: str = "both"
    joint_0: str = "wrist"
    scale: str = "given"
    joints: str = "all"
    average: str = "per joint"
    low: float = 0.0
    high: float = 50.0
    points: int = 20
    start: float = 0.0
    note: str = ""

    @property
    def thresholds(self):
        """Thresholds of the PCK curve, mm: (T,)."""
        grid = np.linspace(self.low, self.high, self.points)
        return grid[grid >= self.start]


OURS = Protocol("this book", "this book", "handpose/metrics.py", average="pooled", low=20, points=31,
                note="the paper's, as we read it")  # fmt: skip
HAND3D = Protocol(
    "hand3d", "Zimmermann & Brox 2017; Spurr et al. 2018", "hand3d eval_full.py, vae-hands-3d evaluate_model.py",
    centred="target", joint_0="palm", joints="visible", start=20,
)  # fmt: skip
HAND3D_CENTRED = replace(
    HAND3D, name="hand3d, both centred", who="nobody", source="", centred="both",
    note="what of hand3d can be computed when the predicted root is not known",
)  # fmt: skip
PROTOCOLS = (
    OURS,
    HAND3D,
    HAND3D_CENTRED,
    Protocol(
        "hand3d, lifting", "Zimmermann & Brox 2017, from true 2D maps", "hand3d eval3d.py", centred="target", joint_0="palm",
        note="the 30.42 and 8.68 mm that tables quote for this method are Spurr et al.'s, measured by this script",
    ),
    Protocol(
        "BiHand", "lixiny/bihand", "its run.py", root="middle MCP", low=20,
        note="theirs centres the target alone, on the root that the network predicts around; ours has another",
    ),
    Protocol(
        "Minimal-Hand", "MengHao666/Minimal-Hand-pytorch", "its train_detnet.py and utils/align.py", root="middle MCP", scale="own bone",
        low=20, points=15,
    ),
    Protocol(
        "InterNet", "Moon et al. 2020", "InterHand2.6M data/RHD/dataset.py", root="wrist", joints="visible", points=0,
        note="reports no median and no AUC; itself predicts millimetres, no scale given",
    ),
    replace(OURS, name="STB's old curves", who="Zhang et al. 2017, in hand3d's figure", source="hand3d utils/general.py",
            points=7, note="the thresholds are all that is known"),
    replace(OURS, name="wrist as root", who="InterNet's root, all else ours", source="", root="wrist", note=""),
    replace(OURS, name="middle MCP as root", who="BiHand's and Minimal-Hand's root, all else ours", source="", root="middle MCP", note=""),
    replace(OURS, name="no scale given", who="in use, where nobody measures the hand", source="", scale="training mean", note=""),
    Protocol(
        "Procrustes-aligned", "FreiHAND's benchmark, beside the unaligned error", "freihand eval.py", scale="best fit", points=100,
        note="takes out the hand's rotation and size before it measures",
    ),
)  # fmt: skip


def find_protocol(name):
    """The ``Protocol`` of that name; one itself is returned as it is. Raises ValueError for an unknown name, with those known."""
    known = {one.name: one for one in PROTOCOLS}
    if isinstance(name, Protocol):
        return name
    if name not in known:
        raise ValueError(f"protocol must be one of {', '.join(map(repr, known))}, got {name!r}")
    return known[name]


def evaluate(protocol, predicted, target, visible=None, root_joint="palm", mean_scale=None):
    """``Figures`` of one protocol, a ``Protocol`` or its name.

    predicted, target: (N, 21, 3), mm. Where the protocol centres the target alone, ``predicted`` stands in the target's
    frame as the network put it: relative to the true root when ``target`` is. ``visible`` bool (N, 21): all when None;
    only protocols with "visible" joints look at it. ``root_joint``: as in ``metrics``, "wrist" says that joint 0 is the
    palm (STB). ``mean_scale``: mm, middle finger MCP to PIP, for "training mean". A joint that is never visible is left
    out, as in the field's code. Raises ValueError for an unknown protocol, wrong shapes, values that are not finite, nothing visible, and a
    missing ``mean_scale``.
    """
    protocol = find_protocol(protocol)
    errors = protocol_errors(protocol, predicted, target, root_joint, mean_scale)
    seen = metrics.check_visible(visible if protocol.joints == "visible" else None, errors.shape)
    if protocol.joint_0 == "palm" and root_joint == "palm":
        seen = seen.copy()
        seen[:, WRIST] |= seen[:, MIDDLE_MCP]
    if protocol.average == "pooled":
        groups = [errors[seen]]
    else:
        groups = [errors[seen[:, joint], joint] for joint in range(21) if seen[:, joint].any()]
    mean, median = (float(np.mean([one(group) for group in groups])) for one in (np.mean, np.median))
    if not protocol.points:
        return Figures(mean, np.nan, np.nan)
    grid = protocol.thresholds
    curve = np.mean([(np.searchsorted(np.sort(group), grid, side="right") / len(group)) for group in groups], axis=0)
    area = ((curve[1:] + curve[:-1]) / 2 * np.diff(grid)).sum() / (grid[-1] - grid[0])
    return Figures(mean, median, float(area))


def protocol_errors(protocol, predicted, target, root_joint="palm", mean_scale=None):
    """Error of each frame and joint under a protocol: (N, 21), mm. Arguments and errors as in ``evaluate``."""
    protocol = find_protocol(protocol)
    predicted, target = metrics.check_poses(predicted, target)
    if protocol.scale == "best fit":
        predicted = best_fit(predicted, target)
    true_root = own_root = _root(protocol.root, target, root_joint)
    if protocol.centred == "both" and protocol.scale != "best fit":  # what was fitted stays where it fits
        own_root = _root(protocol.root, predicted, root_joint)
    predicted, target = predicted - own_root[:, None], target - true_root[:, None]
    if protocol.scale == "training mean":
        if mean_scale is None:
            raise ValueError(f"protocol {protocol.name!r} needs mean_scale: the mean of the training hands, mm")
        predicted = predicted * (mean_scale / hand_scale(target))[:, None, None]
    if protocol.scale == "own bone":
        own, true = (np.linalg.norm(pose[:, MIDDLE_MCP] - pose[:, WRIST], axis=-1) for pose in (predicted, target))
        if not own.all():
            raise ValueError(f"protocol {protocol.name!r} can't scale a prediction whose wrist lies on its middle MCP")
        predicted = predicted * (true / own)[:, None, None]
    if protocol.joint_0 == "palm" and root_joint == "palm":
        predicted, target = (_with_palm_first(pose) for pose in (predicted, target))
    return np.linalg.norm(predicted - target, axis=-1)


def _root(name, pose, root_joint):
    if name == "middle MCP":
        return pose[:, MIDDLE_MCP]
    return metrics.root_of(pose, "wrist" if name == "wrist" else root_joint)


def _with_palm_first(pose):
    pose = pose.copy()
    pose[:, WRIST] = palm_centre(pose)
    return pose


def best_fit(predicted, target):
    """Each prediction moved, turned (not mirrored) and scaled to the least squared distance: (N, 21, 3) twice -> (N, 21, 3)."""
    middle = target.mean(1, keepdims=True)
    moved, fixed = predicted - predicted.mean(1, keepdims=True), target - middle
    u, stretch, vt = np.linalg.svd(np.swapaxes(moved, 1, 2) @ fixed)
    mirrored = np.sign(np.linalg.det(u @ vt))
    stretch[:, 2] *= mirrored
    u[:, :, 2] *= mirrored[:, None]
    size = np.maximum((moved**2).sum((1, 2)), np.finfo(float).tiny)
    return (stretch.sum(1) / size)[:, None, None] * (moved @ (u @ vt)) + middle


def protocols_of(root_joint):
    """``PROTOCOLS`` that differ on this dataset: where joint 0 is the palm there is no other root to try."""
    return tuple(one for one in PROTOCOLS if root_joint == "palm" or one.name != "wrist as root")


_ROWS = ("mean pose", "baseline", "baseline-longer", "D3")


def compare_protocols(results, rows=_ROWS, seeds=None):
    """Every protocol on stored predictions: a DataFrame, a line a protocol, row and seed.

    Columns protocol, row, seed, mean, median, auc. results: ``results.Results``; seeds: which (all). NaN where the
    predicted root is needed and was not kept. Rows that have not been run have no lines.
    """
    lines, left_out = [], Figures(np.nan, np.nan, np.nan)
    for row in rows:
        for seed, predicted, raw, scale in _predictions(results, row, seeds):
            for protocol in protocols_of(results.root_joint):
                pose = raw if protocol.centred == "target" else predicted
                unknown = pose is None or (protocol.scale == "training mean" and scale is None)
                figures = left_out if unknown else evaluate(
                    protocol, pose, results.target, results.visible, results.root_joint, scale
                )  # fmt: skip
                lines.append({"protocol": protocol.name, "row": row, "seed": seed, **figures._asdict()})
    return pd.DataFrame(lines, columns=["protocol", "row", "seed", *Figures._fields])


def _predictions(results, row, seeds=None):
    """Seed, predictions centred on their root, those as the network put them (or None), and the training hands' scale."""
    if row != "mean pose":
        for seed in (one for one in results.seeds(row) if seeds is None or one in seeds):
            result = results[row, seed]
            yield seed, result.predicted, result.uncentred, result.card["scale_mm"]
        return
    cards = [results[name, seed].card for name in ("baseline", "D3") for seed in results.seeds(name)[:1]]
    # the mean of poses around their root has its own root there
    yield 0, results.mean_pose, results.mean_pose, cards[0]["scale_mm"] if cards else None


def palm_or_wrist(results, rows=_ROWS, seeds=None):
    """MEPE (mm) of stored predictions around STB's palm, and around wrists made up from it: a DataFrame of texts.

    Results with a wrist are first given STB's palm in its place, prediction and truth alike, as rendered STB frames are.
    """
    ways = {"palm, joint 0 the palm": None} | {f"wrist from {one.name}": one for one in EXTRAPOLATIONS}
    lines = [{"Root": name} for name in ways]
    for row in rows:
        runs = [predicted for _, predicted, _, _ in _predictions(results, row, seeds)]
        for line, way in zip(lines, ways.values()):
            values = []
            for predicted in runs:
                pair = [pose if results.root_joint == "wrist" else with_palm(pose) for pose in (predicted, results.target)]
                pair = pair if way is None else [with_wrist(pose, way) for pose in pair]
                values.append(metrics.mepe(*pair, root="wrist"))  # type: ignore[misc]
            line[row] = f"{np.mean(values):.2f}" if values else "not run"
    return pd.DataFrame(lines)


def described(protocols):
    """``protocols`` for readers: two DataFrames of texts, a line each. How they measure; who does, and where it is written."""
    grids = [
        "none" if not one.points else f"{len(one.thresholds)} from {one.thresholds[0]:.4g} to {one.thresholds[-1]:g}"
        for one in protocols
    ]
    how = {
        "Protocol": [one.name for one in protocols],
        "Root": [one.root for one in protocols],
        "Centred": [one.centred if one.scale != "best fit" else "fitted" for one in protocols],
        "Joint 0": [one.joint_0 for one in protocols],
        "Scale": [one.scale for one in protocols],
        "Joints": [one.joints for one in protocols],
        "Average": [one.average for one in protocols],
        "Thresholds (mm)": grids,
    }
    who = {
        "Protocol": [one.name for one in protocols],
        "Who": [one.who for one in protocols],
        "Where it is written": [one.source for one in protocols],
        "What else": [one.note for one in protocols],
    }
    return pd.DataFrame(how), pd.DataFrame(who)


def compared(table):
    """``compare_protocols`` for readers: a line a protocol, for each row mean (mm) and AUC, and by how much D3 changes the mean against
    the baseline and against the baseline trained as long, in %, over the seeds that both have. Where not all seeds of these rows
    were kept as the protocol needs them, the line is over those that all of them have, and names them. A DataFrame of texts with
    two levels of columns.
    """
    lines = []
    for protocol, part in table.groupby("protocol", sort=False):
        kept = part.dropna(subset="mean")
        by_row = [set(runs["seed"]) for row, runs in kept.groupby("row") if row != "mean pose"]
        seeds = set.intersection(*by_row) if by_row else set()
        few = bool(seeds) and len(kept) < len(part)
        line = {("", "Protocol"): protocol + f" (seed {', '.join(map(str, sorted(seeds)))})" * few}
        kept = kept[kept["seed"].isin(seeds)] if few else kept
        for row, runs in part.groupby("row", sort=False):
            used = runs[runs["seed"].isin(seeds)] if few and row != "mean pose" else runs
            line[row, "mean"] = _text(used["mean"], 2) or "not kept"
            line[row, "AUC"] = _text(used["auc"], 3)
        for base in ("baseline", "baseline-longer"):
            pairs = kept[kept["row"].isin([base, "D3"])].pivot(index="seed", columns="row", values="mean").dropna()
            if {base, "D3"} <= set(pairs):
                line["D3 against", base] = f"{100 * (pairs['D3'] / pairs[base] - 1).mean():+.1f} %" if len(pairs) else ""
        lines.append(line)
    text = pd.DataFrame(lines).fillna("")
    text.columns = pd.MultiIndex.from_tuples(text.columns)
    return text


def _text(values, places):
    return f"{values.mean():.{places}f}" if values.notna().any() else ""


__all__ = [
    "HAND3D", "HAND3D_CENTRED", "OURS", "PROTOCOLS", "Figures", "Protocol", "best_fit", "compare_protocols", "compared",
    "described", "evaluate", "palm_or_wrist", "protocol_errors", "protocols_of",
]  # fmt: skip
