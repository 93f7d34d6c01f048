"""What the page "See the method work" computes: known values, and what holds for every hand."""

import re
import types

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose import analysis, inside
from handpose.data.synthetic import draw_frame
from handpose.geometry import hand_scale, palm_centre
from handpose.pictures import DrawnFrames
from handpose.plausibility import bone_lengths, joint_angles
from handpose.skeleton import BONES, FINGERS

RNG = np.random.default_rng(0)
HAND = DrawnFrames(64)[3].xyz.astype(float)
LEFT = DrawnFrames(64)[3].hand == "left"


def normal(*shape):
    return np.random.default_rng(7).normal(size=shape)


def test_clouds_are_what_the_decoder_reads():
    latent, pose = normal(40, 128), normal(40, 64) + 1
    before = {"latent": latent, "latent_pose": pose, "read_rgb": latent[:30]}
    picture, true = inside.clouds(before)
    np.testing.assert_array_equal(picture, latent[:30, :64])
    np.testing.assert_array_equal(true, pose[:30])
    after = inside.clouds(before | {"read_pose": pose[:30] * 2, "read_rgb": latent[:30, :64]})
    np.testing.assert_array_equal(after[1], 2 * pose[:30])
    with pytest.raises(ValueError, match="latents were not kept: rows A, B, D0 and D3 have them"):
        inside.clouds({"pair_same": latent})


def test_how_far_apart_two_clouds_are():
    one = normal(200, 64)
    same = inside.apart(one, one + 0.01 * np.random.default_rng(1).normal(size=one.shape))
    assert same["gap"] < 0.01 and 0.35 < same["told apart"] < 0.65 and same["own pose"] == 1
    shifted = inside.apart(one, one + 16 * np.eye(64)[0])  # spread 8: the root of 64 variances of 1
    assert shifted["gap"] == pytest.approx(2, rel=0.05) and shifted["told apart"] > 0.95
    assert shifted["own pose"] == 1  # an offset alone leaves each picture nearest to its own pose
    unrelated = inside.apart(one, np.random.default_rng(2).normal(size=one.shape))
    assert 0.4 < unrelated["own pose"] < 0.6 and 0.35 < unrelated["told apart"] < 0.65
    with pytest.raises(ValueError, match=r"two clouds of the same frames are needed, got \(200, 64\) and \(100, 64\)"):
        inside.apart(one, one[:100])


def test_tables_and_notes_are_of_the_measured_numbers():
    arrays = {"read_rgb": normal(40, 64), "read_pose": normal(40, 64) + 2}
    table = inside.apart_table({"D3": [arrays, arrays]})
    measured = inside.apart(*inside.clouds(arrays))
    assert table.index.tolist() == ["D3"] and table.iloc[0, 0] == "after refinement"
    assert table.iloc[0, 1] == f"{measured['gap']:.2f} ± 0.00"
    picture, pose, note = inside.state_map(arrays)
    assert picture.shape == pose.shape == (40, 2) and f"means {measured['gap']:.1f} spreads apart" in note


def test_the_flat_map_is_the_plane_of_most_variance():
    points = normal(60, 64) * ([5, 3] + [0.01] * 62)
    picture, pose, share = inside.flat_map(points[:30], points[30:])
    flat = np.concatenate([picture, pose])
    centred = points - points.mean(0)
    np.testing.assert_allclose(np.linalg.norm(flat[:, None] - flat, axis=-1), np.linalg.norm(centred[:, None] - centred, axis=-1), atol=0.3)
    assert share.sum() > 0.99 and share[0] > share[1]
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(FINGERS), st.floats(-60, 60), st.booleans())
def test_bending_turns_one_finger_and_keeps_its_bones(finger, degrees, left):
    bent = inside.bend(HAND, finger, degrees, left)
    base = 1 + 4 * FINGERS.index(finger)
    moved = np.linalg.norm(bent - HAND, axis=1) > 1e-9
    assert not moved[[joint for joint in range(21) if joint not in range(base + 1, base + 4)]].any()
    np.testing.assert_allclose(bone_lengths(bent[None]), bone_lengths(HAND[None]), atol=1e-9)
    bone, before = bent[base + 1] - bent[base], HAND[base + 1] - HAND[base]
    angle = np.degrees(np.arccos(np.clip(bone @ before / np.linalg.norm(bone) / np.linalg.norm(before), -1, 1)))
    assert angle == pytest.approx(abs(degrees), abs=1e-4)


def test_bending_closes_the_hand():
    before, after = (joint_angles(pose[None], LEFT)[0, 1, 0] for pose in (HAND, inside.bend(HAND, "index", 30, LEFT)))
    assert 15 < after - before < 40
    mirrored = HAND * [-1, 1, 1]
    np.testing.assert_allclose(inside.bend(mirrored, "index", 30, not LEFT) * [-1, 1, 1], inside.bend(HAND, "index", 30, LEFT))
    with pytest.raises(ValueError, match="no finger 'toe'; choose from thumb, index"):
        inside.bend(HAND, "toe", 30)


