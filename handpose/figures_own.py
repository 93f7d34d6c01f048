"""Figures of one hand in a picture of one's own, and of what it costs not to know something. Knows arrays, not models."""

import html
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from .effects import paired_effect
from .figures import draw_skeleton
from .figures_pose import interactive_poses, poses_static
from .skeleton import JOINTS, finger_of

_DPI, _LONGEST, _SHORTEST = 100, 1600, 700


def overlay(image, uv, box, caption=""):
    """The whole picture (H, W, 3) with the ``box`` (4,) px that was looked at, the joints ``uv`` (21, 2) px, a caption below.

    As large as the picture, up to 1600 px; small ones are magnified.
    """
    height, width = image.shape[:2]
    zoom = min(_LONGEST / max(height, width), max(1.0, _SHORTEST / max(height, width))) / _DPI
    page = max(width * zoom, 4.5)
    lines = [line for text in caption.splitlines() for line in textwrap.wrap(text, int(page * 13))]
    strip = 0.19 * len(lines) + 0.12 if lines else 0.0
    figure = plt.figure(figsize=(page, height * zoom + strip), dpi=_DPI)
    total = height * zoom + strip
    axes = figure.add_axes(((1 - width * zoom / page) / 2, strip / total, width * zoom / page, height * zoom / total))
    draw_hand(axes, image, uv, box, zoom * _DPI)
    figure.text(0.06 / page, 0.06 / total, "\n".join(lines), fontsize=9, va="bottom", linespacing=1.15)
    return figure


def draw_hand(axes, image, uv, box, zoom=1.0):
    """Picture, box and skeleton (none where ``uv`` is None) on matplotlib axes that show ``zoom`` px for one of the picture."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    axes.imshow(image, extent=(0, width, height, 0), interpolation="antialiased")
    axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", lw=2.2)
    axes.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="black", lw=1, ls="--")
    if uv is not None:
        draw_skeleton(axes, uv, float(np.clip(max(x1 - x0, y1 - y0) * zoom / 110, 1.2, 6)))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")


def box_and_close(image, uv, box, width=9):
    """Beside each other: the whole picture with the box, and the part around the hand with the skeleton."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(width, width / 2))
    draw_hand(left, image, None, box)
    x0, y0, x1, y1 = box
    low, high = np.minimum(uv.min(0), (x0, y0)), np.maximum(uv.max(0), (x1, y1))
    (x, y), half = (low + high) / 2, 0.56 * max(high - low)
    draw_hand(right, image, uv, box, width / 4 * _DPI / half)
    right.set(xlim=(x - half, x + half), ylim=(y + half, y - half))
    figure.tight_layout(pad=0.3)
    return figure


def interactive_hand(relative, name, root="palm"):
    """One hand to turn: joints (21, 3), mm, drawn around their ``root``; ``name`` stands above. Each joint says what it is."""
    figure = interactive_poses({name: np.asarray(relative)[None]}, [""], root=root)
    for trace in figure.data:
        trace.text = [JOINTS[joint].replace("_", " ") for joint in range(21) if finger_of(joint) in ("wrist", trace.name)]
        trace.hovertemplate = "%{text}<br>x %{x} y %{y} z %{z} mm<extra></extra>"
    figure.update_layout(sliders=[], height=520)
    return figure


def three_views(relative, root="palm", width=8):
    """The same hand (21, 3), mm, still: as the camera sees it, from the left, and from above."""
    aside = relative @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    above = relative @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    views = {"as the camera sees it": relative, "from the left": aside, "from above": above}
    figure = poses_static(None, {name: pose[None] for name, pose in views.items()}, width=width, root=root)
    figure.subplots_adjust(top=0.88)  # one line of drawings: the names above need their room
    return figure


def cost_bars(errors, base):
    """MEPE of each case of ``errors``, {case: (M,)} mm, as bars; a line at that of the case ``base``, which comes first."""
    names, means = list(errors), [values.mean() for values in errors.values()]
    figure, axes = plt.subplots(figsize=(7.5, 0.36 * len(names) + 0.9), layout="constrained")
    axes.barh(names, means, color=["#888888" if name == base else "#0072B2" for name in names], height=0.7)
    axes.axvline(errors[base].mean(), color="black", lw=0.8, ls="--")
    for place, mean in enumerate(means):
        axes.text(mean, place, f" {mean:.1f}", va="center", fontsize=9)
    axes.set(xlabel="MEPE (mm)", xlim=(0, 1.12 * max(means)))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    return figure


def cost_table(errors, base):
    """The same as a DataFrame, a line a case: "MEPE (mm)", how much more than ``base``, and where 95 % of the bootstrap draws of
    the frames lie.
    """
    lines = {}
    for name, values in errors.items():
        effect = paired_effect([values], [errors[base]])
        mean, low, high = (f"{round(value, 1) + 0.0:+.1f}" for value in (effect.mean, *effect.frames_only))  # no "-0.0"
        more = {"more (mm)": mean, "95 %": f"{low} to {high}"}
        lines[name] = {"MEPE (mm)": f"{values.mean():.1f}"} | (dict.fromkeys(more, "") if name == base else more)
    return pd.DataFrame(lines).T


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; font-size: 13px; }}
th, td {{ text-align: right; padding: 0.1rem 0.7rem; vertical-align: bottom; overflow-wrap: normal; }}
th:first-child, td:first-child {{ text-align: left; }}
</style>
</head>
<body>
<h1>{title}</h1>
<div role="img" aria-label="{alt}">{drawing}</div>
<p>Turn it with the mouse; a joint says its name when you point at it.</p>
<ul>{notes}</ul>
<table><tr>{head}</tr>{rows}</table>
</body>
</html>
"""


def page(figure, title, alt, notes, columns):
    """A page of HTML that needs no network: a plotly ``figure``, ``notes`` (texts), and a table {column: values}."""
    drawing = figure.to_html(full_html=False, include_plotlyjs=True, include_mathjax=False, div_id="hand",
                             config={"displayModeBar": False, "responsive": True})  # fmt: skip
    cells = [[html.escape(value if isinstance(value, str) else f"{value:.1f}") for value in line] for line in zip(*columns.values())]
    return _PAGE.format(
        title=html.escape(title), alt=html.escape(alt, quote=True), drawing=drawing,
        notes="".join(f"<li>{html.escape(note)}</li>" for note in notes),
        head="".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in columns),
        rows="".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in cells),
    )  # fmt: skip


__all__ = ["box_and_close", "cost_bars", "cost_table", "draw_hand", "interactive_hand", "overlay", "page", "three_views"]
