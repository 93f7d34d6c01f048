"""The GPU's benchmarks, as far as a processor can tell: they run, they say what failed, and the page shows what is kept."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from handpose.cost import Steps
from handpose.records import write_check
from tests.bench import gpu, profiled

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from checks import check_lines  # noqa: E402 (the book's own extension)

PRESET = "smoke+weights=none+training=64+evaluation=32"


def test_all_of_it_runs_and_what_fails_is_said(tmp_path, monkeypatch, capsys):
    """On a processor, where the profiler sees no GPU; what torch.compile does is tested apart."""

    def of_compiling(data, preset, device, limit):
        assert 5 <= limit <= gpu.COMPILING
        return ()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu, "of_compiling", of_compiling)
    monkeypatch.setattr(gpu, "BATCHES", (32, 64))
    monkeypatch.setattr(gpu, "SECONDS", 1e6)  # however slow this machine is
    figures = list(gpu.of_gpu(PRESET, "cpu"))
    assert {figure.topic for figure in figures} == {"training", "batch", "prediction", "profile", "arithmetic"}
    assert [(figure.topic, figure.value) for figure in figures if figure.what == "did not work"] == [("profile", "RuntimeError")]
    shares = [figure for figure in figures if figure.bar]
    assert len(shares) == 2  # of the network's own speed with its steps replayed, and without
    assert all(share.bar == "at least 0.85" and share.holds == (float(share.value.split()[0]) >= 0.85) for share in shares)
    assert "compiling: done" in capsys.readouterr().err
    assert torch.backends.cudnn.benchmark is False


def test_what_has_no_time_left_is_said_to_be_left_out(monkeypatch):
    monkeypatch.setattr(gpu, "prepare_data", lambda *arguments, **options: None)
    monkeypatch.setattr(gpu, "of_training", lambda data, preset, device: iter([gpu.Figure("training", "share", "1")]))
    gpu.of_training.__name__ = "of_training"
    figures = list(gpu.of_gpu(PRESET, "cpu", seconds=0))
    assert figures[0].value == "1" and {figure.value for figure in figures[1:]} == {"no time was left"} and len(figures) == 7


def test_a_larger_batch_pays_while_it_gains_five_per_cent():
    assert gpu.paying({64: 100, 128: 120, 256: 125, 512: 140}) == 128
    assert gpu.paying({64: 100, 128: 120, 256: 140}) == 256
    assert gpu.paying({64: 100, 128: 90}) == 64


def test_steps_that_differ_take_turns(monkeypatch):
    steps, seen = Steps("crossmodal", "Spurr", PRESET), []
    monkeypatch.setattr(steps.stage, "forward", lambda batch, step: seen.append(step) or {"x": sum(w.sum() for w in steps.stage.parameters())})
    steps.seconds(steps.stage.cycle)
    steps.seconds()
    assert seen == list(range(7))


def test_steps_are_a_mean_of_as_many_as_were_asked_for(monkeypatch):
    steps, clock = Steps("disentangle", "D3", PRESET, device="cpu"), iter([0.0, 6.0])
    monkeypatch.setattr("handpose.cost.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    before = steps.optimizer.state_dict()["state"]
    assert steps.seconds(3) == 2.0 and not before
    assert steps.optimizer.state_dict()["state"][0]["step"] == 3


@pytest.mark.parametrize("seconds, error, said", [
    (0, RuntimeError, "did not work (RuntimeError)"), (9, ValueError, "not done after 5 seconds"), (3, None, "3 seconds"),
])  # fmt: skip
def test_what_compiles_late_or_not_at_all_is_said(monkeypatch, seconds, error, said):
    clock = [0.0]

    class Fake:
        batch, device = SimpleNamespace(images=[0] * 64), torch.device("cpu")

        def __init__(self, *arguments, compiled=False, **options):
            self.compiled = compiled

        def seconds(self, count=1):
            if self.compiled:
                clock[0] += seconds
                if error:
                    raise error
            return 0.5 if self.compiled else 1.0

    monkeypatch.setattr(gpu, "Steps", Fake)
    monkeypatch.setattr(gpu, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    figures = list(gpu.of_compiling(None, PRESET, "cpu", limit=5))
    assert figures[0].value == said and [figure.value for figure in figures[1:]] == ["0.50 times"] * (error is None)


def test_a_block_ends_in_time():
    with pytest.raises(TimeoutError), gpu.within(0.05):
        time.sleep(5)
    with gpu.within(0.05):
        pass
    time.sleep(0.1)  # no alarm is left


def _event(name, start, end, device=DeviceType.CPU, kernels=()):
    kernels = [SimpleNamespace(duration=one) for one in kernels]
    return SimpleNamespace(name=name, time_range=SimpleNamespace(start=start, end=end), device_type=device, kernels=kernels)


def test_a_gpus_time_goes_to_those_who_asked_for_it():
    """Microseconds: two whole steps, from Adam's first to its third; kernels that overlap count once as busy."""
    steps = [_event("Optimizer.step#Adam.step", at, at + 5, kernels=[5]) for at in (100, 200, 300)]
    work = [
        _event("aten::conv2d", 90, 95, kernels=[50]), _event("aten::cudnn_convolution", 110, 120, kernels=[20, 10]),
        _event("aten::_fused_adam_", 201, 203, kernels=[10]), _event("aten::relu", 210, 212), _event("aten::copy_", 310, 311, kernels=[9]),
        _event("kernel", 130, 160, DeviceType.CUDA), _event("Memcpy HtoD", 150, 170, DeviceType.CUDA),
        _event("adam", 205, 215, DeviceType.CUDA),
        _event("Optimizer.step#Adam.step", 200, 290, DeviceType.CUDA), _event("later", 320, 330, DeviceType.CUDA),
    ]  # fmt: skip
    events, count = profiled.steps_of([*work, *steps])
    assert count == 2
    assert profiled.kernel_seconds(events) == pytest.approx({"aten::cudnn_convolution": 30e-6, "aten::_fused_adam_": 10e-6})
    assert profiled.busy_seconds(events) == pytest.approx(50e-6)


def test_the_profiler_names_adams_steps():
    """The real one: by these names the steps are found."""
    steps = Steps("refine", "D3", PRESET)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        steps.seconds(3)
    assert profiled.steps_of(profiler.events())[1] == 2


def test_the_page_shows_what_was_kept_and_says_when_nothing_was(tmp_path):
    assert check_lines(tmp_path, "bench-gpu") == ["Not measured yet."]
    figure = {"topic": "training", "what": "share", "value": "0.91", "bar": "at least 0.85", "holds": True}
    about = {"device": "NVIDIA H200", "cores": 16, "load": 0.1, "seconds": 70, "commit": "0123456789abcdef"}
    write_check(tmp_path / "book" / "checks" / "bench-gpu.json", {"figures": [figure]} | about)
    lines = check_lines(tmp_path, "bench-gpu")
    assert "| training | share | 0.91 | at least 0.85: holds |" in lines and lines[-1].startswith("NVIDIA H200, 16 cores")


def test_without_a_gpu_it_is_refused_and_it_is_measured_by_itself():
    for topics, why in ((["gpu"], "no GPU was found"), (["gpu", "sharing"], "gpu is measured by itself")):
        done = subprocess.run([sys.executable, "-m", "tests.bench", *topics], cwd=ROOT, capture_output=True, text=True, check=False)
        if not torch.cuda.is_available() or len(topics) > 1:
            assert done.returncode == 2 and done.stderr.splitlines()[-1] == f"python -m tests.bench: error: {why}"
