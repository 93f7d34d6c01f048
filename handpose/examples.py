"""Hands to explain the datasets on: frames in both layouts, an open hand, STB's motion with the true wrist.

All of it is rendered unless the folder of a real dataset is given.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from .data import RHD, STB, write_synthetic
from .data.augment import _IMAGENET_MEAN, _IMAGENET_STD, in_plane, warp
from .data.frame import Frame, read_image
from .data.rhd import decode_depth as rhd_depth
from .data.shards import ROTATION_MARGIN, cut, rectify
from .data.stb import K_COLOUR, K_DEPTH, SEQUENCES, load_labels
from .data.stb import decode_depth as stb_depth
from .data.synthetic import ACTIONS, label, render
from .data.synthetic.scene import Lens
from .data.synthetic.sequence import PALM_FACES_CAMERA, draw_moment, seen_by
from .data.synthetic.write import VERSION
from .geometry import BOX_MARGIN, crop_box, normalise_pose, palm_centre, project, view_rotation
from .records import only_one
from .skeleton import STB_ORDER

#: Frames rendered in RHD's and in STB's layout, evaluation split.
COUNTS = {"rhd": 48, "stb": 2}


def dataset_root(layout, dataset="synthetic", data_root=None, output_dir="runs", workers=1):
    """Folder of the frames in ``layout`` ("rhd" or "stb"): ``data_root`` where ``dataset`` is that one, else rendered ones.

    Rendered frames go to ``output_dir``/data; they are written when they are not there yet. Raises ValueError for another
    layout or dataset, and for a real dataset without ``data_root``.
    """
    if layout not in COUNTS:
        raise ValueError(f'layout must be "rhd" or "stb", got {layout!r}')
    if dataset not in ("synthetic", *COUNTS):
        raise ValueError(f"no dataset {dataset!r}; choose from synthetic, rhd, stb")
    if dataset == layout:
        if not data_root:
            raise ValueError(f'dataset "{dataset}" needs data_root: the folder where you unpacked it')
        return Path(data_root)
    folder = Path(output_dir) / "data" / f"examples-v{VERSION}-{layout}"
    with only_one(folder):
        return write_synthetic(folder, layout, evaluation=COUNTS[layout], workers=workers)


def rhd_pictures(root, index=0):
    """What RHD holds of an evaluation frame: {title: (picture, joints (21, 2) px or None)}."""
    frames = RHD(root, "evaluation")
    frame, name = frames[index], f"{index:05d}.png"
    depth = rhd_depth(read_image(frames.folder / "depth" / name, "RGB"))
    mask = read_image(frames.folder / "mask" / name, "L").astype(float)
    return {
        "color": (frame.image, None),
        f"uv_vis, the {frame.hand} hand's": (frame.image, frame.uv),
        "mask: part ids": (np.where(mask > 1, mask, np.nan), None),
        "depth": (np.where(depth < 0.98 * depth.max(), depth, np.nan), None),
    }


def stb_pictures(root, index=0):
    """What STB holds of an evaluation frame: {title: (picture, joints (21, 2) px or None)}.

    Labels stand where each camera sees them; one picture has SK's labels as they stand in the file, which is wrong there.
    """
    pictures = {}
    for camera in ("BB_left", "BB_right", "SK"):
        frames = STB(root, "evaluation", camera)
        frame, path = frames[index], frames.paths[index]
        pictures["SK_color, moved" if camera == "SK" else camera] = (frame.image, frame.uv)
    sequence, number = path.parent.name, int(path.stem.rpartition("_")[2])
    labels = load_labels(Path(root) / "labels" / f"{sequence}_SK.mat")[number, STB_ORDER]
    pictures["SK_color, not moved: wrong"] = (frame.image, project(labels, K_COLOUR))
    held = path.with_name(f"SK_depth_{number}.png")
    if not held.exists():  # nothing needs it
        return pictures
    depth = stb_depth(read_image(held, "RGB"))
    pictures["SK_depth"] = (np.where((depth > 0) & (depth < 1200), depth, np.nan), project(labels, K_DEPTH))
    return pictures


def open_hand(size=640):
    """An open left hand from its palm, rendered: a ``Frame``, and its mask (size, size), 0 beside the hand and arm."""
    moment = draw_moment(0, "B1Counting", 10, 100)
    focal, away = 2.35 * size, 600.0
    lens = Lens(size, size, focal, focal, size / 2, size / 2)
    hand = dataclasses.replace(
        moment, pose=ACTIONS["spread"].keys[0], wrist=(0.0, 0.0), turn=PALM_FACES_CAMERA, position=(0.0, 0.0, 0.0), lens=lens,
        size=size, focal=focal, shot_noise=0.0, read_noise=0.0,
    )  # fmt: skip
    joints = hand.joints()
    middle = 0.5 * (joints.min(0) + joints.max(0))
    hand = dataclasses.replace(hand, position=tuple((np.array([0.0, 0.0, away]) - middle).tolist()))
    image, mask, depth = render(hand)
    xyz, uv, K, side, visible = label(hand, mask, depth)
    return Frame(image, xyz, uv, K, side, visible), mask


def stb_truth(count=300):
    """Poses of rendered STB's evaluation split with the true wrist as joint 0, SK colour camera: (count, 21, 3), mm."""
    each = [count * (place + 1) // 2 - count * place // 2 for place in range(2)]
    moments = [draw_moment(0, name, index, many) for name, many in zip(SEQUENCES["evaluation"], each) for index in range(many)]
    return np.stack([seen_by("SK_color", moment).joints() for moment in moments])


def view_angle(frame):
    """Angle in degrees between the camera's axis and the ray through the middle of the hand's box."""
    cosine = view_rotation(crop_box(frame.uv)[0], frame.K)[2, 2]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def at_the_edge(frames, count=4, among=48):
    """The ``count`` frames that view correction turns most, of ``among`` spread over the dataset, most first.

    Hands whose box has its middle outside the picture, or that are small in it, are left out where there are others.
    """
    found = [frames[int(index)] for index in np.linspace(0, len(frames) - 1, min(among, len(frames)))]
    inside = []
    for frame in found:
        height, width = frame.image.shape[:2]
        (u, v), side = crop_box(frame.uv)
        if 0 < u < width and 0 < v < height and side > width / 6:
            inside.append(frame)
    return sorted(inside or found, key=view_angle, reverse=True)[:count]


def corrected(frame, root="palm", size=256):
    """View correction of one frame, before and after: a dict.

    angle: degrees; box: left, top, side px; crop, turned: pictures (size, size, 3), cut out and warped by the homography;
    before, after: the pose (21, 2) px as the network's target has it, seen along the axis (no perspective), unturned and
    turned, at the hand's place and size in ``crop``; after_turned: the same in ``turned``.
    """
    centre, side = crop_box(frame.uv)
    R, zoom = view_rotation(centre, frame.K), size / side
    place = palm_centre(frame.xyz) if root == "palm" else frame.xyz[0]
    focal, ahead = frame.K[0, 0], R @ place
    at_crop = (project(place[None], frame.K)[0] - centre) * zoom + size / 2
    at_turned = focal * zoom * ahead[:2] / ahead[2] + size / 2
    pose = (frame.xyz - place)[:, :2], ((frame.xyz - place) @ R.T)[:, :2]
    per_mm = focal * zoom / place[2], focal * zoom / ahead[2]
    return {
        "angle": view_angle(frame), "box": (*(centre - side / 2), side),
        "crop": cut(frame.image, centre, side, size), "turned": rectify(frame.image, centre, side, size, frame.K, R),
        "before": pose[0] * per_mm[0] + at_crop, "after": pose[1] * per_mm[0] + at_crop,
        "after_turned": pose[1] * per_mm[1] + at_turned,
    }  # fmt: skip


def augmented(frame, changes, size=192):
    """What training makes of one frame: pictures (size, size, 3) in [0, 1], and the poses (21, 2) px that go with them.

    changes: pairs of an angle in degrees and whether the picture is mirrored top to bottom, first mirrored, then turned.
    """
    centre, side = crop_box(frame.uv)
    stored = cut(frame.image, centre, side * ROTATION_MARGIN, int(np.ceil(size * ROTATION_MARGIN)))
    stored = stored[:, ::-1] if frame.hand == "left" else stored
    pose = normalise_pose(frame.xyz, centre, frame.K, frame.hand)[0].astype(np.float32)
    angle = torch.deg2rad(torch.tensor([float(degrees) for degrees, _ in changes]))
    flip, count = torch.tensor([bool(mirrored) for _, mirrored in changes]), len(changes)
    crops = torch.from_numpy(np.repeat(stored[None], count, 0))
    batch = warp(crops, torch.from_numpy(pose).expand(count, 21, 3), size, angle, flip)
    shown = batch.images.permute(0, 2, 3, 1).numpy()
    shown = (shown * _IMAGENET_STD + _IMAGENET_MEAN).clip(0, 1)
    middle = 0.5 * (pose[:, :2].min(0) + pose[:, :2].max(0))
    per_unit = size / BOX_MARGIN / np.ptp(pose[:, :2], axis=0).max()
    moved = batch.pose[..., :2].numpy() - (in_plane(angle, flip).numpy() @ middle)[:, None]
    return list(shown), list(moved * per_unit + size / 2)
