import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import plausibility
from handpose.data.synthetic import JOINT_LIMITS, PEOPLE, draw_frame
from handpose.data.synthetic.anatomy import pose_joints
from handpose.plausibility import bone_length_error, bone_lengths, joint_angles, violation_rate, violations

SEEDS = st.integers(0, 2**32 - 1)
MIRROR = np.array([-1.0, 1.0, 1.0])


def hand(angles=None):
    """A right hand (1, 21, 3) with the given angles of ``anatomy``: {(finger, column): degrees}, all others 0."""
    pose = np.zeros((5, 4))
    for place, angle in (angles or {}).items():
        pose[place] = angle
    return pose_joints(PEOPLE[0], pose)[0][None]


def drawn(split, count=250, seed=0):
    frames = [draw_frame(seed, split, index, 64) for index in range(count)]
    return np.array([frame.joints() for frame in frames]), np.array([frame.hand == "left" for frame in frames]), frames


def turned(pose, seed):
    rng = np.random.default_rng(seed)
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return pose @ q.T * rng.uniform(0.2, 5.0) + rng.normal(size=3) * 100


def test_bone_lengths_of_known_bones():
    pose = np.zeros((1, 21, 3))
    pose[0, 1] = [3, 4, 0]
    pose[0, 2] = [3, 4, 12]
    lengths = bone_lengths(pose)
    assert lengths.shape == (1, 20)
    np.testing.assert_allclose(lengths[0, :3], [5, 12, np.linalg.norm([3, 4, 12])])  # the third leads back to 0
    assert not lengths[0, 3:].any()


def test_bone_length_error_is_the_mean_over_20_bones_of_each_frame():
    target = np.repeat(hand(), 3, axis=0)
    predicted = target.copy()
    predicted[1] *= 1.1
    tip = predicted[2, 8] - predicted[2, 7]
    predicted[2, 8] += 4 * tip / np.linalg.norm(tip)
    error = bone_length_error(predicted, target)
    np.testing.assert_allclose(error, [0, 0.1 * bone_lengths(target)[0].mean(), 4 / 20], atol=1e-9)
    np.testing.assert_allclose(bone_length_error(target + 50, target), 0, atol=1e-9)


def test_straight_fingers_are_at_zero():
    angles = joint_angles(hand(), left=False)[0]
    np.testing.assert_allclose(angles[:, 1:], 0, atol=1e-5)
    assert np.abs(angles[:, 0]).max() < 6  # the palm's axes come from joints, and stand a little askew


@pytest.mark.parametrize("finger", range(5))
@pytest.mark.parametrize("joint", range(3))
@pytest.mark.parametrize("angle", [-20, 45, 90])
def test_a_bent_joint_has_its_angle_and_the_others_stay(finger, joint, angle):
    column = (0, 2, 3)[joint]
    change = joint_angles(hand({(finger, column): angle}), False) - joint_angles(hand(), False)
    expected = np.zeros((5, 3))
    expected[finger, joint] = angle
    np.testing.assert_allclose(change[0], expected, atol=3)
    np.testing.assert_allclose(change[0, :, 1:], expected[:, 1:], atol=0.5)


@pytest.mark.parametrize(("finger", "abduction"), [(0, 40), (1, 22), (4, 28)])
def test_moving_a_finger_sideways_bends_no_hinge(finger, abduction):
    angles = joint_angles(hand({(finger, 1): abduction, (finger, 2): 60, (finger, 3): 30}), False)[0, finger]
    np.testing.assert_allclose(angles[1:], [60, 30], atol=0.5)


def test_a_mirrored_hand_has_the_same_angles():
    pose, left, _ = drawn("evaluation", 40)
    np.testing.assert_allclose(joint_angles(pose * MIRROR, ~left), joint_angles(pose, left), atol=1e-6)


