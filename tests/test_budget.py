"""What a page is said to cost, and what Colab is given to run: with a made-up Colab, GPU and Drive."""

import dataclasses
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from handpose import budget, drive, estimate
from handpose.budget import about, choose, fit, left_to_train
from handpose.data.augment import Batch
from handpose.estimate import (
    RESNET18_PER_PIXEL,
    SECONDS,
    SECONDS_IN_FLOAT32,
    Device,
    find_device,
    memory_bytes,
    precision_on,
    processor_name,
    recorded_speed,
    training_seconds,
)
from handpose.experiments import PEERS, PRESETS, ROWS, find_preset, row_stages, stage_owner
from handpose.models import RGBEncoder
from handpose.notebook import check_parameters, execute
from handpose.records import read_check, read_json
from handpose.results import obtain
from handpose.stages import STAGES, make_networks

ROOT = Path(__file__).parents[1]
T4 = Device("Tesla T4", "cuda", int(15.8e9))
A100 = Device("NVIDIA A100-SXM4-40GB", "cuda", int(42e9), half=True)
CPU, OLD_CPU = Device("CPU: new", half=True), Device("CPU: old")
PARAMETERS = dict(preset="smoke", dataset="synthetic", data_root="", row="D3", seed=0, threads=1, device="auto", recorded=False)


@pytest.fixture
def on_colab(monkeypatch):
    monkeypatch.setenv("COLAB_NOTEBOOK_ID", "1")
    monkeypatch.setattr(budget, "available_cores", lambda: 2)


@pytest.fixture
def with_t4(monkeypatch):
    """torch as it answers on a T4, which only emulates bfloat16."""
    properties = type("Properties", (), {"total_memory": T4.memory})
    for name, answer in {"is_available": True, "get_device_name": "Tesla T4", "get_device_properties": properties}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *arguments, answer=answer: answer)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)


def test_multiply_adds_are_those_that_pytorch_counts():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        RGBEncoder()(torch.zeros(1, 3, 64, 64))
    assert counter.get_total_flops() / 2 == pytest.approx(RESNET18_PER_PIXEL * 64**2, rel=0.01)


def test_memory_holds_what_autograd_keeps():
    """And is no more than twice of it, with weights, gradients and Adam's moments."""
    net, kept = RGBEncoder().to(memory_format=torch.channels_last).train(), {}  # as it is trained
    images = torch.zeros(8, 3, 64, 64)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(x.untyped_storage().data_ptr(), x), lambda x: x):
        net(images)
    weights = {weight.untyped_storage().data_ptr() for weight in (*net.parameters(), *net.buffers())}
    activations = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights)
    said = memory_bytes("quick+batch=8") - memory_bytes(dataclasses.replace(PRESETS["quick"], batch=0))
    assert activations < said < 2 * activations


@pytest.mark.parametrize("path", [SECONDS, SECONDS_IN_FLOAT32], ids=lambda path: path.stem)
def test_the_estimate_agrees_with_what_was_measured(path):
    """Time and memory of D3's stages that had a thread to themselves, in the run that was kept."""
    kept = read_check(path)
    device = Device(kept["device"], half=kept["precision"] == "bf16-mixed")
    ours = {(stage_owner(stage, "D3"), stage) for stage in row_stages("D3", kept["preset"])}
    for owner, stage in ours - {("warmup", "warmup")}:
        parts = [part for part in kept["trainings"] if (part["owner"], part["stage"], part["threads"]) == (owner, stage, 1)]
        mean = np.mean([part["seconds"] for part in parts])
        assert training_seconds(stage, kept["preset"], device) == pytest.approx(mean, rel=0.25)
    assert memory_bytes(kept["preset"], "cpu") == pytest.approx(kept["peak_memory_mib"] * 2**20, rel=0.25)


def test_a_t4_trains_the_whole_method_at_the_papers_size_within_a_free_session():
    """In mixed precision, by NVIDIA's figures; Colab's free sessions end after 12 hours."""
    preset, _ = choose("paper", T4, chosen=True)
    hours = sum(training_seconds(stage, preset, T4) for stage in row_stages("D3", preset)) / 3600
    assert 1 < hours < 6
    slower = sum(training_seconds(stage, "paper+precision=32-true", T4) for stage in row_stages("D3", preset)) / 3600
    assert slower > 1.5 * hours
    assert training_seconds("refine", "paper", A100) < 0.5 * training_seconds("refine", preset, T4)


