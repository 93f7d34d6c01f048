"""The 21 joints, the 20 bones and the orders of the two datasets, written out once more by hand."""

import numpy as np
import pytest

from handpose import skeleton

NAMES = (
    "wrist thumb_cmc thumb_mcp thumb_ip thumb_tip index_mcp index_pip index_dip index_tip middle_mcp middle_pip middle_dip middle_tip "
    "ring_mcp ring_pip ring_dip ring_tip little_mcp little_pip little_dip little_tip"
).split()


def test_joints_go_from_the_wrist_over_the_fingers_each_from_base_to_tip():
    assert skeleton.JOINTS == tuple(NAMES)
    assert skeleton.FINGERS == ("thumb", "index", "middle", "ring", "little")


def test_a_finger_hangs_on_the_wrist_and_each_joint_on_the_one_before():
    finger = [(0, 1), (1, 2), (2, 3), (3, 4)]
    by_hand = [(parent and parent + 4 * number, child + 4 * number) for number in range(5) for parent, child in finger]
    assert skeleton.BONES == tuple(by_hand)


def test_joints_with_a_part_of_their_own():
    named = {"wrist": skeleton.WRIST, "middle_mcp": skeleton.MIDDLE_MCP, "middle_pip": skeleton.MIDDLE_PIP}
    assert {name: NAMES[joint] for name, joint in named.items()} == {name: name for name in named}
    assert all(joint >= 0 for joint in named.values())


def fingers_from(first, order):
    """A dataset's joint names: ``first``, then each finger of ``order`` with its joints as listed."""
    return [first, *(f"{finger}_{part}" for finger, parts in order for part in parts)]


THUMB, FINGER = ("cmc", "mcp", "ip", "tip"), ("mcp", "pip", "dip", "tip")


@pytest.mark.parametrize(
    "order, theirs",
    [
        (skeleton.RHD_ORDER, fingers_from("wrist", [("thumb", THUMB[::-1]), *((name, FINGER[::-1]) for name in skeleton.FINGERS[1:])])),
        (skeleton.STB_ORDER, fingers_from("wrist", [*((name, FINGER) for name in skeleton.FINGERS[:0:-1]), ("thumb", THUMB)])),
    ],
    ids=["RHD", "STB"],
)
def test_orders_take_a_datasets_joints_into_ours_and_back(order, theirs):
    """RHD: each finger from tip to base. STB: from the little finger to the thumb, the palm's centre in the wrist's place."""
    assert [theirs[joint] for joint in order] == NAMES
    assert sorted(order) == list(range(21))
    pose = np.random.default_rng(0).normal(size=(21, 3))
    np.testing.assert_array_equal(pose[order][np.argsort(order)], pose)


def test_the_finger_of_each_joint():
    assert [skeleton.finger_of(joint) for joint in range(21)] == [name.split("_")[0] for name in NAMES]