def test_taken_for_the_other_hand_fingers_bend_backwards():
    pose = hand({(finger, 2): 60 for finger in range(1, 5)})
    assert joint_angles(pose, False)[0, 1:, 1].min() > 55
    assert joint_angles(pose, True)[0, 1:, 1].max() < -55
    assert violations(pose, True)[0].reshape(5, 3)[1:, 1].all()


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_rendered_hands_bend_as_drawn_and_violate_nothing(split):
    pose, left, frames = drawn(split)
    assert 0.3 < left.mean() < 0.7
    true = np.array([frame.pose for frame in frames])[:, :, [0, 2, 3]]
    np.testing.assert_allclose(joint_angles(pose, left)[:, 1:], true[:, 1:], atol=6)
    np.testing.assert_allclose(joint_angles(pose, left)[:, 0], true[:, 0], atol=12)
    assert violation_rate(pose, left) == 0
    assert violation_rate(pose, ~left) > 0.2  # the measure does see joints that bend the wrong way


def test_hands_anywhere_inside_the_limits_violate_nearly_nothing():
    rng = np.random.default_rng(0)
    angles = rng.uniform(JOINT_LIMITS[..., 0], JOINT_LIMITS[..., 1], (500, 5, 4))
    pose = np.array([pose_joints(PEOPLE[index % 20], each)[0] for index, each in enumerate(angles)])
    assert violation_rate(pose, False) < 0.002


@pytest.mark.parametrize(("angle", "violated"), [(-14, False), (-16, True), (114, False), (116, True)])
def test_a_joint_violates_beyond_the_margin(angle, violated):
    found = violations(hand({(2, 2): angle}), False)  # middle PIP: -5 to 105 degrees, and 10 more
    expected = np.zeros((1, 15), bool)
    expected[0, 2 * 3 + 1] = violated
    np.testing.assert_array_equal(found, expected)
    assert violation_rate(hand({(2, 2): angle}), False) == violated / 15


def test_the_margin_can_be_chosen():
    pose = hand({(1, 3): -12})
    assert violations(pose, False, margin=5).sum() == 1
    assert not violations(pose, False, margin=10).any()


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_angles_do_not_change_with_place_turn_and_size(seed):
    pose, left, _ = drawn("training", 5)
    np.testing.assert_allclose(joint_angles(turned(pose, seed), left), joint_angles(pose, left), atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_any_finite_joints_have_finite_angles(seed):
    pose = np.random.default_rng(seed).normal(size=(3, 21, 3)) * 40
    pose[1, 9:13] = pose[1, 9]  # a finger without length
    pose[2] = 0
    angles = joint_angles(pose, np.array([True, False, True]))
    assert np.isfinite(angles).all() and (np.abs(angles) <= 180).all()


def test_one_hand_for_all_or_one_for_each():
    pose, _, _ = drawn("training", 4)
    np.testing.assert_array_equal(joint_angles(pose, True), joint_angles(pose, np.ones(4, bool)))
    with pytest.raises(ValueError):
        joint_angles(pose, np.ones(3, bool))


@pytest.mark.parametrize(
    "function", [bone_lengths, lambda pose: joint_angles(pose, False), lambda pose: violation_rate(pose, False)]
)
def test_what_is_no_pose_is_refused(function):
    with pytest.raises(ValueError, match="21, 3"):
        function(np.zeros((2, 20, 3)))
    with pytest.raises(ValueError, match="not finite"):
        function(np.full((2, 21, 3), np.nan))


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="N is 0"):
        violation_rate(np.zeros((0, 21, 3)), False)
    with pytest.raises(ValueError, match="same shape"):
        bone_length_error(hand(), np.zeros((2, 21, 3)))


def test_limits_are_those_of_flexion():
    assert plausibility.FLEXION_LIMITS.shape == (5, 3, 2)
    assert (plausibility.FLEXION_LIMITS[..., 0] < plausibility.FLEXION_LIMITS[..., 1]).all()
    np.testing.assert_array_equal(plausibility.FLEXION_LIMITS[1], [[-25, 90], [-5, 105], [-5, 75]])
