"""The synthetic STB: official names, labels that come back through the loader and fit the pictures, smooth motion."""

import dataclasses
import hashlib
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from handpose.data import RHD, STB, write_synthetic
from handpose.data.stb import SEQUENCES, decode_depth
from handpose.data.synthetic import draw_frame, label, render, write_stb
from handpose.data.synthetic.picture import ASIDE
from handpose.data.synthetic.scene import Lens
from handpose.data.synthetic.sequence import CAMERAS, MOMENTS, draw_moment, seen_by, stb_joints
from handpose.geometry import project
from handpose.skeleton import BONES

TRAINING, EVALUATION = 11, 3
# Mean colour of 4 x 4 tiles and pixels of hand of one of RHD's pictures, before pictures could have another shape.
TILES = [[46.31, 45.07, 43.6, 42.39], [45.35, 44.5, 43.53, 42.59], [44.5, 51.57, 43.41, 42.83], [43.51, 54.39, 43.41, 43.03]]
HAND = 516
ALL = sorted(SEQUENCES["evaluation"] + SEQUENCES["training"])
OF_CAMERA = {"SK": ["SK_color"], "BB_left": ["BB_left"], "BB_right": ["BB_right"], "BB": ["BB_left", "BB_right"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("made") / "stb", "stb", TRAINING, EVALUATION, workers=1)


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def moments(split, count):
    """(sequence, index, frame in the left camera) in the loader's order."""
    for sequence in SEQUENCES[split]:
        frames = write_stb.frames_of(sequence, count, count)
        for index in range(frames):
            yield sequence, index, draw_moment(0, sequence, index, frames)


def test_official_names_and_types(root):
    assert {path.name for path in root.iterdir()} == {"images", "labels", "synthetic.json", "factors.csv"}
    assert sorted(path.name for path in (root / "images").iterdir()) == ALL
    assert {path.name for path in (root / "labels").iterdir()} == {f"{name}_{kind}.mat" for name in ALL for kind in ("BB", "SK")}
    counts = {name: write_stb.frames_of(name, TRAINING, EVALUATION) for name in ALL}
    assert sum(counts[name] for name in SEQUENCES["training"]) == TRAINING
    assert sum(counts[name] for name in SEQUENCES["evaluation"]) == EVALUATION
    assert max(counts.values()) - min(counts.values()) <= 1
    for name, count in counts.items():
        expected = {f"{camera}_{index}.png" for camera in CAMERAS for index in range(count)}
        assert {path.name for path in (root / "images" / name).iterdir()} == expected
        for kind in ("BB", "SK"):
            assert loadmat(root / "labels" / f"{name}_{kind}.mat")["handPara"].shape == (3, 21, count)
    for camera in CAMERAS:
        with Image.open(root / "images" / "B1Counting" / f"{camera}_0.png") as picture:
            assert (picture.mode, picture.size) == ("RGB", (640, 480))


@pytest.mark.parametrize("camera", OF_CAMERA)
@pytest.mark.parametrize("split, count", [("training", TRAINING), ("evaluation", EVALUATION)])
def test_what_the_writer_knows_comes_back(root, split, count, camera):
    frames, place = STB(root, split, camera), 0
    for view in OF_CAMERA[camera]:
        for sequence, index, moment in moments(split, count):
            frame, seen = frames[place], seen_by(view, moment)
            assert frames.paths[place] == root / "images" / sequence / f"{view}_{index}.png"
            xyz = stb_joints(seen)
            assert np.abs(frame.xyz - xyz).max() < 0.1  # mm
            assert np.abs(frame.uv - project(xyz, seen.camera())).max() < 0.1  # px
            np.testing.assert_allclose(frame.K, seen.camera(), rtol=1e-6)
            assert frame.hand == seen.hand == "left" and frame.visible.all()
            if split == "evaluation" and index == 0:
                np.testing.assert_array_equal(frame.image, render(seen)[0])
            place += 1
    assert place == len(frames)


def test_the_extrapolated_wrist_is_the_wrist(root):
    frames = STB(root, "evaluation", wrist="extrapolated")
    for xyz, (_, _, moment) in zip(frames.xyz, moments("evaluation", EVALUATION), strict=True):
        np.testing.assert_allclose(xyz, seen_by("SK_color", moment).joints(), atol=0.1)


@pytest.mark.parametrize("size", [64, 320])
def test_what_the_rhd_writer_knows_comes_back(tmp_path, size):
    counts, hands = {"training": 3, "evaluation": 4}, set()
    write_synthetic(tmp_path / "rhd", size=size, workers=1, **counts)
    for split, count in counts.items():
        frames = RHD(tmp_path / "rhd", split)
        assert len(frames) == count
        for index, frame in enumerate(frames):
            made = draw_frame(0, split, index, size)
            colour, mask, depth = render(made)
            xyz, uv, K, hand, visible = label(made, mask, depth)
            np.testing.assert_array_equal(frame.image, colour)
            assert np.abs(frame.xyz - xyz).max() < 0.1  # mm
            assert np.abs(frame.uv - uv).max() < 0.1 and np.abs(project(frame.xyz, frame.K) - uv).max() < 0.1  # px
            np.testing.assert_allclose(frame.K, K, rtol=1e-6)
            assert frame.hand == hand == made.hand
            np.testing.assert_array_equal(frame.visible, visible)
            hands.add(hand)
    assert hands == {"left", "right"}


def test_the_hand_is_drawn_where_its_labels_are(root):
    for split, count in (("training", TRAINING), ("evaluation", EVALUATION)):
        for _, _, moment in list(moments(split, count))[::4]:
            for camera in CAMERAS:
                seen = seen_by(camera, moment)
                colour, mask, depth = render(seen)
                _, uv, _, _, visible = label(seen, mask, depth)
                assert ((uv > 0) & (uv < [640, 480])).all()
                assert visible.sum() >= 8
                column, row = np.floor(uv).astype(int).T
                assert (mask[row, column] > 1).sum() >= 19  # a thin finger may lie between two samples


def test_depth_pictures_fit_the_depth_cameras_labels(root):
    fx, fy, u0, v0 = 475.62768, 474.77709, 336.41179, 238.77962
    for sequence in ("B1Counting", "B4Random"):
        hands = loadmat(root / "labels" / f"{sequence}_SK.mat")["handPara"]
        for index in range(hands.shape[2]):
            with Image.open(root / "images" / sequence / f"SK_depth_{index}.png") as picture:
                depth = decode_depth(np.asarray(picture))
            x, y, z = hands[..., index]
            skin = depth[np.floor(fy * y / z + v0).astype(int), np.floor(fx * x / z + u0).astype(int)]
            seen = (skin > 0) & (z - skin < 40)  # flesh of this joint, nothing in front of it
            assert seen.sum() >= 8 and (z - skin)[seen].min() > -12
            assert (depth == 0).mean() > 0.5


def test_the_right_camera_stands_to_the_right(root):
    left, right = STB(root, "training", "BB_left"), STB(root, "training", "BB_right")
    np.testing.assert_allclose(left.uv[..., 1], right.uv[..., 1], atol=1e-3)  # rectified
    disparity = left.uv[..., 0] - right.uv[..., 0]
    np.testing.assert_allclose(disparity, 822.79041 * 120.054 / left.xyz[..., 2], atol=1e-2)


def test_one_person_six_backgrounds():
    frames = [draw_moment(0, name, 0, 1) for name in ALL]
    assert len({(frame.subject, frame.melanin, frame.cloth, frame.sleeve) for frame in frames}) == 1
    assert {frame.hand for frame in frames} == {"left"}
    by_number = {}
    for name, frame in zip(ALL, frames, strict=True):
        by_number.setdefault(name[1], set()).add((frame.background_kind, frame.background_seed, frame.light))
    assert sorted(by_number) == list("123456") and all(len(places) == 1 for places in by_number.values())
    assert len(set.union(*by_number.values())) == 6
    assert len({draw_moment(seed, "B1Random", 0, 1).background_seed for seed in range(3)}) == 3


@pytest.mark.parametrize("sequence", ["B1Counting", "B2Random", "B6Counting", "B6Random"])
def test_motion_is_smooth_and_stays_in_the_picture(sequence):
    joints = np.array([stb_joints(draw_moment(0, sequence, index, MOMENTS)) for index in range(MOMENTS)])
    steps = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    assert steps.max() < 25  # mm from one picture to the next, at 30 a second
    jerks = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1)
    assert jerks.max() < 5
    assert np.ptp(joints[:, 9], axis=0).min() > 20  # and the hand does move
    for camera in CAMERAS:
        lens, R, t = CAMERAS[camera]
        uv = project(joints @ R.T + t, seen_by(camera, draw_moment(0, sequence, 0, 1)).camera())
        assert ((uv > 0) & (uv < [lens.width, lens.height])).all(-1).mean() > 0.97
        assert abs(lens.shift[0]) <= ASIDE and abs(lens.shift[1]) <= ASIDE
    lengths = np.array([np.linalg.norm(joints[:, b] - joints[:, a], axis=-1) for a, b in BONES if a])
    assert np.ptp(lengths, axis=1).max() < 1e-6


