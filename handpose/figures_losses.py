"""Figures of what the kinematic losses see on a hand, and where they pull it. Knows arrays, not models.

Functions named ``interactive_`` return a plotly Figure, the others a matplotlib Figure. Poses are (21, 3), mm, camera frame
(x right, y down, z forward); ``inside`` computes what is shown.
"""

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go

from .figures import FINGER_COLOURS
from .figures_inside import FINGER_JOINTS, draw_strokes, equal_scenes
from .inside import LINES, bone_in_words, in_words
from .skeleton import FINGERS, JOINTS

LOSS_COLOURS = {"MSE": "#444444", "KCS": "#D55E00", "GEO": "#0072B2"}
#: The palm from aside, so that a finger bent towards the camera shows.
_ASIDE = dict(up=dict(x=0, y=-1, z=0), eye=dict(x=-1.1, y=-0.25, z=-0.95))
_BUTTONS = dict(type="buttons", direction="right", x=0, y=1.02, xanchor="left", yanchor="bottom", showactive=True)


def interactive_chain_space(views):
    """The KCS matrix as a map to hover over, a button a view: {name: ``inside.chain_space``}; a last one shows what the
    second differs by from the first. Raises ValueError when the views' bones differ in length.
    """
    first, second = list(views.values())[:2]
    if not all(np.allclose(view["length"], first["length"], atol=0.5) for view in views.values()):
        raise ValueError("the views must be of one hand: their bones differ in length")
    bones = [f"{bone_in_words(bone)} ({length:.0f} mm)" for bone, length in enumerate(first["length"])]
    shown = {name: (view["kcs"], view["angle"]) for name, view in views.items()}
    shown["difference"] = second["kcs"] - first["kcs"], second["angle"] - first["angle"]
    hover = "%{y}<br>%{x}<br>angle %{customdata}°<br>entry %{z}<extra></extra>"
    middles = [bones[4 * finger + 1] for finger in range(len(FINGERS))]
    figure = _map(shown, bones, bones, hover, "entry", 2)
    figure.update_layout(height=560, xaxis=dict(tickvals=middles, ticktext=FINGERS, tickangle=0))
    figure.update_yaxes(tickvals=middles, ticktext=FINGERS)
    figure.update_traces(xgap=1, ygap=1)
    return figure


def interactive_lines(views):
    """Distances of joints to lines as a map to hover over, a button a view: {name: (21, 210) mm}; a last one shows what the
    second differs by from the first.
    """
    lines = [" – ".join(in_words(joint) for joint in line) for line in LINES]
    joints = [in_words(joint) for joint in range(len(JOINTS))]
    first, second = list(views.values())[:2]
    shown = {name: (view, None) for name, view in (views | {"difference": second - first}).items()}
    starts = (0, 1, 5, 9, 13)
    hover = "%{y} to the line<br>%{x}:<br>%{z} mm<extra></extra>"
    figure = _map(shown, lines, joints, hover, "mm", 0)
    ticks = [lines[np.flatnonzero(LINES[:, 0] == joint)[0]] for joint in starts]
    figure.update_layout(height=480, xaxis=dict(tickvals=ticks, ticktext=[f"{in_words(joint)} – …" for joint in starts], tickangle=30))
    figure.update_traces(ygap=1)
    return figure


def _map(shown, columns, lines, hover, unit, digits):
    """A heat map with a button for each of ``shown`` {name: (values, whole numbers to hover or None)}; where values have signs, zero is
    white.
    """
    figure = go.Figure()
    for name, (values, notes) in shown.items():
        signed, reach = bool(np.nanmin(values) < 0), float(np.nanmax(np.abs(values)))
        rounded = [[None if np.isnan(value) else round(float(value), digits) if digits else round(float(value)) for value in line]
                   for line in values]  # fmt: skip
        figure.add_heatmap(
            x=columns, y=lines, z=rounded, customdata=None if notes is None else notes.round().astype(int).tolist(), name=name,
            zmin=-reach if signed else 0, zmax=reach, colorscale="RdBu" if signed else "Viridis", reversescale=signed,
            hovertemplate=hover, hoverongaps=False, colorbar=dict(title=unit, thickness=10), visible=not figure.data,
        )  # fmt: skip
    buttons = [
        dict(method="restyle", label=name, args=[{"visible": [other == name for other in shown]}]) for name in shown
    ]  # fmt: skip
    figure.update_layout(
        template="plotly_white", margin=dict(l=10, r=10, t=60, b=10), updatemenus=[dict(buttons=buttons, **_BUTTONS)],
        xaxis=dict(automargin=True, tickfont_size=10), yaxis=dict(autorange="reversed", automargin=True, tickfont_size=10),
    )  # fmt: skip
    return figure


