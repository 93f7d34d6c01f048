"""Where a hand lies in its crop, and the way back: what methods that predict joints in the picture need.

A crop has its own camera P (3, 3): a point X (mm, camera frame) lies at (P X)_xy / (P X)_z, in units of the crop's side,
from its centre, x right, y down. Depth is measured along the line of sight through that centre, as view correction has it:
a crop does not show where in the picture it was cut, so what lies along the camera's own axis can't be read from it.
"Picture coordinates" of a joint are (x, y, relative depth), the last being its depth less the root's, over the hand's scale.
"""

from typing import NamedTuple

import numpy as np

from ..geometry import crop_box, project
from ..skeleton import MIDDLE_MCP, MIDDLE_PIP, RHD_ORDER

_MIRROR = np.diag([-1.0, 1.0, 1.0])


class Cameras(NamedTuple):
    """Cameras of N crops: ``P`` (N, 3, 3), and ``axis`` (N, 3), the unit vector in the camera frame along which depth is measured."""

    P: np.ndarray
    axis: np.ndarray

    def depth(self, xyz):
        """Depth of points (N, ..., 3) in mm: (N, ...)."""
        return np.einsum("n...k,nk->n...", np.asarray(xyz), self.axis)

    def rays(self, xy):
        """What lies at places (N, J, 2) at depth 1: (N, J, 3)."""
        rays = np.concatenate([xy, np.ones_like(xy[..., :1])], -1) @ np.swapaxes(np.linalg.inv(self.P), 1, 2)
        return rays / self.depth(rays)[..., None]


def crop_cameras(shards, frames, view="crop"):
    """``Cameras`` of every crop of ``shards``, as the network sees it.

    ``frames``: the reader that the shards were made from. ``view`` as in ``write_shards``. Left hands are mirrored.
    """
    left = np.asarray(shards.left)
    uv = frames.uv[shards.frame]
    if uv.shape[1] == 2 * len(RHD_ORDER):
        uv = np.take_along_axis(uv, (RHD_ORDER + np.where(left, 0, 21)[:, None])[..., None], axis=1)
    centre, side = crop_box(uv)
    return camera_of(frames.K[shards.frame], centre, side, left, shards.rotation, view)


def camera_of(K, centre, side, left, R, view="crop"):
    """``Cameras`` of crops of ``side`` (N,) px around ``centre`` (N, 2) px: K (N, 3, 3), left bool (N,), R (N, 3, 3) of ``view_rotation``."""
    K, side = np.asarray(K, np.float64), np.asarray(side, np.float64)
    P = np.zeros_like(K)
    P[:, 0, 0], P[:, 1, 1], P[:, 2, 2] = K[:, 0, 0] / side, K[:, 1, 1] / side, 1
    if view == "crop":
        P[:, :2, 2] = (K[:, :2, 2] - centre) / side[:, None]
        P[:, 0, 1] = K[:, 0, 1] / side
    else:
        P = P @ np.asarray(R, np.float64)
    return Cameras(np.where(np.asarray(left)[:, None, None], _MIRROR @ P, P), np.asarray(R, np.float64)[:, 2])


def to_picture(xyz, cameras, root, scale):
    """Picture coordinates of joints: xyz (N, 21, 3) mm, ``Cameras``, root (N, 3) mm, scale (N,) mm -> (N, 21, 3)."""
    relative = cameras.depth(xyz - root[:, None]) / np.asarray(scale)[:, None]
    return np.concatenate([project(xyz, cameras.P), relative[..., None]], -1)


def from_picture(picture, cameras, root_depth, scale):
    """Inverse of ``to_picture`` for a known depth of the root (N,), mm: picture (N, 21, 3) -> (N, 21, 3) mm, camera frame."""
    picture = np.asarray(picture, np.float64)
    depth = picture[..., 2:] * np.asarray(scale)[:, None, None] + np.asarray(root_depth)[:, None, None]
    return cameras.rays(picture[..., :2]) * depth


def root_depth(picture, cameras, bone=(MIDDLE_MCP, MIDDLE_PIP), length=1.0):
    """Depth of the root over the hand's scale from the ``length`` of one ``bone`` over that scale: (N, 21, 3), ``Cameras`` -> (N,).

    With its joints at rays p and q (depth 1) and relative depths a and b, |(Z + a) p - (Z + b) q| = length is quadratic in Z;
    the larger root is the one in front of the camera. Where noise leaves no solution, the nearest: the parabola's lowest point.
    """
    picture, (one, other) = np.asarray(picture, np.float64), bone
    rays = cameras.rays(picture[..., :2])
    p, q = rays[:, one], rays[:, other]
    along = p - q
    rest = picture[:, one, 2:] * p - picture[:, other, 2:] * q
    a, half_b, c = (along**2).sum(-1), (along * rest).sum(-1), (rest**2).sum(-1) - length**2
    a = np.maximum(a, 1e-8)  # a bone along the ray
    return np.clip((-half_b + np.sqrt(np.maximum(half_b**2 - a * c, 0))) / a, 1, 200)


class WithPicture:
    """Shards for training whose ``pose`` carries the picture coordinates as 21 more rows: float32 (N, 42, 3).

    Turning and mirroring a crop about its centre acts on x and y of both alike, so the one warp serves both.
    """

    def __init__(self, shards, cameras):
        picture = to_picture(shards.target, cameras, shards.root, shards.scale)
        self.crops, self.pose = shards.crops, np.concatenate([shards.pose, picture.astype(np.float32)], 1)

    def __len__(self):
        return len(self.pose)
