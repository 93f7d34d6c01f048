"""A trained run, ready for one picture at a time."""

import numpy as np
import torch

from .data.augment import warp
from .data.crops import SCALES
from .data.shards import ROTATION_MARGIN, cut, rectify
from .geometry import BOX_MARGIN, restore_pose, view_rotation
from .metrics import root_of
from .peers.picture import camera_of, root_depth
from .runs import open_run
from .train import make_fabric


class Predictor:
    """Callable made by ``handpose.load``: one picture of one hand to 21 joints in millimetres."""

    def __init__(self, run, device="cpu"):
        self.card = run.card
        self.size = run.card["settings"]["size"]
        self.device = _device(device)
        self.networks = run.networks().to(self.device)

    @torch.no_grad()
    def __call__(self, image, K=None, box=None, hand="right", root=None, scale=None):
        """Predict the pose of one hand.

        image uint8 (H, W, 3), RGB; K (3, 3), px, default: ``default_camera``; box (x0, y0, x1, y1) px, tight
        around the hand's joints, default: the whole picture; hand "left" or "right"; root (3,) mm, default: the
        origin, so that the pose is relative to its root, as the network puts it: its own may lie some millimetres from there
        (Iqbal et al. work out the root's depth, and leave a given one aside); scale: length of the middle finger's proximal
        phalanx in mm, default: the training hands' mean.

        Returns float64 (21, 3), mm, camera frame, canonical joint order. Raises ValueError for another shape or
        type of image, a box without area or outside the picture, another hand, a root behind the camera, a scale
        that no hand has, numbers that are not finite, and networks that predict such.
        """
        image, K, box, hand, root, scale = checked(image, K, box, hand, root, scale)
        root = root if root is None or root.any() else None
        crop, R = hand_crop(image, K, box, hand, self.size, self.card["settings"]["view"])
        crop = torch.from_numpy(np.array(crop[None])).to(self.device)
        images = warp(crop, torch.zeros(1, 21, 3, device=self.device), self.size).images
        left, scale = np.array([hand == "left"]), np.array([self.card["scale_mm"] if scale is None else scale], float)
        if getattr(self.networks, "in_picture", False):
            view, place = self.card["settings"]["view"], None if root is None else root[None]
            pose = lifted(self.networks, images, K[None], box[None], left, R[None], view, place, scale)[0]
            pose = pose - root_of(pose[None], self.card["root_joint"])[0] if root is None else pose
        else:
            root = np.zeros(3) if root is None else root
            pose = restore_pose(self.networks(images).cpu().numpy(), R[None], left, root[None], scale)[0]
        if root is not None and root.any() and pose[:, 2].min() <= 0:
            raise ValueError(f"root {_listed(root)} is so near that part of the hand lies behind the camera: give it in millimetres")
        if not np.isfinite(pose).all():
            raise ValueError("the networks of this run predict a pose that is not finite: train it again, or take another run")
        return pose


def _device(device):
    """The ``torch.device`` of "cpu", "cuda", "auto" or another name of torch's ("cuda:1"); ValueError for what is none or not here."""
    try:
        there = torch.device(device)
        torch.zeros(1, device=there).cpu()
        return there
    except (AssertionError, NotImplementedError, RuntimeError, TypeError):  # what torch raises of one that it lacks
        if str(device).startswith("cuda:") and torch.cuda.is_available():
            raise ValueError(f"no GPU {device} was found: there are {torch.cuda.device_count()}, the first is cuda:0") from None
        return make_fabric(device=str(device).partition(":")[0]).device


def lifted(networks, images, K, boxes, left, R, view, root, scale):
    """Poses by networks that predict in the picture: (N, 21, 3) mm, camera frame; all of N hands, without a root (None) at the depth
    that the hand's scale says.
    """
    centres, sides = zip(*map(crop_square, boxes))
    cameras, picture = camera_of(K, np.stack(centres), np.array(sides), left, R, view), networks.picture(images).cpu().numpy()
    root = (scale * root_depth(picture, cameras))[:, None] * cameras.axis if root is None else root
    return networks.lift(picture, cameras, root, scale)


