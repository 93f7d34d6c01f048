"""Could this be a hand? Bone lengths, and joints that bend further than fingers do (what section 3.2's losses are for).

Poses are arrays (N, 21, 3), canonical joint order, any position; lengths count in millimetres. ``left`` (bool, or one a
hand) says which poses are left hands: which way a finger bends forwards can't be told from its joints alone.
"""

import numpy as np

from .data.synthetic import JOINT_LIMITS
from .data.synthetic.anatomy import REST_FRAMES
from .skeleton import BONES, MIDDLE_MCP, WRIST

_INDEX_MCP, _LITTLE_MCP = 5, 17
#: Lowest and highest flexion, degrees, of the joints that ``joint_angles`` gives, (5, 3, 2): the range that the rendered
#: hands move in. Finger: MCP, PIP, DIP; thumb: CMC, MCP, IP.
FLEXION_LIMITS = JOINT_LIMITS[:, [0, 2, 3]]


def _checked(pose):
    pose = np.asarray(pose, np.float64)
    if pose.ndim != 3 or pose.shape[1:] != (21, 3):
        raise ValueError(f"poses must be (N, 21, 3), got {pose.shape}")
    if not np.isfinite(pose).all():
        raise ValueError("poses hold values that are not finite (NaN or infinity)")
    return pose


def bone_lengths(pose):
    """Lengths of the bones in ``skeleton.BONES``: (N, 21, 3) -> (N, 20), mm. Raises ValueError for other shapes and NaN."""
    parent, child = np.array(BONES).T
    pose = _checked(pose)
    return np.linalg.norm(pose[:, child] - pose[:, parent], axis=-1)


def bone_length_error(predicted, target):
    """Absolute difference of bone lengths, mean over the 20 bones: (N, 21, 3) twice -> (N,), mm. Raises ValueError as above."""
    if np.shape(predicted) != np.shape(target):
        raise ValueError(f"poses must have the same shape, got {np.shape(predicted)} and {np.shape(target)}")
    return np.abs(bone_lengths(predicted) - bone_lengths(target)).mean(1)


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _dot(a, b):
    return (a * b).sum(-1)


def joint_angles(pose, left):
    """Flexion of each finger's three joints, degrees: (N, 21, 3), ``left`` -> (N, 5, 3), from base to tip. 0 is straight,
    positive closes the hand, negative is bent backwards.

    Left hands are mirrored to right ones (x -> -x). The palm's axes: along, from wrist to middle MCP; out of its back,
    normal to that and to the line from index to little MCP; sideways, normal to both. In them each finger has a rest
    direction, a back and a hinge axis normal to both (``REST_FRAMES`` of the rendered hands). The base joint (finger:
    MCP, thumb: CMC) turns the first bone from the rest direction away from the back. The two others are hinges: the angle
    from the bone before to the bone after, in the plane normal to the hinge axis; the axis is kept normal to the
    bone before. Sideways turns (abduction) are left out. Raises ValueError for other shapes and NaN.
    """
    pose = _checked(pose)
    left = np.broadcast_to(np.asarray(left, bool), len(pose))
    pose = np.where(left[:, None, None], pose * [-1.0, 1.0, 1.0], pose)
    along = _unit(pose[:, MIDDLE_MCP] - pose[:, WRIST])
    back = _unit(np.cross(pose[:, _LITTLE_MCP] - pose[:, _INDEX_MCP], along))
    palm = np.stack([np.cross(along, back), along, back], 1)
    side, rest, back = np.moveaxis(REST_FRAMES @ palm[:, None], 2, 0)  # each (N, 5, 3)
    bones = _unit(np.diff(pose[:, 1:].reshape(-1, 5, 4, 3), axis=2))  # (N, 5, 3 bones, 3)

    angles = [np.arctan2(-_dot(bones[:, :, 0], back), _dot(bones[:, :, 0], rest))]
    for joint in (1, 2):
        before, after = bones[:, :, joint - 1], bones[:, :, joint]
        side = _unit(side - _dot(side, before)[..., None] * before)
        angles.append(np.arctan2(-_dot(after, np.cross(side, before)), _dot(after, before)))
    return np.degrees(np.stack(angles, -1))


def violations(pose, left, margin=10.0):
    """Joints whose flexion is more than ``margin`` degrees outside ``FLEXION_LIMITS``: -> bool (N, 15), finger by finger.

    Only flexion counts (three joints of five fingers), not abduction. Raises ValueError as ``joint_angles`` does.
    """
    angles = joint_angles(pose, left)
    low, high = FLEXION_LIMITS[..., 0] - margin, FLEXION_LIMITS[..., 1] + margin
    return ((angles < low) | (angles > high)).reshape(-1, 15)


def violation_rate(pose, left, margin=10.0):
    """Share of all frames' 15 joints that ``violations`` counts -> float in [0, 1]. Raises ValueError for no poses, too."""
    if len(pose) == 0:
        raise ValueError("no poses to measure: N is 0")
    return float(violations(pose, left, margin).mean())
