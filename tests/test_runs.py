import dataclasses
import errno
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import handpose
from handpose import records, runs
from handpose.data import RHD, write_synthetic
from handpose.experiments import PRESETS, find_row
from handpose.metrics import auc, mepe
from handpose.stages import make_networks

TINY = dataclasses.replace(PRESETS["smoke"], training=40, evaluation=12, batch=16, disentangle_epochs=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Options of a run small enough for tests; all tests of this file share its folder."""
    PRESETS["tiny"] = TINY
    yield dict(preset="tiny", output_dir=tmp_path_factory.mktemp("runs"), progress=False, device="cpu")
    del PRESETS["tiny"]


@pytest.fixture(scope="module")
def whole(tiny):
    return runs.run_row("D3", **tiny)


@pytest.fixture(scope="module")
def data(tiny):
    return runs.prepare_data("tiny", output_dir=tiny["output_dir"], progress=False)


def test_a_row_leaves_a_run_card(whole, data):
    card = json.loads((whole.folder / "run.json").read_text())
    assert {"row", "preset", "dataset", "seed", "metrics", "commit", "dirty", "device", "seconds", "peak_memory_mib",
            "versions", "settings", "data_fingerprint", "identity", "parent", "threads", "precision"} <= set(card)  # fmt: skip
    assert (card["row"], card["stage"], card["preset"], card["dataset"], card["seed"]) == ("D3", "refine", "tiny", "synthetic", 0)
    assert card["data_fingerprint"] == data.fingerprint
    assert card["metrics"]["mepe"] == mepe(whole.predictions, data.evaluation.target)
    assert card["mean_pose"]["mepe"] == mepe(runs.mean_pose(data), data.evaluation.target)
    assert len(whole.history) == TINY.refine_epochs


def test_stages_are_chained_by_identity(whole, tiny):
    align = runs.run_stage("align", "D3", **tiny)
    first = runs.run_stage("disentangle", "D3", **tiny)
    assert whole.card["parent"] == align.card["identity"] and align.card["parent"] == first.card["identity"]
    warmup = runs.run_stage("warmup", "D3", **tiny)
    assert first.card["parent"] == warmup.card["identity"] and warmup.card["parent"] is None


def test_the_warm_up_is_one_for_all_rows_and_seeds(whole, tiny, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_: pytest.fail("trained twice"))
    cards = [runs.run_stage("warmup", row, seed=seed, **tiny).card for row in ("D3", "baseline") for seed in (0, 7)]
    assert all(card == cards[0] for card in cards) and cards[0]["seed"] == 0


def test_stage_1_starts_from_the_warm_backbone(whole, tiny):
    warm = runs.run_stage("warmup", "D3", **tiny)
    first = make_networks("disentangle", find_row("D3"), TINY, 0, warm.state())
    for name, value in warm.networks().rgb_encoder.backbone.state_dict().items():
        assert np.array_equal(first.rgb_encoder.backbone.state_dict()[name], value)
    assert first.rgb_encoder.head.out_features == 256


def test_a_preset_without_warm_up_has_no_such_stage(tiny):
    with pytest.raises(ValueError, match="has no stage 'warmup'; its stages: disentangle, align, refine"):
        runs.run_stage("warmup", "D3", preset="paper", output_dir=tiny["output_dir"])


@pytest.mark.parametrize("threads", [0, -1])
def test_a_number_of_threads_that_is_none_is_said(tiny, threads):
    with pytest.raises(ValueError, match=f"threads is {threads}: it must be a whole number, 1 or more"):
        runs.run_stage("warmup", **tiny | {"threads": threads})


def test_stages_hand_their_networks_on(whole, tiny):
    first = runs.run_stage("disentangle", "D3", **tiny).networks().state_dict()
    align = runs.run_stage("align", "D3", **tiny).networks().state_dict()
    refined = whole.networks().state_dict()
    for name in ("pose_decoder.out.weight", "discriminator.layers.0.weight"):  # idle after stage 1
        assert np.array_equal(first[name], align[name]) and np.array_equal(first[name], refined[name])
    assert not np.array_equal(align["rgb_decoder.out.weight"], refined["rgb_decoder.out.weight"])


def test_a_finished_stage_is_not_trained_again(whole, tiny, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_: pytest.fail("trained twice"))
    assert runs.run_row("D3", **tiny).card == whole.card


def test_two_processes_that_want_one_stage_train_it_once(tiny, tmp_path, monkeypatch):
    trained, real = [], runs._train_stage
    monkeypatch.setattr(runs, "_train_stage", lambda *arguments: (trained.append(1), real(*arguments)))
    options = tiny | {"output_dir": tmp_path}
    runs.prepare_data("tiny", output_dir=tmp_path, progress=False)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(runs.run_stage, "disentangle", "baseline", **options) for _ in range(2)]
    assert both[0].result().card == both[1].result().card and trained == [1, 1]  # the warm-up, and stage 1


def test_another_seed_is_another_run(tiny, whole, monkeypatch):
    trained = []
    monkeypatch.setattr(runs, "_train_stage", lambda folder, *rest: trained.append(folder.name))
    with pytest.raises(FileNotFoundError):
        runs.run_stage("disentangle", "D3", seed=1, **tiny)
    assert len(trained) == 1 and "seed1" in trained[0]


def test_an_unfinished_stage_is_not_opened(tmp_path):
    (tmp_path / "predictions.npz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no finished run"):
        runs.open_run(tmp_path)


def test_a_finished_stage_is_opened_where_nobody_may_write(whole, tiny, monkeypatch):
    def refusing(path, mode="r", *arguments, **options):
        if "w" in mode:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return open(path, mode, *arguments, **options)

    def barred(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(records, "open", refusing, raising=False)
    monkeypatch.setattr(Path, "unlink", barred)
    assert runs.run_row("D3", **tiny).card == whole.card
    with pytest.raises(ValueError, match="can't be written"):
        runs.run_row("D3", **tiny, seed=4)


WRONG_CARDS = [
    "null", "[]", "{}", '"text"', "3", '{"stages": {}, "stage": "refine"}', '{"settings": null}', '{"stages": null}', '{"stage": []}',
]  # fmt: skip
CHANGES = [{"settings": None}, {"settings": {}}, {"settings": {"size": "a", "view": "crop"}}, {"stage": 3}, {"trained_as": None},
           {"scale_mm": "large"}, {"scale_mm": float("nan")}, {"scale_mm": -3.0}, {"settings": {"size": 32, "view": "x"}},
           {"metrics": {}}, {"metrics": None}, {"dataset": None}, {"scale_mm": True}, {"settings": {"size": 0, "view": "crop"}},
           {"root_joint": 3}, {"stages": {}}, {"stages": {"refine": {}}}, {"stages": [1]}]  # fmt: skip


@pytest.mark.parametrize("content", [*WRONG_CARDS, *CHANGES])
def test_json_that_is_no_run_card_is_said_in_one_line(whole, tmp_path, content):
    card = content if isinstance(content, str) else json.dumps(whole.card | content)
    (tmp_path / "run.json").write_text(card)
    with pytest.raises(ValueError, match="run.json is no run card") as error:
        handpose.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"stage": "warmup"}, {"trained_as": "A"}, {"preset": "none"}, {"trained_as": "none"}])
def test_a_card_of_another_run_is_said_in_one_line(whole, tmp_path, change):
    (tmp_path / "networks.safetensors").symlink_to(whole.folder.resolve() / "networks.safetensors")
    (tmp_path / "run.json").write_text(json.dumps(whole.card | change))
    with pytest.raises(ValueError) as error:
        handpose.load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_name_too_long_for_the_system_is_said_in_one_line(tmp_path):
    for call in (lambda path: handpose.load(path), lambda path: runs.prepare_data("smoke", "rhd", path, tmp_path)):
        with pytest.raises(ValueError, match="can't be looked at .*: check its name") as error:
            call(tmp_path / ("a" * 300))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("device, message", [
    ("gpu", 'device must be "auto", "cpu" or "cuda", got \'gpu\''), (None, "device must be"), ("cuda", "no GPU was found"),
    ("cuda:1", "no GPU was found"),
])  # fmt: skip
def test_a_device_that_is_none_or_not_here_is_refused(whole, monkeypatch, device, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        handpose.load(whole.folder, device=device)
    assert handpose.load(whole.folder, device="auto").device == torch.device("cpu") == handpose.load(whole.folder, torch.device("cpu")).device


def test_opening_a_run_leaves_the_callers_random_numbers_alone(whole):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    handpose.load(whole.folder)
    assert torch.equal(torch.rand(3), expected)


def test_the_predictor_gives_the_stored_predictions(whole, data):
    predictor = handpose.load(whole.folder)
    frames = RHD(data.root, "evaluation")
    for place in (0, 1, 2, 3):
        frame = frames[int(data.evaluation.frame[place])]
        box = (*frame.uv.min(0), *frame.uv.max(0))
        pose = predictor(frame.image, K=frame.K, box=box, hand=frame.hand,
                         root=data.evaluation.root[place], scale=data.evaluation.scale[place])  # fmt: skip
        np.testing.assert_allclose(pose, whole.predictions[place], atol=0.05)


def test_the_predictor_has_defaults_and_refuses_nonsense(whole):
    predictor = handpose.load(whole.folder)
    image = np.zeros((48, 64, 3), np.uint8)
    assert predictor(image).shape == (21, 3)
    for arguments, message in [
        (dict(image=image[..., 0]), "image must be uint8"),
        (dict(image=image, hand="both"), "hand must be"),
        (dict(image=image, box=(5, 5, 5, 20)), "box must be"),
        (dict(image=image, box=(500, 500, 520, 520)), "outside the picture"),
    ]:
        with pytest.raises(ValueError, match=message):
            predictor(**arguments)


def test_the_mean_pose_is_one_pose_in_the_networks_frame(data):
    predicted = runs.mean_pose(data) - data.evaluation.root[:, None]
    lengths = np.linalg.norm(predicted, axis=-1) / data.evaluation.scale[:, None]
    assert np.ptp(lengths, axis=0).max() < 1e-4


@pytest.mark.parametrize("options, message", [
    (dict(preset="quik"), "no preset 'quik'"), (dict(dataset="freihand"), "no dataset 'freihand'"),
    (dict(dataset="rhd"), "needs data_root"),
])  # fmt: skip
def test_unknown_options_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        runs.run_row("D3", output_dir=tmp_path, **{"preset": "smoke", **options})


def test_a_folder_of_frames_says_what_it_is_and_is_used_whole(tmp_path):
    (tmp_path / "RHD_published_v2").mkdir()
    with pytest.raises(ValueError, match="holds frames that were not rendered here: say which dataset they are, rhd or stb"):
        runs.prepare_data("smoke", data_root=tmp_path / "RHD_published_v2", output_dir=tmp_path)
    for name in ("training", "evaluation", "frame_size"):
        with pytest.raises(ValueError, match=f"a folder of frames is used whole: {name} can't be changed"):
            runs.prepare_data(f"smoke+batch=16+{name}=32", "rhd", tmp_path / "RHD_published_v2", tmp_path)
    assert not (tmp_path / "shards").exists()


@pytest.fixture(scope="module")
def stb(tiny, tmp_path_factory):
    """Options of the same run on STB's layout."""
    root = write_synthetic(tmp_path_factory.mktemp("stb") / "hands", "stb", training=20, evaluation=4, workers=1)
    return tiny | dict(dataset="stb", data_root=root)


def test_stb_goes_through_all_stages_and_is_measured_around_its_palm(stb, tiny, whole):
    run = runs.run_row("D3", **stb)
    data = runs.prepare_data("tiny", "stb", stb["data_root"], stb["output_dir"], progress=False)
    assert (len(data.training), len(data.evaluation)) == (20, 4)
    assert run.card["dataset"] == "stb" and run.card["root_joint"] == data.root_joint == "wrist"
    assert run.card["rendered"] is whole.card["rendered"] is True  # synthetic hands, whatever they were read as
    assert run.card["identity"] != whole.card["identity"]
    target = data.evaluation.target
    assert run.card["metrics"]["mepe"] == mepe(run.predictions, target, root="wrist") != mepe(run.predictions, target)
    np.testing.assert_array_equal(data.frames("evaluation").xyz, target)


def test_stb_needs_its_folder(tmp_path):
    with pytest.raises(ValueError, match='"stb" needs data_root'):
        runs.prepare_data("smoke", "stb", output_dir=tmp_path)


def test_what_is_measured():
    draws = np.random.default_rng(0)
    target, visible = draws.normal(size=(5, 21, 3)) * 40, draws.random((5, 21)) < 0.6
    predicted, found = target + draws.normal(size=(5, 21, 3)) * 15, []
    for root in ("palm", "wrist"):
        measured = runs.measure(predicted, target, visible, root)
        assert measured == {
            "mepe": mepe(predicted, target, root=root), "auc": auc(predicted, target, root=root),
            "auc_hand3d": auc(predicted, target, protocol="hand3d", root=root), "mepe_visible": mepe(predicted, target, visible, root=root),
        }  # fmt: skip
        found += measured.values()
    assert len({round(value, 6) for value in found}) == 8
