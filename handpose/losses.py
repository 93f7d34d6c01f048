"""The paper's losses (sections 3.1 and 3.2), as pure functions of tensors.

Poses are (B, 21, 3) in canonical joint order, centred on the root and divided by the hand's scale
(the length of the middle finger's proximal phalanx), so entries are near 1.
"""

import functools
import itertools

import torch
import torch.nn.functional as F

from .skeleton import BONES

_JOINTS = 21
_PAIRS = list(itertools.combinations(range(_JOINTS), 2))
_TRIANGLES = list(itertools.combinations(range(_JOINTS), 3))
_FIRST, _SECOND = torch.tensor(_PAIRS).T.contiguous()
#: (3, 1330): the pair of joints that is the side facing each corner of a triangle.
_FACING = torch.tensor([[_PAIRS.index(side) for side in ((b, c), (a, c), (a, b))] for a, b, c in _TRIANGLES]).T.contiguous()
#: (3990,): where among the heights (3, 1330) the distances of joint 0 to its 190 lines are, then those of joint 1, and so on.
_CORNERS = {(one[n], *one[:n], *one[n + 1 :]): n * len(_TRIANGLES) + place for place, one in enumerate(_TRIANGLES) for n in range(3)}
_LINES = torch.tensor([_CORNERS[corner] for corner in sorted(_CORNERS)])
_PARENTS, _CHILDREN = torch.tensor(BONES).T.contiguous()
#: Below this squared length two joints count as one and their line as undefined: distance 0, gradient 0.
_COINCIDENT = 1e-12


def _check_pose(name, joints):
    if joints.ndim != 3 or tuple(joints.shape[1:]) != (_JOINTS, 3):
        raise ValueError(f"{name} must have shape (B, 21, 3), got {tuple(joints.shape)}")


def _check_same(predicted, target):
    if predicted.shape != target.shape:
        raise ValueError(f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} differ in shape")


def mean_squared_error(predicted, target):
    """L_MSE of eqs. 2, 3, 6, 7 and 17: mean over batch, joints and coordinates.

    Both (B, 21, 3); returns a scalar.
    """
    return F.mse_loss(predicted, target)


def kl_divergence(mean, log_variance):
    """KL(N(mean, exp(log_variance)) || N(0, I)): the L_KL of eqs. 2, 3, 6 and 7.

    mean, log_variance: (B, D). Returns a scalar >= 0: summed over the D latents, mean over the batch.
    Raises ValueError when the shapes differ.
    """
    if mean.shape != log_variance.shape:
        raise ValueError(f"mean {tuple(mean.shape)} and log_variance {tuple(log_variance.shape)} differ in shape")
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(-1).mean()  # exp() - 1 loses its digits near 0


def discriminator_loss(logits_rgb, logits_true):
    """Eq. 1: the discriminator learns to call RGB latents 0 and true pose latents 1. Logits (B, 1) -> scalar."""
    fake = F.binary_cross_entropy_with_logits(logits_rgb, torch.zeros_like(logits_rgb))
    real = F.binary_cross_entropy_with_logits(logits_true, torch.ones_like(logits_true))
    return 0.5 * fake + 0.5 * real


def generator_loss(logits_rgb):
    """The encoder's side of eq. 1, which the paper does not print: BCE(Dis(z_pose_rgb), 1). Logits (B, 1) -> scalar."""
    return F.binary_cross_entropy_with_logits(logits_rgb, torch.ones_like(logits_rgb))


def kinematic_chain_space(joints):
    """KCS = B^T B of eqs. 8-12.

    joints: (B, 21, 3). Returns (B, 20, 20): squared bone lengths on the diagonal, inner products of
    bones elsewhere, bones in the order of ``skeleton.BONES``. Raises ValueError on another shape.
    """
    _check_pose("joints", joints)
    children, parents = _on(joints.device)[-2:]
    bones = joints.index_select(1, children) - joints.index_select(1, parents)  # (B, 20, 3)
    return bones @ bones.transpose(1, 2)


def kcs_loss(predicted, target):
    """L_KCS of eq. 13: mean absolute difference of the two KCS matrices. Both (B, 21, 3) -> scalar.

    Raises ValueError on another shape and when the two differ.
    """
    psi = kinematic_chain_space(predicted)
    _check_same(predicted, target)
    return (psi - kinematic_chain_space(target)).abs().mean()


def _length(vectors, axis=-1):
    """Euclidean norm over an axis; 0 with gradient 0 below _COINCIDENT, where sqrt would give inf."""
    squared = vectors.square().sum(axis)
    tiny = squared <= _COINCIDENT  # which NaN is not
    return torch.where(tiny, 0.0, torch.where(tiny, 1.0, squared).sqrt())


@functools.cache
def _on(device):
    """The index arrays of both losses on a device; made outside inference mode, since training uses them too."""
    with torch.inference_mode(False):
        return [index.to(device) for index in (_FIRST, _SECOND, _FACING[1], _FACING[2], _FACING.flatten(), _CHILDREN, _PARENTS)]


def _heights(joints):
    """Heights (3, 1330, B) of the triangles that the joints (B, 21, 3) span, each over the side facing corner 0, 1 or 2.

    A triangle has one area for its three heights and a pair of joints one length for its 19 triangles, so each is worked out once.
    With the batch innermost every operation runs along memory.
    """
    first, second, facing_1, facing_2, facing = _on(joints.device)[:5]
    pose = joints.permute(2, 1, 0).contiguous()
    sides = pose.index_select(1, second) - pose.index_select(1, first)  # (3, 210, B)
    turned = sides.roll(-1, 0)  # yzx: torch.linalg.cross takes longer than all the rest together
    cross = sides.index_select(1, facing_1) * turned.index_select(1, facing_2)
    cross = cross - turned.index_select(1, facing_1) * sides.index_select(1, facing_2)
    area = _length(cross, 0)  # twice the triangle's
    length = _length(sides, 0)
    undefined = length <= 0
    inverse = torch.where(undefined, 0.0, 1 / torch.where(undefined, 1.0, length))
    return area * inverse.index_select(0, facing).unflatten(0, (3, len(_TRIANGLES)))


def joint_line_distances(joints):
    """S(i, l) of eq. 14: distance of joint i to each line through two of the other joints.

    joints: (B, 21, 3), in mm or over the hand's scale. Returns (B, 21, 190) in the same unit; 190 = C(20, 2), lines
    in lexicographic order of their joints. Heron's formula is replaced by its equal, the length of the
    cross product over that of the base: no NaN and no infinite gradient for collinear joints. A length below 1e-6, or
    twice an area, counts as 0, with gradient 0: in metres that would be too much. Where a line's two joints coincide so
    the distance is undefined: 0, with gradient 0. NaN stays NaN. Raises ValueError on another shape.
    """
    _check_pose("joints", joints)
    heights = _heights(joints).flatten(0, 1)
    return heights.index_select(0, _LINES.to(joints.device)).T.unflatten(1, (_JOINTS, -1))


def geometrical_loss(predicted, target):
    """L_GEO of eq. 16: absolute differences of joint-line distances, summed over the 21 x 190 of a hand
    (the double sum of eq. 15) and averaged over the batch. Both (B, 21, 3) -> scalar.

    Raises ValueError on another shape and when the two differ.
    """
    _check_pose("predicted", predicted)
    _check_same(predicted, target)
    aim = _heights(target)  # first: what it takes on the way is free again before the graph of the other side is kept
    return (_heights(predicted) - aim).abs().sum((0, 1)).mean()