def test_an_upright_hand_faces_us():
    turned = inside.upright(HAND, LEFT)
    np.testing.assert_allclose(palm_centre(turned), 0, atol=1e-9)
    assert np.allclose(turned[9, [0, 2]], 0, atol=1e-9) and turned[9, 1] < 0 < turned[0, 1]  # wrist below, middle finger up
    np.testing.assert_allclose(bone_lengths(turned[None]), bone_lengths(HAND[None]), atol=1e-9)
    assert np.linalg.det(np.linalg.lstsq(HAND - HAND.mean(0), turned - turned.mean(0), rcond=None)[0]) == pytest.approx(1)
    closer = inside.bend(turned, "middle", 10, LEFT)
    assert closer[10, 2] < turned[10, 2]  # towards the palm, which is towards the camera


def test_the_most_open_right_hand_is_found():
    fist = HAND * 0.5
    results = types.SimpleNamespace(target=np.stack([fist, HAND, HAND * 1.1]), left=np.array([False, False, True]))
    assert inside.open_hand(results) == 1
    results.left = np.array([True, True, True])
    assert inside.open_hand(results) == 2


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_kinematic_losses_never_move_or_turn_the_hand_as_a_whole(seed):
    target = HAND - palm_centre(HAND)
    predicted = target + np.random.default_rng(seed).normal(size=(21, 3)) * 8
    pulls = inside.pulls(predicted, target, 40.0, jitter=0)
    for name in ("KCS", "GEO"):
        pull, size = pulls[name], np.abs(pulls[name]).sum()
        assert size > 0
        np.testing.assert_allclose(pull.sum(0) / size, 0, atol=1e-9)
        np.testing.assert_allclose(np.cross(predicted, pull).sum(0) / size / 100, 0, atol=1e-9)
    np.testing.assert_allclose(pulls["MSE"], (target - predicted) / 40 * 2 / 63)


@pytest.mark.parametrize("name", ["MSE", "KCS", "GEO"])
def test_a_step_along_the_pull_lowers_the_loss(name):
    target = HAND - palm_centre(HAND)
    bent = inside.bend(target, "index", 40, LEFT) + normal(21, 3)
    loss = {"MSE": inside.losses.mean_squared_error, "KCS": inside.losses.kcs_loss, "GEO": inside.losses.geometrical_loss}[name]
    pull = inside.pulls(bent, target, 40.0, jitter=0)[name]

    def of(pose):
        return float(loss(*(inside.torch.from_numpy(one / 40.0)[None] for one in (pose, target))))

    assert of(bent + 0.01 * pull / np.abs(pull).max()) < of(bent)


def test_what_is_right_already_pulls_no_way():
    """Bending keeps the bones' lengths and the angles within the finger: rounding must not make a pull of that."""
    fan = np.stack([np.sin(np.radians([60, 20, 5, -10, -25])), -np.cos(np.radians([60, 20, 5, -10, -25])), np.zeros(5)], 1)
    target = np.concatenate([np.zeros((1, 3)), (fan[:, None] * np.array([80, 115, 138, 158])[:, None]).reshape(20, 3)])
    bent = inside.bend(target, "index", 40)
    exact, kept = (inside.pulls(bent, target, 40.0, jitter)["KCS"] for jitter in (0.0, 0.5))
    strongest = np.linalg.norm(kept, axis=1).max()
    np.testing.assert_allclose(kept[[6, 7]], 0, atol=0.1 * strongest)  # what two bones pull at the joint between them cancels
    np.testing.assert_allclose(kept[8], -kept[5], atol=0.25 * strongest)
    again, other = (inside.pulls(bent + 1e-9 * normal(21, 3), target, 40.0, jitter)["KCS"] for jitter in (0.5, 0.0))
    np.testing.assert_allclose(again, kept, atol=0.05 * strongest)  # though without jitter the last digit decides
    assert np.abs(other - exact).max() > 0.2 * strongest
    squared = inside.pulls(bent, target, 40.0)["MSE"]
    np.testing.assert_allclose(squared, (target - bent) / 40 * 2 / 63, atol=1e-12)


def test_the_pull_table_says_where_and_how_much():
    pull = np.zeros((21, 3))
    pull[8], pull[7], pull[20] = [3, 0, 0], [1, 0, 0], [-4, 0, 0]
    table = inside.pull_table({"KCS": pull}, "index")
    assert table.loc["KCS"].tolist() == ["little tip", "50", "0"]
    assert inside.pull_table({"MSE": np.zeros((21, 3))}, "index").loc["MSE"].tolist()[1:] == ["0", "0"]


