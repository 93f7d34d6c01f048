"""Figures that explain datasets and protocols: joint orders, roots, view correction, augmentation. Knows arrays, not models.

Pictures are (H, W, 3), joints (21, 2) px in canonical order.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from .conventions import CONVENTIONS, EXTRAPOLATIONS, with_palm
from .figures import FINGER_COLOURS, draw_skeleton
from .geometry import crop_box, palm_centre, project
from .skeleton import BONES, MIDDLE_MCP, MIDDLE_PIP, WRIST, finger_of

_LABEL = dict(ha="center", va="center", fontsize=8.5, fontweight="bold", zorder=6)
_ROW_COLOURS = {"mean pose": "#888888", "baseline": "#0072B2", "baseline-longer": "#56B4E9", "D3": "#D55E00"}
_MARKS = {"mean pose": "s", "baseline": "o", "baseline-longer": "^", "D3": "D"}


def picture_row(pictures, around=None, width=10):
    """Pictures side by side under their titles: {title: (picture, joints or None)}; NaN in a picture stays white.

    around: shows a square so many times as large as the hand, in pictures with joints.
    """
    ratios = [1.0 if around and uv is not None else picture.shape[1] / picture.shape[0] for picture, uv in pictures.values()]
    figure, grid = plt.subplots(1, len(pictures), figsize=(width, width / sum(ratios) + 0.35), width_ratios=ratios, squeeze=False)
    for axes, (title, (picture, uv)) in zip(grid[0], pictures.items()):
        axes.imshow(picture, cmap="viridis")
        if uv is not None:
            draw_skeleton(axes, np.asarray(uv) - 0.5, 1.0)
        height, wide = picture.shape[:2]
        limits = dict(xlim=(-0.5, wide - 0.5), ylim=(height - 0.5, -0.5))
        if around and uv is not None:
            (u, v), side = crop_box(np.asarray(uv), around)
            limits = dict(xlim=(u - side / 2, u + side / 2), ylim=(v + side / 2, v - side / 2))
        axes.set(xticks=[], yticks=[], **limits)
        axes.set_title(title, fontsize=8.5)
    figure.tight_layout(pad=0.3)
    return figure


def _faded(image, mask):
    pale = np.where((mask == 0)[..., None], 255, image).astype(float)
    return (0.55 * pale + 0.45 * 255).astype(np.uint8)


def _hand_axes(axes, image, mask, uv, margin, above=0):
    """Draw the hand with ``margin`` px around its joints and ``above`` px more at the top."""
    axes.imshow(_faded(image, mask))
    (left, top), (right, bottom) = uv.min(0) - margin - np.array([0, above]), uv.max(0) + margin
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])


def joint_orders(image, mask, uv, width=9.5):
    """The numbers of the 21 joints in four conventions, each on the same open hand.

    mask (H, W): 0 beside the hand. RHD's panel has the left hand's numbers and, in brackets, the right hand's.
    """
    panels = {
        "Canonical, OpenPose, MediaPipe, FreiHAND": ("canonical", None),
        "RHD: left hand (right hand)": ("RHD, left", "RHD, right"),
        "STB (joint 0: the palm)": ("STB", None),
        "MANO, tips as in manopth": ("MANO", None),
    }
    shape = np.ptp(uv, axis=0) + 70
    figure, grid = plt.subplots(2, 2, figsize=(width, width * shape[1] / shape[0] + 0.5))
    for axes, (title, (first, second)) in zip(grid.ravel(), panels.items()):
        placed = np.array(uv, float)
        if first == "STB":
            placed = with_palm(np.pad(placed, ((0, 0), (0, 1))))[:, :2]
        _hand_axes(axes, image, mask, np.asarray(uv), 35)
        for parent, child in BONES:
            axes.plot(*placed[[parent, child]].T, color=FINGER_COLOURS[finger_of(child)], lw=1.6)
        for joint, (u, v) in enumerate(placed):
            text = str(CONVENTIONS[first].order[joint]) + (f" ({CONVENTIONS[second].order[joint]})" if second else "")
            box = dict(boxstyle="round,pad=0.16" if second else "circle,pad=0.16", fc="white", lw=1.2,
                       ec=FINGER_COLOURS.get(finger_of(joint), "black"))  # fmt: skip
            axes.text(u, v, text, bbox=box, **(_LABEL | (dict(fontsize=6.8) if second else {})))
        axes.set_title(title, fontsize=10)
    figure.tight_layout(pad=0.4)
    return figure


def roots_on_hand(image, mask, xyz, K, width=9.5):
    """Left: roots and scales in use. Right: wrists that codes make up from STB's palm. xyz (21, 3) mm, its wrist true."""
    uv = project(xyz, K)
    above = 0.32 * np.ptp(uv[:, 1])  # room for the legend
    shape = np.ptp(uv, axis=0) + [90, 90 + above]
    figure, (left, right) = plt.subplots(1, 2, figsize=(width, width / 2 * shape[1] / shape[0] + 0.3))
    for axes in (left, right):
        _hand_axes(axes, image, mask, uv, 45, above)
        for parent, child in BONES:
            axes.plot(*uv[[parent, child]].T, color="0.55", lw=0.9)
    palm = with_palm(xyz)
    points = {
        "wrist": xyz[WRIST], "palm centre: wrist and middle MCP": palm_centre(xyz), "middle MCP": xyz[MIDDLE_MCP],
        "STB's palm, as we render it": palm[0],
    }  # fmt: skip
    left.plot(*uv[[WRIST, MIDDLE_MCP]].T, color="#56B4E9", lw=3, label="scale: wrist to middle MCP (BiHand)")
    left.plot(*uv[[MIDDLE_MCP, MIDDLE_PIP]].T, color="#009E73", lw=5, label="scale: middle MCP to PIP (hand3d, this book)")
    for (name, point), colour, mark in zip(points.items(), ("black", "#D55E00", "#0072B2", "#CC79A7"), "soD^"):
        left.plot(*project(point[None], K)[0], mark, color=colour, ms=9, mec="white", label=name, ls="")
    left.set_title("Roots and scales", fontsize=10)
    right.plot(*project(palm[:1], K)[0], "^", color="#CC79A7", ms=9, mec="white", label="STB's palm, as we render it", ls="")
    right.plot(*uv[WRIST], "s", color="black", ms=10, mec="white", label="true wrist", ls="")
    for one, colour in zip(EXTRAPOLATIONS, ("#D55E00", "#0072B2", "#009E73", "#E69F00")):
        ends = np.stack([palm[list(one.joints)].mean(0), one.wrist(palm)])
        line = project(ends, K)
        right.plot(*line.T, color=colour, lw=1.3, ls="--")
        right.plot(*line[1], "X", color=colour, ms=9, mec="white", label=f"from {one.name}", ls="")
    right.set_title("Wrists made up from STB's palm", fontsize=10)
    for axes in (left, right):
        axes.legend(fontsize=7.5, loc="upper left", framealpha=0.9)
    figure.tight_layout(pad=0.4)
    return figure


