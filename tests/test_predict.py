"""A hand in a picture of one's own: the predictor's boundary, the command, its files, and what is not given."""

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given as examples
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image

import handpose
from handpose import given, metrics, own_picture, pictures
from handpose.__main__ import main
from handpose.data import RHD, write_shards, write_synthetic
from handpose.experiments import PRESETS
from handpose.geometry import project
from handpose.predictor import checked, default_camera, hand_crop
from handpose.results import Results, obtain
from handpose.runs import open_run, prepare_data, training_code
from handpose.skeleton import JOINTS

ROOT = Path(__file__).parents[1]
TINY = dataclasses.replace(PRESETS["smoke"], training=40, evaluation=12, batch=16, disentangle_epochs=1)
IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    PRESETS["tiny"] = TINY
    yield dict(preset="tiny", output_dir=tmp_path_factory.mktemp("predict"), progress=False, device="cpu")
    del PRESETS["tiny"]


@pytest.fixture(scope="module")
def result(tiny):
    return obtain("D3", **tiny)


@pytest.fixture(scope="module")
def predictor(result):
    return handpose.load(result.folder / "run.json")


@pytest.fixture(scope="module")
def data(tiny, result):
    return prepare_data("tiny", output_dir=tiny["output_dir"], progress=False)


@pytest.fixture
def frame():
    return pictures.evaluation_frames("tiny")[3]


@pytest.fixture
def photo(tmp_path, frame):
    Image.fromarray(frame.image).save(tmp_path / "hand.png")
    return tmp_path / "hand.png"


def sides(known):
    """Width, height, width, height of a box."""
    return np.tile(known["box"][2:] - known["box"][:2], 2)


@pytest.mark.parametrize("arguments, message", [
    (dict(image=IMAGE.astype(float)), "image must be uint8 (H, W, 3), got float64 (48, 64, 3)"),
    (dict(image=IMAGE[:0]), "image must be uint8 (H, W, 3)"),
    (dict(hand="Left"), "hand must be \"left\" or \"right\", got 'Left'"),
    (dict(hand=None), "hand must be"),
    (dict(box=(1, 2, 3)), "box must be x0 y0 x1 y1, in pixels, got shape (3,)"),
    (dict(box="10 20"), "box must be x0 y0 x1 y1, in pixels"),
    (dict(box=(1, 2, np.nan, 9)), "all of them finite, got 1 2 nan 9"),
    (dict(box=(1, 2, np.inf, 9)), "all of them finite"),
    (dict(box=(9, 2, 9, 9)), "box must be x0 y0 x1 y1 with x0 < x1 and y0 < y1, got 9 2 9 9"),
    (dict(box=(9, 9, 2, 2)), "box must be x0 y0 x1 y1 with x0 < x1"),
    (dict(box=(0.1, 0.2, 0.8, 0.9)), "box 0.1 0.2 0.8 0.9 is less than 2 pixels wide or high"),
    (dict(box=(64, 0, 80, 20)), "box 64 0 80 20 lies outside the picture, which is 64 x 48 px"),
    (dict(box=(-9, -9, 0, 5)), "lies outside the picture"),
    (dict(box=(-1e6, -1e6, 1e6, 1e6)), "more than 16 times the picture"),
    (dict(K=np.eye(4)), "K must be 3 x 3 numbers, got shape (4, 4)"),
    (dict(K=np.diag([np.nan, 1, 1])), "K must be 3 x 3 numbers, all of them finite"),
    (dict(K=np.diag([0, 50, 1])), "K must have positive focal lengths, in pixels, got 0 50"),
    (dict(K=np.diag([50, -50, 1])), "positive focal lengths"),
    (dict(K=np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])), "K must be in pixels, not in shares of the picture, got focal lengths 1 1"),
    (dict(K=np.array([[50, 0, 0], [0, 50, 0], [32, 24, 1]])), "got 32 24 1 in its last line"),  # transposed
    (dict(root=(1, 2)), "root must be x y z, in millimetres, got shape (2,)"),
    (dict(root=(0, 0, np.inf)), "root must be x y z, in millimetres, all of them finite"),
    (dict(root=(0, 0, -400)), "root must lie in front of the camera, z > 0, got 0 0 -400"),
    (dict(root=(5, 0, 0)), "in front of the camera"),
    (dict(scale=0), "scale must be a length of 1 to 1000 millimetres, got 0"),
    (dict(scale=-30), "a length of 1 to 1000 millimetres"),
    (dict(scale=0.025), "a length of 1 to 1000 millimetres, got 0.025"),  # in metres
    (dict(scale=np.nan), "scale must be one number, in millimetres, all of them finite"),
    (dict(scale=(30, 30)), "scale must be one number"),
])  # fmt: skip
def test_what_can_not_be_meant_is_refused_in_one_line(predictor, arguments, message):
    with pytest.raises(ValueError) as error:
        predictor(**{"image": IMAGE, **arguments})
    assert message in str(error.value) and "\n" not in str(error.value)


