import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import handpose
from handpose import explorer, recorded, results, runs
from handpose.experiments import PRESETS, find_preset, find_row
from handpose.metrics import mepe
from handpose.results import Results, obtain, results_folder

ROOT = Path(__file__).parents[1]

TINY = dataclasses.replace(PRESETS["smoke"], training=40, evaluation=12, batch=16, disentangle_epochs=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    PRESETS["tiny"] = TINY
    yield dict(preset="tiny", output_dir=tmp_path_factory.mktemp("results"), progress=False, device="cpu")
    del PRESETS["tiny"]


@pytest.fixture(scope="module")
def whole(tiny):
    return obtain("D3", **tiny)


@pytest.fixture(scope="module")
def everything(tiny, whole):
    return Results(results_folder("tiny", output_dir=tiny["output_dir"]))


def test_the_kept_predictions_give_the_cards_figures(tiny, whole, everything):
    run = runs.run_row("D3", **tiny)
    assert mepe(whole.predicted, everything.target) == pytest.approx(run.card["metrics"]["mepe"], abs=0.03)
    assert everything.errors("D3", 0).mean() == pytest.approx(whole.card["metrics"]["mepe"], abs=0.03)
    assert everything.errors("mean pose", 0).mean() == pytest.approx(whole.card["mean_pose"]["mepe"], abs=0.03)


def test_opening_a_finished_row_reads_its_data_once(tiny, whole, monkeypatch):
    """Not once for each of its stages, as it would be if they were opened one by one."""
    asked, prepare = [], runs.prepare_data
    monkeypatch.setattr(runs, "prepare_data", lambda *given, **named: asked.append(given) or prepare(*given, **named))
    assert obtain("D3", **tiny).card == whole.card and len(asked) == 1


def test_kept_poses_are_within_a_tenth_of_a_millimetre(tiny, everything):
    data = runs.prepare_data("tiny", output_dir=tiny["output_dir"], progress=False)
    target = data.evaluation.target
    root = 0.5 * (target[:, :1] + target[:, 9:10])
    assert np.abs(everything.target - (target - root)).max() < 0.0501
    assert np.array_equal(everything.visible, data.evaluation.visible)
    assert np.array_equal(everything.left, data.evaluation.left) and np.array_equal(everything.sample, data.evaluation.crops[:8])
    assert np.abs(everything.root - data.evaluation.root).max() < 0.06


def test_where_the_network_put_the_root_is_kept(tiny, whole, everything):
    run, split = runs.run_row("D3", **tiny), runs.prepare_data("tiny", output_dir=tiny["output_dir"], progress=False).evaluation
    assert np.abs(whole.uncentred - (run.predictions - split.root[:, None])).max() < 0.11
    assert np.abs(whole.uncentred - whole.predicted).max() > 0.2  # the palm is not quite where it should be
    old = whole.folder.with_name("old-seed0")
    old.mkdir()
    np.savez(old / "predictions.npz", predicted=whole.predicted)
    assert results.Result(old).uncentred is None


def test_the_card_counts_all_stages(whole):
    card = whole.card
    assert list(card["stages"]) == ["warmup", "disentangle", "align", "refine"]
    assert card["seconds"] == pytest.approx(sum(stage["seconds"] for stage in card["stages"].values()))
    assert (card["row"], card["paper"], card["stage"]) == ("D3", 13.88, "refine")
    assert [epoch["stage"] for epoch in whole.history] == ["warmup", "disentangle", "align", "align", "refine"]


def test_the_chapter_says_what_every_field_of_a_card_is(whole):
    table = (ROOT / "book" / "reproduce.md").read_text().split(":name: tab-run-card")[1].split("```")[0]
    assert set(whole.card) <= set(re.findall(r"`(\w+)`", table))


def test_a_control_is_not_replaced_by_the_stage_before(tiny):
    whole = obtain("baseline-longer", **tiny)
    before = obtain("baseline-longer", "further", **tiny)
    assert (whole.card["stage"], before.card["stage"]) == ("onward", "further") and before.folder.name == "longer-seed0"
    assert Results(whole.folder.parent)["baseline-longer", 0].card == whole.card


def test_changed_crops_leave_the_labels_of_the_plain_preset(tiny, tmp_path):
    options = tiny | dict(output_dir=tmp_path)
    plain = obtain("baseline", **options)
    path = plain.folder.parent / "frames.npz"
    with np.load(path) as arrays:
        older = {name: arrays[name] for name in arrays.files if not name.startswith("root|")}
    np.savez_compressed(path, **older)
    obtain("baseline", **options | dict(preset="tiny+view=homography"))
    kept = Results(plain.folder.parent)
    assert np.array_equal(kept.sample, older["sample"]) and kept.root is not None


def test_a_stage_is_the_result_of_the_row_that_ends_with_it(tiny, whole):
    align = obtain("D3", "align", **tiny)
    assert align.folder.name == "D0-seed0" and align.card["identity"] == whole.card["stages"]["align"]["identity"]
    assert obtain("D3", "warmup", **tiny | dict(seed=5)).folder.name == "warmup-seed0"


def test_rows_that_are_one_have_a_card_each(tiny):
    row, same = obtain("B", **tiny), obtain("injection-pose", **tiny)
    assert np.array_equal(row.predicted, same.predicted) and row.card["identity"] == same.card["identity"]
    assert (row.card["row"], same.card["row"]) == ("B", "injection-pose")


def test_a_changed_setting_trains_only_what_depends_on_it(tiny, whole, monkeypatch):
    trained, real = [], runs._train_stage
    monkeypatch.setattr(runs, "_train_stage", lambda folder, stage, *rest: (trained.append(stage), real(folder, stage, *rest)))
    changed = obtain("D3", **tiny | dict(preset="tiny+kcs_weight=4"))
    assert trained == ["refine"] and changed.folder.parent.name == "synthetic-tiny+kcs_weight=4"
    assert changed.card["stages"]["align"] == whole.card["stages"]["align"] and changed.stale == ""
    assert not (changed.folder.parent / "frames.npz").exists()  # the same labels as without the change
    assert np.array_equal(Results(changed.folder.parent).target, Results(whole.folder.parent).target)


def test_a_result_goes_under_the_preset_that_was_asked_for(tiny):
    """Whoever trained the stage first: row A does not depend on what was changed."""
    options = tiny | dict(seed=7)
    changed = obtain("A", analysed=False, **options | dict(preset="tiny+kcs_weight=3"))
    plain = obtain("A", analysed=False, **options)
    assert plain.card["identity"] == changed.card["identity"] and plain.folder != changed.folder
    assert (plain.card["preset"], changed.card["preset"]) == ("tiny", "tiny+kcs_weight=3")
    assert plain.card["stages"]["disentangle"]["preset"] == "tiny+kcs_weight=3" and plain.card["dataset"] == "synthetic"
    assert plain.stale == "" and recorded._of_result(plain.folder, plain.card) == []
    assert handpose.load(plain.folder).card["preset"] == "tiny"
    results.write_json(plain.folder / "run.json", plain.card | {"preset": "tiny+kcs_weight=3"})  # as an earlier version left it
    assert obtain("A", analysed=False, **options).card == plain.card


def test_other_folders_are_no_seeds(whole, everything):
    for name in ("D3-seed0 copy", "D3-seed", "D3-seed-1", "D3-seed007", "D3-seedling"):
        (whole.folder.with_name(name)).mkdir()
        (whole.folder.with_name(name) / "run.json").write_text("{}")
    try:
        assert everything.seeds("D3") == [0]
    finally:
        for name in whole.folder.parent.glob("D3-seed?*"):
            if name != whole.folder:
                shutil.rmtree(name)
        shutil.rmtree(whole.folder.with_name("D3-seed"))


def test_a_preset_with_other_frames_keeps_labels_of_its_own(tiny):
    other = obtain("baseline", **tiny | dict(preset="tiny+evaluation=10"))
    assert len(Results(other.folder.parent)) == 10


def test_what_is_missing_of_a_result_is_made_again(tiny, tmp_path):
    options = tiny | dict(output_dir=tmp_path)
    first = obtain("B", **options)
    wanted = {name: (first.folder / name).read_bytes() for name in ("predictions.npz", "history.json", "analysis.npz")}
    for name in (*wanted, "../frames.npz"):
        (first.folder / name).unlink()
        again = obtain("B", **options)
        assert (again.folder / name).exists() and again.card == first.card
    assert {name: (first.folder / name).read_bytes() for name in ("predictions.npz", "history.json")} == {
        name: content for name, content in wanted.items() if name != "analysis.npz"
    }


def test_other_code_that_analyses_makes_the_analysis_anew(tiny, tmp_path, monkeypatch):
    options = tiny | dict(output_dir=tmp_path)
    before = obtain("B", **options).card["analysis_code"]
    monkeypatch.setattr(results.analysis, "analyse", lambda *_: pytest.fail("nothing has changed"))
    obtain("B", **options)
    obtain("B", analysed=False, **options)
    monkeypatch.setattr(results, "source_digest", lambda *_: "other")
    monkeypatch.setattr(results.analysis, "analyse", lambda *_: {"latent": np.ones((4, 128))})
    now = obtain("B", **options)
    assert now.card["analysis_code"] == "other" != before and list(now.analysis) == ["latent"]


def test_labels_of_other_training_hands_get_their_mean_pose(tiny, everything, tmp_path):
    data = runs.prepare_data("tiny", output_dir=tiny["output_dir"], progress=False)
    path = tmp_path / "frames.npz"
    results._save_frames(path, data)
    first = path.read_bytes()
    results._save_frames(path, data)
    assert path.read_bytes() == first
    fewer = dataclasses.replace(data, training=dataclasses.replace(data.training, **{
        name: getattr(data.training, name)[:5] for name in ("crops", "pose", "target", "root", "scale", "rotation", "left", "visible", "frame")
    }))  # fmt: skip
    results._save_frames(path, fewer)
    kept = results._unpack(path)
    assert np.abs(kept["mean_pose"] - everything.mean_pose).max() > 0.5 and np.abs(kept["target"] - everything.target).max() < 0.01


def test_a_narrow_latent_keeps_its_digits(tmp_path):
    latents = np.random.default_rng(0).normal(size=(50, 8)) * np.logspace(-4, 1, 8)
    np.savez(tmp_path / "a.npz", **results._pack(latent=latents))
    back = results._unpack(tmp_path / "a.npz")["latent"]
    assert (np.abs(back - latents).max(0) <= np.abs(latents).max(0) / 127 * 0.51).all()


@pytest.mark.parametrize("shape, unit", [((7, 21, 3), 0.1), ((7, 64), 4 / 127)])
def test_arrays_are_packed_within_half_a_unit(tmp_path, shape, unit):
    array = np.random.default_rng(0).uniform(-1, 1, shape)
    array *= (4 if len(shape) == 2 else 300) / np.abs(array).max()
    np.savez(tmp_path / "a.npz", **results._pack(one=array, rows=np.arange(3)))
    back = results._unpack(tmp_path / "a.npz")
    assert set(back) == {"one", "rows"} and np.abs(back["one"] - array).max() <= unit / 2 + 1e-5
    large = array * 100  # poses beyond two bytes of 0.1 mm
    np.savez(tmp_path / "b.npz", **results._pack(one=large))
    assert np.abs(results._unpack(tmp_path / "b.npz")["one"] - large).max() <= np.abs(large).max() / 127 / 2 + 1e-3


def test_what_the_claims_need_is_kept(tiny):
    assert set(obtain("B", **tiny).analysis) >= {"latent", "latent_pose", "read_rgb", "pair", "pair_light"}
    assert set(obtain("baseline", **tiny).analysis) == {"pair", *[f"pair_{name}" for name in ("same", "background", "light")]}
    with pytest.raises(FileNotFoundError):
        obtain("D1", **tiny).analysis


def test_a_trial_is_not_analysed_until_somebody_asks(tiny, monkeypatch):
    """And what an earlier training left does not stand beside the new predictions."""
    options = tiny | dict(preset="tiny+beta=1e-4")
    with monkeypatch.context() as patch:
        patch.setattr(results.analysis, "analyse", lambda *_: pytest.fail("analysed"))
        quick = obtain("A", analysed=False, **options)
        assert obtain("A", analysed=False, **options).card == quick.card
    assert not (quick.folder / "analysis.npz").exists()
    asked = obtain("A", **options)
    assert "latent" in asked.analysis and np.array_equal(asked.predicted, quick.predicted)
    assert "latent" in obtain("A", analysed=False, **options).analysis  # what is there stays
    results.write_json(asked.folder / "run.json", asked.card | {"identity": "another"})
    assert not (obtain("A", analysed=False, **options).folder / "analysis.npz").exists()


def test_the_decoder_of_the_whole_method_is_kept(tiny, whole):
    arrays, read = whole.explorer, whole.analysis["read_rgb"]
    steps = explorer.steps_of(arrays, read).clip(-explorer.REACH, explorer.REACH)
    networks = runs.run_row("D3", **tiny).networks()
    with torch.no_grad():
        hands = networks.rgb_decoder(torch.from_numpy(arrays["mean"] + steps @ arrays["basis"].T).float()).numpy() * whole.card["scale_mm"]
    error = np.linalg.norm(explorer.decode(arrays, steps) - hands, axis=-1)
    assert error.max() < 1 and np.linalg.norm(hands - hands.mean(0), axis=-1).max() > 3 * error.max()
    assert not (obtain("B", **tiny).folder / "explorer.npz").exists()
    with pytest.raises(FileNotFoundError):
        obtain("B", **tiny).explorer


def test_a_result_opens_as_a_predictor(whole, tiny):
    image = np.zeros((48, 64, 3), np.uint8)
    assert handpose.load(whole.folder)(image).shape == handpose.load(whole.folder / "run.json")(image).shape == (21, 3)
    for path in (tiny["output_dir"] / "elsewhere" / "results" / "x" / "y" / "run.json",):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(whole.card))
        with pytest.raises(FileNotFoundError, match="not on this machine"):
            handpose.load(path)


