"""What the choices change: measures of stored predictions, variants against their rows."""

import json
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from handpose import decisions, metrics
from handpose.decisions import (
    MEASURES,
    ROOT_MEASURES,
    VARIANTS,
    chance_margin,
    compare,
    measured,
    measures,
    seed_margin,
    verdict,
)
from handpose.experiments import row_stages, stage_settings
from handpose.results import Results, results_folder

FRAMES = 40


def poses(seed=0):
    return np.random.default_rng(seed).normal(0, 30, (FRAMES, 21, 3))


def centred(pose, root):
    return (pose - metrics.root_of(pose, root)[:, None]).astype(np.float32)


def write(folder, predictions, target=None, code="x", root="palm"):
    """Results on disk as ``obtain`` leaves them: predictions {(row, seed): (N, 21, 3)}."""
    folder.mkdir(parents=True, exist_ok=True)
    target = poses() if target is None else target
    stored = {"target": target, "mean_pose": target}
    stored = {name: centred(pose, root) for name, pose in stored.items()}
    visible = np.ones((FRAMES, 21), bool)
    visible[:, 3] = False
    np.savez(folder / "frames.npz", **stored, visible=visible, left=visible[:, 0], frame=np.arange(FRAMES),
             sample=np.zeros((0, 8, 8, 3), np.uint8), root_joint=root, fingerprint="f")  # fmt: skip
    for (row, seed), predicted in predictions.items():
        place = folder / f"{row}-seed{seed}"
        place.mkdir()
        np.savez(place / "predictions.npz", predicted=centred(predicted, root))
        (place / "run.json").write_text(json.dumps({"training_code": code, "scale_mm": 40.0}))
    return Results(folder)


def off_by(distance, joint=20, seed=0):
    """The target with one joint moved by ``distance`` mm in every frame."""
    predicted = poses(seed)
    predicted[:, joint, 0] += distance
    return predicted


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.changes)
def test_a_variant_changes_a_stage_of_its_row_and_only_the_last_unless_it_changes_the_picture(variant):
    stages = row_stages(variant.row, "quick")
    presets = ("quick", variant.preset("quick"))
    before, after = ([stage_settings(stage, variant.row, preset, 0) for stage in stages] for preset in presets)
    changed = [stage for stage, old, new in zip(stages, before, after) if old != new]
    several = ["disentangle", "align"] if "+" in variant.changes else [stages[-1]]
    assert changed == (list(stages) if "view" in variant.changes else several)


def test_variants_are_told_apart_and_sums_are_means_times_their_entries():
    assert len({variant.changes for variant in VARIANTS}) == len(VARIANTS) == 14
    weights = {variant.changes.split("=")[0]: [] for variant in VARIANTS}
    for variant in VARIANTS:
        weights[variant.changes.split("=")[0]].append(variant.changes.split("=")[1])
    quick = stage_settings("refine", "D3", "quick", 0)
    assert max(map(float, weights["kcs_weight"])) == pytest.approx(quick["kcs_weight"] * 20 * 20)
    assert min(map(float, weights["geo_weight"])) == pytest.approx(quick["geo_weight"] / (21 * 190), rel=0.01)


def test_measures_of_a_known_error(tmp_path):
    results = write(tmp_path, {("baseline", 0): off_by(42), ("D3", 0): off_by(21), ("D3", 1): off_by(63)})
    table = measures(results).set_index("choice")
    line = table.loc["mean over joints and frames"]
    assert line["baseline"] == pytest.approx(2, abs=0.01) and line["D3"] == pytest.approx(2, abs=0.01)
    assert np.isnan(line["baseline sd"]) and line["D3 sd"] == pytest.approx(np.sqrt(2), abs=0.01)
    assert line["against baseline"] == pytest.approx(-50, abs=0.5)  # of seed 0, the one that both have
    assert np.isnan(line["against baseline-longer"])
    assert table.loc["median over joints and frames", "baseline"] == pytest.approx(0, abs=0.01)
    assert table.loc["visible joints only", "baseline"] == pytest.approx(42 / 20, abs=0.01)  # joint 3 is hidden, and was right
    # one joint of 21 is beyond 42 mm: PCK is 20/21 below that and 1 from there on
    assert table.loc["20-50 mm, trapezoids of 1 mm", "baseline"] == pytest.approx(1 - 22 / 30 / 21, abs=0.002)
    assert table.loc["0-50 mm, trapezoids of 1 mm", "baseline"] == pytest.approx(1 - 42 / 50 / 21, abs=0.002)


def test_the_root_moves_with_the_wrist(tmp_path):
    results = write(tmp_path, {("baseline", 0): off_by(30, joint=0), ("D3", 0): poses()})
    table = measures(results).set_index("choice")["baseline"]
    assert table["wrist"] == pytest.approx(30 * 20 / 21, abs=0.02)  # all joints but the wrist
    assert table["midpoint of wrist and middle MCP"] == pytest.approx(15, abs=0.02)  # all of them, half as far


