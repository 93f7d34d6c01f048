"""Hands in 3D: still, and to turn with the mouse. Knows arrays, not models.

Poses are (N, 21, 3), mm, camera frame (x right, y down, z forward), drawn around their root as the camera sees
them. ``root`` as in ``metrics``.
"""

import matplotlib.pyplot as plt
import numpy as np
from plotly.subplots import make_subplots

from .figures import FINGER_COLOURS
from .metrics import root_of
from .skeleton import FINGERS, finger_of

_FINGER_JOINTS = {finger: [0] + [j for j in range(1, 21) if finger_of(j) == finger] for finger in FINGERS}


def poses_static(images, poses, errors=None, width=10, root="palm"):
    """Still view of hands in 3D: a row a frame, its picture first, then one 3D drawing a name.

    images: N pictures (H, W, 3), or None for drawings alone; poses: {name: (N, 21, 3)}; errors: {name: (N,)} mm,
    written above the drawings.
    """
    count, first = len(next(iter(poses.values()))), 2 if images else 1
    columns = len(poses) + first - 1
    high = 0.86 * width / columns + (0.22 if errors else 0)  # inches a row; the numbers stand between the rows
    figure = plt.figure(figsize=(width, high * count + 0.3))
    for row in range(count):
        if images:
            axes = figure.add_subplot(count, columns, row * columns + 1)
            axes.imshow(images[row])
            axes.axis("off")
        for column, (name, pose) in enumerate(poses.items()):
            axes = figure.add_subplot(count, columns, row * columns + column + first, projection="3d")
            _draw_pose(axes, _centred(pose, root)[row], *_box([_centred(one, root)[row] for one in poses.values()]))
            note = [name] if row == 0 else []
            note += [f"{errors[name][row]:.1f} mm"] if errors and name in errors else []
            axes.set_title("\n".join(note), fontsize=9, pad=2)
    top = 1 - (0.4 if errors else 0.22) / figure.get_figheight()  # room for the title, of two lines with errors
    figure.subplots_adjust(0.01, 0.01, 0.99, min(0.96, top), wspace=0.02, hspace=0.3 if errors else 0.16)
    return figure


def _centred(pose, root):
    return pose - root_of(pose, root)[..., None, :]


def _box(poses, room=1.1, most=2):
    """Middle (3,) and half a side of the cube that holds all poses, arrays (..., 3), with some room around.

    Where that is more than ``most`` times what the first need, the true ones: a cube of that size around them. A prediction
    that is wrong altogether would make all hands too small to see, and is cut off instead.
    """
    points = [np.reshape(pose, (-1, 3)) for pose in poses]
    (middle, reach), (first, enough) = (
        ((part.min(0) + part.max(0)) / 2, room * np.ptp(part, axis=0).max() / 2) for part in (np.concatenate(points), points[0])
    )
    return (middle, reach) if reach <= most * enough else (first, most * enough)


def _draw_pose(axes, pose, middle=(0, 0, 0), reach=140):
    # matplotlib's z is up, ours forward: draw (x, z, -y)
    for finger, joints in _FINGER_JOINTS.items():
        x, y, z = pose[joints].T
        axes.plot(x, z, -y, color=FINGER_COLOURS[finger], lw=2, marker="o", ms=2.5)
    x, y, z = middle
    axes.set(xlim=(x - reach, x + reach), ylim=(z - reach, z + reach), zlim=(-y - reach, -y + reach))
    axes.set_box_aspect((1, 1, 1), zoom=1.4)
    axes.view_init(elev=12, azim=-75)
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])


def interactive_poses(poses, labels, root="palm"):
    """Hands in 3D, side by side, with a slider over the frames.

    poses: {name: (N, 21, 3)} mm; labels: N texts for the slider. Each name has its own scene, drawn around
    the root; the cube is the same in all and holds all hands, but for what lies far from the first, the true ones.
    """
    names, count = list(poses), len(labels)
    poses = {name: _centred(np.asarray(pose), root).round(1) for name, pose in poses.items()}
    middle, reach = _box(list(poses.values()))
    figure = make_subplots(
        1, len(names), specs=[[{"type": "scene"}] * len(names)], subplot_titles=names, horizontal_spacing=0.01
    )
    for frame in range(count):
        for column, name in enumerate(names):
            pose = poses[name][frame]
            for finger, joints in _FINGER_JOINTS.items():
                x, y, z = pose[joints].T
                figure.add_scatter3d(
                    x=x, y=y, z=z, mode="lines+markers", name=finger, visible=frame == 0, showlegend=False,
                    line=dict(color=FINGER_COLOURS[finger], width=6), marker=dict(size=3, color=FINGER_COLOURS[finger]),
                    hovertemplate=f"{finger}<br>x %{{x}} y %{{y}} z %{{z}} mm<extra>{name}</extra>", row=1, col=column + 1,
                )  # fmt: skip
    per_frame = len(names) * len(_FINGER_JOINTS)
    axis = dict(showticklabels=False, title="", backgroundcolor="rgba(0,0,0,0)", gridcolor="lightgrey")
    ranges = {f"{name}axis": axis | dict(range=[float(at - reach), float(at + reach)]) for name, at in zip("xyz", middle)}
    figure.update_scenes(
        **ranges, aspectmode="cube",
        camera=dict(up=dict(x=0, y=-1, z=0), eye=dict(x=0.35, y=-0.45, z=-1.75)),
    )  # fmt: skip
    steps = [
        dict(method="restyle", label=str(labels[frame]),
             args=[{"visible": [index // per_frame == frame for index in range(per_frame * count)]}])
        for frame in range(count)
    ]  # fmt: skip
    figure.update_layout(
        template="plotly_white", height=450, margin=dict(l=0, r=10, t=30, b=0),
        sliders=[dict(steps=steps, currentvalue=dict(prefix="frame "), pad=dict(t=10, b=20))],
    )  # fmt: skip
    return figure


__all__ = ["interactive_poses", "poses_static"]
