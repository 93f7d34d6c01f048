"""Figures of what goes on inside the method. Knows arrays, not models; ``inside`` computes what they show.

Functions named ``interactive_`` return a plotly Figure, the others a matplotlib Figure. Poses are (21, 3), mm, camera frame
(x right, y down, z forward).
"""

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .figures import draw_skeleton
from .skeleton import BONES, FINGERS, finger_of

KIND_COLOURS = {"picture": "#D55E00", "true pose": "#0072B2"}
#: The unchanged picture and the two changed ones.
CHANGE_COLOURS = {"same": "#444444", "background": "#D55E00", "light": "#0072B2"}
CHANGE_WORDS = {"same": "unchanged", "background": "other background", "light": "other light"}
_SHADES = ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725")
_CLASSES = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999", "#8c564b", "#bcbd22", "#aec7e8", "#98df8a",
)  # fmt: skip
FINGER_JOINTS = {finger: [0] + [joint for joint in range(1, 21) if finger_of(joint) == finger] for finger in FINGERS}
_LINKS = 24
_CAMERA = dict(up=dict(x=0, y=-1, z=0), eye=dict(x=0.45, y=-0.4, z=-1.15))


# Latent clouds


def interactive_latents(states, colourings):
    """Clouds of latents on a plane, a state a stop of the slider, coloured as the reader chooses.

    states: {title: (pictures (N, 2), true poses (N, 2), note)}, the slider showing the title up to its colon; colourings: {name: values (N,)}, numbers or class names, one
    a frame. Thin lines join a picture's point with its own pose's, for the first frames.
    """  # noqa: E501
    names = list(states)
    figure = go.Figure()
    first = _map_points(states[names[0]])
    figure.add_scatter(x=first["x"][0], y=first["y"][0], mode="lines", line=dict(color="rgba(120,120,120,0.5)", width=1),
                       hoverinfo="skip", name="same frame")  # fmt: skip
    markers = {"picture or true pose": [_marker(place) for place in range(2)]}
    markers |= {name: [_marker(place, values, name) for place in range(2)] for name, values in colourings.items()}
    for place, kind in enumerate(KIND_COLOURS, 1):
        figure.add_scatter(x=first["x"][place], y=first["y"][place], mode="markers", name=kind, marker=_marker(place - 1),
                           hovertemplate=f"{kind} %{{pointNumber}}<extra></extra>")  # fmt: skip
    steps = [
        dict(method="update", label=name.partition(":")[0],
             args=[_map_points(state), {"title.text": f"{name}<br><sup>{state[2]}</sup>"}, [0, 1, 2]])
        for name, state in states.items()
    ]  # fmt: skip
    buttons = [dict(method="restyle", label=f"colour: {name}", args=[{"marker": marker}, [1, 2]]) for name, marker in markers.items()]
    figure.update_layout(
        template="plotly_white", height=560, margin=dict(l=45, r=10, t=100, b=20),
        title=dict(text=f"{names[0]}<br><sup>{states[names[0]][2]}</sup>", x=0.01, y=0.97, yanchor="top", font_size=15),
        sliders=[dict(steps=steps, currentvalue=dict(visible=False), pad=dict(t=45, b=10, l=10, r=20))],
        updatemenus=[dict(buttons=buttons, x=0, y=1.02, xanchor="left", yanchor="bottom", pad=dict(l=0))],
        legend=dict(x=0.01, y=0.99, xanchor="left", yanchor="top", bgcolor="rgba(255,255,255,0.7)"),
    )  # fmt: skip
    figure.update_xaxes(title="first common direction", title_standoff=4)
    figure.update_yaxes(title="second common direction", title_standoff=4)
    return figure


def _map_points(state):
    picture, pose = (np.round(points, 2) for points in state[:2])
    count = min(_LINKS, len(picture))
    links = np.stack([picture[:count], pose[:count], np.full((count, 2), np.nan)], 1).reshape(-1, 2)
    columns = [[None if np.isnan(value) else float(value) for value in links[:, axis]] for axis in range(2)]
    return {name: [columns[axis], picture[:, axis].tolist(), pose[:, axis].tolist()] for axis, name in enumerate("xy")}


def _marker(place, values=None, name=""):
    """How a cloud's points look; ``place`` 0: pictures, which also carry the colour bar, 1: true poses."""
    marker = dict(symbol=("circle", "diamond-open")[place], size=(6, 7)[place], line=dict(width=1))
    if values is None:
        return marker | dict(color=list(KIND_COLOURS.values())[place], showscale=False)
    values = np.asarray(values)
    if values.dtype.kind in "fiu":
        scale = [[at / 4, colour] for at, colour in enumerate(_SHADES)]
        low, high = float(values.min()), float(values.max())
        return marker | dict(color=values.round(2).tolist(), colorscale=scale, cmin=low, cmax=high, showscale=place == 0,
                             colorbar=dict(title=dict(text=name, side="right"), thickness=10))  # fmt: skip
    classes, number = np.unique(values, return_inverse=True)
    count = len(classes)
    edges = [[edge / count, _CLASSES[index % len(_CLASSES)]] for index in range(count) for edge in (index, index + 1)]
    ticks = dict(tickvals=list(range(count)), ticktext=classes.tolist())
    return marker | dict(color=number.tolist(), colorscale=edges, cmin=-0.5, cmax=count - 0.5, showscale=place == 0,
                         colorbar=dict(title=dict(text=name, side="right"), thickness=10) | ticks)  # fmt: skip