def test_where_joint_0_is_the_palm_there_is_no_other_root(tmp_path):
    results = write(tmp_path, {("baseline", 0): off_by(30)}, root="wrist")
    assert len(measures(results)) == len(MEASURES) and len(ROOT_MEASURES) == 2
    assert measures(results)["D3"].isna().all()


def test_without_the_scale_a_perfect_pose_is_as_wrong_as_the_hand_is_large(tmp_path):
    target = poses() - metrics.root_of(poses())[:, None]
    lengths = np.linalg.norm(target[:, 10] - target[:, 9], axis=1)
    target *= (50 / lengths)[:, None, None]  # all hands of 50 mm; the training hands had 40
    results = write(tmp_path, {("D3", 0): target}, target)
    expected = 0.2 * np.linalg.norm(target, axis=-1).mean()
    assert decisions.mean_scale_mepe(results, "D3", 0) == pytest.approx(expected, rel=0.001)


def test_each_question_starts_with_what_we_do(tmp_path):
    results = write(tmp_path, {("baseline", 0): off_by(42), ("D3", 0): off_by(21)})
    text = decisions.measures_text(measures(results))
    ours = text[text["Question"] != ""]
    assert ours["Choice"].str.endswith("(ours)").all() and len(ours) == 5
    assert text["Choice"].str.endswith("(ours)").sum() == 5
    assert set(ours["Number"]) == {"AUC", "MEPE, mm"} and set(ours[ours["Number"] != "AUC"]["D3"]) == {"1.00"}


def test_chance_margin_of_a_known_table():
    # rows and seeds explain all but +-0.1: 1 degree of freedom, s = 0.2, t = 12.706
    values = np.array([[1.0, 2.0], [4.0, 5.0]]) + 0.1 * np.array([[1, -1], [-1, 1]])
    assert chance_margin(values) == pytest.approx(12.706 * 0.2 * np.sqrt(2), rel=1e-4)
    assert chance_margin(values, seeds=2) == pytest.approx(12.706 * 0.2, rel=1e-4)
    assert chance_margin([[1.0, 2.0], [4.0, 5.0]]) == pytest.approx(0)


def test_chance_margin_holds_95_of_100_differences():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(600):
        values = rng.normal(size=(4, 3)) + rng.normal(size=(4, 1)) + rng.normal(size=3)
        inside += abs(rng.normal() - rng.normal()) <= chance_margin(values)
    assert 0.92 < inside / 600 < 0.98


def test_seed_margin_takes_rows_with_the_same_last_stage(tmp_path):
    # in D1 and D2 the seeds differ by the same: no chance left; nothing like B or D0 has two seeds
    moved = {"D1": (21, 42), "D2": (63, 84), "B": (21, 84)}
    found = {(row, seed): off_by(distance) for row, pair in moved.items() for seed, distance in enumerate(pair)}
    results = write(tmp_path / "two", found)
    assert seed_margin(results, "D1") == pytest.approx(0, abs=0.02)
    assert seed_margin(results, "B") is None and seed_margin(results, "D0") is None
    results = write(tmp_path / "one", found | {("D3", 0): off_by(210)})  # one seed says nothing of chance
    assert seed_margin(results, "D1") == pytest.approx(0, abs=0.02)
    results = write(tmp_path / "none", found | {("D3", 1): off_by(21), ("D3", 2): off_by(21), ("D2", 2): off_by(21)})
    assert seed_margin(results, "D1") is None  # D1 and D3 share one seed only
    results = write(tmp_path / "apart", found | {("A", 0): off_by(84), ("A", 1): off_by(21)})
    assert seed_margin(results, "B") > 1


@pytest.mark.parametrize("effect, margin, words", [
    ((-0.5, -0.7, -0.3), 0.2, "better by 0.50 mm"),
    ((0.5, 0.3, 0.7), 0.2, "worse by 0.50 mm"),
    ((0.5, 0.3, 0.7), 0.6, "no clear difference"),  # chance alone is as large
    ((0.5, -0.1, 1.1), 0.2, "no clear difference"),
    ((0.004, 0.003, 0.005), 0.0, "no clear difference"),  # smaller than poses are stored
    ((0.5, 0.3, 0.7), None, "worse by 0.50 mm on these frames; chance in training not known"),
])  # fmt: skip
def test_verdict(effect, margin, words):
    assert verdict(*effect, margin) == words


def test_measured_compares_each_variant_with_its_row(tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.5, FRAMES)
    worse = off_by(42)
    worse[:, 20, 0] += noise
    write(results_folder("smoke", output_dir=tmp_path), {("B", 0): off_by(21), ("B", 1): off_by(21)})
    write(results_folder("smoke+adversarial_weight=1", output_dir=tmp_path), {("B", 0): worse})
    write(results_folder("smoke+kcs_weight=4", output_dir=tmp_path), {("D1", 0): worse})  # D1 itself has not been run
    table = measured("smoke", output_dir=tmp_path).set_index("setting")
    assert list(table.index) == [variant.changes for variant in VARIANTS]
    line = table.loc["adversarial_weight=1"]
    assert line["MEPE ours"] == pytest.approx(1, abs=0.01) and line["MEPE variant"] == pytest.approx(2, abs=0.05)
    assert line["low"] < line["effect"] < line["high"] and line["effect"] == pytest.approx(1, abs=0.05)
    assert line["seeds"] == "0" and line["verdict"].startswith("worse by 1.0")
    others = table.drop("adversarial_weight=1")
    assert (others["verdict"] == "not run").all() and others["effect"].isna().all()


