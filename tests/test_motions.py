"""A hand that is turned or mirrored: the picture, the pose, the losses and the metrics all move with it, or stay."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter

from handpose import geometry, losses, metrics
from handpose.data import augment
from handpose.data.synthetic import draw_frame, render

SIZE = 96  # px
SEEDS = st.integers(0, 2**32 - 1)
MIRROR_X, MIRROR_Y = np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, -1.0, 1.0])
SHARED = settings(deadline=None, max_examples=10)


def centred_frame(index):
    """A drawn hand without the camera's noise, its palm on the optical axis, small enough to turn inside the picture."""
    frame = draw_frame(0, "training", index, SIZE)
    x, y, _ = geometry.palm_centre(frame.joints())
    far = frame.focal * 220 / (0.6 * SIZE)
    return dataclasses.replace(frame, position=(frame.position[0] - x, frame.position[1] - y, far), shot_noise=0.0, read_noise=0.0)


def moved(frame, motion):
    """The same scene after a turn or a mirroring (3, 3) of everything that stands before the camera, the lamp too."""
    mirrored = np.linalg.det(motion) < 0
    light = dataclasses.replace(frame.light, direction=tuple(motion @ frame.light.direction), up=tuple(motion @ frame.light.up))
    return dataclasses.replace(
        frame, light=light, position=tuple(motion @ frame.position), other=tuple(motion @ frame.other),
        turn=motion @ frame.turn @ (MIRROR_X if mirrored else np.eye(3)),
        hand={"left": "right", "right": "left"}[frame.hand] if mirrored else frame.hand,
    )  # fmt: skip


def about_the_axis(angle, flip):
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ (MIRROR_Y if flip else np.eye(3))


def seen(frame, **motion):
    """What the network would get of ``frame`` about the picture's middle: hand or not (S, S), colours (S, S, 3), pose (21, 3)."""
    colour, mask, _ = render(frame)
    middle = [SIZE / 2, SIZE / 2]
    pose, _ = geometry.normalise_pose(frame.joints(), middle, frame.camera(), "right")
    hand = np.repeat(255 * (mask > 1).astype(np.uint8)[..., None], 3, -1)
    pair = torch.from_numpy(np.stack([hand, colour]))
    poses = torch.from_numpy(np.stack([pose, pose])).float()
    batch = augment.warp(pair, poses, SIZE, **{name: torch.tensor([value] * 2) for name, value in motion.items()})
    images = batch.images.permute(0, 2, 3, 1).numpy() * augment._IMAGENET_STD + augment._IMAGENET_MEAN
    return images[0, ..., 0], 255 * images[1], batch.pose[0].numpy()


def astray(one, other):
    """How many pixels of either hand (S, S) the other has not even beside it: edges may fall a pixel apart, fingers may not."""
    pair = [np.asarray(hand) > 0.5 for hand in (one, other)]
    return sum(int((hand & ~maximum_filter(there, 3)).sum()) for hand, there in (pair, pair[::-1]))


@given(st.integers(0, 400), st.floats(-math.pi / 4, math.pi / 4), st.booleans())
@SHARED
def test_a_rendered_hand_turned_is_the_picture_turned_and_the_pose_turned(index, angle, flip):
    """Augmentation (section 4.2) shows what a camera would have seen of a hand that was turned or mirrored itself."""
    frame = centred_frame(index)
    other = moved(frame, about_the_axis(angle, flip))
    np.testing.assert_allclose(other.joints(), frame.joints() @ about_the_axis(angle, flip).T, atol=1e-9)
    hand, colour, pose = seen(frame, angle=angle, flip=flip)
    hand_there, colour_there, pose_there = seen(other)
    np.testing.assert_allclose(pose, pose_there, atol=1e-4)
    assert hand.sum() > 50  # px
    assert astray(hand, hand_there) < 10  # px; a turn the wrong way: hundreds
    inside = (hand > 0.999) & (hand_there > 0.999)
    assert np.abs(colour - colour_there)[inside].mean() < 15  # grey values of 255: edges of shadows fall between pixels


def test_the_pictures_of_that_test_tell_a_wrong_turn_from_a_right_one():
    frame = centred_frame(3)
    there, wrong = seen(moved(frame, about_the_axis(0.6, False)))[0], seen(frame, angle=-0.6, flip=False)[0]
    right, still = seen(frame, angle=0.6, flip=False)[0], seen(frame)[0]
    assert astray(right, there) < 10 and min(astray(wrong, there), astray(still, there)) > 200


