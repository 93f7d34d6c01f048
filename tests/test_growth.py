"""The table of what the work costs as it grows: what is measured in it, and that the rest grows as it should."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from handpose import estimate, growth, results
from handpose.estimate import RESNET18_PER_PIXEL, STEP, Device, images_of, recorded_speed, speed, training_seconds
from handpose.experiments import PEERS, ROWS, row_stages, stage_owner
from handpose.growth import H200, T4, WORKS, Work, markdown, measured_seconds, measured_speed, source, table, training_time, trainings
from handpose.records import read_check, write_json

CPU = Device("CPU", half=True)
KEPT = read_check(estimate.SECONDS)
MEASURED = measured_seconds()
LARGE = "paper+weights=warmup+warmup_epochs=10+training=8192+evaluation=512+disentangle_epochs=2+align_epochs=1+refine_epochs=1"


@pytest.fixture(autouse=True)
def forget(monkeypatch, tmp_path):
    """No results but those that a test records."""
    monkeypatch.setattr(results, "RECORDED", tmp_path)
    for found in (estimate.gpu_runs, estimate.gpu_speeds):
        found.cache_clear()
    yield
    for found in (estimate.gpu_runs, estimate.gpu_speeds):
        found.cache_clear()


def record(folder, row, seed, preset=LARGE, made=2e14, **card):
    """A result's card: every stage at ``made`` multiply-adds a second."""
    size, parts = estimate.find_preset(preset).size, {}
    for stage in row_stages(row, preset):
        own = 0 if stage == "warmup" else seed
        seconds = images_of(stage, preset) * RESNET18_PER_PIXEL * size**2 / made
        folder_name, settings = f"{stage_owner(stage, row)}-{stage}-{own}", {"size": size, "seed": own}
        parts[stage] = {"folder": folder_name, "seconds": seconds, "threads": 1, "settings": settings}
    about = {"row": row, "of_row": row, "preset": preset, "dataset": "synthetic", "settings": {"size": size}, "device": "NVIDIA H200",
             "precision": "bf16-mixed", "commit": "0123456789abcdef", "peak_memory_mib": 2000, "stages": parts}  # fmt: skip
    write_json(folder / f"{row}-seed{seed}" / "run.json", about | card)


def test_rows_share_their_trainings():
    assert len(trainings(ROWS, "desktop")) == 12  # the warm-up and eleven stages
    assert len(trainings(["A", "B", "D3"], "desktop")) == 5
    assert len(trainings(PEERS, "quick") - trainings(ROWS, "quick")) == sum(len(peer.stages) for peer in PEERS.values())


def test_seconds_are_those_of_the_cards(tmp_path, monkeypatch, capsys):
    for row, seed in (("A", 0), ("A", 1), ("D0", 0), ("B-longer", 0)):
        record(tmp_path / "run", row, seed, "desktop", 1e10, device="CPU: this", commit=None if row == "D0" else "abc")
    monkeypatch.setattr(growth, "SECONDS", tmp_path / "seconds.json")
    monkeypatch.setattr(growth, "SECONDS_IN_FLOAT32", tmp_path / "float32.json")
    growth.main(["--keep", str(tmp_path / "run")])
    record(tmp_path / "slower", "A", 0, "desktop", 4e9, device="CPU: that", precision="32-true")
    growth.main(["--keep", str(tmp_path / "slower")])
    assert capsys.readouterr().out == ""
    assert recorded_speed(tmp_path / "float32.json") == pytest.approx(4e9, rel=1e-4)
    kept = read_check(tmp_path / "seconds.json")
    found = {(part["owner"], part["stage"], part["seed"]): part for part in kept["trainings"]}
    expected = {("warmup", "warmup"), ("A", "disentangle"), ("B", "disentangle"), ("D0", "align"), ("B-longer", "further")}
    assert set(found) == {(*one, 0) for one in expected} | {("A", "disentangle", 1)}
    assert found["D0", "align", 0]["images"] == pytest.approx(images_of("align", "desktop"), abs=0.1)
    assert [kept[name] for name in ("preset", "size", "device", "commits")] == ["desktop", 64, "CPU: this", ["abc"]]
    assert kept["peak_memory_mib"] == 2000
    assert recorded_speed(tmp_path / "seconds.json") == pytest.approx(1e10, rel=1e-4)
    assert measured_seconds()["A", "disentangle"] == {seed: found["A", "disentangle", seed]["seconds"] for seed in (0, 1)}


def test_the_table_is_of_desktops_seconds(tmp_path):
    record(tmp_path, "A", 0, "quick", device="CPU: this")
    with pytest.raises(SystemExit, match="^error: .* is of preset quick"):
        growth.main(["--keep", str(tmp_path)])
    with pytest.raises(SystemExit, match="^error: .*none is missing: give a folder of results"):
        growth.main(["--keep", str(tmp_path / "none")])