def arrows(predicted, pull, longest=45.0, least=0.04):
    """Heads of the arrows from ``predicted`` (21, 3) along ``pull``, the longest ``longest`` mm: (21, 3); NaN for arrows
    shorter than ``least`` of it.
    """
    size = np.linalg.norm(pull, axis=1, keepdims=True)
    return np.where(size > least * size.max(), predicted + pull * longest / max(size.max(), 1e-30), np.nan)


def interactive_pulls(predicted, target, pulls, reach=110):
    """A hand (21, 3) mm, the target in grey, and where each loss pulls its joints: {loss: (21, 3)}, a button a loss."""
    figure = go.Figure()
    centre = target.mean(0)
    predicted, target = predicted - centre, target - centre
    x, y, z = draw_strokes(target)
    figure.add_scatter3d(x=x, y=y, z=z, mode="lines", line=dict(color="#bbbbbb", width=10), name="target", hoverinfo="skip")
    for finger, joints in FINGER_JOINTS.items():
        x, y, z = predicted[joints].round(1).T
        figure.add_scatter3d(
            x=x, y=y, z=z, mode="lines+markers", showlegend=False, line=dict(color=FINGER_COLOURS[finger], width=5),
            marker=dict(size=3, color=FINGER_COLOURS[finger]), text=[in_words(joint) for joint in joints],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    for number, (name, pull) in enumerate(pulls.items()):
        heads = arrows(predicted, pull)
        kept = np.flatnonzero(~np.isnan(heads[:, 0]))
        lines = np.stack([predicted[kept], heads[kept], np.full((len(kept), 3), np.nan)], 1).reshape(-1, 3)
        x, y, z = ([None if np.isnan(value) else round(float(value), 1) for value in lines[:, axis]] for axis in range(3))
        colour = LOSS_COLOURS[name]
        figure.add_scatter3d(x=x, y=y, z=z, mode="lines", line=dict(color=colour, width=6), name=f"pull of {name}",
                             visible=number == 0, hoverinfo="skip")  # fmt: skip
        x, y, z = heads[kept].round(1).T
        size = np.linalg.norm(pull, axis=1) / np.linalg.norm(pull, axis=1).max()
        figure.add_scatter3d(
            x=x, y=y, z=z, mode="markers", marker=dict(size=5, color=colour, symbol="diamond"), visible=number == 0, showlegend=False,
            text=[f"{in_words(joint)}: {100 * size[joint]:.0f} % of the strongest" for joint in kept],
            hovertemplate=f"{name}, %{{text}}<extra></extra>",
        )  # fmt: skip
    hand = 1 + len(FINGER_JOINTS)
    buttons = [
        dict(method="restyle", label=name, args=[{"visible": [True] * hand + [index // 2 == number for index in range(2 * len(pulls))]}])
        for number, name in enumerate(pulls)
    ]  # fmt: skip
    equal_scenes(figure, reach, _ASIDE)
    figure.update_layout(
        template="plotly_white", height=480, margin=dict(l=0, r=0, t=50, b=0), legend=dict(orientation="h", x=0, y=0, yanchor="bottom"),
        updatemenus=[dict(buttons=buttons, **_BUTTONS)],
    )  # fmt: skip
    return figure


def pulls_static(predicted, target, pulls, width=10, reach=85):
    """Still view of ``interactive_pulls``: a panel a loss."""
    figure = plt.figure(figsize=(width, width / len(pulls) + 0.2))
    centre = target.mean(0)
    predicted, target = predicted - centre, target - centre
    for number, (name, pull) in enumerate(pulls.items(), 1):
        axes = figure.add_subplot(1, len(pulls), number, projection="3d")
        heads = arrows(predicted, pull)
        for finger, joints in FINGER_JOINTS.items():  # matplotlib's z is up, ours forward: draw (x, z, -y)
            look = dict(color=FINGER_COLOURS[finger], lw=1.8, marker="o", ms=2)
            for pose, style in ((target, dict(color="#cccccc", lw=4)), (predicted, look)):
                x, y, z = pose[joints].T
                axes.plot(x, z, -y, **style)
        for start, end in zip(predicted, heads):
            if not np.isnan(end[0]):
                x, y, z = start
                u, v, w = end - start
                axes.quiver(x, z, -y, u, w, -v, color=LOSS_COLOURS[name], lw=1.6, arrow_length_ratio=0.3)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach), xticklabels=[], yticklabels=[], zticklabels=[])
        axes.set_box_aspect((1, 1, 1), zoom=1.35)
        axes.view_init(elev=12, azim=-135)
        axes.set_title(name, fontsize=11, pad=0)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.93, wspace=0.02)
    return figure


__all__ = ["LOSS_COLOURS", "arrows", "interactive_chain_space", "interactive_lines", "interactive_pulls", "pulls_static"]