def test_few_frames_are_spread_over_the_whole_sequence():
    phases = [draw_moment(0, "B3Counting", index, 5).phase for index in range(5)]
    np.testing.assert_allclose(phases, [0.1, 0.3, 0.5, 0.7, 0.9])


def test_same_bytes_with_two_workers_and_after_an_interruption(root, tmp_path, monkeypatch):
    whole, done = write_stb._write_frame, []

    def torn(folder, seed, sequence, index, count, progress):
        if len(done) == 4:
            (folder / f"BB_left_{index}.png").write_bytes((root / "images" / sequence / f"BB_left_{index}.png").read_bytes())
            half = folder / f".{'0' * 32}.BB_right_{index}.png"  # long ago
            half.write_bytes(b"half")
            os.utime(half, (0, 0))
            raise RuntimeError("power cut")
        done.append(sequence)
        whole(folder, seed, sequence, index, count, progress)

    target = tmp_path / "torn"
    monkeypatch.setattr(write_stb, "_write_frame", torn)
    with pytest.raises(RuntimeError, match="power cut"):
        write_synthetic(target, "stb", TRAINING, EVALUATION, workers=1)
    assert not (target / "labels").exists()
    again = []
    monkeypatch.setattr(write_stb, "_write_frame", lambda *frame: again.append(frame) or whole(*frame))
    write_synthetic(target, "stb", TRAINING, EVALUATION, workers=2)
    assert len(again) == TRAINING + EVALUATION - 4
    assert digests(target) == digests(root)
    again.clear()
    write_synthetic(target, "stb", TRAINING, EVALUATION, size=64)  # size does not count here
    assert not again


