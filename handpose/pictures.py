"""The evaluation pictures behind stored results: photographs read from disk, rendered hands drawn again, one by one."""

from pathlib import Path

import numpy as np

from .data.frame import Frame
from .data.stb import K_COLOUR, SEQUENCES
from .data.synthetic import draw_frame, label, render
from .data.synthetic.sequence import draw_moment, seen_by, stb_joints
from .data.synthetic.write_stb import frames_of
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


class DrawnSTB:
    """Synthetic evaluation frames in STB's layout by index, the SK camera's, each rendered when it is asked for.

    count: evaluation frames of both sequences together; seed: as in ``write_synthetic``.
    """

    def __init__(self, count, seed=0):
        self.count, self.seed = count, seed

    def __getitem__(self, index):
        for sequence in SEQUENCES["evaluation"]:
            count = frames_of(sequence, 0, self.count)
            if index < count:
                break
            index -= count
        moment = seen_by("SK_color", draw_moment(self.seed, sequence, int(index), count))
        xyz = stb_joints(moment).astype(np.float32)
        return Frame(render(moment)[0], xyz, project(xyz, K_COLOUR).astype(np.float32), K_COLOUR.astype(np.float32), "left", np.ones(21, bool))


def evaluation_frames(preset="quick", dataset="synthetic", data_root=None, card=None):
    """Evaluation frames by index: read from ``data_root``, or, where they were rendered, drawn when asked for.

    Nothing has to be on disk for these: recorded results show their pictures too. ``card``: a run card of results on
    "stb" or "rhd", which says whether their frames were rendered. None for photographs without ``data_root``. Raises
    ValueError for unknown names, and what the readers raise.
    """
    settings = find_preset(preset)
    if dataset not in READERS:
        raise ValueError(f"no dataset {dataset!r}; choose from {', '.join(READERS)}")
    if data_root:
        return READERS[dataset](Path(data_root), "evaluation")
    if dataset == "stb" and card and card["rendered"]:
        return DrawnSTB(card["frames"]["evaluation"])
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


__all__ = ["DrawnFrames", "DrawnSTB", "evaluation_frame", "evaluation_frames", "on_picture"]