def test_gradient_ratios_are_geometric_means():
    row, base = (pd.DataFrame([[value, 1.0]], columns=["one", "two"]) for value in (8.0, 2.0))
    table = inside.gradient_ratios([row, base], [base, base])  # ratios 4 and 1
    assert table.index.name == "layer" and table["epoch 1"].tolist() == ["× 2.00", "× 1.00"]


def test_the_chain_space_of_a_known_hand():
    pose = np.zeros((21, 3))
    pose[1:] = np.arange(1, 21)[:, None] * [1, 0, 0] + [[0, 10 * (joint % 4 == 1), 0] for joint in range(1, 21)]
    seen = inside.chain_space(pose, 2.0)
    bones = np.array([pose[child] - pose[parent] for parent, child in BONES])
    np.testing.assert_allclose(seen["kcs"], bones @ bones.T / 4)
    np.testing.assert_allclose(seen["length"], np.linalg.norm(bones, axis=1))
    assert seen["angle"][0, 0] == pytest.approx(0, abs=1e-5)
    wanted = np.degrees(np.arccos(bones[0] @ bones[4] / np.linalg.norm(bones[0]) / np.linalg.norm(bones[4])))
    assert seen["angle"][0, 4] == pytest.approx(wanted)


def test_bending_a_finger_keeps_the_chain_spaces_diagonal():
    scale = float(hand_scale(HAND))
    before, after = (inside.chain_space(pose, scale)["kcs"] for pose in (HAND, inside.bend(HAND, "index", 40, LEFT)))
    difference = after - before
    np.testing.assert_allclose(np.diag(difference), 0, atol=1e-9)
    others = [bone for bone in range(20) if bone not in (5, 6, 7)]
    np.testing.assert_allclose(difference[np.ix_(others, others)], 0, atol=1e-9)
    assert np.abs(difference[5:8, others]).max() > 0.1


def test_all_joints_share_the_columns_of_the_line_distances():
    table = inside.line_distances(HAND)
    assert table.shape == (21, 210) and np.isnan(table).sum() == 21 * 20
    line = inside.LINES.tolist().index([5, 17])
    along = (HAND[17] - HAND[5]) / np.linalg.norm(HAND[17] - HAND[5])
    side = HAND[12] - HAND[5]
    assert table[12, line] == pytest.approx(np.linalg.norm(side - side @ along * along))
    assert np.isnan(table[5, line]) and np.isnan(table[17, line])


def test_names_for_readers():
    assert [inside.in_words(joint) for joint in (0, 1, 4, 6)] == ["wrist", "thumb CMC", "thumb tip", "index PIP"]
    assert inside.bone_in_words(5) == "index MCP – index PIP"


def kept_frames(places, size=64):
    frames = DrawnFrames(size)
    target = np.stack([frames[index].xyz - palm_centre(frames[index].xyz) for index in places])
    return types.SimpleNamespace(target=target, frame=np.array(places), root_joint="palm", left=np.zeros(len(places), bool))


def test_exchanged_pictures_change_what_they_say(monkeypatch):
    monkeypatch.setattr(inside, "find_preset", lambda name: types.SimpleNamespace(frame_size=64))
    results = kept_frames([2, 5])
    (_, first), (frame, images) = inside.exchanged_pictures(results, [0, 1], "any")
    assert set(images) == set(analysis.CHANGES) and frame.uv.shape == (21, 2)
    np.testing.assert_array_equal(images["same"], DrawnFrames(64)[5].image)
    changed = {name: np.abs(image.astype(int) - images["same"]).max(-1) > 4 for name, image in images.items()}
    assert 0.1 < changed["background"].mean() < changed["light"].mean()
    results.target[1] += 5 * RNG.normal(size=(21, 3))
    with pytest.raises(ValueError, match="no longer shows the pose that was measured"):
        inside.exchanged_pictures(results, [1], "any")


def test_exchanged_pictures_are_those_that_were_measured(tmp_path):
    (tmp_path / "synthetic.json").write_text('{"seed": 4, "size": 64, "layout": "rhd"}')
    frames = DrawnFrames(64, 4)
    results = kept_frames([0])
    results.target = frames[0].xyz[None] - palm_centre(frames[0].xyz)
    _, images = inside.exchanged_pictures(results, [0], "smoke", tmp_path)[0]
    drawn = draw_frame(4, "evaluation", 0, 64)
    for name, frame in analysis.exchanged(drawn, 4, 0).items():
        np.testing.assert_array_equal(images[name], inside.render(frame)[0])


def test_what_each_row_does_to_the_distance_is_said():
    near, far = ({"read_rgb": np.zeros((40, 64)) + offset + normal(40, 64), "latent_pose": normal(40, 64)[::-1]} for offset in (0.1, 5.0))
    assert re.fullmatch(r"distance of the means, one row after another: A 0\.\d\d, B \d\.\d\d \(farther apart\), D0 0\.\d\d \(closer together\)",
                        inside.drawn_together({"A": [near], "B": [far], "D0": [near, near]}))  # fmt: skip
    assert inside.drawn_together({}) == ""
