"""Camera, crop and view correction (section 4.2).

Coordinates: millimetres in the camera frame, x right, y down, z forward. Pixels: (u, v) from the top
left corner of the picture, pixel (column i, row j) covering [i, i+1) x [j, j+1). K is the 3 x 3 pinhole
matrix. Arrays are numpy, float64 inside; leading dimensions broadcast.
"""

import numpy as np

from .skeleton import MIDDLE_MCP, MIDDLE_PIP, WRIST

#: Side of the square crop over the longest side of the joints' bounding box.
BOX_MARGIN = 1.3


def project(points, K):
    """Pinhole projection: points (..., J, 3) mm, K (..., 3, 3) -> (..., J, 2) px."""
    image = np.asarray(points, np.float64) @ np.swapaxes(np.asarray(K, np.float64), -1, -2)
    return image[..., :2] / image[..., 2:]


def palm_centre(pose):
    """Root of section 4.2 for RHD: midpoint of wrist and middle MCP. (..., 21, 3) -> (..., 3), mm."""
    return 0.5 * (pose[..., WRIST, :] + pose[..., MIDDLE_MCP, :])


def hand_scale(pose):
    """Scale of section 4.2: length of the middle finger's proximal phalanx. (..., 21, 3) -> (...), mm."""
    return np.linalg.norm(pose[..., MIDDLE_PIP, :] - pose[..., MIDDLE_MCP, :], axis=-1)


def crop_box(uv, margin=BOX_MARGIN):
    """Square crop around 2D joints: (..., 21, 2) px -> centre (..., 2) px and side (...) px."""
    low, high = uv.min(-2), uv.max(-2)
    return 0.5 * (low + high), margin * (high - low).max(-1)


def view_rotation(centre, K):
    """Rotation R (..., 3, 3) that turns the ray through pixel ``centre`` (..., 2) onto the z-axis.

    R = Rx(b) Ry(-a), first about y, then about x, as the paper's references do; R applied to the ray
    K^-1 [u, v, 1] is (0, 0, |ray|). A view-corrected pose is ``pose @ R.T``, and ``pose_corrected @ R``
    turns it back.
    """
    centre, K = np.asarray(centre, np.float64), np.asarray(K, np.float64)
    x = (centre[..., 0] - K[..., 0, 2]) / K[..., 0, 0]
    y = (centre[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
    a = np.arctan(x)
    b = np.arctan2(y, np.sqrt(1 + x * x))
    zero, one = np.zeros_like(a), np.ones_like(a)
    about_y = [np.cos(a), zero, -np.sin(a), zero, one, zero, np.sin(a), zero, np.cos(a)]
    about_x = [one, zero, zero, zero, np.cos(b), -np.sin(b), zero, np.sin(b), np.cos(b)]
    shape = a.shape + (3, 3)
    return np.stack(about_x, -1).reshape(shape) @ np.stack(about_y, -1).reshape(shape)


def normalise_pose(xyz, centre, K, hand, root=None, scale=None):
    """The network's target for one hand (section 4.2): view-corrected, centred, scaled, as a right hand.

    xyz (21, 3) mm in the camera frame, crop ``centre`` (2,) px, ``hand`` "left" or "right"; ``root`` (3,)
    and ``scale`` default to palm centre and middle proximal phalanx. Returns the pose (21, 3), without
    unit, and R (3, 3). Raises ValueError when the scale is not positive, and for another hand.
    """
    if hand not in ("left", "right"):
        raise ValueError(f'hand must be "left" or "right", got {hand!r}')
    root = palm_centre(xyz) if root is None else root
    scale = hand_scale(xyz) if scale is None else scale
    if not scale > 0:
        raise ValueError(f"hand scale must be positive, got {scale} mm")
    R = view_rotation(centre, K)
    pose = (xyz - root) @ R.T / scale
    if hand == "left":
        pose = pose * [-1.0, 1.0, 1.0]
    return pose, R


def restore_pose(pose, R, left, root, scale):
    """Inverse of ``normalise_pose`` for a batch: (N, 21, 3), (N, 3, 3), bool (N,), (N, 3), (N,) -> (N, 21, 3) mm."""
    mirror = np.where(np.asarray(left)[:, None, None], [-1.0, 1.0, 1.0], 1.0)
    return (np.asarray(pose, np.float64) * mirror) @ R * np.asarray(scale)[:, None, None] + np.asarray(root)[:, None, :]