FLOATS = st.one_of(st.floats(-1e4, 1e4), st.sampled_from([np.nan, np.inf, 0.0]))


@settings(max_examples=200, deadline=None)
@examples(st.lists(FLOATS, min_size=4, max_size=4), st.lists(FLOATS, min_size=3, max_size=3), FLOATS, FLOATS)
def test_whatever_is_given_is_used_or_refused(box, root, scale, focal):
    K = np.array([[focal, 0, 32], [0, focal, 24], [0, 0, 1]])
    try:
        _, used_K, used_box, hand, used_root, used_scale = checked(IMAGE, K, box, "left", root, scale)
    except ValueError as error:
        assert re.match("(box|K|root|scale) ", str(error)) and "\n" not in str(error)
    else:
        assert np.array_equal(used_K, K) and list(used_box) == box and list(used_root) == root and used_scale == scale
        assert focal > 0 and 1 <= scale <= 1000 and (root[2] > 0 or not any(root)) and box[0] < box[2] and box[1] < box[3]


def test_what_is_not_given_has_the_documented_default(predictor):
    plain = predictor(IMAGE)
    K, scale = default_camera(64, 48), predictor.card["scale_mm"]
    assert np.array_equal(K, [[64, 0, 32], [0, 64, 24], [0, 0, 1]])
    assert np.array_equal(plain, predictor(IMAGE, K, (0, 0, 64, 48), "right", (0, 0, 0), scale))
    np.testing.assert_allclose(predictor(IMAGE, root=(1, 2, 300)), plain + [1, 2, 300])
    np.testing.assert_allclose(predictor(IMAGE, scale=2 * scale), 2 * plain)


def test_a_pose_that_is_not_finite_is_no_result(result):
    broken = handpose.load(result.folder)
    with torch.no_grad():
        broken.networks.rgb_decoder.out.bias.fill_(float("nan"))
    with pytest.raises(ValueError, match="a pose that is not finite"):
        broken(IMAGE)


def test_a_frame_gives_the_prediction_that_was_kept(predictor, result):
    everything = Results(result.folder.parent)
    frames = pictures.evaluation_frames("tiny")
    for place in range(len(everything)):
        known = own_picture.known(pictures.evaluation_frame(everything, place, frames), everything.root_joint)
        pose, root = predictor(**known), known["root"]
        relative = pose - metrics.root_of(pose, everything.root_joint)
        assert np.abs(relative - result.predicted[place]).max() < 0.1
        ours = own_picture.pose_of(predictor, **known)
        np.testing.assert_allclose(ours.relative, relative, atol=1e-9)
        np.testing.assert_allclose(metrics.root_of(ours.camera), root, atol=1e-3)
        kept = own_picture.kept_pose(result.predicted[place], result.card, **known)
        assert np.abs(kept.camera - ours.camera).max() < 0.1 and kept.assumed == ours.assumed == {}