def test_what_was_lost_is_made_again(root, tmp_path):
    target = shutil.copytree(root, tmp_path / "hands")
    for name in ("images/B1Random/SK_depth_0.png", "labels/B2Random_BB.mat"):
        (target / name).unlink()
    (target / "images" / "B1Counting" / "BB_left_0.png").write_bytes(b"")
    write_synthetic(target, "stb", TRAINING, EVALUATION, workers=1)
    assert digests(target) == digests(root)


def test_a_lens_in_the_middle_draws_the_square_picture():
    frame = draw_frame(0, "training", 1, 64)
    square = render(frame)
    lens = Lens(64, 64, frame.focal, frame.focal, 32.0, 32.0)
    through = render(dataclasses.replace(frame, lens=lens))
    np.testing.assert_array_equal(through[1], square[1])
    np.testing.assert_array_equal(through[2], square[2])


def test_square_pictures_are_what_they_always_were():
    # Means of tiles and not a digest: another processor may round otherwise.
    colour, mask, depth = render(draw_frame(0, "training", 0, 96))
    tiles = colour.reshape(4, 24, 4, 24, 3).mean((1, 3, 4))
    np.testing.assert_allclose(tiles, TILES, atol=0.5)
    assert abs((mask > 1).sum() - HAND) <= 3
    assert np.isinf(depth).sum() == (mask == 0).sum()
