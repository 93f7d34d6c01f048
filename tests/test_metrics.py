import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import metrics

SEEDS = st.integers(0, 2**32 - 1)
WRIST, MIDDLE_MCP, TIP = 0, 9, 8


def hands(count=4, seed=0, spread=40.0):
    return np.random.default_rng(seed).normal(size=(count, 21, 3)) * spread


def all_errors(distance, count=3):
    """Prediction and target whose 21 errors are all exactly ``distance``, and whose palm centres agree."""
    target = np.zeros((count, 21, 3))
    predicted = target.copy()
    predicted[..., 0] = distance
    predicted[:, MIDDLE_MCP, 0] = -distance
    return predicted, target


def test_a_constant_offset_is_no_error():
    target = hands()
    offset = np.array([[[300.0, -20.0, 55.0]]]) * np.arange(1, 5)[:, None, None]
    assert metrics.mepe(target + offset, target) == pytest.approx(0, abs=1e-9)
    assert metrics.mepe(target + offset, target, root="wrist") == pytest.approx(0, abs=1e-9)


def test_one_joint_moved_counts_one_part_in_21():
    target = hands()
    predicted = target.copy()
    predicted[:, TIP] += [3.0, 0.0, -4.0]
    assert metrics.mepe(predicted, target) == pytest.approx(5 / 21)
    predicted[1:] = target[1:]  # one frame of four
    assert metrics.mepe(predicted, target) == pytest.approx(5 / 21 / 4)


@pytest.mark.parametrize("joint", [WRIST, MIDDLE_MCP])
def test_moving_a_joint_of_the_palm_moves_the_root_by_half(joint):
    target = hands()
    predicted = target.copy()
    predicted[:, joint, 1] += 10.0
    np.testing.assert_allclose(metrics.joint_errors(predicted, target), 5.0)


def test_wrist_root_puts_the_wrist_error_on_all_others():
    target = hands()
    predicted = target.copy()
    predicted[:, WRIST, 1] += 10.0
    errors = metrics.joint_errors(predicted, target, root="wrist")
    np.testing.assert_allclose(errors[:, 0], 0, atol=1e-9)
    np.testing.assert_allclose(errors[:, 1:], 10.0)


def test_palm_is_the_midpoint_of_wrist_and_middle_mcp():
    pose = np.zeros((21, 3))
    pose[WRIST], pose[MIDDLE_MCP] = [2, 0, -4], [0, 6, 8]
    np.testing.assert_array_equal(metrics.root_of(pose), [1, 3, 2])
    np.testing.assert_array_equal(metrics.root_of(pose, "wrist"), [2, 0, -4])


def test_pck_counts_errors_up_to_and_with_the_threshold():
    predicted, target = all_errors(30.0)
    np.testing.assert_array_equal(metrics.pck(predicted, target, [0, 29.999, 30, 30.001, 90]), [0, 0, 1, 1, 1])


def test_pck_is_a_share_of_joints_and_frames():
    target = np.zeros((2, 21, 3))
    predicted = target.copy()
    predicted[0, TIP, 2] = 10.0
    predicted[1, TIP, 2] = 25.0
    predicted[1, TIP + 4, 0] = 25.0
    np.testing.assert_allclose(metrics.pck(predicted, target, [0, 10, 24, 25]), [39 / 42, 40 / 42, 40 / 42, 1])
    np.testing.assert_allclose(metrics.pck(predicted, target, [25, 0]), [1, 39 / 42])  # thresholds in any order


@pytest.mark.parametrize("protocol", ["paper", "hand3d"])
@pytest.mark.parametrize(("distance", "value"), [(0.0, 1.0), (100.0, 0.0)])
def test_auc_of_perfect_and_of_hopeless_predictions(protocol, distance, value):
    assert metrics.auc(*all_errors(distance), protocol=protocol) == value


def test_auc_of_35_mm_by_hand():
    # 1 mm grid: 0 up to 34, 1 from 35 to 50; the trapezoid between 34 and 35 is half
    assert metrics.auc(*all_errors(35.0)) == pytest.approx(15.5 / 30)
    # the field's grid steps by 50/19 mm, 21.05 to 50: 6 points below 35 mm, 6 above
    assert metrics.auc(*all_errors(35.0), protocol="hand3d") == pytest.approx(5.5 / 11)
    assert metrics.auc(*all_errors(35.0), low=0, high=40) == pytest.approx(5.5 / 40)


def test_an_error_at_the_last_threshold_still_counts_there():
    assert metrics.auc(*all_errors(50.0)) == pytest.approx(0.5 / 30)
    assert metrics.auc(*all_errors(50.0), protocol="hand3d") == pytest.approx(0.5 / 11)


