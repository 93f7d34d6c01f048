"""The evaluation pictures behind stored results: photographs read from disk, rendered hands drawn again, one by one."""

from pathlib import Path

import numpy as np

from .data.frame import Frame
from .data.synthetic import draw_frame, label, render
from .experiments import find_preset
from .geometry import project
from .metrics import root_of
from .runs import READERS


class DrawnFrames:
    """Synthetic evaluation frames by index, each rendered when it is asked for: what ``write_synthetic`` would write.

    size: side of the pictures, px; seed: as in ``write_synthetic``.
    """

    def __init__(self, size, seed=0):
        self.size, self.seed = size, seed

    def __getitem__(self, index):
        frame = draw_frame(self.seed, "evaluation", int(index), self.size)
        image, mask, depth = render(frame)
        xyz, uv, camera, hand, visible = label(frame, mask, depth)
        return Frame(image, xyz.astype(np.float32), uv.astype(np.float32), camera.astype(np.float32), hand, visible)


def evaluation_frames(preset="quick", dataset="synthetic", data_root=None):
    """Evaluation frames by index: read from ``data_root``, or, for the synthetic hands of ``preset``, drawn when asked for.

    Nothing has to be on disk for these: recorded results show their pictures too. None for photographs without
    ``data_root``. Raises ValueError for unknown names, and what the readers raise.
    """
    settings = find_preset(preset)
    if dataset not in READERS:
        raise ValueError(f"no dataset {dataset!r}; choose from {', '.join(READERS)}")
    if data_root:
        return READERS[dataset](Path(data_root), "evaluation")
    return DrawnFrames(settings.frame_size) if dataset == "synthetic" else None


def evaluation_frame(results, place, frames):
    """The ``Frame`` that line ``place`` of ``results`` was measured on, from ``evaluation_frames``.

    Raises ValueError when it no longer shows the pose that was measured.
    """
    frame = frames[int(results.frame[place])]
    pose = frame.xyz - root_of(frame.xyz, results.root_joint)
    if not np.allclose(pose, results.target[place], atol=0.05):
        reason = "no longer shows the pose that was measured: other data, or another renderer"
        raise ValueError(f"frame {results.frame[place]} {reason}")
    return frame


def on_picture(pose, frame, root="palm"):
    """Pixels (21, 2) of a ``pose`` (21, 3), mm, moved to where the hand of ``frame`` has its root."""
    return project(pose - root_of(pose, root) + root_of(frame.xyz, root), frame.K)


__all__ = ["DrawnFrames", "evaluation_frame", "evaluation_frames", "on_picture"]
