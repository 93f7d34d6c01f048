"""The paper's losses (sections 3.1 and 3.2), as pure functions of tensors.

Poses are (B, 21, 3) in canonical joint order, centred on the root and divided by the hand's scale
(the length of the middle finger's proximal phalanx), so entries are near 1.
"""

import itertools

import torch
import torch.nn.functional as F

from .skeleton import BONES

_JOINTS = 21
#: (21, 190) index arrays: line l of joint i runs through joints _LINE_J[i, l] and _LINE_K[i, l].
_OTHERS = [[joint for joint in range(_JOINTS) if joint != i] for i in range(_JOINTS)]
_LINES = torch.tensor([list(itertools.combinations(others, 2)) for others in _OTHERS])
_LINE_J, _LINE_K = _LINES[..., 0].contiguous(), _LINES[..., 1].contiguous()
_PARENTS, _CHILDREN = torch.tensor(BONES).T.contiguous()
#: Below this squared length two joints count as one and their line as undefined: distance 0, gradient 0.
_COINCIDENT = 1e-12


def _check_pose(name, joints):
    if joints.ndim != 3 or tuple(joints.shape[1:]) != (_JOINTS, 3):
        raise ValueError(f"{name} must have shape (B, 21, 3), got {tuple(joints.shape)}")


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
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1).mean()


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
    bones = joints[:, _CHILDREN.to(joints.device)] - joints[:, _PARENTS.to(joints.device)]  # (B, 20, 3)
    return bones @ bones.transpose(1, 2)


def kcs_loss(predicted, target):
    """L_KCS of eq. 13: mean absolute difference of the two KCS matrices. Both (B, 21, 3) -> scalar."""
    return (kinematic_chain_space(predicted) - kinematic_chain_space(target)).abs().mean()


def _length(vectors):
    """Euclidean norm over the last axis; 0 with gradient 0 below _COINCIDENT, where sqrt would give inf."""
    squared = vectors.square().sum(-1)
    safe = squared > _COINCIDENT
    return torch.where(safe, torch.where(safe, squared, 1.0).sqrt(), 0.0)


def joint_line_distances(joints):
    """S(i, l) of eq. 14: distance of joint i to each line through two of the other joints.

    joints: (B, 21, 3), any unit. Returns (B, 21, 190) in the same unit; 190 = C(20, 2), lines in
    lexicographic order of their joints. Heron's formula is replaced by its equal, the length of the
    cross product over that of the base: no NaN and no infinite gradient for collinear joints. Where the
    line's two joints coincide it is undefined: 0, with gradient 0. Raises ValueError on another shape.
    """
    _check_pose("joints", joints)
    j, k = _LINE_J.to(joints.device), _LINE_K.to(joints.device)
    base = joints[:, k] - joints[:, j]  # (B, 21, 190, 3)
    side = joints[:, :, None] - joints[:, j]
    area = _length(torch.linalg.cross(side, base))
    length = _length(base)
    defined = length > 0
    return torch.where(defined, area / torch.where(defined, length, 1.0), 0.0)


def geometrical_loss(predicted, target):
    """L_GEO of eq. 16: absolute differences of joint-line distances, summed over the 21 x 190 of a hand
    (the double sum of eq. 15) and averaged over the batch. Both (B, 21, 3) -> scalar.
    """
    difference = joint_line_distances(predicted) - joint_line_distances(target)
    return difference.abs().sum((1, 2)).mean()
