"""The dataset doctor on healthy, damaged and unknown folders: what it says, and its exit status."""

import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from handpose.data import doctor, rhd, write_synthetic
from handpose.data.__main__ import main


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both layouts once; tests damage copies."""
    root = tmp_path_factory.mktemp("healthy")
    write_synthetic(root / "rhd", training=4, evaluation=3, size=320, workers=1)
    write_synthetic(root / "stb", "stb", training=10, evaluation=2, workers=1)
    return root


@pytest.fixture
def copy(made, tmp_path):
    def of(layout, synthetic=True):
        shutil.copytree(made / layout, tmp_path / layout)
        if not synthetic:
            (tmp_path / layout / "synthetic.json").unlink()
        return tmp_path / layout

    return of


def check(path, capsys, *options):
    """Exit status and lines of the command."""
    status = main(["check", str(path), *options])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")][0] == "found"
    assert lines[-1].startswith("next:")
    return status, lines


def wrong(lines):
    return [line for line in lines if line.startswith("wrong:")]


def test_healthy_synthetic_hands(made, capsys):
    for layout, dataset, shape in (("rhd", "synthetic", "RHD"), ("stb", "stb", "STB")):
        status, lines = check(made / layout, capsys)
        assert status == 0 and not wrong(lines)
        assert lines[0].endswith(f"synthetic hands in the layout of {shape}")
        assert lines[-1] == f"next:    make book DATASET={dataset} DATA_ROOT={made / layout}"
        assert any(line.startswith("licence:") for line in lines)


def test_a_part_of_the_real_ones(copy, capsys):
    status, lines = check(copy("rhd", synthetic=False), capsys)
    assert status == 0 and "RHD, the Rendered Hand Pose dataset" in lines[0] and "DATASET=rhd" in lines[-1]
    assert any("training: 4 frames are labelled, 41258 are expected" in line for line in lines)
    assert any("research only" in line for line in lines) and any("uni-freiburg" in line for line in lines)
    status, lines = check(copy("stb", synthetic=False), capsys)
    assert status == 0 and "STB, the Stereo" in lines[0] and "DATASET=stb" in lines[-1]
    assert any("3000 are expected" in line for line in lines) and any("icip17" in line for line in lines)


def test_the_known_bad_frames_are_said(copy, capsys, monkeypatch):
    monkeypatch.setitem(rhd.OFFICIAL_COUNTS, "evaluation", 3)
    monkeypatch.setitem(rhd.BAD_FRAMES, "evaluation", (1,))
    report = doctor.examine(copy("rhd", synthetic=False), progress=False)
    assert report.usable == {"training": 4, "evaluation": 2}
    assert "evaluation: frames 1 are left out, as the field's loaders do" in report.notes


def test_the_folder_above_and_a_path_with_spaces(copy, tmp_path, capsys):
    (tmp_path / "my data").mkdir()
    copy("rhd", synthetic=False).rename(tmp_path / "my data" / "RHD_published_v2")
    status, lines = check(tmp_path / "my data", capsys)
    assert status == 0 and lines[-1].endswith(f"DATA_ROOT='{tmp_path / 'my data'}'")


def damage_picture(root, name, how):
    path = root / name
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:900])
    elif how == "size":
        Image.new("RGB", (320, 200)).save(path)
    elif how == "text":
        path.write_text("<html>")


@pytest.mark.parametrize("how", ["missing", "truncated", "size", "text"])
@pytest.mark.parametrize("layout, name", [
    ("rhd", "training/color/00002.png"), ("rhd", "evaluation/mask/00000.png"), ("stb", "images/B1Random/SK_color_0.png"),
])  # fmt: skip
def test_a_broken_picture_makes_it_unusable(copy, capsys, how, layout, name):
    root = copy(layout)
    damage_picture(root, name, how)
    status, lines = check(root, capsys)
    assert status == 1 and "then python -m handpose.data check" in lines[-1]
    assert len(wrong(lines)) == 1
    assert (root / name).name in wrong(lines)[0]


def test_a_damaged_table_of_factors_makes_it_unusable(copy, capsys):
    root = copy("rhd")
    (root / "evaluation" / "factors.csv").write_text("frame\n0\n")
    status, lines = check(root, capsys)
    assert status == 1 and len(wrong(lines)) == 1 and "factors.csv is damaged" in wrong(lines)[0]


def test_both_pictures_of_a_wrong_size_are_seen_in_the_real_one(copy, capsys):
    root = copy("rhd", synthetic=False)
    for kind in ("color", "mask"):
        path = root / "training" / kind / "00001.png"
        Image.open(path).resize((64, 64)).save(path)
    status, lines = check(root, capsys)
    assert status == 1 and "64 x 64 pixels, expected 320 x 320" in wrong(lines)[0]


def test_a_broken_stereo_picture_is_only_a_note(copy, capsys):
    root = copy("stb")
    (root / "images" / "B1Random" / "BB_left_0.png").unlink()
    (root / "labels" / "B3Random_BB.mat").unlink()
    status, lines = check(root, capsys)
    assert status == 0
    notes = [line for line in lines if line.startswith("note:")]
    assert any("BB_left_0.png is missing" in line for line in notes) and any("lacks B3Random_BB.mat" in line for line in notes)


def test_many_broken_pictures_are_counted(copy, capsys):
    root = copy("rhd")
    for index in range(4):
        for kind in ("color", "mask"):
            (root / "training" / kind / f"{index:05d}.png").unlink()
    status, lines = check(root, capsys)
    assert status == 1 and len(wrong(lines)) == 4 and "5 more" in wrong(lines)[-1]


@pytest.mark.parametrize("layout, name, says", [
    ("rhd", "training/anno_training.pickle", "anno_training.pickle is missing"),
    ("rhd", "evaluation", "anno_evaluation.pickle is missing"),
    ("rhd", "training/mask", "mask is missing"),
    ("stb", "images/B4Counting", "lacks B4Counting"),
    ("stb", "labels/B1Counting_SK.mat", "lacks B1Counting_SK.mat"),
    ("stb", "labels", "lacks B2Counting_SK.mat, B2Random_SK.mat"),
])  # fmt: skip
def test_missing_parts_are_named(copy, capsys, layout, name, says):
    root = copy(layout)
    shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
    status, lines = check(root, capsys)
    assert status == 1 and any(says in line for line in wrong(lines))
    assert any("goes on where it was interrupted" in line for line in lines)


def test_wrong_labels_are_named(copy, capsys):
    root = copy("stb")
    path = root / "labels" / "B1Random_SK.mat"
    hands = loadmat(path)["handPara"]
    hands[0, 0, 0] = np.nan
    savemat(path, {"handPara": hands})
    status, lines = check(root, capsys)
    assert status == 1 and "B1Random_SK.mat" in wrong(lines)[0] and "not finite" in wrong(lines)[0]
    (root / "synthetic.json").write_text("{")
    assert "synthetic.json" in wrong(check(root, capsys)[1])[0]


def edit(root, change, split="evaluation"):
    path = root / split / f"anno_{split}.pickle"
    labels = pickle.loads(path.read_bytes())
    change(labels)
    path.write_bytes(pickle.dumps(labels))


def hide(labels):
    labels[0]["uv_vis"][:, 2] = 0


def thousandfold(labels):
    for frame in labels.values():
        frame["xyz"] = frame["xyz"] * 1000


def test_labels_in_another_unit_are_wrong(copy, capsys):
    root = copy("rhd", synthetic=False)
    edit(root, thousandfold)
    status, lines = check(root, capsys)
    assert status == 1 and "evaluation: no frame can be used" in wrong(lines)[0] and "in their own unit?" in wrong(lines)[0]


def far_away(labels):
    labels[0]["uv_vis"][:, :2] += 5000


def one_point(labels):
    labels[0]["uv_vis"][:, :2] = 100


def no_size(labels):
    labels[0]["xyz"][:] = labels[0]["xyz"][0]


@pytest.mark.parametrize("change, says, usable", [
    (hide, "1 frames show no joint of their hand", 3), (far_away, "can't be cropped: left out", 2),
    (one_point, "can't be cropped: left out", 2), (no_size, "without size: left out", 2),
])  # fmt: skip
def test_odd_hands_are_counted(copy, change, says, usable):
    root = copy("rhd")
    edit(root, change)
    report = doctor.examine(root, progress=False)
    assert report.healthy and report.usable["evaluation"] == usable
    assert any(says in note for note in report.notes)


def test_a_mask_without_a_hand_and_pixels_beside_their_joints(copy):
    root = copy("rhd")
    Image.fromarray(np.zeros((320, 320), np.uint8)).save(root / "training" / "mask" / "00000.png")

    def shift(labels):
        labels[1]["uv_vis"][:, 0] += 3
        labels[1]["uv_vis"][:, 2] = 1

    edit(root, shift)
    report = doctor.examine(root, progress=False)
    assert report.healthy
    assert any("training: 1 frames have a mask without a hand: taken as a right one" in note for note in report.notes)
    assert any("evaluation: in 1 frames (first: 1) the pixels" in note for note in report.notes)


def test_quick_reads_a_sample(made, monkeypatch):
    looked = []
    monkeypatch.setattr(doctor, "SAMPLE", 2)
    whole = doctor._look
    monkeypatch.setattr(doctor, "_look", lambda frames, index, size: looked.append(index) or whole(frames, index, size))
    report = doctor.examine(made / "rhd", quick=True, progress=False)
    assert sorted(looked) == [0, 0, 2, 3] and report.healthy
    assert any("4 usable (2 pictures read)" in fact for fact in report.facts)


def test_folders_that_are_no_dataset(made, tmp_path, capsys):
    def says(path):
        status, lines = check(path, capsys)
        assert status == 1 and len(wrong(lines)) == 1
        text = "\n".join(lines)
        assert "RHD_published_v2/" in text and "B1Counting" in text  # how either would look
        return wrong(lines)[0]

    assert "is missing" in says(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "not a folder" in says(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "is empty" in says(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    assert "neither RHD nor STB" in says(tmp_path / "other")
    (tmp_path / "other" / "RHD_v1-1.zip").write_bytes(b"")
    assert "unpack it first" in says(tmp_path / "other")
    assert f"{made / 'rhd'} looks like it" in says(made)
    assert f"give {made / 'rhd'}" in says(made / "rhd" / "training")
    assert f"give {made / 'stb'}" in says(made / "stb" / "images")


def test_the_command_needs_a_folder(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["check"])
    assert stopped.value.code == 2 and "path" in capsys.readouterr().err


def test_a_name_too_long_for_the_system_is_a_problem(tmp_path, capsys):
    status, lines = check(tmp_path / ("a" * 300), capsys)
    assert status == 1 and len(wrong(lines)) == 1 and "can't be examined" in wrong(lines)[0]


def test_a_name_that_is_no_text_is_shown_with_its_bytes(tmp_path):
    odd = os.fsencode(tmp_path) + b"/hands\xff"
    os.mkdir(odd)
    done = subprocess.run([sys.executable, "-m", "handpose.data", "check", odd], capture_output=True, text=True)
    assert done.returncode == 1 and "hands\\udcff is empty" in done.stdout and not done.stderr
