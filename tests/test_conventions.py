"""Joint orders: against their published lists, round trips, and the wrists that are made up from STB's palm."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handpose import conventions
from handpose.conventions import CONVENTIONS, EXTRAPOLATIONS, MANO_ORDER, PALMS, convert, index_array, with_palm, with_wrist, wrist_errors
from handpose.data.stb import extrapolate_wrist
from handpose.data.synthetic.sequence import draw_moment, stb_joints
from handpose.skeleton import JOINTS

SINGLE = [name for name in CONVENTIONS if name != "RHD, right"]
_FINGERS = {"index": "index", "middle": "middle", "pinky": "little", "little": "little", "ring": "ring", "thumb": "thumb"}


def canonical_name(text):
    """"pinky2" -> "little_pip" and so on: number 1 is the base, 4 the tip."""
    if text in ("wrist", "palm"):
        return "wrist"
    finger, part = _FINGERS[text[:-1]], int(text[-1]) - 1
    return f"{finger}_{(('cmc', 'mcp', 'ip', 'tip') if finger == 'thumb' else ('mcp', 'pip', 'dip', 'tip'))[part]}"


def listed(fingers, parts):
    return [f"{finger}{part}" for finger in fingers for part in parts]


PUBLISHED = {
    "canonical": ["wrist", *listed(["thumb", "index", "middle", "ring", "little"], [1, 2, 3, 4])],
    "RHD, left": ["wrist", *listed(["thumb", "index", "middle", "ring", "little"], [4, 3, 2, 1])],
    "STB": ["palm", *listed(["little", "ring", "middle", "index", "thumb"], [1, 2, 3, 4])],
    "MANO": ["wrist", *listed(["index", "middle", "pinky", "ring", "thumb"], [1, 2, 3]),
             *listed(["thumb", "index", "middle", "ring", "pinky"], [4])],
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_orders_name_the_same_joints_as_the_published_lists(name):
    order = CONVENTIONS[name].order
    assert [canonical_name(PUBLISHED[name][place]) for place in order] == list(JOINTS)


def test_every_order_is_a_permutation_and_rhds_hands_are_21_apart():
    for name in SINGLE:
        assert sorted(CONVENTIONS[name].order) == list(range(21))
    np.testing.assert_array_equal(CONVENTIONS["RHD, right"].order, CONVENTIONS["RHD, left"].order + 21)


def test_mano_as_loaders_of_rhd_write_it():
    np.testing.assert_array_equal(
        index_array("RHD, left", "MANO"), [0, 8, 7, 6, 12, 11, 10, 20, 19, 18, 16, 15, 14, 4, 3, 2, 1, 5, 9, 13, 17])  # fmt: skip
    np.testing.assert_array_equal(index_array("MANO", "canonical"), MANO_ORDER)


@given(st.integers(0, 2**32 - 1), st.permutations(SINGLE))
def test_there_and_back_along_any_path(seed, path):
    joints = np.random.default_rng(seed).normal(size=(2, 21, 3))
    there = joints
    for source, target in itertools.pairwise(path):
        there = convert(there, source, target)
    np.testing.assert_array_equal(there, convert(joints, path[0], path[-1]))
    np.testing.assert_array_equal(convert(there, path[-1], path[0]), joints)


def test_rhds_right_hand_comes_from_the_second_half():
    both = np.arange(42)[:, None]
    np.testing.assert_array_equal(convert(both, "RHD, right", "canonical")[:, 0], CONVENTIONS["RHD, right"].order)
    np.testing.assert_array_equal(convert(both, "RHD, left", "RHD, right")[:, 0], np.arange(21))


@pytest.mark.parametrize("arguments, words", [
    ((np.zeros((21, 3)), "RHD", "MANO"), "no convention 'RHD'; choose from canonical, RHD, left"),
    ((np.zeros((21, 3)), "STB", "OpenPose"), "no convention 'OpenPose'"),
    ((np.zeros((21, 3)), "RHD, right", "MANO"), r"RHD, right needs joints \(..., 42, D\), got \(21, 3\)"),
    ((np.zeros(21), "STB", "MANO"), "needs joints"),
])  # fmt: skip
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        convert(*arguments)


def poses(count=6):
    return np.random.default_rng(0).normal(size=(count, 21, 3)) * 40


def test_the_common_wrist_is_the_loaders():
    np.testing.assert_allclose(EXTRAPOLATIONS[0].wrist(poses()), extrapolate_wrist(poses()))


def test_rendered_frames_have_the_palm_that_with_palm_makes():
    moment = draw_moment(0, "B1Random", 3, 20)
    np.testing.assert_allclose(stb_joints(moment), with_palm(moment.joints()))


def test_made_up_wrists_by_hand():
    pose = np.zeros((1, 21, 3))
    pose[0, 9, 0], pose[0, 13, 0], pose[0, 5, 0], pose[0, 17, 0] = 100.0, 80.0, 90.0, 70.0  # MCPs along x, the wrist at 0
    errors = wrist_errors(pose)
    assert errors["ring MCP, 2.0", "ring MCP"] == pytest.approx([0])
    assert errors["ring MCP, 2.0", "middle MCP"] == pytest.approx([20])  # 80 + 2 (50 - 80)
    assert errors["middle MCP, 2.2", "middle MCP"] == pytest.approx([10])  # 100 + 2.2 (50 - 100)
    assert errors["mean of four MCPs, 2.25", "mean of four MCPs"] == pytest.approx([85 * 0.125])
    assert errors["index tip, 1.43", "ring MCP"] == pytest.approx([57.2])  # 1.43 x 40
    assert set(errors) == {(one.name, palm) for one in EXTRAPOLATIONS for palm in PALMS}


def test_only_joint_0_is_replaced():
    pose = poses()
    for changed in (with_palm(pose), with_wrist(pose, EXTRAPOLATIONS[1])):
        np.testing.assert_array_equal(changed[:, 1:], pose[:, 1:])
        assert np.abs(changed[:, 0] - pose[:, 0]).min(0).max() > 0
    np.testing.assert_array_equal(pose, poses())
    np.testing.assert_allclose(with_wrist(with_palm(pose), EXTRAPOLATIONS[0]), pose)
    assert conventions.MCPS == (5, 9, 13, 17)