def test_an_interrupted_result_is_made_again(tiny, whole):
    (whole.folder / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match="has not been run"):
        Results(whole.folder.parent)["D3", 0]
    assert obtain("D3", **tiny).card["identity"]
    assert Results(whole.folder.parent).seeds("D3") == [0]


def test_a_result_says_when_it_is_stale(whole, tiny, monkeypatch):
    assert whole.stale == ""
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(TINY, kcs_weight=1.0))
    assert whole.stale == "the settings of stage refine have changed"
    with monkeypatch.context() as patch:
        patch.setattr(results, "VERSION", "9.9")
        patch.setitem(PRESETS, "tiny", TINY)
        assert whole.stale == "the preset's frames have changed"
    for name in ("training", "evaluation", "frame_size"):
        monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(TINY, **{name: getattr(TINY, name) + 1}))
        assert whole.stale == "the preset's frames have changed"
        given = results.Result(whole.folder)
        vars(given)["card"] = whole.card | {"own_frames": True}
        assert given.stale == ""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr("handpose.alike.training_code", lambda row=None: "other")
    assert whole.stale == "the code that trains has changed"


@pytest.mark.parametrize("what", ["target", "crops"])
def test_results_on_other_data_are_not_mixed(tiny, whole, monkeypatch, what):
    real = results.prepare_data

    def other(*arguments, **options):
        data = real(*arguments, **options)
        moved = data.evaluation.target + np.eye(21)[0][:, None]  # the wrist by a millimetre; the pictures stay or not
        crops = data.evaluation.crops if what == "target" else 255 - np.asarray(data.evaluation.crops)
        target = moved if what == "target" else data.evaluation.target + np.float32(1e-4)
        split = dataclasses.replace(data.evaluation, target=target, crops=crops)
        return dataclasses.replace(data, evaluation=split)

    (whole.folder / "run.json").unlink()
    monkeypatch.setattr(results, "prepare_data", other)
    with monkeypatch.context() as patch:  # before anything is trained
        patch.setattr(results, "run_stages", None)
        with pytest.raises(ValueError, match=r"holds results on other frames \(12 there, 12 here\): move it away"):
            obtain("D3", **tiny)
    monkeypatch.undo()
    obtain("D3", **tiny)


def test_what_has_not_been_run_is_said(tmp_path, everything):
    with pytest.raises(FileNotFoundError, match="holds no results: run `make book`"):
        Results(tmp_path)
    with pytest.raises(FileNotFoundError, match="row D1, seed 3 has not been run"):
        everything["D1", 3]
    assert everything.seeds("D2") == []


def test_a_row_itself_opens_as_its_name_does_and_a_preset_goes_by_name():
    assert obtain(find_row("D3"), preset="desktop", recorded=True).folder == obtain("D3", preset="desktop", recorded=True).folder
    with pytest.raises(ValueError, match='preset must be its name, "quick" or'):
        runs.run_stages("warmup", "D3", preset=find_preset("smoke"))
