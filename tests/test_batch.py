"""Batches: rows x seeds, each one executed notebook, and the table at the end."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handpose import batch
from handpose.experiments import PRESETS
from handpose.metrics import auc, mepe
from handpose.notebook import execute
from handpose.results import RECORDED, Results, obtain

ROOT = Path(__file__).parents[1]
RUN = RECORDED / "synthetic-desktop"


def command_line(*arguments):
    return subprocess.run([sys.executable, "-m", "handpose.batch", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_rows_and_seeds_are_lists():
    assert batch.parse("A B D3", "0 1 2") == (["A", "B", "D3"], [0, 1, 2])
    assert batch.parse("A,injection+kcs, A", 3) == (["A", "injection+kcs"], [3])


@pytest.mark.parametrize("arguments, message", [
    (("A D33", "0"), "no row 'D33'; choose from baseline"), (("A", "0 -1"), "'-1' is no seed: SEEDS of a batch is a list"),
    (("A", "two"), "'two' is no seed"), (("", "0"), "a batch needs rows and seeds"), (("A", " "), "a batch needs rows and seeds"),
    (("A", "0", "quik"), "no preset 'quik'"), (("A", "0", "quick", "hands"), "no dataset 'hands'"),
])  # fmt: skip
def test_a_wrong_batch_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        batch.parse(*arguments)
    assert "\n" not in str(error.value)


def test_a_wrong_batch_stops_before_anything_runs():
    done = command_line("--rows", "A D33", "--seeds", "0")
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.startswith("error: no row 'D33'") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments, message", [
    (("--cores", "0"), "cores is 0"), (("--cores", "-3"), "cores is -3"), (("--dataset", "rhd"), "dataset rhd needs a data root"),
    (("--data-root", "/nowhere/at/all"), "data root /nowhere/at/all is not a folder"),
])  # fmt: skip
def test_a_batch_that_can_not_be_run_is_refused_before_anything_runs(monkeypatch, arguments, message):
    monkeypatch.setattr(batch.subprocess, "run", None)
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        batch.main(["--rows", "A", *arguments])


def test_the_table_holds_what_the_predictions_give():
    results = Results(RUN)
    table = batch.batch_table(results, ["A", "D3"], [0, 1, 2])
    assert [name for name, _ in table.index] == ["A", "D3", "mean pose"]
    for row in ("A", "D3"):
        line = table.loc[row].iloc[0]
        values = [mepe(results[row, seed].predicted, results.target) for seed in (0, 1, 2)]
        assert list(line["MEPE (mm)"])[:3] == [f"{value:.2f}" for value in values]
        assert line["MEPE (mm)", "mean ± sd"].startswith(f"{sum(values) / 3:.2f} ± ")
        assert line["AUC 20-50", "seed 1"] == f"{auc(results[row, 1].predicted, results.target):.3f}"
    assert list(table.loc["mean pose"].iloc[0]["MEPE (mm)"])[:3] == ["", "", ""]


def test_what_has_not_been_run_says_so():
    table = batch.batch_table(Results(RUN), ["A", "align"], [2, 7])
    assert list(table.loc["A"].iloc[0]["MEPE (mm)"])[1] == "not run"
    assert "±" not in table.loc["A"].iloc[0]["MEPE (mm)", "mean ± sd"]  # one seed has no spread
    assert set(table.loc["align"].iloc[0]) == {"not run"}
    assert set(batch.batch_table(None, ["A"], [0]).loc["A"].iloc[0]) == {"not run"}


def test_the_recorded_table_is_printed_with_where_it_comes_from():
    done = command_line("--recorded", "--rows", "A D3", "--seeds", "0 1", "--preset", "desktop")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"synthetic, preset desktop: 2 rows x 2 seeds, {len(Results(RUN))} evaluation frames"
    assert lines[2].split() == ["MEPE", "(mm)", "AUC", "20-50"]
    assert re.split(r"\s{2,}", lines[3]) == ["row", "parts", *["seed 0", "seed 1", "mean ± sd"] * 2]
    assert re.split(r"\s{2,}", lines[5])[:2] == ["D3", "injection + disentangle + align + KCS + GEO"]
    assert lines[-2:] == ["results  book/runs/results/synthetic-desktop/<row>-seed<seed>/", "pages    book/runs/row-<row>.ipynb"]


def test_a_stale_result_is_named(monkeypatch):
    monkeypatch.setattr("handpose.alike.training_code", lambda row=None: "other")
    _, text = batch.report(["A"], [0], "desktop", recorded=True)
    assert "stale: row A, seed 0: the code that trains has changed" in text


def test_a_row_without_a_name_trains_and_is_opened_again(tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "tiny", dataclasses.replace(PRESETS["smoke"], training=40, evaluation=12, batch=16, disentangle_epochs=1))
    options = dict(preset="tiny", output_dir=tmp_path, progress=False, device="cpu")
    kept = obtain("injection+kcs", **options)
    assert kept.folder.name == "injection+kcs-seed0" and kept.stale == ""
    assert [stage["folder"].split("-")[0] for stage in kept.card["stages"].values()] == ["warmup", "A", "injection+kcs"]
    assert Results(kept.folder.parent).seeds("injection+kcs") == [0] and Results(kept.folder.parent).seeds("injection") == []
    monkeypatch.setattr("handpose.runs.train", lambda *_: pytest.fail("trained twice"))
    assert obtain("injection+kcs", **options).card == kept.card


def test_the_page_of_stage_3_stands_on_the_stage_before_whichever_that_is(tmp_path):
    preset = "smoke+training=40+evaluation=12+batch=16+disentangle_epochs=1"
    execute(ROOT / "notebooks" / "refine.ipynb", tmp_path / "page.ipynb", {"row": "kcs", "preset": preset, "output_dir": str(tmp_path)})
    text = (tmp_path / "page.ipynb").read_text()
    before = Results(tmp_path / "results" / f"synthetic-{preset}")["baseline", 0].card["metrics"]["mepe"]
    assert re.search(rf"before stage 3: bone lengths off by \S+ mm, MEPE {before:.1f} mm", text)


def planned(*options):
    done = command_line("--dry-run", "--preset", "smoke+training=97", *options)  # of a size that nobody has run
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = re.findall(r"output: (\S+)", done.stdout + done.stderr)
    return {Path(output).relative_to("runs/pages/synthetic-smoke+training=97-batch").as_posix() for output in outputs}


def test_each_row_and_seed_is_one_notebook_and_no_training_is_for_other_rows():
    pages = planned("--rows", "B kcs+geo", "--seeds", "1 4", "--cores", "2")
    assert {page for page in pages if "/" not in page} == {
        "data.ipynb", "row-B-seed1.ipynb", "row-B-seed4.ipynb", "row-kcs+geo-seed1.ipynb", "row-kcs+geo-seed4.ipynb",
    }  # fmt: skip
    trained = [f"stages/{name}-seed{seed}.ipynb" for name in ("B-disentangle", "baseline-disentangle", "kcs+geo-refine") for seed in (1, 4)]
    assert {page for page in pages if "/" in page} == {"stages/warmup-warmup-seed0.ipynb", *trained}


def test_a_cluster_profile_plans_the_same_notebooks():
    here = planned("--rows", "A D1", "--seeds", "0", "--cores", "2")
    assert planned("--rows", "A D1", "--seeds", "0", "--profile", "notebooks/profiles/slurm") == here
    command = batch.command(["A"], [0], profile="notebooks/profiles/slurm", cores=2)
    assert "--cores" not in command and command[command.index("--profile") + 1] == "notebooks/profiles/slurm"


def make(*arguments):
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout.replace("\\\n", ""), done.stderr


def test_a_misspelt_variable_does_not_run_the_default():
    code, _, error = make("book", "PRSET=paper")
    assert code != 0 and "no variable PRSET here: there are PRESET, DATASET," in error
    assert make("book", "PRESET=paper", "PYTHON=python3")[0] == 0


def test_seeds_are_a_list_for_a_batch_and_a_count_elsewhere():
    code, text, _ = make("batch", "ROWS=A B", "SEEDS=0 2", "PRESET=smoke", "PROFILE=notebooks/profiles/slurm", "CORES=3")
    assert code == 0 and '--rows "A B" --seeds "0 2"' in text
    assert re.search(r'--preset "smoke" --dataset synthetic --data-root "" --cores 3 --profile "notebooks/profiles/slurm"', text)
    assert '--seeds "5"' in make("batch", "ROWS=A", "SEED=5")[1]
    assert '--seeds "3"' in make("batch", "ROWS=A", "SEEDS=3")[1]
    assert "seeds=3 " in make("book", "SEEDS=3")[1]
    code, _, error = make("book", "SEEDS=0 1 2")
    assert code != 0 and "SEEDS is here how many seeds, 3 say; a list of seeds is for `make batch`" in error