@given(st.sampled_from(list(PRESETS)), st.sampled_from(["disentangle", "align", "refine", "further", "onward"]), st.integers(1, 16))
def test_more_threads_pictures_and_pixels_cost_as_they_should(preset, stage, threads):
    one = training_seconds(stage, preset, CPU)
    assert training_seconds(stage, preset, CPU, threads) == pytest.approx(one / threads)
    size, count = find_preset(preset).size, find_preset(preset).training
    assert training_seconds(stage, f"{preset}+size={2 * size}", CPU) == pytest.approx(4 * one)
    assert training_seconds(stage, f"{preset}+training={2 * count}", CPU) > 1.5 * one
    assert training_seconds(stage, preset, CPU) <= training_seconds(stage, preset, OLD_CPU)


def test_without_a_kept_run_nothing_is_invented(tmp_path, monkeypatch, capsys):
    assert recorded_speed(tmp_path / "seconds.json") is None
    monkeypatch.setattr(estimate, "recorded_speed", lambda *_: None)
    assert training_seconds("refine", "quick", CPU) is None
    fit(PARAMETERS | {"output_dir": str(tmp_path), "device": "cpu"})
    assert "how long is not known" in capsys.readouterr().out


@pytest.mark.parametrize("preset, device, chosen, insist, expected", [
    ("smoke", CPU, False, False, "quick"),
    ("smoke", CPU, True, False, "smoke"),
    ("desktop", CPU, True, False, "desktop"),
    ("paper", CPU, True, False, "quick"),
    ("paper+beta=1e-4", CPU, True, False, "quick"),
    ("gpu", CPU, True, False, "quick"),
    ("paper", CPU, True, True, "paper"),
    ("smoke", T4, False, False, "quick+precision=16-mixed"),
    ("paper", T4, True, False, "paper+precision=16-mixed"),
    ("paper+precision=32-true", T4, True, False, "paper+precision=32-true"),
    ("paper", A100, True, False, "paper"),
    ("paper+batch=512", T4, True, False, "paper+batch=512+precision=16-mixed+batch=256"),
])  # fmt: skip
def test_what_colab_runs(preset, device, chosen, insist, expected):
    assert choose(preset, device, chosen, insist)[0] == expected
    assert choose(expected, device, True, insist)[0] == expected  # run again


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("memory", [2e9, 6e9, 15.8e9])
def test_what_is_chosen_fits_and_is_no_smaller_than_needed(preset, memory):
    device = Device("some GPU", "cuda", int(memory))
    chosen = choose(preset, device, chosen=True)[0]
    batch = find_preset(chosen).batch
    assert memory_bytes(chosen) <= 0.85 * memory
    assert batch == find_preset(preset).batch or memory_bytes(f"{chosen}+batch={2 * batch}") > 0.85 * memory


def test_the_papers_batch_fits_a_t4():
    assert find_preset(choose("paper", T4, chosen=True)[0]).batch == PRESETS["paper"].batch


def test_the_device_is_found_and_named(with_t4):
    assert find_device() == T4 == find_device("cuda")
    assert find_device("cpu").kind == "cpu"
    assert precision_on(T4, "paper") == "32-true" and precision_on(A100, "paper") == "bf16-mixed"


@pytest.mark.parametrize("preset", ["smoke", "quick", "paper", "desktop+refine_epochs=2"])
def test_elsewhere_nothing_changes(preset, tmp_path, capsys, amd):
    given = PARAMETERS | {"preset": preset, "threads": 3, "output_dir": str(tmp_path), "device": "cpu"}
    assert fit(given) == (preset, 3, False)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("runs on CPU") and f", 3 threads; preset {preset}, precision " in first
    assert second.startswith("left to train: ") and second.endswith("GB of memory")
    measured = {processor_name(read_check(path)["device"]) for path in (SECONDS, SECONDS_IN_FLOAT32)}
    assert measured == {"AMD EPYC", "Intel Xeon"} and re.search(r"estimated from (.+?)'s speed", third)[1] in measured
    assert max(map(len, (first, second, third))) < 96  # a page's column
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def amd(monkeypatch):
    """A processor whose name has the usual length."""
    monkeypatch.setattr(estimate, "device_name", lambda _: "CPU: AMD EPYC 7B13")


