"""A trained run, ready for one picture at a time."""

import numpy as np
import torch

from .data.augment import warp
from .data.shards import ROTATION_MARGIN, cut, rectify
from .geometry import BOX_MARGIN, restore_pose, view_rotation
from .runs import open_run


class Predictor:
    """Callable made by ``handpose.load``: one picture of one hand to 21 joints in millimetres."""

    def __init__(self, run, device="cpu"):
        self.card = run.card
        self.size = run.card["settings"]["size"]
        self.device = torch.device(device)
        self.networks = run.networks().to(self.device)

    @torch.no_grad()
    def __call__(self, image, K=None, box=None, hand="right", root=None, scale=None):
        """Predict the pose of one hand.

        image uint8 (H, W, 3), RGB; K (3, 3), px, default: a camera as wide as the picture, f = W; box
        (x0, y0, x1, y1) px, tight around the hand, default: the whole picture; hand "left" or "right";
        root (3,) mm, default: the origin, so that the pose is relative to its root; scale: length of the
        middle finger's proximal phalanx in mm, default: the training hands' mean.

        Returns float64 (21, 3), mm, camera frame, canonical joint order. Raises ValueError for another
        shape or type of image, a box without area or outside the picture, or another hand.
        """
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
        if hand not in ("left", "right"):
            raise ValueError(f'hand must be "left" or "right", got {hand!r}')
        height, width = image.shape[:2]
        x0, y0, x1, y1 = np.asarray(box if box is not None else (0, 0, width, height), float)
        if not (x1 > x0 and y1 > y0):
            raise ValueError(f"box must be x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {tuple(box)}")
        centre, side = np.array([x0 + x1, y0 + y1]) / 2, BOX_MARGIN * max(x1 - x0, y1 - y0)
        K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]]) if K is None else np.asarray(K)

        R = view_rotation(centre, K)
        side, resolution = side * ROTATION_MARGIN, int(np.ceil(self.size * ROTATION_MARGIN))
        if self.card["settings"]["view"] == "crop":
            crop = cut(image, centre, side, resolution)
        else:
            crop = rectify(image, centre, side, resolution, K, R)
        if hand == "left":
            crop = crop[:, ::-1]
        crop = torch.from_numpy(np.array(crop[None])).to(self.device)
        pose = self.networks(warp(crop, torch.zeros(1, 21, 3, device=self.device), self.size).images)
        return restore_pose(
            pose.cpu().numpy(), R[None], np.array([hand == "left"]),
            np.zeros((1, 3)) if root is None else np.asarray(root, float)[None],
            np.array([self.card["scale_mm"] if scale is None else scale], float),
        )[0]  # fmt: skip


def load(run, device="cpu"):
    """Open a finished run (the folder of a stage) as a ``Predictor``. Raises FileNotFoundError when there is none."""
    return Predictor(open_run(run), device)
