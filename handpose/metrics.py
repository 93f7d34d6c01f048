"""MEPE, PCK and AUC (section 4.1), in the paper's protocol and in the field's ("hand3d").

Poses are arrays (N, 21, 3) in millimetres, canonical joint order, any position: both poses are centred
on their root first. ``root="palm"`` is the midpoint of wrist and middle MCP (RHD); ``root="wrist"`` is
joint 0, which in STB is the labelled palm centre. ``visible`` (N, 21) leaves joints out.
"""

import numpy as np

from .geometry import palm_centre
from .skeleton import WRIST

#: Thresholds of the field's evaluation code, mm: 20 points from 0 to 50; its "20-50" AUC uses the last 12.
HAND3D_THRESHOLDS = np.linspace(0.0, 50.0, 20)


def root_of(pose, root="palm"):
    """Root joint of poses (..., 21, 3): "palm" (midpoint of wrist and middle MCP) or "wrist" -> (..., 3), mm."""
    if root == "palm":
        return palm_centre(pose)
    if root == "wrist":
        return pose[..., WRIST, :]
    raise ValueError(f'root must be "palm" or "wrist", got {root!r}')


def check_poses(predicted, target):
    """Both as float64. Raises ValueError for shapes that differ or are not (N, 21, 3), for N = 0 and for values that are
    not finite.
    """
    predicted, target = np.asarray(predicted, np.float64), np.asarray(target, np.float64)
    if predicted.shape != target.shape or predicted.ndim != 3 or predicted.shape[1:] != (21, 3):
        raise ValueError(f"poses must both be (N, 21, 3), got {predicted.shape} and {target.shape}")
    if len(predicted) == 0:
        raise ValueError("no poses to measure: N is 0")
    if not (np.isfinite(predicted).all() and np.isfinite(target).all()):
        raise ValueError("poses hold values that are not finite (NaN or infinity)")
    return predicted, target


def joint_errors(predicted, target, root="palm"):
    """Euclidean distance per joint after centring both poses on the root: (N, 21, 3) twice -> (N, 21), mm.

    Raises ValueError as ``check_poses`` does.
    """
    predicted, target = check_poses(predicted, target)
    centred = predicted - root_of(predicted, root)[:, None] - target + root_of(target, root)[:, None]
    return np.linalg.norm(centred, axis=-1)


def check_visible(visible, shape):
    """``visible`` as bool of ``shape``; all True for None. Raises ValueError for another shape and where nothing is visible."""
    if visible is None:
        return np.ones(shape, bool)
    visible = np.asarray(visible, bool)
    if visible.shape != shape:
        raise ValueError(f"visible must be {shape}, got {visible.shape}")
    if not visible.any():
        raise ValueError("no visible joint to measure")
    return visible


def mepe(predicted, target, visible=None, root="palm"):
    """Mean end-point error (section 4.1): mean over joints and frames of ``joint_errors`` -> float, mm.

    With ``visible`` (N, 21) the mean runs over the visible joints. Raises ValueError as ``joint_errors`` does.
    """
    errors = joint_errors(predicted, target, root)
    return float(errors[check_visible(visible, errors.shape)].mean())


def pck(predicted, target, thresholds, visible=None, root="palm"):
    """Share of joints whose error is at most each threshold (mm), over joints and frames: (T,) in [0, 1].

    One threshold gives one number. Raises ValueError as ``joint_errors`` does, and for thresholds that are
    neither a number nor a vector, and NaN.
    """
    thresholds = np.asarray(thresholds, np.float64)
    if thresholds.ndim > 1:
        raise ValueError(f"thresholds must be a number or a vector, got shape {thresholds.shape}")
    if np.isnan(thresholds).any():
        raise ValueError("thresholds must be numbers, in millimetres, got NaN")
    errors = joint_errors(predicted, target, root)
    errors = np.sort(errors[check_visible(visible, errors.shape)])
    return np.searchsorted(errors, thresholds, side="right") / len(errors)


def auc(predicted, target, low=20, high=50, protocol="paper", visible=None, root="palm"):
    """Area under the PCK curve between ``low`` and ``high`` mm, divided by the range -> float in [0, 1].

    "paper": trapezoid on a 1 mm grid over all joints and frames. "hand3d": the field's evaluation code,
    20 points from 0 to 50 mm of which those in [low, high] count (12 for 20-50, from 21.05 mm), each
    joint's curve first, then their mean. That is the grid and the averages of that code on our joints, both poses
    centred; ``protocols.HAND3D`` is all of it: the palm in the wrist's place, the target alone centred. Raises
    ValueError for another protocol, an empty range, and as ``joint_errors`` does.
    """
    if protocol == "paper":
        if not high > low:
            raise ValueError(f"high must exceed low, got {low} to {high} mm")
        grid = np.append(np.arange(low, high, 1.0), float(high))
        curve = pck(predicted, target, grid, visible, root)
    elif protocol == "hand3d":
        grid = HAND3D_THRESHOLDS[(HAND3D_THRESHOLDS >= low) & (HAND3D_THRESHOLDS <= high)]
        if len(grid) < 2:
            raise ValueError(f"fewer than two of the protocol's thresholds lie in {low} to {high} mm")
        errors = joint_errors(predicted, target, root)
        mask = check_visible(visible, errors.shape)
        per_joint = [
            (errors[mask[:, joint], joint][:, None] <= grid).mean(0) for joint in range(21) if mask[:, joint].any()
        ]
        curve = np.mean(per_joint, axis=0)
    else:
        raise ValueError(f'protocol must be "paper" or "hand3d", got {protocol!r}')
    area = ((curve[1:] + curve[:-1]) / 2 * np.diff(grid)).sum()
    return float(area / (grid[-1] - grid[0]))