def test_hand3d_uses_12_of_20_thresholds():
    grid = metrics.HAND3D_THRESHOLDS
    assert len(grid) == 20
    assert (grid >= 20).sum() == 12
    assert grid[8] == pytest.approx(21.0526, abs=1e-4)
    # an error between 20 and the first of the 12 costs the field's protocol nothing
    assert metrics.auc(*all_errors(21.05), protocol="hand3d") == 1.0
    assert metrics.auc(*all_errors(21.05)) < 1.0


def by_definition(predicted, target, visible, protocol):
    """Both protocols once more, frame by frame and joint by joint."""
    errors = [[] for _ in range(21)]
    for p, t, seen in zip(predicted, target, visible):
        p = p - (p[0] + p[9]) / 2
        t = t - (t[0] + t[9]) / 2
        for joint in range(21):
            if seen[joint]:
                errors[joint].append(np.sqrt(((p[joint] - t[joint]) ** 2).sum()))
    if protocol == "paper":
        pooled, grid = np.concatenate(errors), np.arange(20, 51)
        curve = np.array([np.mean(pooled <= threshold) for threshold in grid])
    else:
        grid = np.linspace(0, 50, 20)[8:]
        curve = np.mean([[np.mean(np.array(e) <= threshold) for threshold in grid] for e in errors if e], axis=0)
    return np.trapezoid(curve, grid) / np.trapezoid(np.ones_like(curve), grid)


@pytest.mark.parametrize("protocol", ["paper", "hand3d"])
def test_auc_agrees_with_its_definition(protocol):
    target = hands(30)
    predicted = target + hands(30, 1, spread=20.0) * np.linspace(0.3, 2, 21)[:, None]
    visible = np.random.default_rng(2).random((30, 21)) < np.linspace(0.2, 1, 21)
    visible[:, 5] = False  # a joint that is never seen has no curve
    everything = np.ones((30, 21), bool)
    assert metrics.auc(predicted, target, protocol=protocol) == pytest.approx(
        by_definition(predicted, target, everything, protocol), abs=1e-12
    )
    masked = by_definition(predicted, target, visible, protocol)
    assert metrics.auc(predicted, target, protocol=protocol, visible=visible) == pytest.approx(masked, abs=1e-12)
    assert abs(masked - metrics.auc(predicted, target, protocol=protocol)) > 1e-4


def test_the_two_protocols_average_differently_when_joints_are_hidden():
    target = np.zeros((4, 21, 3))
    predicted = target.copy()
    predicted[:, TIP, 0] = 100.0
    visible = np.ones((4, 21), bool)
    visible[1:, TIP] = False
    assert metrics.auc(predicted, target, visible=visible) == pytest.approx(80 / 81)
    assert metrics.auc(predicted, target, protocol="hand3d", visible=visible) == pytest.approx(20 / 21)


def test_hidden_joints_do_not_count():
    target = np.zeros((2, 21, 3))
    predicted = target.copy()
    predicted[0, TIP, 0] = 42.0
    visible = np.ones((2, 21), bool)
    assert metrics.mepe(predicted, target, visible) == pytest.approx(1.0)
    visible[1] = False
    assert metrics.mepe(predicted, target, visible) == pytest.approx(2.0)
    visible[0, TIP] = False
    assert metrics.mepe(predicted, target, visible) == 0.0
    np.testing.assert_array_equal(metrics.pck(predicted, target, [0.0], visible), [1.0])


@given(SEEDS)
@settings(deadline=None, max_examples=30)
def test_pck_rises_and_auc_stays_in_the_unit_interval(seed):
    target = hands(3, seed)
    predicted = target + hands(3, seed + 1, spread=20.0)
    curve = metrics.pck(predicted, target, np.linspace(0, 200, 50))
    assert (np.diff(curve) >= 0).all()
    assert curve.min() >= 0
    assert curve.max() <= 1
    for protocol in ("paper", "hand3d"):
        assert 0 <= metrics.auc(predicted, target, protocol=protocol) <= 1


@given(SEEDS)
@settings(deadline=None, max_examples=30)
def test_where_the_hands_are_does_not_matter(seed):
    target, predicted = hands(3, seed), hands(3, seed + 1)
    rng = np.random.default_rng(seed)
    shifts = rng.normal(size=(2, 3, 1, 3)) * 500
    expected = metrics.joint_errors(predicted, target)
    np.testing.assert_allclose(metrics.joint_errors(predicted + shifts[0], target + shifts[1]), expected, atol=1e-8)


