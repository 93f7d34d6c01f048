"""What a prediction costs when something is not given: the box, the hand, the camera, the scale or the root.

Every figure of the book is measured with all of it given, as the paper's are (section 4.2). Here the same networks look
at evaluation frames once more, each time with one thing off or unknown, and at last with what is known of most
photographs: the hand, and a box drawn by eye.
"""

from dataclasses import dataclass

import numpy as np
import torch

from . import metrics
from .data.augment import warp
from .geometry import restore_pose
from .placement import estimate_root
from .predictor import default_camera, hand_crop, lifted

ALL = "everything given"
ONLY = "only hand and a box by eye"
JITTER = 0.1
#: {case: (box, hand, K, scale)}: "true", or what stands in for it.
CASES = {
    ALL: ("true", "true", "true", "true"),
    "box: each edge off by up to 10 %": ("jitter", "true", "true", "true"),
    "box: 1.2 times as large": (1.2, "true", "true", "true"),
    "box: 1.5 times as large": (1.5, "true", "true", "true"),
    "hand: the wrong one": ("true", "wrong", "true", "true"),
    "K not given": ("true", "true", "default", "true"),
    "scale not given": ("true", "true", "true", "mean"),
    ONLY: ("jitter", "true", "default", "mean"),
}
#: Cases for which the root is estimated, and compared with the true one.
ROOTS = (ALL, ONLY)
_BATCH = 64
_UNIT = 100  # errors are kept in hundredths of a millimetre


@dataclass(frozen=True)
class Given:
    """errors: {case: (M,)}, mm: mean over the joints, poses centred on their roots; offsets: {case: (M, 3)}, mm, camera
    frame: estimated root minus true root.
    """

    errors: dict
    offsets: dict

    @property
    def mepe(self):
        """{case: MEPE in mm}."""
        return {case: float(errors.mean()) for case, errors in self.errors.items()}


@torch.no_grad()
def given(run, data, count=256, seed=0):
    """Measure ``CASES`` on M = min(count, all) evaluation frames, evenly spread: a ``Given``.

    run: a ``Run``, whose networks predict on the CPU; data: the ``runs.Data`` to measure on; seed: of the boxes drawn by
    eye. The pictures are read anew, and cut as ``Predictor`` cuts them.
    """
    shards, frames = data.evaluation, data.frames("evaluation")
    networks, settings = run.networks(), run.card["settings"]
    rows = np.linspace(0, len(shards) - 1, min(count, len(shards))).round().astype(int)
    rng = np.random.default_rng(seed)
    errors, offsets = ({case: [] for case in cases} for cases in (CASES, ROOTS))
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        batch = [_Hand.of(frames[int(shards.frame[row])], rng) for row in part]
        target, root, scale = (array[part].astype(np.float64) for array in (shards.target, shards.root, shards.scale))
        for case, (box, hand, K, length) in CASES.items():
            looks = [one.look(box, hand, K, settings["size"], settings["view"]) for one in batch]
            boxes, cameras, left, crops, rotations = (np.stack(values) for values in zip(*looks))
            scales = scale if length == "true" else np.full(len(part), run.card["scale_mm"])
            images = warp(torch.from_numpy(crops), torch.zeros(len(part), 21, 3), settings["size"]).images
            if getattr(networks, "in_picture", False):
                place = None if case == ONLY else root
                pose = lifted(networks, images, cameras, boxes, left, rotations, settings["view"], place, scales)
            else:
                pose = restore_pose(networks(images).numpy(), rotations, left, np.zeros((len(part), 3)), scales)
            errors[case].append(metrics.joint_errors(pose, target, data.root_joint).mean(1))
            if case in ROOTS:
                centred = pose - metrics.root_of(pose, data.root_joint)[:, None]
                offsets[case].append(estimate_root(centred, boxes, cameras) - root)
    return Given(*({case: np.concatenate(values) for case, values in both.items()} for both in (errors, offsets)))


@dataclass(frozen=True)
class _Hand:
    """A frame, and the box that someone drew around its hand."""

    frame: object
    jitter: np.ndarray

    @classmethod
    def of(cls, frame, rng):
        return cls(frame, rng.uniform(-JITTER, JITTER, 4))

    def look(self, box, hand, K, size, view):
        """Box (4,), K (3, 3), left or not, crop and R, with what is true or what stands in for it."""
        image, other = self.frame.image, {"left": "right", "right": "left"}
        true = np.concatenate([self.frame.uv.min(0), self.frame.uv.max(0)]).astype(np.float64)
        side = np.tile(true[2:] - true[:2], 2)
        changes = {"true": 0.0, "jitter": self.jitter}
        used = true + side * (changes[box] if box in changes else (box - 1) / 2 * np.array([-1, -1, 1, 1]))  # type: ignore[operator]
        camera = self.frame.K if K == "true" else default_camera(image.shape[1], image.shape[0])
        name = self.frame.hand if hand == "true" else other[self.frame.hand]
        crop, R = hand_crop(image, camera, used, name, size, view)
        return used, np.asarray(camera, np.float64), np.array(name == "left"), crop, R


def pack(measured):
    """A ``Given`` as small arrays, to keep with a result: {name: array}; see ``unpack``."""
    errors = np.stack(list(measured.errors.values()))
    offsets = np.stack(list(measured.offsets.values()))
    return {
        "given_cases": np.array(list(measured.errors)),
        "given_errors": np.round(errors * _UNIT).clip(0, 65535).astype(np.uint16),  # (V, M)
        "given_roots": np.array(list(measured.offsets)),
        "given_offsets": np.round(offsets).clip(-32767, 32767).astype(np.int16),  # (W, M, 3), mm
    }


def unpack(arrays):
    """The ``Given`` that ``pack`` made; None where nothing of it was kept. Errors within 0.005 mm, offsets within 0.5 mm."""
    if "given_errors" not in arrays:
        return None
    errors = dict(zip(map(str, arrays["given_cases"]), arrays["given_errors"] / _UNIT))
    return Given(errors, dict(zip(map(str, arrays["given_roots"]), arrays["given_offsets"].astype(float))))
