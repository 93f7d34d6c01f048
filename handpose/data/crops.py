"""Crops of hands: where they are cut out, and what the view-corrected camera would see."""

import numpy as np
from PIL import Image

from ..geometry import crop_box, hand_scale

#: A crop is stored this much larger than the network sees it, so that turning by 45 degrees stays inside.
ROTATION_MARGIN = 2**0.5
_LARGEST = 16  # times the picture's side
SCALES = (1.0, 1000.0)  # mm, of a middle finger's proximal phalanx: anything else is no hand


def check_box(image, centre, side):
    """Raise ValueError when a crop of ``side`` px around ``centre`` (2,) px is no box or lies outside ``image`` (H, W, 3)."""
    left, top = np.asarray(centre, float) - side / 2
    if not (np.isfinite([left, top]).all() and side > 0):
        raise ValueError(f"crop of side {side} px at {tuple(centre)} is not a box")
    height, width = image.shape[:2]
    if side > _LARGEST * max(height, width):
        raise ValueError(f"crop of side {side:.0f} px is more than {_LARGEST} times the picture")
    if left >= width or top >= height or left + side <= 0 or top + side <= 0:
        raise ValueError(f"crop of side {side:.0f} px at {tuple(np.round(centre))} lies outside the picture")


def cut(image, centre, side, resolution):
    """Square crop of ``side`` px around ``centre`` (2,) px, resized with antialiasing; black outside the picture.

    image uint8 (H, W, 3) -> uint8 (resolution, resolution, 3). Raises ValueError when the side is not
    positive or nothing of the crop lies inside the picture.
    """
    check_box(image, centre, side)
    left, top = np.asarray(centre, float) - side / 2
    low = np.floor([left, top]).astype(int)
    high = np.ceil([left + side, top + side]).astype(int)
    outer = Image.fromarray(image).crop((*low, *high))
    box = (left - low[0], top - low[1], left - low[0] + side, top - low[1] + side)
    return np.asarray(outer.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box))


def rectify(image, centre, side, resolution, K, R):
    """The crop as the view-corrected camera would see it: the homography K' R K^-1, black outside the picture.

    Takes and returns what ``cut`` does, and K (3, 3) with R (3, 3) from ``view_rotation``. A point X lands on
    K' R X with K' of focal length f * resolution / side and its centre in the middle of the crop. Raises
    ValueError as ``cut`` does.
    """
    check_box(image, centre, side)
    K = np.asarray(K, np.float64)
    zoom = resolution / side
    K_crop = np.array([[K[0, 0] * zoom, 0, resolution / 2], [0, K[1, 1] * zoom, resolution / 2], [0, 0, 1]])
    # Shrinking needs antialiasing, which a homography has not: shrink the picture first.
    shrink = max(1.0, 1 / zoom)
    small = Image.fromarray(image)
    if shrink > 1:
        small = small.resize([max(1, round(length / shrink)) for length in small.size], Image.Resampling.BILINEAR)
    to_small = np.diag([small.width / image.shape[1], small.height / image.shape[0], 1.0])
    back = to_small @ K @ R.T @ np.linalg.inv(K_crop)
    coefficients = (back / back[2, 2]).ravel()[:8]
    size = (resolution, resolution)
    return np.asarray(small.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR))


def crop_of(frame):
    """Where a frame's hand is cut out for the shards: centre (2,) px and side, px. Raises ValueError when it can't be."""
    centre, side = crop_box(frame.uv)
    side = side * ROTATION_MARGIN
    check_box(frame.image, centre, side)
    scale = hand_scale(frame.xyz)
    if not SCALES[0] <= scale <= SCALES[1]:
        raise ValueError(f"a hand without size: its middle finger's proximal phalanx is {scale:.3g} mm long")
    if frame.xyz[:, 2].max() <= 0:
        raise ValueError("a hand behind the camera")
    return centre, side