@pytest.mark.parametrize("measure", [metrics.mepe, metrics.auc, lambda p, t: metrics.pck(p, t, [20.0])])
def test_input_that_is_no_pose_is_refused(measure):
    good = hands(2)
    with pytest.raises(ValueError, match="21, 3"):
        measure(good[0], good[0])
    with pytest.raises(ValueError, match="21, 3"):
        measure(good, good[:1])  # would broadcast
    with pytest.raises(ValueError, match="N is 0"):
        measure(good[:0], good[:0])
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[1, 3, 2] = value
        with pytest.raises(ValueError, match="not finite"):
            measure(bad, good)
        with pytest.raises(ValueError, match="not finite"):
            measure(good, bad)


def test_masks_that_do_not_fit_are_refused():
    target = hands(2)
    with pytest.raises(ValueError, match="visible must be"):
        metrics.mepe(target, target, np.ones(21, bool))
    with pytest.raises(ValueError, match="no visible joint"):
        metrics.auc(target, target, visible=np.zeros((2, 21), bool))


def test_unknown_protocol_root_and_empty_range_are_refused():
    target = hands(2)
    with pytest.raises(ValueError, match="protocol"):
        metrics.auc(target, target, protocol="Paper")
    with pytest.raises(ValueError, match="root"):
        metrics.mepe(target, target, root="elbow")
    for protocol in ("paper", "hand3d"):
        with pytest.raises(ValueError, match="mm"):
            metrics.auc(target, target, low=50, high=20, protocol=protocol)
    with pytest.raises(ValueError, match="vector"):
        metrics.pck(target, target, [[20.0]])
    for nan in (np.nan, [20.0, np.nan]):
        with pytest.raises(ValueError, match="thresholds must be numbers, in millimetres, got NaN"):
            metrics.pck(target, target, nan)
    assert metrics.pck(target, target, np.inf) == 1.0
    assert metrics.pck(target, target, 20.0) == 1.0


def test_plain_lists_and_single_frames_do_as_well():
    target = hands(1)
    predicted, mask = target + 3.0 * np.eye(21)[TIP][:, None], np.ones((1, 21), int)
    mask[0, 3] = 0
    assert metrics.mepe(predicted.tolist(), target.tolist(), mask.tolist()) == pytest.approx(27**0.5 / 20)
    assert metrics.mepe(predicted.astype(np.float32), target.astype(np.float32)) == pytest.approx(27**0.5 / 21, rel=1e-6)
    assert metrics.joint_errors(predicted.astype(np.float32), target.astype(np.float32)).dtype == np.float64


def test_checked_poses_stay_in_their_order():
    predicted, target = hands(2), hands(2, 1)
    for before, checked in zip((predicted, target), metrics.check_poses(predicted, target)):
        np.testing.assert_array_equal(before, checked)


def test_numbers_come_as_plain_floats():
    assert type(metrics.mepe(hands(), hands())) is float
    assert {type(metrics.auc(hands(), hands(), protocol=protocol)) for protocol in ("paper", "hand3d")} == {float}


def test_the_fields_grid_holds_its_own_ends():
    # 1 mm off: nothing at 0 mm, all from the second threshold, 50/19 mm, on
    assert metrics.auc(*all_errors(1.0), low=0, high=50, protocol="hand3d") == pytest.approx(18.5 / 19)


def test_a_range_needs_two_thresholds():
    assert metrics.auc(*all_errors(22.0), low=20, high=24, protocol="hand3d") == pytest.approx(0.5)  # 21.05 and 23.68 mm
    for low, high, protocol in ((21, 22, "hand3d"), (22, 23, "hand3d"), (30, 30, "paper")):
        with pytest.raises(ValueError, match="mm"):
            metrics.auc(*all_errors(22.0), low=low, high=high, protocol=protocol)


def test_a_range_may_end_between_two_thresholds():
    # 20, 21, 22 and 22.5 mm: an error of 22 mm counts from there, half of the step before
    assert metrics.auc(*all_errors(22.0), low=20, high=22.5) == pytest.approx(1.0 / 2.5)


def test_a_frame_that_is_not_finite_or_of_another_shape_is_said_with_its_reason():
    good = hands(2)
    for wrong in (good[:, :20], good[..., :2], good[None], good[:, :, None]):
        with pytest.raises(ValueError, match="21, 3"):
            metrics.check_poses(wrong, wrong)
    with pytest.raises(ValueError, match="visible must be"):
        metrics.check_visible(np.ones((21, 2), bool), (2, 21))
