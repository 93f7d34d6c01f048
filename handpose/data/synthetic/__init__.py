"""Synthetic hands, drawn at random and written in RHD's or STB's own layout."""

from handpose.data.synthetic import kernels  # first: drops stale compiled kernels before Numba looks for them  # noqa: F401, I001

from handpose.data.synthetic.actions import ACTIONS, EVALUATION_ACTIONS, actions_of
from handpose.data.synthetic.anatomy import (
    EVALUATION_SUBJECTS,
    FINGER_ANGLES,
    JOINT_LIMITS,
    PEOPLE,
    THUMB_ANGLES,
    WRIST_LIMITS,
    subjects_of,
)
from handpose.data.synthetic.picture import render
from handpose.data.synthetic.scene import Light, SyntheticFrame, draw_frame, draw_light, label
from handpose.data.synthetic.write import write_synthetic

__all__ = [
    "ACTIONS",
    "EVALUATION_ACTIONS",
    "EVALUATION_SUBJECTS",
    "FINGER_ANGLES",
    "JOINT_LIMITS",
    "PEOPLE",
    "THUMB_ANGLES",
    "WRIST_LIMITS",
    "Light",
    "SyntheticFrame",
    "actions_of",
    "draw_frame",
    "draw_light",
    "label",
    "render",
    "subjects_of",
    "write_synthetic",
]