@pytest.mark.parametrize("cards", [{}, {"A": "NVIDIA H200"}, {"A": "CPU: this", "B": "CPU: that"}])
def test_only_one_processors_seconds_are_kept(tmp_path, cards):
    for row, device in cards.items():
        record(tmp_path, row, 0, "desktop", device=device)
    with pytest.raises(ValueError, match="does not hold the results of one preset on one processor"):
        growth.seconds_of(tmp_path)


def test_what_is_kept_is_what_the_preset_still_is():
    assert list(MEASURED["warmup", "warmup"]) == [0]
    assert {(part["owner"], part["stage"]) for part in KEPT["trainings"]} >= trainings((*ROWS, *PEERS), "desktop")
    for part in KEPT["trainings"]:
        assert part["images"] == pytest.approx(images_of(part["stage"], KEPT["preset"]), abs=0.1)


def test_what_was_recorded_is_the_sum_of_its_cards():
    work = Work("", ("A", "B"), "desktop", seeds=2, recorded=True)
    both = sum(MEASURED[row, "disentangle"][seed] for row in ("A", "B") for seed in (0, 1))
    assert training_time(work, CPU, MEASURED) == pytest.approx((both + MEASURED["warmup", "warmup"][0]) / 2)


def test_an_estimate_at_the_recorded_size_is_near_what_was_measured():
    """The mean of three seeds, three times, is their sum."""
    work = next(work for work in WORKS if work.recorded and work.seeds == 3)
    assert training_time(replace(work, recorded=False), CPU, MEASURED) == pytest.approx(training_time(work, CPU, MEASURED), rel=0.01)


@pytest.mark.parametrize("device", [CPU, T4, H200], ids=lambda device: device.name)
def test_time_grows_with_frames_and_pixels(device):
    small = Work("", ("D3",), "paper+training=1000+evaluation=100")
    more, larger = replace(small, preset="paper+training=10000+evaluation=1000"), replace(small, preset="paper+training=1000+evaluation=100+size=512")
    base = training_time(small, device, MEASURED)
    assert training_time(more, device, MEASURED) == pytest.approx(10 * base)
    assert base < training_time(larger, device, MEASURED) <= 4.001 * base  # on a GPU there is time that pixels don't change
    assert training_time(replace(small, seeds=3), device, MEASURED) == pytest.approx(3 * base)


def test_a_gpus_estimate_does_not_hang_on_the_precision_of_the_recorded_run(monkeypatch):
    """A run in float32, that is slower, does as much work; nothing else is asked how fast processors are."""
    work, slower = WORKS[0], {key: {seed: 2.5 * seconds for seed, seconds in kept.items()} for key, kept in MEASURED.items()}
    monkeypatch.setattr(estimate, "recorded_speed", lambda path: None)
    assert training_time(work, T4, slower) == pytest.approx(training_time(work, T4, MEASURED))
    assert training_time(work, CPU, slower) == pytest.approx(2.5 * training_time(work, CPU, MEASURED))
    assert measured_speed(MEASURED) == pytest.approx(recorded_speed(), rel=0.1)


def test_what_was_not_recorded_is_not_known(monkeypatch):
    ours = {key: seconds for key, seconds in MEASURED.items() if key in trainings(ROWS, "desktop")}
    for found, known in ((ours, {"About half": False, "All": True}), ({}, {"About half": False, "All": False})):
        monkeypatch.setattr("handpose.growth.measured_seconds", lambda kept, found=found: found)
        lines = table([Work("About half", (*ROWS, "Moon"), "quick"), Work("All", tuple(ROWS), "quick")])
        assert {line["Work"]: "not known" not in (line["Two cores"], line["T4"], line["H200"]) for line in lines} == known


def test_files_that_were_made_without_git_say_so():
    assert "measured on AMD EPYC at not in git, kept" in source(KEPT | {"commits": []})[0]


def test_the_table_says_what_was_measured():
    lines = table()
    for work, line in zip(WORKS, lines, strict=True):
        assert ("(measured)" in line["Two cores"]) == work.recorded
        assert "(measured)" not in line["T4"] + line["H200"]
    by_name = {line["Work"]: line for line in lines}
    rhd = by_name["RHD, Tables 1 and 2"]
    assert rhd["Frames"] == "43\u202f986" and rhd["Crops on disk"] == f"{43986 * 363**2 * 3 / 1e9:.1f} GB"
    assert by_name["ten times RHD, Tables 1 and 2"]["Memory of the process"] == rhd["Memory of the process"]  # mapped, not read
    assert len({line.count("|") for line in markdown(lines)}) == 1


