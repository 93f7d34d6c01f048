"""A small part of the fuzzing, and that it notices what it looks for."""

import os
import time
from functools import partial

import pytest

from handpose.data import RHD
from tests import fuzz
from tests.fuzz import GOOD, contents, layout_of, openers, run_case
from tests.trees import write_rhd


def test_sixty_corruptions_are_read_right_or_refused_in_one_line(tmp_path):
    outcomes, bad = fuzz.fuzz(60, 0, tmp_path)
    assert bad == []
    assert {layout: sum(counted.values()) for layout, counted in outcomes.items()} == {"rhd": 36, "stb": 24}
    assert set().union(*outcomes.values()) == set(GOOD)


def test_the_same_case_is_the_same_damage(tmp_path):
    base = write_rhd(tmp_path / "rhd")
    healthy = {name: contents(call()) for name, call in openers("rhd", base).items()}
    first, again = (run_case("rhd", base, healthy, 0, 5) for _ in range(2))
    assert first[:2] == again[:2]
    assert len({run_case("rhd", base, healthy, 0, number)[0] for number in (5, 6, 7, 10)}) > 1
    assert {name: contents(call()) for name, call in openers("rhd", base).items()} == healthy  # the original is left alone


def raising(error, *_, **__):
    raise error


class NoHand(RHD):
    def __getitem__(self, index):
        frame = super().__getitem__(index)
        frame.xyz[:] = float("nan")
        return frame


@pytest.mark.parametrize("reader, outcome", [
    (partial(raising, KeyError("xyz")), "exception"), (partial(raising, ValueError("two\nlines")), "lines"),
    (partial(raising, ValueError("")), "lines"), (partial(raising, UnicodeDecodeError("utf-8", b"a", 0, 1, "no text")), "lines"),
    (NoHand, "wrong"), (RHD, "read as before"),
])  # fmt: skip
def test_a_loader_that_errs_is_noticed(tmp_path, monkeypatch, reader, outcome):
    base = write_rhd(tmp_path / "rhd")
    healthy = {name: contents(call()) for name, call in openers("rhd", base).items()}
    monkeypatch.setattr(fuzz, "RHD", reader)
    monkeypatch.setattr(fuzz, "corrupt", lambda *_: "nothing")
    assert run_case("rhd", base, healthy, 0, 0)[1] == outcome


def half_written(frames, folder, *_, **__):
    folder.mkdir()
    raise ValueError("the rest is missing")


@pytest.mark.parametrize("part, broken, outcome", [
    ("examine", partial(raising, OSError("no such folder")), "doctor"), ("write_shards", half_written, "half-written"),
    ("write_shards", partial(raising, ValueError("no")), "wrong"), ("write_shards", partial(raising, OSError(5, "went away")), "exception"),
])  # fmt: skip
def test_a_doctor_or_shards_that_err_are_noticed(tmp_path, monkeypatch, part, broken, outcome):
    base = write_rhd(tmp_path / "rhd")
    healthy = {name: contents(call()) for name, call in openers("rhd", base).items()}
    monkeypatch.setattr(fuzz, part, broken)
    monkeypatch.setattr(fuzz, "corrupt", lambda *_: "nothing")
    assert run_case("rhd", base, healthy, 0, 0)[1] == outcome


def sleep(connection, *_):
    connection.recv()
    time.sleep(600)


def die(connection, *_):
    connection.recv()
    os._exit(3)


@pytest.mark.parametrize("served, outcome", [(sleep, "hang"), (die, "crash")])
def test_a_hang_and_a_crash_are_noticed(monkeypatch, served, outcome):
    monkeypatch.setattr(fuzz, "serve", served)
    monkeypatch.setattr(fuzz, "SECONDS", 3 if outcome == "hang" else 120)
    watched = fuzz.Watched({}, {}, 0)
    assert watched(0)[1] == outcome
    assert watched.process is None


def test_both_layouts_have_their_cases():
    assert [layout_of(number) for number in range(5)] == ["rhd", "rhd", "rhd", "stb", "stb"]
