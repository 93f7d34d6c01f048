"""Figures from numbers: pictures with joints, training and PCK curves, errors per joint. Knows arrays, not models.

Matplotlib functions return a Figure, the ones named ``interactive_`` a plotly Figure. Poses are (N, 21, 3),
mm, camera frame (x right, y down, z forward). ``root`` as in ``metrics``. Hands in 3D: ``figures_pose``.
"""

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import TwoSlopeNorm, to_rgb

from .geometry import crop_box
from .metrics import auc, pck
from .skeleton import BONES, FINGERS, JOINTS, finger_of

#: One colour a finger (Okabe and Ito's palette: told apart by colour-blind readers too).
FINGER_COLOURS = dict(zip(FINGERS, ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7")))
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = (("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"))  # matplotlib's name, plotly's
#: Curves that look the same on every page: the whole method, and the mean pose.
_NAMED = {"mean pose": ("#888888", ":", "dot"), **dict.fromkeys(("D3", "row D3", "proposed"), ("#000000", "-", "solid"))}
_GROUPS = ("wrist", *FINGERS)
#: Keys of a history that are no loss terms.
_NO_TERM = {"stage", "phase", "epoch", "steps", "seconds", "images_per_second", "mepe", "gradients"}


def line_style(index):
    """Colour and dash of the line number ``index``, the dash as matplotlib and as plotly name it; the first 24 differ."""
    return LINE_COLOURS[index % len(LINE_COLOURS)], *_DASHES[index // len(LINE_COLOURS) % len(_DASHES)]


def draw_skeleton(axes, uv, width=1.6):
    """Draw 2D joints (21, 2) px and their bones on matplotlib axes, one colour a finger."""
    for parent, child in BONES:
        axes.plot(*uv[[parent, child]].T, color=FINGER_COLOURS[finger_of(child)], lw=width, solid_capstyle="round")
    axes.scatter(*uv.T, s=3 * width, c="white", edgecolors="black", linewidths=0.3, zorder=3)


def frame_grid(images, titles=None, uv=None, columns=6, width=10):
    """Pictures (H, W, 3) in a grid, with joints drawn where ``uv`` holds (21, 2) arrays."""
    rows = -(-len(images) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(width, width / columns * rows * (1.12 if titles else 1)))
    for axes in np.ravel(grid):
        axes.axis("off")
    for index, (axes, image) in enumerate(zip(np.ravel(grid), images)):
        axes.imshow(image, cmap="viridis")
        axes.set(xlim=(0, image.shape[1] - 1), ylim=(image.shape[0] - 1, 0))
        if uv is not None:
            draw_skeleton(axes, np.asarray(uv[index]) - 0.5)  # imshow centres pixel 0 on 0
        if titles:
            axes.set_title(titles[index], fontsize=7)
    figure.tight_layout(pad=0.3)
    return figure


def poses_on_pictures(images, joints, titles, width=10):
    """Poses drawn on pictures: a column a frame, a line a name, each cut around the hand.

    images: N pictures (H, W, 3); joints: {name: N arrays (21, 2), px}, the true ones first; titles: N texts above the columns.
    What lies far from the true hand is cut off, so that the hand stays large enough to see.
    """
    count = len(images)
    figure, grid = plt.subplots(len(joints), count, squeeze=False, figsize=(width, width / count * len(joints) + 0.5))
    for column, image in enumerate(images):
        centre, side = crop_box(np.concatenate([uv[column] for uv in joints.values()]), 1.25)
        true_centre, true_side = crop_box(np.asarray(next(iter(joints.values()))[column]), 1.25)
        if side > 2 * true_side:
            centre, side = true_centre, 2 * true_side
        left, top = np.asarray(centre) - side / 2 - 0.5  # imshow centres pixel 0 on 0
        for axes, (name, uv) in zip(grid[:, column], joints.items()):
            axes.imshow(image)
            draw_skeleton(axes, np.asarray(uv[column]) - 0.5)
            axes.set(xlim=(left, left + side), ylim=(top + side, top), xticks=[], yticks=[], facecolor="#dddddd")
            axes.set_ylabel(name if column == 0 else "", fontsize=9)
        grid[0, column].set_title(titles[column], fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def training_curves(history, *others):
    """Loss terms and evaluation error over the epochs of a ``history`` (dicts as ``train`` returns them), after the warm-up.

    ``others``: histories of the same training with other seeds, drawn as thin lines.
    """
    history, others = _after_warmup(history), tuple(map(_after_warmup, others))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2))
    names = [name for name in dict.fromkeys(key for record in history for key in record) if name not in _NO_TERM]
    for number, one in enumerate((history, *others)):
        epochs, first = np.arange(1, len(one) + 1), number == 0
        width, alpha, dot = (1.6, 1.0, 6) if first else (0.7, 0.6, 3)
        for index, name in enumerate(names):
            colour, dash, _ = line_style(index)
            left.plot(epochs, [record.get(name, np.nan) for record in one], color=colour, ls=dash, lw=width, alpha=alpha,
                      marker=".x^1"[index // len(LINE_COLOURS) % 4], ms=dot, label=name if first else None)  # fmt: skip
        right.plot(epochs, [record["mepe"] for record in one], color="black", lw=width, alpha=alpha, marker=".", ms=dot)
    left.set(xlabel="epoch", ylabel="weighted loss term", yscale="log")
    highest = max(record["mepe"] for one in (history, *others) for record in one)
    right.set(xlabel="epoch", ylabel="MEPE, evaluation split (mm)", ylim=(0, 1.08 * highest))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_xlim(0.5, len(history) + 0.5)  # one epoch alone has no range of its own
        axes.xaxis.get_major_locator().set_params(integer=True)
        _mark_phases(axes, [(record.get("stage"), record["phase"]) for record in history])
    figure.legend(*left.get_legend_handles_labels(), loc="lower center", ncols=5, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.01 + 0.05 * -(-len(names) // 5), 1, 1))
    return figure


def _after_warmup(history):
    """``history`` without the backbone's warm-up, unless there is nothing else: it is as long, and has terms of its own."""
    return [record for record in history if record.get("stage") != "warmup"] or history


def _mark_phases(axes, phases):
    starts = [index for index in range(len(phases)) if index == 0 or phases[index] != phases[index - 1]]
    for start in starts[1:]:
        axes.axvline(start + 0.5, color="grey", ls=":")
    for start, end in zip(starts, [*starts[1:], len(phases)]) if len(starts) > 1 else ():
        axes.text((start + end + 1) / 2, 1.01, phases[start][1], rotation=35, fontsize=7, transform=axes.get_xaxis_transform())


def _pck_lines(curves, target, low, high, root):
    """What both PCK figures draw, a curve at a time: label, style, and PCK of its seeds at 51 thresholds: (S, 51)."""
    thresholds, index = np.linspace(0, high, 51), 0
    for name, predictions in curves.items():
        share = np.stack([pck(predicted, target, thresholds, root=root) for predicted in predictions])
        area = np.mean([auc(predicted, target, low, high, root=root) for predicted in predictions])
        yield f"{name} (AUC {area:.3f})", _NAMED.get(name) or line_style(index), thresholds, share
        index += name not in _NAMED


def pck_bands(curves, target, low=20, high=50, root="palm", against=None):
    """PCK against ``target`` (N, 21, 3), 0 to ``high`` mm, AUC from ``low`` to ``high`` in the legend.

    curves: {name: predictions (N, 21, 3), one a seed}. The line is the mean over seeds, the band goes from the lowest
    seed to the highest. The name "mean pose" is drawn in grey. ``against``: name of a curve; beside, how much more of
    the joints the others have within each threshold than its mean (the mean pose is left out there).
    """
    lines = dict(zip(curves, _pck_lines(curves, target, low, high, root)))
    figure, panels = plt.subplots(1, 2 if against else 1, figsize=(10, 5) if against else (6, 4.4), squeeze=False)
    for axes, base in zip(panels[0], (0.0, against and lines[against][3].mean(0))):
        for name, (label, (colour, dash, _), thresholds, share) in lines.items():
            if axes is panels[0, 0] or name != "mean pose":
                share = share - base
                axes.plot(thresholds, share.mean(0), color=colour, ls=dash, label=label, lw=1.4)
                if len(share) > 1:
                    alpha = 0.08 if len(lines) > 5 else 0.2
                    axes.fill_between(thresholds, share.min(0), share.max(0), color=colour, alpha=alpha, lw=0)
        axes.axvspan(low, high, color="grey", alpha=0.08, lw=0)
        axes.set(xlabel="error threshold (mm)", ylabel="PCK", xlim=(0, high))
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylim(0, 1)
    if against:
        panels[0, 1].set_ylabel(f"PCK less that of {against}")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=4, fontsize=8, frameon=False)
        figure.tight_layout(rect=(0, 0.045 * -(-len(labels) // 4), 1, 1))
    else:
        panels[0, 0].legend(loc="upper left")
        figure.tight_layout()
    return figure


def interactive_pck_bands(curves, target, low=20, high=50, root="palm"):
    """The same curves as ``pck_bands``, to hover over; a click in the legend switches a line and its band on and off."""
    figure, many = go.Figure(), len(curves) > 4
    for label, (colour, _, dash), thresholds, share in _pck_lines(curves, target, low, high, root):
        x = thresholds.round(2)
        if len(share) > 1:
            red, green, blue = (round(255 * part) for part in to_rgb(colour))
            figure.add_scatter(
                x=np.append(x, x[::-1]), y=np.append(share.max(0), share.min(0)[::-1]).round(4), fill="toself", mode="lines",
                line_width=0, fillcolor=f"rgba({red},{green},{blue},0.2)", hoverinfo="skip", showlegend=False, legendgroup=label,
            )  # fmt: skip
        figure.add_scatter(
            x=x, y=share.mean(0).round(4), mode="lines", line=dict(color=colour, dash=dash), name=label, legendgroup=label,
            hovertemplate="%{y:.3f} within %{x:.0f} mm",
        )  # fmt: skip
    figure.add_vrect(x0=low, x1=high, fillcolor="grey", opacity=0.08, line_width=0)
    below = dict(orientation="h", x=0, y=-0.18, yanchor="top", font_size=11)
    figure.update_layout(
        template="plotly_white", height=620 if many else 420, margin=dict(l=10, r=10, t=20, b=10),
        hovermode="closest" if many else "x unified", xaxis_title="error threshold (mm)", yaxis_title="PCK",
        yaxis_range=[0, 1], xaxis_range=[0, high],
        legend=below if many else dict(x=0.02, y=0.98, bgcolor="rgba(255,255,255,0.7)"),
    )  # fmt: skip
    return figure


def error_per_joint(errors):
    """Mean error of each of the 21 joints: bars for the first name, ticks for the others.

    errors: {name: (S, 21), mm, one line a seed}. Bars are the mean over seeds, thin lines its standard deviation.
    """
    figure, axes = plt.subplots(figsize=(9, 3.4))
    colours = [FINGER_COLOURS.get(finger_of(joint), "#888888") for joint in range(21)]
    _bars(axes, errors, [_in_words(name) for name in JOINTS], colours)
    axes.tick_params(axis="x", rotation=60, labelsize=8)
    figure.tight_layout()
    return figure


def error_per_finger(errors):
    """Mean error of the wrist and of each finger's four joints, drawn as ``error_per_joint`` draws joints.

    errors: {name: (S, 21), mm, one line a seed}.
    """
    figure, axes = plt.subplots(figsize=(6, 3.2))
    grouped = {name: mean_per_finger(values) for name, values in errors.items()}
    _bars(axes, grouped, _GROUPS, [FINGER_COLOURS.get(name, "#888888") for name in _GROUPS])
    figure.tight_layout()
    return figure


def mean_per_finger(errors):
    """Errors (S, 21) of joints -> (S, 6): the wrist, then each finger's mean over its four joints."""
    errors = np.asarray(errors)
    return np.concatenate([errors[:, :1], errors[:, 1:].reshape(-1, 5, 4).mean(2)], axis=1)


def _in_words(joint):
    """"thumb_mcp" -> "thumb MCP"."""
    finger, _, part = str(joint).partition("_")
    return f"{finger} {part if part == 'tip' else part.upper()}".strip()


def _bars(axes, errors, labels, colours):
    place = np.arange(len(labels))
    for index, (name, values) in enumerate(errors.items()):
        values = np.asarray(values)
        mean, spread = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else None
        if index == 0:
            axes.bar(place, mean, color=colours, yerr=spread, error_kw=dict(lw=0.8), label=name, alpha=0.85)
        else:
            marker = dict(marker="_", ms=160 / len(labels) + 4, mew=1.6, ls="", color=("black", "#777777")[(index - 1) % 2])
            axes.plot(place, mean, label=name, **marker)
    axes.set(xticks=place, ylabel="mean error (mm)")
    axes.set_xticklabels(labels)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    top = max(np.max(values) for values in errors.values())
    axes.set_ylim(0, 1.3 * top)  # room for the legend
    handles, names = axes.get_legend_handles_labels()
    ordered = sorted(zip(handles, names), key=lambda pair: list(errors).index(pair[1]))
    axes.legend(*zip(*ordered), fontsize=8, ncols=3, loc="upper left", handlelength=1.2, markerscale=0.6)


def error_map(table, against=None):
    """Errors as a map: a line a row, a column a joint or finger, each cell with its number.

    table: DataFrame, mm. Colours: the difference to the line ``against`` (blue is better), or the error itself
    when there is no such line.
    """
    values = table.to_numpy(float)
    relative = against in table.index
    shown = values - table.loc[against].to_numpy(float) if relative else values
    reach = max(float(np.abs(shown).max()), 1e-6)
    scale = dict(cmap="RdBu_r", norm=TwoSlopeNorm(0, -reach, reach)) if relative else dict(cmap="viridis_r")
    many = values.shape[1] > 10
    figure, axes = plt.subplots(figsize=(11 if many else 7, 0.34 * len(table) + (1.7 if many else 0.8)))
    picture = axes.imshow(shown, aspect="auto", **scale)
    for (line, column), value in np.ndenumerate(values):
        light = picture.cmap(picture.norm(shown[line, column]))
        dark = np.dot(light[:3], (0.299, 0.587, 0.114)) < 0.5
        style = dict(ha="center", va="center", fontsize=7 if many else 8, color="white" if dark else "black")
        axes.text(column, line, f"{value:.1f}", **style)  # type: ignore[arg-type]
    axes.set(xticks=range(values.shape[1]), yticks=range(len(table)))
    axes.set_xticklabels([_in_words(name) for name in table.columns], rotation=60 if many else 0,
                         ha="right" if many else "center", rotation_mode="anchor", fontsize=8)  # fmt: skip
    axes.set_yticklabels(table.index, fontsize=8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(picture, pad=0.015, label=f"mm against {against}" if relative else "mm")
    figure.tight_layout()
    return figure


__all__ = [
    "FINGER_COLOURS", "draw_skeleton", "error_map", "error_per_finger", "error_per_joint", "frame_grid",
    "interactive_pck_bands", "line_style", "mean_per_finger", "pck_bands", "poses_on_pictures", "training_curves",
]  # fmt: skip