def default_camera(width, height):
    """K (3, 3) of a picture whose camera is not known: as wide as the picture, f = W px, looking at its middle."""
    return np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])


def checked(image, K=None, box=None, hand="right", root=None, scale=None):
    """What a user gives for one hand, as arrays, with the defaults for K and box; one line of ValueError for what can't be.

    Returns image, K (3, 3), box (4,), hand, root (3,) or None, scale or None.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    if not isinstance(hand, str) or hand not in ("left", "right"):
        raise ValueError(f'hand must be "left" or "right", got {hand!r}')
    box = _numbers("box", "x0 y0 x1 y1, in pixels", (4,), (0, 0, width, height) if box is None else box)
    x0, y0, x1, y1 = box
    if not (x1 > x0 and y1 > y0):
        raise ValueError(f"box must be x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {_listed(box)}")
    if min(x1 - x0, y1 - y0) < 2:
        raise ValueError(f"box {_listed(box)} is less than 2 pixels wide or high: it is in pixels, not in shares of the picture")
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise ValueError(f"box {_listed(box)} lies outside the picture, which is {width} x {height} px")
    if K is None:
        K = default_camera(width, height)
    K = _numbers("K", "3 x 3 numbers", (3, 3), K)
    if not (K[0, 0] > 0 and K[1, 1] > 0):
        raise ValueError(f"K must have positive focal lengths, in pixels, got {_listed(K[[0, 1], [0, 1]])}")
    if min(K[0, 0], K[1, 1]) < max(width, height) / 20:  # 169 degrees
        raise ValueError(f"K must be in pixels, not in shares of the picture, got focal lengths {_listed(K[[0, 1], [0, 1]])}")
    if not np.array_equal(K[2], (0, 0, 1)):
        raise ValueError(f"K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], got {_listed(K[2])} in its last line")
    if root is not None:
        root = _numbers("root", "x y z, in millimetres", (3,), root)
        if root[2] <= 0 and root.any():  # the origin says that the root is not known
            raise ValueError(f"root must lie in front of the camera, z > 0, got {_listed(root)}")
    if scale is not None:
        scale = float(_numbers("scale", "one number, in millimetres", (), scale))
        if not SCALES[0] <= scale <= SCALES[1]:
            raise ValueError(f"scale must be a length of {SCALES[0]:g} to {SCALES[1]:g} millimetres, got {scale:g}")
    return image, K, box, hand, root, scale


def _numbers(name, what, shape, value):
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be {what}, got {value!r}") from None
    if array.shape != shape:
        raise ValueError(f"{name} must be {what}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be {what}, all of them finite, got {_listed(array.ravel())}")
    return array


def _listed(numbers):
    return " ".join(f"{number:g}" for number in numbers)


def hand_crop(image, K, box, hand, size, view):
    """What networks of ``size`` px see of one hand, before they resize it, and the R (3, 3) of its view correction.

    image uint8 (H, W, 3), K (3, 3), box (4,) px, ``hand`` as in ``Predictor``; ``view`` as in ``write_shards``. Returns
    uint8 (r, r, 3), a left hand mirrored, and R. Raises ValueError as ``cut`` does.
    """
    centre, side = crop_square(box)
    R = view_rotation(centre, K)
    side, resolution = side * ROTATION_MARGIN, int(np.ceil(size * ROTATION_MARGIN))
    crop = cut(image, centre, side, resolution) if view == "crop" else rectify(image, centre, side, resolution, K, R)
    return (crop[:, ::-1] if hand == "left" else crop), R


def crop_square(box):
    """Centre (2,) and side of the square that the network sees of a hand in ``box`` (x0, y0, x1, y1), px."""
    x0, y0, x1, y1 = box
    return np.array([x0 + x1, y0 + y1]) / 2, BOX_MARGIN * max(x1 - x0, y1 - y0)


def load(run, device="cpu"):
    """Open a finished run (the folder of a stage) as a ``Predictor``, on ``device``: "cpu", "cuda" or "auto".

    Raises FileNotFoundError when there is none; ValueError, in one line, for a damaged one and for a device that is not here.
    """
    return Predictor(open_run(run), device)
