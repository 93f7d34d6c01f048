"""Figures from numbers: pictures with joints, curves, hands one can turn. Knows arrays, not models.

Matplotlib functions return a Figure, the ones named ``interactive_`` a plotly Figure. Poses are (21, 3),
mm, camera frame (x right, y down, z forward); they are drawn as the camera sees them. ``root`` as in ``metrics``.
"""

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .metrics import auc, pck, root_of
from .skeleton import BONES, FINGERS, finger_of

#: One colour a finger (Okabe and Ito's palette: told apart by colour-blind readers too).
FINGER_COLOURS = dict(zip(FINGERS, ("#D55E00", "#E69F00", "#009E73", "#0072B2", "#CC79A7")))
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_FINGER_JOINTS = {finger: [0] + [j for j in range(1, 21) if finger_of(j) == finger] for finger in FINGERS}


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


def training_curves(history):
    """Loss terms and evaluation error over the epochs of a ``history`` (dicts as ``train`` returns them)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    epochs = np.arange(1, len(history) + 1)
    skip = {"phase", "epoch", "steps", "seconds", "images_per_second", "mepe"}
    names = [name for name in dict.fromkeys(key for record in history for key in record) if name not in skip]
    for index, name in enumerate(names):
        left.plot(epochs, [record.get(name, np.nan) for record in history], ".-", label=name,
                  color=LINE_COLOURS[index % len(LINE_COLOURS)])  # fmt: skip
    left.set(xlabel="epoch", ylabel="weighted loss term", yscale="log")
    left.legend(fontsize=7)
    right.plot(epochs, [record["mepe"] for record in history], ".-", color="black")
    right.set(xlabel="epoch", ylabel="MEPE, evaluation split (mm)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        for index in range(1, len(history)):
            if history[index]["phase"] != history[index - 1]["phase"]:
                axes.axvline(index + 0.5, color="grey", ls=":")
    figure.tight_layout()
    return figure


def pck_curves(predictions, target, low=20, high=50, root="palm"):
    """PCK of several predictions {name: (N, 21, 3)} against ``target``, 0 to ``high`` mm, AUC in the legend."""
    thresholds = np.linspace(0, high, 101)
    figure, axes = plt.subplots(figsize=(6, 4))
    for (name, predicted), colour in zip(predictions.items(), LINE_COLOURS):
        label = f"{name} (AUC {auc(predicted, target, low, high, root=root):.3f})"
        axes.plot(thresholds, pck(predicted, target, thresholds, root=root), color=colour, label=label)
    axes.axvspan(low, high, color="grey", alpha=0.08, lw=0)
    axes.set(xlabel="error threshold (mm)", ylabel="PCK", xlim=(0, high), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.tight_layout()
    return figure


def interactive_pck(predictions, target, low=20, high=50, root="palm"):
    """The same curves as ``pck_curves``, to hover over and to switch on and off."""
    thresholds = np.linspace(0, high, 101)
    figure = go.Figure()
    for (name, predicted), colour in zip(predictions.items(), LINE_COLOURS):
        figure.add_scatter(
            x=thresholds.round(2), y=pck(predicted, target, thresholds, root=root).round(4), mode="lines", line_color=colour,
            name=f"{name} (AUC {auc(predicted, target, low, high, root=root):.3f})",
            hovertemplate="%{y:.3f} within %{x:.1f} mm",
        )  # fmt: skip
    figure.add_vrect(x0=low, x1=high, fillcolor="grey", opacity=0.08, line_width=0)
    figure.update_layout(
        template="plotly_white", height=420, margin=dict(l=10, r=10, t=20, b=10), hovermode="x unified",
        xaxis_title="error threshold (mm)", yaxis_title="PCK", yaxis_range=[0, 1], xaxis_range=[0, high],
        legend=dict(x=0.02, y=0.98, bgcolor="rgba(255,255,255,0.7)"),
    )  # fmt: skip
    return figure


def poses_static(images, poses, errors=None, width=10, root="palm"):
    """Still view of hands in 3D: a row a frame, its picture first, then one 3D drawing a name.

    images: list of (H, W, 3); poses: {name: (N, 21, 3)}; errors: {name: (N,)} mm, for the titles.
    """
    count, columns = len(images), len(poses) + 1
    figure = plt.figure(figsize=(width, width / columns * count))
    for row in range(count):
        axes = figure.add_subplot(count, columns, row * columns + 1)
        axes.imshow(images[row])
        axes.axis("off")
        for column, (name, pose) in enumerate(poses.items()):
            axes = figure.add_subplot(count, columns, row * columns + column + 2, projection="3d")
            _draw_pose(axes, pose[row] - root_of(pose[row], root))
            note = f"\n{errors[name][row]:.1f} mm" if errors and name in errors else ""
            axes.set_title(name + note, fontsize=8)
    figure.tight_layout(pad=0.4)
    return figure


def _draw_pose(axes, pose, reach=110):
    # matplotlib's z is up, ours forward: draw (x, z, -y)
    for finger, joints in _FINGER_JOINTS.items():
        x, y, z = pose[joints].T
        axes.plot(x, z, -y, color=FINGER_COLOURS[finger], lw=2, marker="o", ms=2.5)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    axes.set_box_aspect((1, 1, 1), zoom=1.25)
    axes.view_init(elev=12, azim=-75)
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])


def interactive_poses(poses, labels, reach=110, root="palm"):
    """Hands in 3D, side by side, with a slider over the frames.

    poses: {name: (N, 21, 3)} mm; labels: N texts for the slider. Each name has its own scene, drawn around
    the root.
    """
    names, count = list(poses), len(labels)
    figure = make_subplots(
        1, len(names), specs=[[{"type": "scene"}] * len(names)], subplot_titles=names, horizontal_spacing=0.01
    )
    for frame in range(count):
        for column, name in enumerate(names):
            pose = poses[name][frame]
            pose = (pose - root_of(pose, root)).round(1)
            for finger, joints in _FINGER_JOINTS.items():
                x, y, z = pose[joints].T
                figure.add_scatter3d(
                    x=x, y=y, z=z, mode="lines+markers", name=finger, visible=frame == 0, showlegend=False,
                    line=dict(color=FINGER_COLOURS[finger], width=6), marker=dict(size=3, color=FINGER_COLOURS[finger]),
                    hovertemplate=f"{finger}<br>x %{{x}} y %{{y}} z %{{z}} mm<extra>{name}</extra>", row=1, col=column + 1,
                )  # fmt: skip
    per_frame = len(names) * len(_FINGER_JOINTS)
    axis = dict(range=[-reach, reach], showticklabels=False, title="", backgroundcolor="rgba(0,0,0,0)", gridcolor="lightgrey")
    figure.update_scenes(
        xaxis=axis, yaxis=axis, zaxis=axis, aspectmode="cube",
        camera=dict(up=dict(x=0, y=-1, z=0), eye=dict(x=0.35, y=-0.45, z=-1.7)),
    )  # fmt: skip
    steps = [
        dict(method="restyle", label=str(labels[frame]),
             args=[{"visible": [index // per_frame == frame for index in range(per_frame * count)]}])
        for frame in range(count)
    ]  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=430, margin=dict(l=0, r=0, t=30, b=0), sliders=[dict(steps=steps, currentvalue=dict(prefix="frame "), pad=dict(t=10))]
    )
    return figure


__all__ = [
    "FINGER_COLOURS", "draw_skeleton", "frame_grid", "interactive_pck", "interactive_poses",
    "pck_curves", "poses_static", "training_curves",
]  # fmt: skip