def test_without_a_root_the_hand_fills_the_box(predictor, frame):
    known = own_picture.known(frame, "palm")
    del known["root"]
    pose = own_picture.pose_of(predictor, **known)
    low, high = pose.uv.min(0), pose.uv.max(0)
    np.testing.assert_allclose((low + high) / 2, (known["box"][:2] + known["box"][2:]) / 2, atol=0.01)
    assert np.linalg.norm(high - low) == pytest.approx(np.linalg.norm(known["box"][2:] - known["box"][:2]), rel=1e-4)
    assert list(pose.assumed) == ["root"] and set(pose.given) == {"K", "box", "scale"}
    same = own_picture.pose_of(predictor, **known, root=(0, 0, 0))  # the origin: not known
    assert np.array_equal(same.camera, pose.camera) and same.given == pose.given


@pytest.mark.parametrize("index", range(6))
def test_with_a_true_pose_the_estimated_root_is_the_true_one(index):
    """What a perfect prediction would get: networks that give the true pose, and a root that is not given."""
    frame = pictures.evaluation_frames("tiny")[index]
    known = own_picture.known(frame, "palm")
    root = known.pop("root")

    def perfect(image, K, box, hand, root, scale):
        return frame.xyz.astype(float) - metrics.root_of(frame.xyz)

    perfect.card = {"root_joint": "palm", "scale_mm": 40.0}
    np.testing.assert_allclose(own_picture.pose_of(perfect, **known).root, root, rtol=1e-3, atol=0.1)
    jittered = known | {"box": known["box"] + np.array([-1, 1, 1, -1]) * 0.05 * sides(known)}
    assert own_picture.pose_of(perfect, **jittered).root[2] == pytest.approx(root[2], rel=0.25)


def test_a_root_in_metres_is_refused(predictor):
    with pytest.raises(ValueError, match="so near that part of the hand lies behind the camera: give it in millimetres"):
        own_picture.pose_of(predictor, IMAGE, root=(0, 0, 0.4), scale=40)
    with pytest.raises(ValueError, match="so near that part of the hand lies behind the camera: give it in millimetres"):
        predictor(IMAGE, root=(0, 0, 0.4), scale=40)


def test_a_hand_beside_the_picture_is_warned_of(predictor):
    pose = own_picture.pose_of(predictor, IMAGE, root=(5000, 0, 600))
    assert any("no joint falls on the picture" in line for line in own_picture.notes(pose))
    assert not any("no joint" in line for line in own_picture.notes(own_picture.pose_of(predictor, IMAGE)))


def run(*arguments):
    return main(["predict", *map(str, arguments)])


def test_the_command_writes_a_picture_a_hand_and_two_tables(result, photo, frame, predictor, tmp_path, capsys):
    box = np.concatenate([frame.uv.min(0), frame.uv.max(0)]).astype(float)
    assert run(photo, "--box", *box, "--hand", frame.hand, "--run", result.folder / "run.json") == 0
    printed = capsys.readouterr().out
    files = {path.suffix: path for path in tmp_path.iterdir() if path != photo}
    assert {path.name for path in files.values()} == {f"hand-pose{kind}" for kind in (".png", ".html", ".csv", ".json")}

    pose = own_picture.pose_of(predictor, frame.image, box=box, hand=frame.hand)
    lines = list(csv.DictReader(files[".csv"].read_text().splitlines()))
    assert [line["joint"] for line in lines] == list(JOINTS)
    assert list(lines[0])[1:] == [f"{axis}_relative_mm" for axis in "xyz"] + [f"{axis}_camera_estimated_mm" for axis in "xyz"] + [
        "u_estimated_px", "v_estimated_px"]  # fmt: skip
    numbers = np.array([[float(value) for name, value in line.items() if name != "joint"] for line in lines])
    np.testing.assert_allclose(numbers[:, :3], pose.relative, atol=0.006)
    np.testing.assert_allclose(numbers[:, 3:6], pose.camera, atol=0.006)
    np.testing.assert_allclose(numbers[:, 6:], project(pose.camera, default_camera(96, 96)), atol=0.006)

    record = json.loads(files[".json"].read_text())
    assert [list(map(str, joint.values())) for joint in record["joints"]] == [list(line.values()) for line in lines]
    assert record["given"] == ["hand", "box"] and set(record["assumed"]) == {"K", "scale", "root"}
    assert "estimated" in record["assumed"]["root"] and record["used"]["K"] == [96, 96, 48, 48]
    assert record["run"]["identity"] == result.card["identity"] and record["run"]["preset"] == "tiny"
    assert (record["width"], record["height"], record["hand"]) == (96, 96, frame.hand)

    with Image.open(files[".png"]) as drawn:
        assert drawn.width == 700 and drawn.height > 700  # magnified, with its caption
    page = files[".html"].read_text()
    assert "<script src" not in page and 'src="http' not in page and "Plotly.newPlot" in page and len(page) > 1e6
    assert "identity " + result.card["identity"] in page and "little tip" in page

    assert "assumed: scale: " in printed and "assumed: root: estimated at" in printed and "trained on synthetic hands" in printed
    assert len([line for line in printed.splitlines() if line.split(" ")[0] in JOINTS]) == 21
    assert all(f"wrote {path}" in printed for path in files.values())


