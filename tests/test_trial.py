"""A reader's own row: two minutes of training, held against what came with the repository."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from handpose import trial
from handpose.experiments import PRESETS, find_preset, find_row
from handpose.notebook import execute
from handpose.results import RECORDED, Results, obtain
from handpose.runs import measure

ROOT = Path(__file__).parents[1]
KEPT = RECORDED / f"synthetic-{trial.PRESET}"
TINY = dict(training=40, evaluation=12, batch=16, disentangle_epochs=1)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(PRESETS["smoke"], **TINY))
    return dict(preset="tiny", output_dir=tmp_path, progress=False, device="cpu")


@pytest.mark.parametrize("changes, text", [
    ({}, ""), (dict(kcs_weight=1e-2), ""), (dict(kcs_weight=0.1), "+kcs_weight=0.1"), (dict(geo_weight=1e-4), "+geo_weight=0.0001"),
    (dict(kcs_weight=4, beta=1e-5), "+kcs_weight=4"), (dict(adversarial_weight=0), "+adversarial_weight=0"),
    (dict(kcs_weight=0.123456789), "+kcs_weight=0.123456789"), (dict(alternate=False), "+alternate=False"),
])  # fmt: skip
def test_only_what_differs_is_in_the_presets_text(changes, text):
    changed = trial.changed_preset("minutes", **changes)
    assert changed == f"minutes{text}"
    assert find_preset(changed) == dataclasses.replace(PRESETS["minutes"], **changes)


def test_a_setting_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no setting 'kcs'; choose from"):
        trial.changed_preset("minutes", kcs=1)
    with pytest.raises(ValueError, match="beta=much: a value like"):
        trial.changed_preset("minutes", beta="much")


def test_what_comes_with_the_repository_is_not_trained(monkeypatch):
    for row in (*trial.REFERENCES, trial.EXAMPLE):
        assert trial.comes_along(row)
        assert obtain(row, preset=trial.PRESET, recorded=True).folder == KEPT / f"{row}-seed0"
    assert not trial.comes_along("D3", "minutes+kcs_weight=1")
    assert not trial.comes_along("D3", seed=3) and not trial.comes_along("align") and not trial.comes_along("D3", dataset="rhd")
    assert not trial.comes_along("D3", data_root="elsewhere")
    monkeypatch.setattr("handpose.alike.training_code", lambda row=None: "other")
    assert not trial.comes_along("D3")


def test_a_trial_is_held_against_its_own_size_first_and_the_recorded_run_on_the_same_frames():
    own = Results(KEPT)
    found = trial.held_against(own[trial.EXAMPLE, 0])
    assert list(found) == ["baseline, minutes", "D3, minutes", "baseline, desktop", "D3, desktop"]
    large = Results(RECORDED / "synthetic-desktop")
    assert len(found["D3, desktop"][0]) == len(large.seeds("D3")) > 1
    for predictions, _ in found.values():
        assert all(one.shape == own.target.shape for one in predictions)
    index = trial.common_frames(own, large)
    assert np.abs(large.target[index] - own.target).max() < 0.11
    # the same hands in every curve: what is measured on them is far from what a shuffle would give
    shuffled = measure(found["D3, desktop"][0][0][::-1], own.target, own.visible)["mepe"]
    assert measure(found["D3, desktop"][0][0], own.target, own.visible)["mepe"] < 0.7 * shuffled


def test_other_frames_are_not_compared(tiny):
    result = obtain("baseline", **tiny)
    own, large = Results(result.folder.parent), Results(RECORDED / "synthetic-desktop")
    assert trial.common_frames(own, large) is None and trial.common_frames(large, own) is None
    assert list(trial.held_against(result, "tiny", output_dir=tiny["output_dir"])) == ["baseline, tiny"]
    assert trial.held_against(result, "tiny", output_dir=tiny["output_dir"], recorded=True) == {}


def test_a_stale_reference_is_left_out(monkeypatch):
    result = Results(KEPT)[trial.EXAMPLE, 0]
    monkeypatch.setattr("handpose.alike.training_code", lambda row=None: "other")
    assert not [label for label in trial.held_against(result) if label.endswith("minutes")]


def test_the_table_says_who_saw_how_much():
    own = Results(KEPT)
    result = own[trial.EXAMPLE, 0]
    curves = {"your row": ([result.predicted], [result])} | trial.held_against(result)
    table = trial.trial_table(curves, lambda predicted: measure(predicted, own.target, own.visible))
    assert table.loc["your row", "training frames"] == PRESETS["minutes"].training
    assert table.loc["D3, desktop", "training frames"] == PRESETS["desktop"].training
    assert table.loc["your row", "MEPE (mm)"] == f"{own.errors(trial.EXAMPLE, 0).mean():.2f}"
    assert list(table["seeds"]) == [1, 1, 1, 3, 3]


def test_two_minutes_are_better_than_the_mean_pose():
    own = Results(KEPT)
    floor = own.errors("mean pose", None).mean()
    for row in (*trial.REFERENCES, trial.EXAMPLE):
        assert own.errors(row, 0).mean() < 0.75 * floor
        assert own[row, 0].card["seconds"] < 120  # with two threads, the warm-up in it


def test_the_example_is_a_row_that_the_paper_lacks():
    row = find_row(trial.EXAMPLE)
    assert row.kcs and row.geo and not row.align and row.paper is None


def test_a_changed_row_trains_and_gets_its_curve(tmp_path):
    """The whole notebook with three changed parameters, at a size that takes seconds."""
    size = "+".join(["smoke", *(f"{name}={value}" for name, value in TINY.items())])
    page = tmp_path / "page.ipynb"
    parameters = {"injection": False, "geo": False, "kcs_weight": 0.5, "preset": size, "output_dir": str(tmp_path), "threads": 1}
    execute(ROOT / "notebooks" / "change_row.ipynb", page, parameters)
    folder = tmp_path / "results" / f"synthetic-{size}+kcs_weight=0.5" / "disentangle+kcs-seed0"
    assert (folder / "run.json").exists()
    outputs = [output for cell in nbformat.read(page, 4).cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "your row: plain decoder + disentangle + KCS" in printed
    assert f"MEPE {Results(folder.parent).errors('disentangle+kcs', 0).mean():.1f}"[:8] in printed
    assert "no other row has been trained at this size: make batch" in printed
    assert "the recorded run was measured on other frames: its curves are left out" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1  # the curves; no fair ones to draw


def test_a_recorded_page_trains_nothing(tmp_path):
    page = tmp_path / "page.ipynb"
    execute(ROOT / "notebooks" / "change_row.ipynb", page, {"recorded": True, "output_dir": str(tmp_path / "none")})
    assert not (tmp_path / "none").exists()
    text = "".join(str(output) for cell in nbformat.read(page, 4).cells for output in cell.get("outputs", []))
    assert "baseline, desktop" in text and "D3, minutes" in text


def test_the_command_names_what_it_shows(tmp_path):
    command = [sys.executable, "-m", "handpose.trial", "--output-dir", tmp_path / "none", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [f"row {row}" for row in (*trial.REFERENCES, trial.EXAMPLE)]
    assert not (tmp_path / "none").exists()
    wrong = subprocess.run([*command, "--preset", "minuts"], capture_output=True, text=True, cwd=ROOT)
    assert wrong.returncode != 0 and wrong.stderr.strip().splitlines()[-1].startswith("error: no preset 'minuts'")
