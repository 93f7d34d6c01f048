"""The table of what the work costs as it grows: what is measured in it, and that the rest grows as it should."""

import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from handpose import budget
from handpose.budget import Device, recorded_speed
from handpose.experiments import PEERS, ROWS
from handpose.growth import H200, T4, WORKS, Work, markdown, measured_seconds, measured_speed, source, table, training_time, trainings
from handpose.records import read_json
from handpose.results import RECORDED

CPU = Device("CPU", half=True)
MEASURED = measured_seconds()


def test_rows_share_their_trainings():
    assert len(trainings(ROWS, "desktop")) == 12  # the warm-up and eleven stages
    assert len(trainings(["A", "B", "D3"], "desktop")) == 5
    assert len(trainings(PEERS, "quick") - trainings(ROWS, "quick")) == sum(len(peer.stages) for peer in PEERS.values())


def test_seconds_are_those_of_the_cards():
    for row, stage in (("D1", "refine"), ("A", "disentangle"), ("Moon", "volumes")):
        part = read_json(RECORDED / "synthetic-desktop" / f"{row}-seed0" / "run.json")["stages"][stage]
        assert MEASURED[row, stage][0] == part["seconds"] * part["threads"]
    assert list(MEASURED["warmup", "warmup"]) == [0]


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
    monkeypatch.setattr(budget, "recorded_speed", lambda: None)
    assert training_time(work, T4, slower) == pytest.approx(training_time(work, T4, MEASURED))
    assert training_time(work, CPU, slower) == pytest.approx(2.5 * training_time(work, CPU, MEASURED))
    assert measured_speed(MEASURED) == pytest.approx(recorded_speed(), rel=0.1)


def test_what_was_not_recorded_is_not_known(monkeypatch):
    ours = {key: seconds for key, seconds in MEASURED.items() if key in trainings(ROWS, "desktop")}
    for found, known in ((ours, {"About half": False, "All": True}), ({}, {"About half": False, "All": False})):
        monkeypatch.setattr("handpose.growth.measured_seconds", lambda results, found=found: found)
        lines = table([Work("About half", (*ROWS, "Moon"), "quick"), Work("All", tuple(ROWS), "quick")])
        assert {line["Work"]: "not known" not in (line["Two cores"], line["T4"], line["H200"]) for line in lines} == known


def test_files_that_were_made_without_git_say_so():
    card = {"preset": "desktop", "device": "CPU", "commit": None}
    assert source({("D3", 0): SimpleNamespace(card=card)}) == "From the seconds of the recorded run: preset desktop, CPU, not in git."


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


def test_it_is_printed():
    said = subprocess.run([sys.executable, "-m", "handpose.growth"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("| Work | Frames |") and re.search(r"preset desktop, CPU.*commit `[0-9a-f]{7}`", said)