def test_what_is_given_is_not_called_estimated(result, photo, tmp_path, capsys):
    options = ("--hand", "left", "--box", 10, 10, 80, 80, "--K", 90, 91, 47, 48, "--root", -10, 20, 500, "--scale", 33)
    assert run(photo, *options, "--run", result.folder / "run.json", "--format", "json", "--out", tmp_path / "new" / "place") == 0
    assert {path.name for path in (tmp_path / "new" / "place").iterdir()} == {"hand-pose.png", "hand-pose.html", "hand-pose.json"}
    record = json.loads((tmp_path / "new" / "place" / "hand-pose.json").read_text())
    assert record["assumed"] == {} and "x_camera_mm" in record["joints"][0]
    assert record["used"] == {"box": [10, 10, 80, 80], "K": [90, 91, 47, 48], "root": [-10, 20, 500], "scale": 33}
    wrist, knuckle = (np.array([record["joints"][joint][f"{axis}_camera_mm"] for axis in "xyz"]) for joint in (0, 9))
    np.testing.assert_allclose((wrist + knuckle) / 2, [-10, 20, 500], atol=0.02)
    printed = capsys.readouterr().out
    assert "assumed" not in printed and "estimated" not in printed


@pytest.mark.parametrize("options, message", [
    (("--box", 500, 500, 600, 600), "lies outside the picture"),
    (("--box", 5, 5, 5, 9), "x0 < x1"),
    (("--box", "nan", 5, 9, 9), "finite"),
    (("--K", 0, 90, 48, 48), "positive focal lengths"),
    (("--root", 0, 0, -1), "in front of the camera"),
    (("--scale", 0), "a length of 1 to"),
    (("--device", "cuda"), "no GPU was found"),
    (("--out", "{picture}"), "can't write into"),
])  # fmt: skip
def test_nothing_is_written_when_something_is_wrong(result, photo, tmp_path, capsys, options, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = [str(option).format(picture=photo) for option in options]
    assert run(photo, "--hand", "left", *options, "--run", result.folder / "run.json") == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [photo]


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "cuda:1", "foo", 3, None])
def test_a_device_that_is_not_here_is_said_in_one_line(result, monkeypatch, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="^(device must be|no GPU was found).*$"):
        handpose.load(result.folder / "run.json", device)


