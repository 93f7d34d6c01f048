"""Crop, rotation, vertical flip and resize of a whole batch in one warp, with the pose (section 4.2)."""

import torch

from .resample import grid_resample, resample
from .shards import ROTATION_MARGIN

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class Batch:
    """images float32 (B, 3, S, S), ImageNet-normalised; pose float32 (B, 21, 3), root-relative, over the scale.

    A plain class on purpose: Fabric rounds the tensors of tuples and dataclasses to half precision, labels too.
    """

    def __init__(self, images, pose):
        self.images, self.pose = images, pose


def draw_augmentation(count, generator, max_rotation=45.0, flip_probability=0.5):
    """Angles in radians, uniform in +-max_rotation degrees, and flips: float32 (count,), bool (count,)."""
    angle = (2 * torch.rand(count, generator=generator) - 1) * max_rotation * torch.pi / 180
    flip = torch.rand(count, generator=generator) < flip_probability
    return angle, flip


def in_plane(angle, flip):
    """2 x 2 matrices A that first mirror y where ``flip``, then turn by ``angle`` (x towards y): (B,), (B,) -> (B, 2, 2).

    Both act on image axes, x right and y down, and on the xy of a view-corrected pose alike.
    """
    cos, sin = angle.cos(), angle.sin()
    sign = torch.where(flip, -1.0, 1.0)
    return torch.stack([cos, -sin * sign, sin, cos * sign], -1).unflatten(-1, (2, 2))


def warp(crops, pose, size, angle=None, flip=None, rows=None):
    """Stored crops to network input: crops uint8 (B, R, R, 3), pose (B, 21, 3) -> ``Batch`` of ``size`` px.

    The picture is turned by A = ``in_plane(angle, flip)`` about its centre and the pose's xy with it;
    without angles the crop is only cut and resized. ``rows`` int (B,): which of N crops are meant, so that they need not be
    copied out of a memory map first. Runs on the device that ``crops`` is on: on the CPU in compiled code,
    on as many threads as torch may use. Raises ValueError for pictures of another kind there.
    """
    if angle is None:
        angle = torch.zeros(len(pose))
        flip = torch.zeros(len(pose), dtype=torch.bool)
    A = in_plane(angle, flip)
    if crops.is_cuda:
        A = A.pin_memory().to(crops.device, non_blocking=True)
    # Where each output pixel comes from: the inverse, which for A is the transpose.
    inverse = A.transpose(1, 2) / ROTATION_MARGIN
    way = resample if crops.device.type == "cpu" else grid_resample
    images = way(crops, inverse, size, _IMAGENET_MEAN, _IMAGENET_STD, rows)
    turned = torch.cat([pose[..., :2] @ A.transpose(1, 2), pose[..., 2:]], -1)
    return Batch(images, turned)
