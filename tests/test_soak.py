"""A small part of the soak, and that it notices what it looks for."""

import json
from collections import Counter

import numpy as np
import pytest

from handpose.records import read_json, source_digest, write_check
from tests import kills, soak

#: Cheap, and between them most ways in which files are written.
CHEAP = ("frames", "shards", "warmup", "record")


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    return soak.soak(5, 3, tmp_path_factory.mktemp("soak"), CHEAP)


def test_five_ends_at_random_moments_are_recovered_from(points):
    assert [point["wrong"] for point in points] == [""] * 5
    assert all(point["recovered"] for point in points)
    assert Counter(point["phase"] for point in points) == {"frames": 2, "shards": 1, "warmup": 1, "record": 1}


def test_a_report_says_what_was_tested(points, tmp_path):
    text = soak.report(points, 50, 3, 12.4)
    json.dumps(text)
    assert (text["count"], text["done"], text["recovered"], text["seconds"]) == (50, 5, 5, 12)
    assert text["source"] == source_digest() and set(text["phases"]) == set(kills.PHASES)


def test_a_soak_that_was_ended_goes_on(points, tmp_path):
    path = tmp_path / "soak.json"
    assert soak.earlier(None, 3) == soak.earlier(path, 3) == ([], 0)
    write_check(path, soak.report(points, 50, 3, 12.4))
    assert soak.earlier(path, 3) == (points, 12) and soak.earlier(path, 4) == ([], 0)
    assert soak.soak(5, 3, tmp_path, (), done=points) == points
    write_check(path, soak.report(points, 50, 3, 12.4) | {"source": "older"})
    assert soak.earlier(path, 3) == ([], 0)


def test_moments_lie_in_the_life_of_the_process():
    rng, counted = np.random.default_rng(0), {"cpu_seconds": 10.0, "changes": 20}
    moments = [soak.draw(rng, counted) for _ in range(300)]
    changes = {moment["changes"] for moment in moments if "changes" in moment}
    assert changes == set(range(1, 21))
    assert all(0 < moment["cpu_seconds"] < 10 for moment in moments if "cpu_seconds" in moment) and len(changes) < 300
    assert all(soak.draw(rng, counted, 0.1).get("changes", 1) <= 2 for _ in range(50))


@pytest.fixture
def whole(tmp_path):
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "history.json").write_text('[{"epoch": 0, "seconds": 1.5}]')
    np.savez(tmp_path / "stage" / "predictions.npz", predicted=np.arange(3.0))
    return kills.contents(tmp_path)


def test_times_do_not_count_and_values_do(tmp_path, whole):
    (tmp_path / "stage" / "history.json").write_text('[{"epoch": 0, "seconds": 2.5}]')
    np.savez_compressed(tmp_path / "stage" / "predictions.npz", predicted=np.arange(3.0))
    assert kills.contents(tmp_path) == whole
    np.savez(tmp_path / "stage" / "predictions.npz", predicted=np.nextafter(np.arange(3.0), 9))
    assert kills.contents(tmp_path) != whole


@pytest.mark.parametrize(("name", "data"), [
    ("stage/history.json", b"[{"), ("stage/history.json", b"[]"), ("stage/predictions.npz", b"PK"), ("stage/last.safetensors", b"half"),
    ("chunks/00000.pickle", b"\x80\x04"), ("stage/another.json", b"{}"),
])  # fmt: skip
def test_half_a_file_under_its_name_is_noticed(tmp_path, whole, name, data):
    assert kills.half_written("disentangle", tmp_path, whole) == ""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
    assert kills.half_written("disentangle", tmp_path, whole).startswith(f"{name} is half written")


@pytest.mark.parametrize("name", [f".{'0' * 32}.history.json", "colour.png.partial", "shards.unfinished-1/crops.npy"])
def test_what_no_reader_looks_for_may_be_half(tmp_path, whole, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"half")
    assert kills.half_written("disentangle", tmp_path, whole) == "" and kills.contents(tmp_path) == whole


def started(*outcomes):
    """Stands in for processes: (exit status, what it leaves in its folder) one after another."""
    left = iter(outcomes)

    def start(phase, folder, moment=None):
        status, name = next(left)
        (folder / ".said").write_text("Traceback: disk")
        if name:
            (folder / name).write_text("text")
        return status, None

    return start


@pytest.mark.parametrize(("outcomes", "wrong"), [
    ([(-9, None), (0, "a.txt")], ""), ([(0, None), (-9, None), (0, "a.txt")], ""),
    ([(-9, None), (0, None)], "another end than undisturbed: a.txt"),
    ([(-9, None), (0, "b.txt")], "another end than undisturbed: a.txt, b.txt"),
    ([(-9, None), (1, None)], "started again, it fails: Traceback: disk"),
    ([(-9, "b.txt"), (0, "a.txt")], "b.txt is half written"), ([(0, "a.txt")] * soak.TRIES, "it was never ended (exit status 0)"),
])  # fmt: skip
def test_a_part_that_does_not_recover_is_noticed(tmp_path, monkeypatch, outcomes, wrong):
    (tmp_path / "calm").mkdir()
    (tmp_path / "calm" / "a.txt").write_text("text")
    monkeypatch.setattr(soak, "_start", started(*outcomes))
    counted = {"cpu_seconds": 1.0, "changes": 2}
    point = soak._point("frames", np.random.default_rng(0), tmp_path, kills.contents(tmp_path / "calm"), counted, tmp_path / "point")
    assert (point["wrong"], point["recovered"]) == (wrong, not wrong) and point["phase"] == "frames"


def test_the_soaks_own_record_is_no_part_of_what_it_ends(tmp_path):
    """`make soak` writes it between one point and the next; a book with another one would not be the undisturbed book."""
    kills.prepare("book", tmp_path / "calm", tmp_path / "point")
    site = tmp_path / "point" / "site" / "book"
    assert (site / "_ext" / "checks.py").exists() and not (site / "checks").exists()


def test_the_recorded_soak_and_fuzzing_are_whole():
    kept = {name: read_json(kills.ROOT / "book" / "checks" / f"{name}.json") for name in ("soak", "fuzz")}
    assert kept["soak"]["done"] == kept["soak"]["count"] == len(kept["soak"]["points"]) == 50
    assert kept["soak"]["recovered"] == 50 and all(point["recovered"] for point in kept["soak"]["points"])
    assert min(kept["soak"]["phases"].values()) >= 4 and set(kept["soak"]["phases"]) == set(kills.PHASES)
    assert kept["fuzz"]["count"] == 1000 == sum(sum(counted.values()) for counted in kept["fuzz"]["outcomes"].values())
    assert kept["fuzz"]["bad"] == []