def latents_static(states, width=10):
    """The clouds of ``interactive_latents`` side by side, coloured by kind: every other point."""
    figure, panels = plt.subplots(1, len(states), figsize=(width, width / len(states) + 0.9), squeeze=False)
    for axes, (title, (picture, pose, _)) in zip(panels[0], states.items()):
        for one, other in zip(picture[:_LINKS], pose[:_LINKS]):
            axes.plot(*zip(one, other), color="#888888", lw=0.4, zorder=0)
        for (kind, colour), points, mark in zip(KIND_COLOURS.items(), (picture[::2], pose[::2]), "o+"):
            axes.scatter(*points.T, s=(8, 16)[mark == "+"], c=colour, marker=mark, lw=0.9, label=kind)
        axes.set_title(title, fontsize=10)
        axes.tick_params(labelsize=7)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="lower center", ncols=2, frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.07, 1, 1), pad=0.4)
    return figure


# Hands along the directions


def directions_static(hands, titles, sizes, width=10):
    """Hands along directions: a column a direction, a line a size. hands (D, S, 21, 3) mm; titles: D texts; sizes: S texts."""
    hands = np.asarray(hands)
    hands = hands - hands.mean(2, keepdims=True)
    figure, grid = plt.subplots(hands.shape[1], len(hands), squeeze=False, figsize=(width, width / len(hands) * hands.shape[1] + 0.4))
    reach = np.abs(hands[..., :2]).max() * 1.05
    for column, title in enumerate(titles):
        for line, size in enumerate(sizes):
            axes = grid[line, column]
            draw_skeleton(axes, hands[column, line, :, :2])
            axes.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", xticks=[], yticks=[])
            axes.spines[:].set_color("#cccccc")
            axes.set_ylabel(size if column == 0 else "", fontsize=8)
        grid[0, column].set_title(title, fontsize=8)
    figure.tight_layout(pad=0.3)
    return figure


# The same pose under another background and another light


