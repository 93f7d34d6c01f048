"""Where a hand stands whose root is not known: the place at which its projection fills the box."""

import numpy as np

_DEPTHS, _SHIFTS = 50, 40
#: Millimetres that the nearest joint keeps from the camera.
_NEAREST = 10.0


def estimate_root(pose, box, K):
    """Root of hands of known shape and size from their boxes: pose (..., 21, 3) mm, relative to the root; box (..., 4) px,
    tight around the joints; K (..., 3, 3) -> (..., 3), mm, camera frame.

    The hand is put where the box around its projected joints has the middle and the diagonal of ``box``: three numbers for
    three unknowns, so with the true pose, box and K it is the true root. An error of the scale, or of the focal length,
    goes into the depth in proportion; so does, the other way round, a box that is too wide.
    """
    pose, box, K = (np.asarray(array, np.float64) for array in (pose, box, K))
    focal = K[..., [0, 1], [0, 1]]
    low, high = ((box[..., side] - K[..., :2, 2]) / focal for side in ([0, 1], [2, 3]))
    middle, diagonal = (low + high) / 2, np.linalg.norm(high - low, axis=-1)
    reach = np.linalg.norm(np.ptp(pose, axis=-2), axis=-1)
    near = _NEAREST - pose[..., 2].min(-1)
    far = near + 2 * reach * (1 + np.linalg.norm(middle, axis=-1)) / diagonal  # smaller than the box there
    for _ in range(_DEPTHS):  # bisection: the farther away, the smaller
        depth = np.sqrt(near * far)
        root, size = _centred(pose, middle, depth)
        too_large = size > diagonal
        near, far = np.where(too_large, depth, near), np.where(too_large, far, depth)
    return root


def _centred(pose, middle, depth):
    """Root (..., 3) at ``depth`` that puts the middle of the projection on ``middle`` (..., 2), and the diagonal there.

    All in the units of a camera of focal length 1. Steps of the nearest joint's distance never go too far.
    """
    distance = pose[..., 2] + depth[..., None]
    nearest = distance.min(-1)
    shift = middle * depth[..., None]
    for _ in range(_SHIFTS):
        uv = (pose[..., :2] + shift[..., None, :]) / distance[..., None]
        low, high = uv.min(-2), uv.max(-2)
        shift = shift + (middle - (low + high) / 2) * nearest[..., None]
    return np.concatenate([shift, depth[..., None]], -1), np.linalg.norm(high - low, axis=-1)


__all__ = ["estimate_root"]