def view_correction(images, corrections, width=10):
    """Hands far from the picture's middle: a column a hand, from the picture to the view-corrected pair.

    images: N pictures; corrections: N dicts as ``examples.corrected`` gives them.
    """
    lines = (
        ("picture, box", None, None),
        ("crop, pose as it is:\nit does not fit", "crop", "before"),
        ("crop, pose turned:\nit fits", "crop", "after"),
        ("picture warped,\npose turned", "turned", "after_turned"),
    )
    count = len(images)
    figure, grid = plt.subplots(len(lines), count, squeeze=False, figsize=(width, width / count * len(lines) + 0.2))
    for column, (image, one) in enumerate(zip(images, corrections)):
        for axes, (name, picture, joints) in zip(grid[:, column], lines):
            shown = image if picture is None else one[picture]
            height, wide = shown.shape[:2]
            axes.imshow(shown)
            axes.set(xlim=(-0.5, wide - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
            if joints:
                draw_skeleton(axes, one[joints] - 0.5)
            axes.set_ylabel(name if column == 0 else "", fontsize=9)
        left, top, side = one["box"]
        grid[0, column].add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, ec="white", lw=1.6))
        grid[0, column].plot(image.shape[1] / 2, image.shape[0] / 2, "+", color="white", ms=9, mew=1.6)
        grid[0, column].set_title(f"{one['angle']:.0f} degrees off the axis", fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def augmentations(pictures, joints, titles, width=10):
    """One hand as training changes it, the pose turned along: a column a change, above without and below with the pose."""
    count = len(pictures)
    figure, grid = plt.subplots(2, count, figsize=(width, 2 * width / count + 0.4))
    for column, (picture, uv) in enumerate(zip(pictures, joints)):
        for line, axes in enumerate(grid[:, column]):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[], xlim=(-0.5, picture.shape[1] - 0.5), ylim=(picture.shape[0] - 0.5, -0.5))
            if line:
                draw_skeleton(axes, np.asarray(uv) - 0.5, 1.2)
        grid[0, column].set_title(titles[column], fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def protocol_dots(table, width=9.5):
    """Mean error and AUC of each row under each protocol, from ``protocols.compare_protocols``: a line a protocol, thin
    lines from the lowest seed to the highest. "?" where a row's predictions don't say.
    """
    names = list(dict.fromkeys(table["protocol"]))
    low_high = 0.8 * table["mean"].min(), 1.25 * table["mean"].max()
    figure, panels = plt.subplots(1, 2, sharey=True, figsize=(width, 0.36 * len(names) + 1.2))
    for axes, key, label in zip(panels, ("mean", "auc"), ("mean error (mm), logarithmic", "AUC, each with its own thresholds")):
        for row, runs in table.groupby("row", sort=False):
            by_name = runs.groupby("protocol")[key]
            middle, low, high = (by_name.agg(how).reindex(names) for how in ("mean", "min", "max"))
            places = np.arange(len(names))
            style = dict(color=_ROW_COLOURS.get(row, "black"))
            axes.hlines(places, low, high, lw=1.4, **style)
            unknown = runs.groupby("protocol")["mean"].count().reindex(names).to_numpy() == 0
            for place in places[unknown]:
                axes.text(0.5, place, "?", transform=axes.get_yaxis_transform(), ha="center", va="center", color="0.45")
            axes.plot(middle, places, _MARKS.get(row, "o"), ms=5.5, label=row, ls="", **style)
        if key == "mean":
            axes.set_xscale("log")
            ticks = [tick for tick in (1, 2, 5, 10, 15, 20, 30, 50, 70, 100, 150, 200) if low_high[0] <= tick <= low_high[1]]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        axes.margins(x=0.06)
    panels[0].set_yticks(range(len(names)), names, fontsize=8.5)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="upper center", ncols=4, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    return figure


__all__ = [
    "augmentations", "joint_orders", "picture_row", "protocol_dots", "roots_on_hand", "view_correction",
]  # fmt: skip