def test_measured_wants_the_preset_itself_and_the_same_frames(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no results"):
        measured("smoke", output_dir=tmp_path)
    results = write(tmp_path / "ours", {("B", 0): off_by(21)})
    other = write(tmp_path / "theirs", {("B", 0): off_by(21)}, poses(1))
    with pytest.raises(ValueError, match="hold other frames"):
        compare(results, other, VARIANTS[0])


def test_chance_is_that_of_all_stages_that_a_variant_trains_anew(tmp_path):
    runs = {(row, seed): off_by(21 + 10 * seed * (row == "C")) for row in ("C", "D0", "D1", "D3") for seed in (0, 1)}
    results = write(tmp_path / "ours", runs)
    line = compare(results, write(tmp_path / "theirs", {("D3", 0): off_by(42)}), VARIANTS[-1])
    assert VARIANTS[-1].row == "D3" and line["margin"] == seed_margin(results, "D0") > 1 > seed_margin(results, "D3")


def test_other_training_code_is_not_compared_but_where_it_trains_alike(tmp_path, monkeypatch):
    results = write(tmp_path / "ours", {("B", 0): off_by(21)})
    assert compare(results, write(tmp_path / "same", {("B", 0): off_by(42)}), VARIANTS[0])["seeds"] == "0"
    assert compare(results, write(tmp_path / "other", {("B", 0): off_by(42)}, code="y"), VARIANTS[0]) is None
    monkeypatch.setattr(decisions, "trains_alike", lambda then, now, row: (then, now, row) == ("y", "x", "B"))
    assert compare(results, write(tmp_path / "alike", {("B", 0): off_by(42)}, code="y"), VARIANTS[0])["seeds"] == "0"


def table_of(effects, margin=0.2):
    effects = np.array(effects, float)
    numbers = {"effect": effects, "low": effects - 0.1, "high": effects + 0.1, "margin": np.full(len(effects), margin)}
    names = [str(index) for index in range(len(effects))]
    texts = dict.fromkeys(("question", "row", "ours", "seeds", "verdict"), names)
    return pd.DataFrame(texts | {"variant": [f"v<{name}>" for name in names]} | numbers)


def test_text_of_measured_is_escaped_and_has_no_minus_zero():
    text = decisions.measured_text(table_of([-0.001, 1.5, np.nan], margin=np.nan))
    assert list(text["Effect (mm) [95 %]"]) == ["0.00 [-0.10,\u00a0+0.10]", "+1.50 [+1.40,\u00a0+1.60]", ""]
    assert list(text["Seeds"]) == ["seed 0", "seed 1", "seed 2"]
    assert list(text["Chance (mm)"]) == ["not known", "not known", ""]
    assert "v&lt;0&gt;" in decisions.as_html(text) and "<table" in decisions.as_html(text)
    assert "<caption>a &lt; b</caption><thead>" in decisions.as_html(text, "a < b")
    assert "long" * 30 in decisions.as_html(pd.DataFrame({"a": ["long" * 30]}))


@pytest.mark.parametrize("effects, scale", [([0.5, -1.0, np.nan], "linear"), ([0.5, 23.0], "symlog"), ([], "linear")])
def test_forest_plot(effects, scale):
    figure = decisions.forest_plot(table_of(effects))
    (axes,) = figure.axes
    assert axes.get_xscale() == scale
    assert len(axes.get_yticklabels()) == np.isfinite(np.array(effects, float)).sum()
    plt.close(figure)


@pytest.fixture
def asked(monkeypatch):
    """``obtain`` that trains nothing, and the list of what it was asked for."""
    asked = []

    def obtain(row, preset, seed, **options):
        asked.append((row, preset, seed, options))
        return SimpleNamespace(card={"metrics": {"mepe": 20.0 + len(asked)}})

    monkeypatch.setattr(decisions, "obtain", obtain)
    return asked


def test_the_command_asks_for_each_row_and_each_variant(asked, capsys):
    decisions.main(["--preset", "quick", "--seed", "2", "--threads", "3", "--output-dir", "there"])
    assert [(row, preset) for row, preset, _, _ in asked[::2]] == [(variant.row, "quick") for variant in VARIANTS]
    changed = [(variant.row, variant.preset("quick")) for variant in VARIANTS]
    assert [(row, preset) for row, preset, _, _ in asked[1::2]] == changed
    options = {"threads": 3, "output_dir": "there", "dataset": "synthetic", "data_root": None, "device": "auto"}
    assert all(seed == 2 and given == options for _, _, seed, given in asked)
    assert capsys.readouterr().out.splitlines()[0] == "row B, adversarial_weight=0: 22.00 mm, ours 21.00 mm"


def test_an_unknown_preset_is_one_line():
    with pytest.raises(SystemExit, match="^error: no preset 'quik'; choose from smoke"):
        decisions.main(["--preset", "quik"])