@given(st.integers(0, 400))
@SHARED
def test_a_mirrored_hand_is_the_other_hand_in_the_mirrored_picture(index):
    frame = centred_frame(index)
    other = moved(frame, MIRROR_X)
    assert {frame.hand, other.hand} == {"left", "right"}
    (colour, mask, depth), (colour_there, mask_there, depth_there) = render(frame), render(other)
    hand, hand_there = (mask > 1)[:, ::-1], mask_there > 1
    assert astray(hand, hand_there) < 10  # px
    both = hand & hand_there
    assert np.abs(depth[:, ::-1][both] - depth_there[both]).mean() < 1.0  # mm
    assert np.abs(colour[:, ::-1].astype(float) - colour_there)[both].mean() < 20  # grey values of 255
    poses = [geometry.normalise_pose(one.joints(), [SIZE / 2, SIZE / 2], one.camera(), one.hand)[0] for one in (frame, other)]
    np.testing.assert_allclose(*poses, atol=1e-9)  # both as right hands


def poses(seed, count=2):
    return np.random.default_rng(seed).normal(size=(count, 21, 3)) * 40


@given(SEEDS, st.sampled_from([MIRROR_X, MIRROR_Y]))
@SHARED
def test_mirrored_hands_have_the_same_losses_and_metrics(seed, mirror):
    predicted, target = poses(seed), poses(seed + 1)
    there, here = ([torch.from_numpy(one) for one in pair] for pair in ((predicted @ mirror, target @ mirror), (predicted, target)))
    for loss in (losses.mean_squared_error, losses.kcs_loss, losses.geometrical_loss):
        assert loss(*there).item() == pytest.approx(loss(*here).item(), rel=1e-9)
    torch.testing.assert_close(losses.kinematic_chain_space(there[0]), losses.kinematic_chain_space(here[0]))
    torch.testing.assert_close(losses.joint_line_distances(there[0]), losses.joint_line_distances(here[0]))
    np.testing.assert_allclose(
        metrics.joint_errors(predicted @ mirror, target @ mirror), metrics.joint_errors(predicted, target), atol=1e-9
    )
    np.testing.assert_allclose(geometry.hand_scale(predicted @ mirror), geometry.hand_scale(predicted))


@given(SEEDS, st.floats(-math.pi, math.pi), st.booleans())
@SHARED
def test_a_turn_or_a_flip_in_the_picture_changes_no_kinematic_loss(seed, angle, flip):
    predicted, target = (torch.from_numpy(poses(one)) for one in (seed, seed + 1))
    A = augment.in_plane(torch.tensor([angle], dtype=torch.float64), torch.tensor([flip]))[0].double()
    turned = [torch.cat([pose[..., :2] @ A.T, pose[..., 2:]], -1) for pose in (predicted, target)]
    for loss in (losses.kcs_loss, losses.geometrical_loss):
        assert loss(*turned).item() == pytest.approx(loss(predicted, target).item(), rel=1e-6)


@given(SEEDS, st.booleans())
@SHARED
def test_a_flip_done_twice_is_none(seed, flip):
    A = augment.in_plane(torch.tensor([0.0]), torch.tensor([flip]))[0]
    torch.testing.assert_close(A @ A, torch.eye(2))


@given(SEEDS, st.floats(0.1, 10), st.floats(-math.pi, math.pi))
@SHARED
def test_projection_follows_the_ray_and_turns_with_the_hand(seed, far, angle):
    K = np.array([[280.0, 0, 160], [0, 280, 120], [0, 0, 1]])
    points = poses(seed)[0] + [10, -20, 700]
    uv = geometry.project(points, K)
    np.testing.assert_allclose(geometry.project(points * far, K), uv)  # anywhere along its ray
    rays = np.c_[uv, np.ones(21)] @ np.linalg.inv(K).T * points[:, 2:]
    np.testing.assert_allclose(rays, points, atol=1e-9)  # and back with its depth
    turn = about_the_axis(angle, False)
    np.testing.assert_allclose(geometry.project(points @ turn.T, K), (uv - [160, 120]) @ turn[:2, :2].T + [160, 120], atol=1e-8)
