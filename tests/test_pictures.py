import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from handpose import pictures
from handpose.data import RHD, STB, write_synthetic
from handpose.experiments import PRESETS
from handpose.metrics import root_of

SIZE, COUNT = 48, 4


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("hands") / "rhd", training=0, evaluation=COUNT, size=SIZE, workers=1)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(PRESETS["smoke"], frame_size=SIZE))


def results_of(frames, order, root="palm"):
    poses = np.stack([frames[index].xyz for index in order])
    return SimpleNamespace(frame=np.array(order), target=poses - root_of(poses, root)[:, None], root_joint=root)


def test_frames_drawn_again_are_those_that_were_written(written, tiny):
    files, drawn = RHD(written, "evaluation"), pictures.evaluation_frames("tiny")
    hands = set()
    for index in range(COUNT):
        ours, theirs = drawn[index], files[index]
        assert np.array_equal(ours.image, theirs.image)
        np.testing.assert_allclose(ours.xyz, theirs.xyz, atol=0.01)
        np.testing.assert_allclose(ours.uv, theirs.uv, atol=0.01)
        np.testing.assert_allclose(ours.K, theirs.K, atol=1e-3)
        assert ours.hand == theirs.hand and np.array_equal(ours.visible, theirs.visible)
        hands.add(ours.hand)
    assert hands == {"left", "right"}


def test_a_place_in_the_results_leads_to_its_frame(written, tiny):
    files, drawn = RHD(written, "evaluation"), pictures.evaluation_frames("tiny")
    results = results_of(files, [3, 1])
    for frames in (files, drawn):
        assert np.array_equal(pictures.evaluation_frame(results, 0, frames).image, files[3].image)
    results.target[1, 20, 0] += 0.2
    with pytest.raises(ValueError, match="frame 1 no longer shows the pose that was measured"):
        pictures.evaluation_frame(results, 1, drawn)


def test_the_true_pose_falls_on_its_joints(written):
    frame = RHD(written, "evaluation")[2]
    for root in ("palm", "wrist"):
        centred = frame.xyz - root_of(frame.xyz, root) + [300, -40, 20]  # wherever it stands
        np.testing.assert_allclose(pictures.on_picture(centred, frame, root), frame.uv, atol=0.02)


def test_photographs_need_their_folder(written):
    assert pictures.evaluation_frames("smoke", "stb") is None
    assert len(pictures.evaluation_frames("smoke", "rhd", written)) == COUNT
    with pytest.raises(ValueError, match="no dataset 'rdh'"):
        pictures.evaluation_frames("smoke", "rdh")
    with pytest.raises(ValueError, match="no preset 'smok'"):
        pictures.evaluation_frames("smok")


def test_rendered_frames_of_stb_drawn_again_are_those_that_were_written(tmp_path):
    files = STB(write_synthetic(tmp_path / "stb", layout="stb", training=10, evaluation=3, workers=1), "evaluation")
    card = {"rendered": True, "frames": {"evaluation": 3}}
    drawn = pictures.evaluation_frames("smoke", "stb", card=card)
    for index in range(3):  # of both sequences
        ours, theirs = drawn[index], files[index]
        assert np.array_equal(ours.image, theirs.image)
        np.testing.assert_allclose(ours.xyz, theirs.xyz, atol=0.01)
        np.testing.assert_allclose(ours.uv, theirs.uv, atol=0.01)
        assert (ours.hand, ours.K.tolist()) == (theirs.hand, theirs.K.tolist()) and ours.visible.all()
    assert pictures.evaluation_frames("smoke", "stb", card=card | {"rendered": False}) is None