def test_a_gpu_that_was_recorded_takes_the_place_of_nvidias_table(tmp_path):
    before = speed(H200, "bf16-mixed"), speed(T4, "16-mixed"), training_time(WORKS[5], T4, MEASURED)
    assert "NVIDIA" in before[0][1] and "ResNet-50" in source()[-1] and len(source()) == 2
    for row in ("A", "B", "D3"):
        record(tmp_path / f"synthetic-{LARGE}", row, 0)
    record(tmp_path / f"synthetic-{LARGE}", "A", 1, made=1e14)
    record(tmp_path / "synthetic-desktop", "A", 0, "desktop", 1e12)  # small pictures, several side by side, say nothing
    estimate.gpu_runs.cache_clear(), estimate.gpu_speeds.cache_clear()
    assert estimate.gpu_speeds() == {("H200", True): pytest.approx(2e14)}
    named = Device("NVIDIA H200", "cuda", H200.memory, half=True)
    assert speed(named, "bf16-mixed") == (pytest.approx(2e14), "the trainings recorded on the H200")
    assert training_seconds("refine", LARGE, named) == pytest.approx(images_of("refine", LARGE) * RESNET18_PER_PIXEL * 256**2 / 2e14)
    assert speed(named, "32-true")[1].startswith("NVIDIA's") and speed(T4, "16-mixed") == before[1]
    assert training_time(WORKS[5], T4, MEASURED) == before[2]
    lines = table()
    assert len(lines) == len(WORKS) + 1 and [("(measured)" in line["H200"]) for line in lines] == [False] * len(WORKS) + [True]
    (work,) = growth.gpu_works()
    assert work.name == f"`{LARGE}`, rows A, B, D3, up to 2 seeds" and work.times["A", "disentangle"] == 2
    own = sum(training_seconds(stage, LARGE, named) for stage in ("warmup", "disentangle", "disentangle", "align", "refine"))
    assert work.gpu_seconds == pytest.approx(own + 2 * training_seconds("disentangle", LARGE, named))  # A's second was half as fast
    assert training_time(work, H200, MEASURED) == work.gpu_seconds and training_time(work, T4, MEASURED) > work.gpu_seconds
    said = source()
    rhd = next(line for line in lines if line["Work"] == "RHD, Tables 1 and 2")["H200"]
    assert "on NVIDIA H200, at commit `0123456`." in said[1] and said[1].endswith(f"on RHD takes {rhd}.") and "ResNet-50," in said[2]


def test_a_recorded_gpus_tables_are_told_apart(tmp_path):
    """A training that rows of both share counts for the first; the warm-up's card is of no row."""
    for row in ("A", "B", "D0-longer", "Moon"):
        record(tmp_path / f"synthetic-{LARGE}", row, 0)
    estimate.gpu_runs.cache_clear()
    ours, controls, methods = growth.gpu_works()
    assert [work.name.split(", ", 1)[1] for work in (ours, controls, methods)] == ["rows A, B, one seed", "rows D0-longer, one seed", "rows Moon, one seed"]
    assert set(ours.times) == {("warmup", "warmup"), ("A", "disentangle"), ("B", "disentangle")}
    assert set(controls.times) == {("D0", "align"), ("D0-longer", "refine")} and set(methods.times) == {("Moon", "volumes")}


def test_another_gpu_has_its_own_column(tmp_path):
    record(tmp_path / f"synthetic-{LARGE}", "A", 0, device="NVIDIA H100 80GB HBM3")
    lines = table()
    assert "H200" not in lines[0] and "(measured)" in lines[-1]["H100"] and lines[-1]["Work"] == f"`{LARGE}`, rows A, one seed"
    assert source()[1].startswith("H100: ") and speed(H200, "bf16-mixed")[1].startswith("NVIDIA's")
    h100 = Device("H100", "cuda", int(80e9), half=True)
    for device, size, seconds in ((H200, 256, STEP), (CPU, 64, 0), (h100, 256, 0), (h100, 64, STEP)):
        assert estimate.step_overhead(device, "bf16-mixed", size) == seconds


def test_names_of_chips():
    names = ("NVIDIA A100-SXM4-40GB", "Tesla T4", "NVIDIA GeForce RTX 4090", "H200")
    assert [estimate.chip(name) for name in names] == ["A100", "T4", "NVIDIA GeForce RTX 4090", "H200"]


def test_it_is_printed():
    said = subprocess.run([sys.executable, "-m", "handpose.growth"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("| Work | Frames |") and re.search(r"preset desktop, .*commit `[0-9a-f]{7}`", said)