def test_a_gpu_of_another_number_is_no_gpu(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("CUDA error: invalid device ordinal")

    for name, value in (("cuda.is_available", lambda: True), ("cuda.device_count", lambda: 1), ("zeros", refuse)):
        monkeypatch.setattr(f"torch.{name}", value)
    with pytest.raises(ValueError, match="no GPU cuda:9 was found: there are 1, the first is cuda:0"):
        handpose.predictor._device("cuda:9")


def test_a_write_that_fails_half_way_leaves_nothing(result, photo, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own_picture, "_write_json", full)
    assert run(photo, "--hand", "left", "--run", result.folder / "run.json") == 2
    assert "No space left on device): name another folder with --out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [photo]


def test_of_several_pictures_the_good_ones_are_written(result, photo, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:300])
    Image.open(photo).rotate(90).save(tmp_path / "turned.jpg")
    names = [photo, tmp_path / "broken.png", tmp_path / "missing.png", tmp_path / "turned.jpg"]
    assert run(*names, "--hand", "right", "--run", result.folder / "run.json", "--format", "csv") == 2
    captured = capsys.readouterr()
    assert [line.split(" ")[1] for line in captured.err.splitlines()] == [str(names[1]), str(names[2])]
    assert {path.name for path in tmp_path.glob("*.csv")} == {"hand-pose.csv", "turned-pose.csv"}
    assert "box: the whole picture" in captured.out


def test_no_picture_is_written_over(result, photo, tmp_path, capsys):
    for other in ("hand.jpg", "hand-pose.png"):
        Image.open(photo).save(tmp_path / other)
        assert run(photo, tmp_path / other, "--hand", "left", "--run", result.folder / "run.json") == 2
        assert "would be written twice, or over a picture" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"hand.png", "hand.jpg", "hand-pose.png"}


def test_names_are_shown_as_they_are(result, tmp_path, capsys):
    name = "<img src=x onerror=alert(1)>&.png"
    Image.new("RGB", (32, 32)).save(tmp_path / name)
    assert run(tmp_path / name, "--hand", "left", "--run", result.folder / "run.json") == 0
    page = next(tmp_path.glob("*.html")).read_text()
    assert "<img src=x" not in page and "&lt;img src=x onerror=alert(1)&gt;&amp;.png" in page


def trained(folder, name, preset, when, networks=True):
    place = folder / "stages" / name
    place.mkdir(parents=True)
    (place / "run.json").write_text(json.dumps({"preset": preset}))
    if networks:
        (place / "networks.safetensors").write_bytes(b"")
    os.utime(place / "run.json", (when, when))
    return place


def test_the_best_run_is_taken_by_itself(tmp_path):
    with pytest.raises(FileNotFoundError, match="`python -m handpose train D3` trains one"):
        own_picture.find_run(tmp_path)
    trained(tmp_path, "baseline-disentangle-desktop-seed0-a", "desktop", 90)
    with pytest.raises(FileNotFoundError, match="no trained run of row D3"):
        own_picture.find_run(tmp_path)
    order = [
        trained(tmp_path, "D3-refine-smoke-seed0-a", "smoke", 80),
        trained(tmp_path, "D3-refine-quick-seed0-x", "quick+precision=16-mixed", 99),  # all that a T4 trains
        trained(tmp_path, "D3-refine-quick-seed1-c", "quick", 30),
        trained(tmp_path, "D3-refine-desktop-seed0-x", "desktop+kcs_weight=4", 99),
        trained(tmp_path, "D3-refine-desktop-seed0-d", "desktop", 5),
        trained(tmp_path, "D3-refine-paper-seed0-e", "paper", 6),
        trained(tmp_path, "D3-refine-gpu-seed0-b", "gpu", 20),
    ]
    trained(tmp_path, "D3-refine-paper-seed1-f", "paper", 50, networks=False)
    real = trained(tmp_path, "D3-refine-smoke-seed3-g", "smoke", 1)
    (real / "run.json").write_text(json.dumps({"preset": "smoke", "dataset": "rhd"}))
    os.utime(real / "run.json", (1, 1))
    assert own_picture.find_run(tmp_path, "rhd") == real
    with pytest.raises(FileNotFoundError, match="no trained run of row D3 on stb"):
        own_picture.find_run(tmp_path, "stb")
    shutil.rmtree(real)
    while order:
        assert own_picture.find_run(tmp_path) == order[-1]
        shutil.rmtree(order.pop())