def pairs_static(pictures, joints, width=10):
    """Exchanged pictures, and what rows predict from the three of each: a line a frame, three pictures, then a drawing a row.

    pictures: M dicts {change: picture (H, W, 3)}; joints: {row: M dicts {change: (21, 2) px}} with "true pose" first, drawn
    grey under the others. Each line is cut around its hand.
    """
    rows = [row for row in joints if row != "true pose"]
    columns = len(CHANGE_WORDS) + len(rows)
    figure, grid = plt.subplots(len(pictures), columns, squeeze=False, figsize=(width, width / columns * len(pictures) + 0.6))
    for line, images in enumerate(pictures):
        every = np.concatenate([uv for row in joints for uv in joints[row][line].values()])
        centre, half = (every.min(0) + every.max(0)) / 2, 0.6 * np.ptp(every, axis=0).max()
        box = dict(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] + half, centre[1] - half), xticks=[], yticks=[])
        for axes, change in zip(grid[line], CHANGE_WORDS):
            axes.imshow(images[change], extent=(0, images[change].shape[1], images[change].shape[0], 0))
            axes.set(**box, facecolor="#dddddd")
        for axes, row in zip(grid[line, len(CHANGE_WORDS) :], rows):
            _flat_hand(axes, joints["true pose"][line]["same"], "#cccccc", 3.5)
            for change, uv in joints[row][line].items():
                _flat_hand(axes, uv, CHANGE_COLOURS[change], 1.1)
            axes.set(**box, aspect="equal")
    for axes, (change, words) in zip(grid[0], CHANGE_WORDS.items()):
        axes.set_title(words, fontsize=9, color=CHANGE_COLOURS[change])
    for axes, row in zip(grid[0, len(CHANGE_WORDS) :], rows):
        axes.set_title(row if row == "baseline" else f"row {row}", fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def _flat_hand(axes, uv, colour, width):
    for parent, child in BONES:
        axes.plot(*uv[[parent, child]].T, color=colour, lw=width, solid_capstyle="round")


def interactive_pairs(poses, labels, reach=130):
    """Predictions from the unchanged picture and the two changed ones, in 3D on top of each other; a slider over the frames.

    poses: {name: {change: (M, 21, 3) mm}}, relative to the root, a scene a name; "true" among the changes is drawn grey.
    """
    names = list(poses)
    figure = make_subplots(1, len(names), specs=[[{"type": "scene"}] * len(names)], subplot_titles=names, horizontal_spacing=0.01)
    looks = {"true": ("#bbbbbb", "true pose")} | {change: (CHANGE_COLOURS[change], words) for change, words in CHANGE_WORDS.items()}
    for frame in range(len(labels)):
        for column, name in enumerate(names, 1):
            for change, (colour, words) in looks.items():
                x, y, z = draw_strokes(poses[name][change][frame])
                figure.add_scatter3d(
                    x=x, y=y, z=z, mode="lines", line=dict(color=colour, width=10 if change == "true" else 4), name=words,
                    legendgroup=change, showlegend=column == 1, visible=frame == 0, hovertemplate=words + "<extra></extra>",
                    row=1, col=column,
                )  # fmt: skip
    equal_scenes(figure, reach)
    each = len(names) * len(looks)
    steps = [
        dict(method="restyle", label=str(label), args=[{"visible": [index // each == frame for index in range(each * len(labels))]}])
        for frame, label in enumerate(labels)
    ]  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=500, margin=dict(l=0, r=10, t=30, b=0), legend=dict(orientation="h", x=0, y=0, yanchor="top"),
        sliders=[dict(steps=steps, currentvalue=dict(prefix="frame "), pad=dict(t=60, b=15))],
    )  # fmt: skip
    return figure


def draw_strokes(pose):
    """The five fingers of a pose as one line with gaps: x, y, z."""
    joints = [joint for finger in FINGER_JOINTS.values() for joint in (*finger, None)]
    return [[None if joint is None else round(float(pose[joint, axis]), 1) for joint in joints] for axis in range(3)]


def equal_scenes(figure, reach, camera=_CAMERA):
    """Give all scenes of a plotly figure the same axes, ``reach`` mm each way, seen from a little aside."""
    axis = dict(range=[-reach, reach], showticklabels=False, title="", backgroundcolor="rgba(0,0,0,0)", gridcolor="lightgrey")
    figure.update_scenes(xaxis=axis, yaxis=axis, zaxis=axis, aspectmode="cube", camera=camera)


def interactive_moved(moved):
    """How far predictions move, as boxes: {row: {"background" | "light": (M,) mm}}; the line is the median, dashed the mean."""
    figure = go.Figure()
    for change in ("background", "light"):
        quantiles = np.array([np.percentile(one[change], [5, 25, 50, 75, 95]) for one in moved.values()]).round(1).T
        means = [round(float(one[change].mean()), 1) for one in moved.values()]
        figure.add_box(
            x=[row if row == "baseline" else f"row {row}" for row in moved], lowerfence=quantiles[0], q1=quantiles[1],
            median=quantiles[2], q3=quantiles[3], upperfence=quantiles[4], mean=means, name=CHANGE_WORDS[change],
            line_color=CHANGE_COLOURS[change],
        )  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=380, boxmode="group", margin=dict(l=50, r=10, t=30, b=30),
        yaxis=dict(title="prediction moves by (mm)", rangemode="tozero"), legend=dict(orientation="h", x=0, y=1.02, yanchor="bottom"),
    )  # fmt: skip
    return figure


# Gradients


def interactive_gradients(norms):
    """Gradient norm of each layer, an epoch a stop of the slider: {row: list of DataFrames (epochs, layers), one a seed}.

    Lines: geometric means over seeds; dots: the seeds.
    """
    layers = [name.replace(", ", ",<br>").replace("decoder layer", "decoder<br>layer") for name in next(iter(norms.values()))[0].columns]
    epochs = min(len(one) for seeds in norms.values() for one in seeds)
    figure = go.Figure()
    for epoch in range(epochs):
        for (row, seeds), colour in zip(norms.items(), ("#D55E00", "#0072B2")):
            values = np.array([one.iloc[epoch] for one in seeds], float)
            visible = epoch == epochs - 1
            figure.add_scatter(x=layers, y=np.exp(np.log(values).mean(0)), mode="lines+markers", name=row, line_color=colour,
                               visible=visible, hovertemplate=f"{row}: %{{y:.4g}}<extra></extra>")  # fmt: skip
            figure.add_scatter(x=layers * len(values), y=values.ravel(), mode="markers", visible=visible, showlegend=False,
                               marker=dict(color=colour, size=5, symbol="circle-open"), hoverinfo="skip")  # fmt: skip
    each = 2 * len(norms)
    steps = [
        dict(method="restyle", label=str(epoch + 1), args=[{"visible": [index // each == epoch for index in range(each * epochs)]}])
        for epoch in range(epochs)
    ]  # fmt: skip
    every = np.concatenate([one.to_numpy(float).ravel() for seeds in norms.values() for one in seeds])
    span = [float(np.log10(every[every > 0].min()) - 0.15), float(np.log10(every.max()) + 0.15)]
    figure.update_layout(
        template="plotly_white", height=430, margin=dict(l=60, r=10, t=30, b=20),
        legend=dict(orientation="h", x=0, y=1.02, yanchor="bottom"),
        yaxis=dict(type="log", title="mean gradient norm", range=span, dtick=1), xaxis=dict(tickangle=0, tickfont_size=10),
        sliders=[dict(steps=steps, active=epochs - 1, currentvalue=dict(prefix="epoch "), pad=dict(t=55, b=10))],
    )  # fmt: skip
    return figure


__all__ = [
    "FINGER_JOINTS", "directions_static", "draw_strokes", "equal_scenes", "interactive_gradients", "interactive_latents",
    "interactive_moved", "interactive_pairs", "latents_static", "pairs_static",
]  # fmt: skip