def test_recorded_results_cost_nothing_and_say_what_training_would(tmp_path, capsys, amd):
    assert fit(PARAMETERS | {"preset": "desktop", "recorded": True, "output_dir": str(tmp_path)}) == ("desktop", 1, True)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith("; recorded results of preset desktop: nothing is trained")
    assert second.startswith("to train this here: about ") and third.startswith("on a T4: about ")
    assert max(map(len, (first, second, third))) < 96


def test_colab_without_a_gpu_says_so_and_runs_quick(on_colab, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = PARAMETERS | {"output_dir": str(tmp_path)}
    assert fit(given) == ("quick", 2, False)
    said = capsys.readouterr().out
    assert "preset quick" in said and "no GPU in this runtime (Runtime > Change runtime type > T4 GPU gives one)" in said
    assert "\non a T4: about" in said and "connect your Drive" in said
    assert fit(given | {"preset": "paper"})[0] == "quick"
    assert "paper wants a GPU, and would take days: quick instead" in capsys.readouterr().out
    assert fit(given | {"preset": "paper", "device": "cpu"})[0] == "paper"
    assert "no GPU in this runtime" not in capsys.readouterr().out  # none was asked for


def test_colab_with_a_t4_names_it_and_fits_it(on_colab, with_t4, tmp_path, capsys):
    assert fit(PARAMETERS | {"preset": "paper", "output_dir": str(tmp_path)}) == ("paper+precision=16-mixed", 2, False)
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first == "runs on Tesla T4 (16 GB); preset paper+precision=16-mixed, precision 16-mixed; float16, since this GPU has no bfloat16"
    assert " minutes (about " in second and second.endswith("GB of GPU memory") and third == "estimated from NVIDIA's ResNet-50 on a T4"
    assert fourth.startswith("what is trained is lost when this runtime ends")


def test_what_papermill_put_in_counts_as_chosen(on_colab, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = PARAMETERS | {"output_dir": str(tmp_path)}
    cell = '# Parameters\npreset = "smoke"\nthreads = 1\n'
    assert fit(given | {"In": ["", 'preset: str = "smoke"', cell]}) == ("smoke", 1, False)
    assert fit(given | {"In": ["", 'preset: str = "smoke"']}) == ("quick", 2, False)


def test_papermill_itself_is_recognised(on_colab, tmp_path):
    """Through a kernel: what it says of the cells that ran."""
    source = 'from handpose.budget import fit\nprint(fit({"output_dir": "runs", **PARAMETERS, "preset": preset, "In": In}))'
    cells = [nbformat.v4.new_code_cell('preset: str = "smoke"', metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell(source.replace("PARAMETERS", repr(PARAMETERS | {"device": "cpu"})))]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    for parameters, expected in (({}, "('quick', "), ({"preset": "smoke"}, "('smoke', ")):
        execute(tmp_path / "in.ipynb", tmp_path / "out.ipynb", parameters)
        outputs = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs
        assert expected in "".join(output.text for output in outputs)


def test_a_page_that_reads_shows_the_recorded_results_where_there_are_no_others(on_colab, tmp_path, capsys):
    given = {"preset": "smoke", "dataset": "synthetic", "data_root": "", "output_dir": str(tmp_path), "recorded": False}
    assert fit(given)[::2] == ("desktop", True)
    assert "shows the recorded results of preset desktop, trains nothing\n" in capsys.readouterr().out
    (tmp_path / "results" / "synthetic-quick" / "A-seed0").mkdir(parents=True)
    (tmp_path / "results" / "synthetic-quick" / "A-seed0" / "run.json").write_text("{}")
    assert fit(given)[::2] == ("quick", False)


def test_a_page_that_is_run_twice_costs_the_same(on_colab, tmp_path, capsys):
    """The second time its own loops have left names behind that look like parameters."""
    namespace = {"preset": "smoke", "dataset": "synthetic", "data_root": "", "output_dir": str(tmp_path), "recorded": False, "seed": 0}
    check_parameters(namespace, *namespace)
    first = fit(namespace), capsys.readouterr().out
    again = fit(namespace | {"row": "D3"}), capsys.readouterr().out
    assert first == again and first[0][::2] == ("desktop", True)


@pytest.mark.parametrize("gpu", [False, True])
def test_a_page_that_makes_its_row_up_trains_it(tmp_path, capsys, on_colab, monkeypatch, gpu):
    """As the page "Change this row" does, whose parameters are a row's parts."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    namespace = {"injection": True, "kcs": True, "preset": "minutes", "dataset": "synthetic", "data_root": "", "output_dir": str(tmp_path),
                 "recorded": False, "seed": 0, "device": "cpu" if not gpu else "auto"}  # fmt: skip
    check_parameters(namespace, *namespace)
    assert fit(namespace | {"preset": "minutes+kcs_weight=1", "row": "injection+kcs"}, rows=("injection+kcs",))[::2] == ("minutes+kcs_weight=1", False)
    assert "left to train: " in capsys.readouterr().out


def test_rows_share_their_stages():
    rows = ("baseline", "A", "B", "D0", "D3")
    left = left_to_train(rows, "desktop", seeds=(0, 1, 2), output_dir=None)
    assert sorted(set(left)) == ["align", "disentangle", "refine", "warmup"]
    assert [left.count(stage) for stage in ("warmup", "disentangle", "align", "refine")] == [1, 9, 3, 3]
    assert left_to_train(rows, "paper", output_dir=None).count("disentangle") == 3


@pytest.mark.parametrize("path", [SECONDS, SECONDS_IN_FLOAT32], ids=lambda path: path.stem)
def test_a_methods_training_is_estimated_by_its_own_seconds(path):
    kept = read_check(path)
    device, checked = Device(kept["device"], half=kept["precision"] == "bf16-mixed"), 0
    for stage in {stage for peer in PEERS.values() for stage in peer.stages}:
        parts = [part for part in kept["trainings"] if part["stage"] == stage and part["threads"] == 1]
        if parts:
            checked += 1
            mean = np.mean([part["seconds"] for part in parts])
            assert training_seconds(stage, kept["preset"], device) == pytest.approx(mean, rel=0.25), stage
    assert checked > 5


@pytest.mark.parametrize("name, value, least", [
    ("seed", "abc", 0), ("seed", 1.5, 0), ("seed", None, 0), ("seed", -1, 0), ("seed", True, 0), ("seeds", "2", 1), ("seeds", 0, 1),
    ("threads", 0, 1), ("threads", "2", 1),
])  # fmt: skip
def test_numbers_that_are_none_are_refused_in_one_line(tmp_path, name, value, least):
    with pytest.raises(ValueError) as error:
        fit(PARAMETERS | {"output_dir": str(tmp_path), "device": "cpu", name: value})
    assert str(error.value) == f"{name} is {value!r}: it must be a whole number, {least} or more"
    if name == "threads":
        with pytest.raises(ValueError, match="threads is .*: it must be a whole number, 1 or more"):
            budget.fit_frames(PARAMETERS | {"output_dir": str(tmp_path), name: value})


def test_stages_that_are_there_cost_nothing(tmp_path):
    preset = "smoke+training=40+evaluation=12+disentangle_epochs=1"
    assert left_to_train("A", preset, seeds=(0, 1), output_dir=tmp_path) == ["warmup", "disentangle", "disentangle"]
    obtain("A", preset=preset, output_dir=tmp_path, progress=False, device="cpu")
    assert left_to_train("A", preset, seeds=(0, 1), output_dir=tmp_path) == ["disentangle"]
    assert left_to_train("A", preset + "+adversarial_weight=1", output_dir=tmp_path) == ["disentangle"]  # the warm-up is shared
    assert left_to_train("A", preset, output_dir=tmp_path) == []
    assert left_to_train("D3", preset, output_dir=tmp_path) == ["disentangle", "align", "refine"]


@pytest.mark.parametrize("until, expected", [
    ("warmup", ["warmup"]), ("align", ["warmup", "disentangle", "align"]), (None, ["warmup", "disentangle", "align", "refine"]),
])  # fmt: skip
def test_a_stages_page_ends_with_its_stage(until, expected):
    assert left_to_train("D3", "quick", output_dir=None, until=until) == expected
    assert left_to_train("D3", "paper", output_dir=None, until="warmup") == ["disentangle"]  # no warm-up there: its page shows stage 1


def test_with_a_drive_the_run_is_kept_and_found_again(on_colab, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(drive, "DRIVE", tmp_path / "MyDrive")
    (tmp_path / "MyDrive" / "handpose" / "stages" / "x").mkdir(parents=True)
    (tmp_path / "MyDrive" / "handpose" / "stages" / "x" / "last.safetensors").write_text("epoch 7")
    preset = "smoke+training=40+evaluation=12"
    given = PARAMETERS | {"preset": preset, "output_dir": str(tmp_path / "runs")}
    assert fit(given)[0] == preset
    assert f"kept in your Drive, in {tmp_path / 'MyDrive' / 'handpose'}" in capsys.readouterr().out
    assert (tmp_path / "runs" / "stages" / "x" / "last.safetensors").read_text() == "epoch 7"
    here, there = (
        {path.parent.name: read_json(path)["fingerprint"] for path in root.glob("shards/*/shards.json")}
        for root in (tmp_path / "runs", tmp_path / "MyDrive" / "handpose")
    )
    assert len(here) == 2 and here == there
    drive.keep(tmp_path / "runs")[1]()


@pytest.mark.parametrize("seconds, words", [
    (3, "less than a minute"), (70, "about a minute"), (600, "about 10 minutes"), (9000, "about 2.5 hours"), (90000, "about 25 hours"),
    (864000, "about 10 days"),
])  # fmt: skip
def test_durations_are_for_people(seconds, words):
    assert about(seconds) == words


def test_half_precision_on_a_gpu_without_bfloat16_learns_as_float32_does():
    """float16 under autocast on the CPU: one batch of each stage gives the same finite losses to a few per cent."""
    torch.manual_seed(0)
    preset = find_preset("quick+weights=none")
    batch = Batch(torch.randn(16, 3, 64, 64), torch.randn(16, 21, 3))
    for stage in ("disentangle", "align", "refine"):
        losses = []
        for dtype in (torch.float32, torch.float16):
            part = STAGES[stage](make_networks(stage, ROWS["D3"], preset, 0), ROWS["D3"], preset)
            torch.manual_seed(1)
            with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.float16):
                terms = part(batch, 1)
            (2.0**12 * sum(terms.values())).backward()
            assert all(weight.grad.isfinite().all() for weight in part.parameters() if weight.grad is not None)
            losses.append(sum(terms.values()).item())
        assert np.isfinite(losses).all() and losses[1] == pytest.approx(losses[0], rel=0.05)


def test_the_notebooks_ask():
    """Every page that takes a preset says what it costs; the one that only shows frames, what rendering them does."""
    sources = {path.stem: path.read_text() for path in (ROOT / "notebooks").glob("*.py")}
    assert len(sources) > 10
    for name, text in sources.items():
        assert "preset: str" in text, name
        asks = "preset, threads = fit_frames(globals())" if name == "data" else "threads, recorded = fit(globals()"
        assert asks in text, name
        assert text.index("check_parameters(") < text.index(asks)


def test_a_page_of_frames_says_what_rendering_costs(tmp_path, capsys, on_colab, monkeypatch):
    given = dict(preset="smoke", dataset="synthetic", data_root="", output_dir=str(tmp_path), threads=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert budget.fit_frames(given) == ("quick", 2)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("runs on CPU") and "no GPU in this runtime" in first
    assert re.fullmatch(r"frames to render first: (about \d+ minutes|about a minute|less than a minute); nothing is trained", second)
    assert budget.fit_frames(given | {"data_root": str(tmp_path)})[0] == "quick"
    assert "the frames are there; nothing is trained" in capsys.readouterr().out


def test_a_page_of_frames_elsewhere_is_as_it_was_asked_for(tmp_path, capsys):
    given = dict(preset="desktop", dataset="stb", data_root=str(tmp_path), output_dir=str(tmp_path), threads=3)
    assert budget.fit_frames(given) == ("desktop", 3)
    assert "the frames are there" in capsys.readouterr().out
