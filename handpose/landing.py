"""The hand of the landing page: one evaluation frame, its true pose, and what two rows make of its picture."""

import base64
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from .data.shards import ROTATION_MARGIN
from .notebook import project_path
from .results import Results, results_folder
from .skeleton import BONES

ROWS = ("baseline", "D3")
_NAMES = {"baseline": "baseline", "D3": "whole method (D3)"}
_LINES = {"true pose": ("#8a8f98", 9), "baseline": ("#d55e00", 5), "D3": ("#0072b2", 5)}


@dataclass(frozen=True)
class Hand:
    """One frame: its crop uint8 (S, S, 3), poses {name: (21, 3)} mm relative to the root, errors {row: mm}."""

    crop: np.ndarray
    poses: dict
    errors: dict


def results_of_page(page):
    """The ``Results`` that a page of results was made from, and its first seed: it says so in its parameters.

    Raises FileNotFoundError when they are gone.
    """
    given = json.loads(Path(page).read_text(encoding="utf-8"))["metadata"]["handpose"]["parameters"]
    folder = results_folder(given["preset"], given["dataset"], project_path(given["output_dir"]), given.get("recorded") == "True")
    return Results(folder), int(given["seed"])


def typical_hand(results, seed=0):
    """The frame nearest to both rows' median errors, among the right hands whose crops come with the results.

    Left hands are left out: their crops are kept mirrored. Raises FileNotFoundError when a row has not been run.
    """
    errors = {row: results.errors(row, seed).mean(1) for row in ROWS}
    away = sum(np.abs(values - np.median(values)) for values in errors.values())
    kept = np.arange(len(results.sample))
    place = kept[np.where(results.left[kept], np.inf, away[kept]).argmin()]
    crop = results.sample[place]
    side = len(crop)
    margin = round(side * (1 - 1 / ROTATION_MARGIN) / 2)  # room for the rotation in training
    return Hand(
        crop[margin : side - margin, margin : side - margin],
        {"true pose": results.target[place]} | {row: results[row, seed].predicted[place] for row in ROWS},
        {row: float(values[place]) for row, values in errors.items()},
    )


def hand_figure(hand, reach=None):
    """The poses of a ``Hand`` in one scene, each in its colour; a click in the legend hides one. A plotly figure."""
    everything = np.concatenate(list(hand.poses.values()))
    middle = (everything.max(0) + everything.min(0)) / 2
    reach = reach or float(np.ptp(everything, axis=0).max()) * 0.52
    figure = go.Figure(layout_template="none")
    for name, pose in hand.poses.items():
        colour, width = _LINES[name]
        label = f"{_NAMES[name]}, {hand.errors[name]:.0f} mm off" if name in hand.errors else name
        ends = [end for bone in BONES for end in (*pose[list(bone)].round(1).tolist(), [None] * 3)]
        x, y, z = zip(*ends)
        figure.add_scatter3d(
            x=x, y=y, z=z, mode="lines+markers", name=label, connectgaps=False, hoverinfo="name",
            line=dict(color=colour, width=width), marker=dict(color=colour, size=2.5),
        )  # fmt: skip
    axes = {f"{name}axis": dict(range=[round(float(m - reach), 1), round(float(m + reach), 1)], visible=False)
            for name, m in zip("xyz", middle)}  # fmt: skip
    camera = dict(up=dict(x=0, y=-1, z=0), eye=dict(x=0.45, y=-0.45, z=-1.15), center=dict(x=-0.06, y=-0.16, z=0))
    figure.update_layout(
        scene=dict(aspectmode="cube", camera=camera, **axes),
        height=340, margin=dict(l=0, r=0, t=0, b=0), showlegend=True, paper_bgcolor="rgba(255,255,255,1)",
        legend=dict(orientation="h", x=0, y=0, yanchor="top", font_size=12),
    )  # fmt: skip
    return figure


def hand_html(hand):
    """A ``Hand`` as HTML: the crop, and the poses to turn. plotly.js comes from the page."""
    buffer = io.BytesIO()
    Image.fromarray(hand.crop).resize((160, 160), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    crop = base64.b64encode(buffer.getvalue()).decode()
    said = " and ".join(f"that of row {row}, {error:.0f} mm off on average" for row, error in hand.errors.items())
    drawing = hand_figure(hand).to_html(
        full_html=False, include_mathjax=False, include_plotlyjs=False, div_id="hand",
        config={"displayModeBar": False, "responsive": True},
    )  # fmt: skip
    alt = html.escape(f"3D hand to turn: the true pose, {said}", quote=True)
    return (
        f'<img class="hand-crop" alt="Picture of a hand, cut out as the network sees it" width="120" height="120" '
        f'src="data:image/jpeg;base64,{crop}"/><div role="img" aria-label="{alt}">{drawing}</div>'
    )
