"""Where a hand lies in its crop, and the way back: what methods that predict joints in the picture need.

A crop has its own camera P (3, 3): a point X (mm, camera frame) has depth d = (P X)_z and lies at (P X)_xy / d, in
units of the crop's side, from its centre, x right, y down. "Picture coordinates" of a joint are (x, y, relative depth),
the last being its depth less the root's, over the hand's scale.
"""

import numpy as np

from ..geometry import crop_box, project
from ..skeleton import RHD_ORDER

_MIRROR = np.diag([-1.0, 1.0, 1.0])


def crop_cameras(shards, frames, view="crop"):
    """Camera P of every crop of ``shards``, as the network sees it: float64 (N, 3, 3), without unit.

    ``frames``: the reader that the shards were made from. ``view`` as in ``write_shards``. Left hands are mirrored.
    """
    left = np.asarray(shards.left)
    uv, K = frames.uv[shards.frame], np.asarray(frames.K, np.float64)[shards.frame]
    if uv.shape[1] == 2 * len(RHD_ORDER):
        uv = np.take_along_axis(uv, (RHD_ORDER + np.where(left, 0, 21)[:, None])[..., None], axis=1)
    centre, side = crop_box(uv)
    P = np.zeros_like(K)
    P[:, 0, 0], P[:, 1, 1], P[:, 2, 2] = K[:, 0, 0] / side, K[:, 1, 1] / side, 1
    if view == "crop":
        P[:, :2, 2] = (K[:, :2, 2] - centre) / side[:, None]
        P[:, 0, 1] = K[:, 0, 1] / side
    else:
        P = P @ np.asarray(shards.rotation, np.float64)
    return np.where(left[:, None, None], _MIRROR @ P, P)


def to_picture(xyz, P, root, scale):
    """Picture coordinates of joints: xyz (N, 21, 3) mm, P (N, 3, 3), root (N, 3) mm, scale (N,) mm -> (N, 21, 3)."""
    depth = xyz @ P[:, 2, :, None]  # (N, 21, 1)
    relative = (depth - (root[:, None] @ P[:, 2, :, None])) / np.asarray(scale)[:, None, None]
    return np.concatenate([project(xyz, P), relative], -1)


def from_picture(picture, P, root_depth, scale):
    """Inverse of ``to_picture`` for a known depth of the root (N,), mm: picture (N, 21, 3) -> (N, 21, 3) mm, camera frame."""
    picture = np.asarray(picture, np.float64)
    depth = picture[..., 2:] * np.asarray(scale)[:, None, None] + np.asarray(root_depth)[:, None, None]
    rays = np.concatenate([picture[..., :2], np.ones_like(depth)], -1) @ np.swapaxes(np.linalg.inv(P), 1, 2)
    return rays * depth


class WithPicture:
    """Shards for training whose ``pose`` carries the picture coordinates as 21 more rows: float32 (N, 42, 3).

    Turning and mirroring a crop about its centre acts on x and y of both alike, so the one warp serves both.
    """

    def __init__(self, shards, cameras):
        picture = to_picture(shards.target, cameras, shards.root, shards.scale)
        self.crops, self.pose = shards.crops, np.concatenate([shards.pose, picture.astype(np.float32)], 1)

    def __len__(self):
        return len(self.pose)
