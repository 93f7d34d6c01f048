"""The table of what the work costs as it grows: what is measured in it, and that the rest grows as it should."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest

from handpose.budget import Device
from handpose.experiments import PEERS, ROWS
from handpose.growth import H200, T4, WORKS, Work, markdown, measured_seconds, table, training_time, trainings
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
