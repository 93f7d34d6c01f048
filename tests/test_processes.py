"""Several processes, two on this processor with gloo: what they train and measure is what one would."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handpose import processes, runs
from handpose.records import read_json
from tests.test_train import timeless

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("disentangle", "align", "refine")


def call(*arguments, count=2):
    """Run a module alone or, where ``count`` is more, under torchrun: what it printed. One thread a process."""
    start = ["-m"] if count == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *start, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What one process found, and what two did: {stage: (gradients and statistics, history, predictions)} each."""
    folder = tmp_path_factory.mktemp("processes")
    for count in (1, 2):
        call("tests.several", folder / str(count), *STAGES, count=count)
    return [torch.load(folder / str(count)) for count in (1, 2)]


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_have_the_gradients_and_statistics_of_one(both, stage):
    (one, _, _), (two, _, _) = (found[stage] for found in both)
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_have_the_loss_and_the_metrics_of_one(both, stage):
    (_, one, before), (_, two, after) = (found[stage] for found in both)
    (one,), (two,) = timeless(one), timeless(two)
    assert one.keys() == two.keys()
    for name in one.keys() - {"phase", "gradients"}:
        assert two[name] == pytest.approx(one[name], rel=1e-9), name
    assert two["gradients"] == pytest.approx(one["gradients"], rel=1e-9)
    assert after.shape == before.shape  # no hand twice, and in their order
    torch.testing.assert_close(after, before)


def test_a_row_trained_by_two_processes_is_one_result(tmp_path):
    said = [call("handpose", "train", "baseline", "--preset", "smoke", "--output-dir", tmp_path / str(count), count=count) for count in (1, 2)]
    assert all(text.count("row baseline: MEPE") == 1 for text in said)
    files = [sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*") if path.suffix != ".lock") for name in "12"]
    assert files[0] == files[1]
    one, two = (read_json(next((tmp_path / name / "stages").glob("baseline-*/run.json"))) for name in "12")
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["identity"] == two["identity"]
    assert two["metrics"]["mepe"] == pytest.approx(one["metrics"]["mepe"], rel=0.05)
    run = runs.open_run(next((tmp_path / "2" / "stages").glob("baseline-*")))
    assert len(run.predictions) == one["frames"]["evaluation"]


def alone(monkeypatch, count, rank):
    monkeypatch.setattr(processes, "count", lambda: count)
    monkeypatch.setattr(processes, "rank", lambda: rank)


@given(length=st.integers(0, 50), count=st.integers(1, 7))
def test_everything_is_in_one_piece_only(length, count):
    with pytest.MonkeyPatch.context() as patch:
        found = []
        for rank in range(count):
            alone(patch, count, rank)
            found += range(length)[processes.piece(length)]
    assert found == list(range(length))


def test_shares_make_the_whole_batch(monkeypatch):
    shares = []
    for rank in range(4):
        alone(monkeypatch, 4, rank)
        shares.append(processes.share(np.arange(12)))
    assert np.array_equal(np.concatenate(shares), np.arange(12))
    with pytest.raises(ValueError, match="a batch of 10 can't be shared out evenly to 4 processes: choose another batch"):
        processes.share(np.arange(10))


def test_noise_is_drawn_for_the_whole_batch(monkeypatch):
    torch.manual_seed(0)
    whole = processes.noise(torch.empty(6, 5))
    for rank in range(3):
        alone(monkeypatch, 3, rank)
        torch.manual_seed(0)
        assert torch.equal(processes.noise(torch.empty(2, 5)), whole[2 * rank : 2 * rank + 2])


def test_what_is_dropped_is_drawn_for_the_whole_batch(monkeypatch):
    drop, values = processes.Dropout(0.3), torch.randn(6, 50)
    torch.manual_seed(0)
    whole = drop(values)
    assert 0 < (whole == 0).sum() < whole.numel() / 2 and torch.equal(drop.eval()(values), values)
    drop.train()
    for rank in range(3):
        alone(monkeypatch, 3, rank)
        torch.manual_seed(0)
        torch.testing.assert_close(drop(values[2 * rank : 2 * rank + 2]), whole[2 * rank : 2 * rank + 2])


def test_without_torchrun_there_is_one_process():
    assert (processes.started(), processes.count(), processes.rank()) == ((1, 1), 1, 0)
    value = torch.ones(2)
    assert processes.mean(value) is value
    assert processes.gather(value) is value
    assert processes.synchronise(value) is value