def test_a_damaged_card_among_the_runs_is_passed_over(tmp_path):
    good = trained(tmp_path, "D3-refine-smoke-seed0-a", "smoke", 80)
    for number, text in enumerate(("{", "null", "[]", "{}", '{"preset": null}', '{"preset": ["quick"]}')):
        place = trained(tmp_path, f"D3-refine-quick-seed{number}-b", "quick", 90)
        (place / "run.json").write_text(text)
    assert own_picture.find_run(tmp_path) == good


def test_a_name_with_a_tilde_is_a_name(result, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photo.rename("~hand.png")
    assert run("~hand.png", "--hand", "left", "--run", result.folder / "run.json", "--format", "csv", "--out", "~out-of-nobody") == 0
    assert (tmp_path / "~out-of-nobody" / "~hand-pose.csv").exists()
    assert run("~hand.png", "--hand", "left", "--run", "~no-such-run") == 2
    assert "no finished run" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_shown_with_its_bytes(result, photo, tmp_path):
    odd = os.fsencode(tmp_path) + b"/hand\xff.png"
    os.rename(photo, odd)
    command = [sys.executable, "-m", "handpose", "predict", odd, "--hand", "left", "--run", result.folder / "run.json"]
    register = "from handpose.experiments import PRESETS; from handpose.__main__ import main; import sys; " \
               "PRESETS['tiny'] = PRESETS['smoke']; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", register, *command[3:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "hand\\udcff.png: left hand" in done.stdout and not done.stderr
    assert "hand\\udcff.png" in next(tmp_path.glob("*.html")).read_text()


def test_a_picture_that_leads_to_itself_is_said(result, tmp_path, capsys):
    (tmp_path / "a.png").symlink_to("a.png")
    assert run(tmp_path / "a.png", "--hand", "left", "--run", result.folder / "run.json") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("kind", ["png", "html", "csv", "json"])
def test_a_folder_in_the_way_leaves_nothing_else(result, photo, tmp_path, capsys, kind):
    (tmp_path / f"hand-pose.{kind}").mkdir()
    assert run(photo, "--hand", "left", "--run", result.folder / "run.json") == 2
    error = capsys.readouterr().err
    assert f"hand-pose.{kind}, which is a folder: name another folder with --out" in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"hand.png", f"hand-pose.{kind}"}


def test_the_command_finds_the_run_and_says_which(tiny, result, photo, capsys, monkeypatch):
    monkeypatch.setattr("handpose.notebook.project_path", lambda path: tiny["output_dir"])
    assert run(photo, "--hand", "left", "--format", "csv") == 0
    assert "stages/D3-refine-tiny-seed0-" in capsys.readouterr().out.splitlines()[0]
    monkeypatch.setattr("handpose.notebook.project_path", lambda path: photo.parent)
    assert run(photo, "--hand", "left") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("damage, message", [
    (lambda folder: (folder / "run.json").unlink(), "no finished run"),
    (lambda folder: (folder / "run.json").write_text("{"), "not valid JSON"),
    (lambda folder: (folder / "networks.safetensors").unlink(), "networks.safetensors is missing"),
    (lambda folder: (folder / "networks.safetensors").write_bytes(b"x" * 99), "is damaged"),
    (lambda folder: os.truncate(folder / "networks.safetensors", 100_000), "is damaged"),
])  # fmt: skip
def test_a_run_that_can_not_be_opened_is_said(result, photo, tmp_path, capsys, damage, message):
    shutil.copytree(open_run(result.folder / "run.json").folder, tmp_path / "run")
    damage(tmp_path / "run")
    assert run(photo, "--hand", "left", "--run", tmp_path / "run") == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not list(tmp_path.glob("hand-pose*"))


def test_it_is_a_command(photo, result):
    command = [sys.executable, "-m", "handpose", "predict", photo, "--box", "1", "2", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--box" in done.stderr
    done = subprocess.run([*command[:5], "--hand", "left", "--run", str(photo.parent / "none")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("value, expected", [
    (None, None), ("", None), ("  ", None), ("1 2 3 4", [1, 2, 3, 4]), ("1, 2,3 ,4.5", [1, 2, 3, 4.5]), ((1, 2, 3, 4), [1, 2, 3, 4]),
])  # fmt: skip
def test_numbers_as_notebooks_get_them(value, expected):
    assert own_picture.numbers("box", value, 4) == expected


@pytest.mark.parametrize("value, message", [
    ("1 2 3", "box must be 4 numbers, got 3"), ("a b c d", "box must be 4 numbers, got 'a b"), ([], "got 0"),
])  # fmt: skip
def test_other_numbers_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        own_picture.numbers("box", value, 4)


def test_a_camera_from_four_numbers():
    assert own_picture.camera(None) is None and own_picture.camera("") is None
    assert np.array_equal(own_picture.camera("90 91 47 48"), [[90, 0, 47], [0, 91, 48], [0, 0, 1]])
    with pytest.raises(ValueError, match="K, fx fy cx cy, must be 4 numbers, got 3"):
        own_picture.camera([1, 2, 3])


def test_what_it_says_of_a_run():
    card = {"row": "D3", "stage": "refine", "preset": "desktop", "dataset": "stb", "seed": 0, "identity": "i", "rendered": False,
            "metrics": {"mepe": 9.96}, "training_code": "other"}  # fmt: skip
    text = " ".join(own_picture.run_lines(card))
    assert "the pictures of STB" in text and "10.0 mm (MEPE)" in text and "has changed since" in text and "photograph" not in text
    assert "it has seen no photograph" in " ".join(own_picture.run_lines(card | {"dataset": "synthetic", "rendered": True}))
    for trained_as, stage, row in (("Moon", "volumes", "Moon"), ("injection-pose", "disentangle", None), ("warmup", "warmup", None)):
        now = card | {"row": trained_as, "trained_as": trained_as, "stage": stage, "training_code": training_code(row)}
        assert "has changed since" not in " ".join(own_picture.run_lines(now))
        assert "has changed since" in " ".join(own_picture.run_lines(now | {"training_code": "other"}))
    now = card | {"row": "Moon", "trained_as": "Moon", "training_code": training_code("Gu")}
    assert "has changed since" in " ".join(own_picture.run_lines(now))
    assert "poses mean nothing" in " ".join(own_picture.run_lines(card | {"preset": "smoke+beta=1"}))


@pytest.fixture(scope="module")
def measured(result, data):
    return given.given(open_run(result.folder / "run.json"), data)


def test_with_everything_given_it_is_the_runs_own_error(measured, result):
    assert measured.mepe[given.ALL] == pytest.approx(result.card["metrics"]["mepe"], abs=1e-4)
    assert set(measured.errors) == set(given.CASES) and all(errors.shape == (12,) for errors in measured.errors.values())
    assert set(measured.offsets) == set(given.ROOTS) and all(offsets.shape == (12, 3) for offsets in measured.offsets.values())


@pytest.mark.parametrize("case, change", [
    ("hand: the wrong one", lambda known: known | {"hand": {"left": "right", "right": "left"}[known["hand"]]}),
    ("K not given", lambda known: known | {"K": None}),
    ("scale not given", lambda known: known | {"scale": None}),
    ("box: 1.5 times as large", lambda known: known | {"box": known["box"] + 0.25 * np.array([-1, -1, 1, 1]) * sides(known)}),
])  # fmt: skip
def test_each_case_is_what_the_predictor_gives(measured, data, predictor, case, change):
    frames = data.frames("evaluation")
    for place in (0, 5, 11):
        known = own_picture.known(frames[int(data.evaluation.frame[place])], data.root_joint)
        pose = predictor(**change(known))
        error = metrics.joint_errors(pose[None], data.evaluation.target[place][None]).mean()
        assert measured.errors[case][place] == pytest.approx(error, abs=0.02)


def test_boxes_drawn_by_eye_are_within_ten_per_cent_and_the_same_again():
    frame = SimpleNamespace(image=IMAGE, uv=np.array([[10.0, 10], [30, 20]]), K=default_camera(64, 48), hand="left")
    edges = []
    for seed in range(20):
        hand = given._Hand.of(frame, np.random.default_rng(seed))
        box, again = (hand.look("jitter", "true", "true", 32, "crop")[0] for _ in range(2))
        assert np.array_equal(box, again)
        edges.append((box - [10, 10, 30, 20]) / [20, 10, 20, 10])
    assert 0.05 < np.abs(edges).max() <= given.JITTER and np.std(edges) > 0.03


def test_fewer_frames_are_spread_over_all(result, data, measured):
    few = given.given(open_run(result.folder / "run.json"), data, count=3)
    np.testing.assert_allclose(few.errors[given.ALL], measured.errors[given.ALL][[0, 6, 11]], atol=1e-3)


def test_it_is_kept_with_the_result(result, measured, tiny):
    kept = given.unpack(result.analysis)
    assert list(kept.errors) == list(given.CASES) and list(kept.offsets) == list(given.ROOTS)
    for case, errors in measured.errors.items():
        np.testing.assert_allclose(kept.errors[case], errors, atol=0.006)
    for case, offsets in measured.offsets.items():
        np.testing.assert_allclose(kept.offsets[case], offsets, atol=0.51)
    assert given.unpack({"latent": 0}) is None
    assert not any(name.startswith("given") for name in obtain("B", **tiny).analysis)


def test_the_cost_is_a_table_and_bars():
    from handpose.figures_own import cost_bars, cost_table

    errors = {"all": np.full(8, 10.0), "worse": np.full(8, 12.5)}
    table = cost_table(errors, "all")
    assert table.loc["worse"].tolist() == ["12.5", "+2.5", "+2.5 to +2.5"] and table.loc["all"].tolist() == ["10.0", "", ""]
    axes = cost_bars(errors, "all").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [10, 12.5]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "worse"]


@pytest.mark.parametrize("row", ["Moon", "Iqbal"])
def test_methods_that_predict_in_the_picture_are_measured_as_on_their_card(tiny, data, row):
    """With everything given: in the table of what is given, and with a picture whose root is given."""
    run, result = open_run(obtain(row, **tiny).folder / "run.json"), obtain(row, **tiny)
    measured, everything = given.given(run, data), Results(result.folder.parent)
    kept = everything.errors(row, 0).mean(1)
    assert abs(measured.errors[given.ALL] - kept).max() < 0.5
    predictor, frame = handpose.load(result.folder / "run.json"), pictures.evaluation_frame(everything, 3, pictures.evaluation_frames("tiny"))
    pose = own_picture.pose_of(predictor, **own_picture.known(frame, everything.root_joint))
    assert metrics.joint_errors(pose.relative[None], everything.target[3:4], everything.root_joint).mean() == pytest.approx(kept[3], abs=0.5)


@pytest.mark.parametrize("view", ["crop", "homography"])
def test_the_crop_of_a_hand_is_that_of_the_shards(tmp_path, view):
    frames = RHD(write_synthetic(tmp_path / "hands", evaluation=4, size=64, workers=1), "evaluation")
    shards = write_shards(frames, tmp_path / "shards", 32, workers=1, progress=False, view=view)
    assert len(shards) == 4
    for row, number in enumerate(shards.frame):
        frame = frames[int(number)]
        crop, R = hand_crop(frame.image, frame.K, [*frame.uv.min(0), *frame.uv.max(0)], frame.hand, 32, view)
        np.testing.assert_allclose(R, shards.rotation[row], atol=1e-6)
        assert np.abs(crop.astype(int) - shards.crops[row]).max() <= 2


def test_train_puts_runs_where_predict_looks(tmp_path, monkeypatch):
    """From whatever folder both are called."""
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("handpose.results.obtain", lambda **options: asked.append(options["output_dir"]) or exit(0))
    for arguments in ([], ["--output-dir", "here"]):
        with pytest.raises(SystemExit):
            main(["train", "D3", *arguments])
    assert asked == [ROOT / "runs", "here"]
