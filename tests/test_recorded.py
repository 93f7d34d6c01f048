"""The recorded run names what was deleted, edited or swapped in it, and is exchanged whole."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import numpy as np
import pytest

from handpose import book, recorded, records
from handpose.records import read_json, write_json

ROOT = Path(__file__).parents[1]
RESULT = "results/synthetic-minutes/D3-seed0"
OTHER = "results/synthetic-minutes/baseline-seed0"
#: One file of each kind, and one to swap it with.
KINDS = {
    "row-B.ipynb": "row-D3.ipynb",
    "refine.ipynb": "align.ipynb",
    f"{RESULT}/run.json": f"{OTHER}/run.json",
    f"{RESULT}/history.json": f"{OTHER}/history.json",
    f"{RESULT}/predictions.npz": f"{OTHER}/predictions.npz",
    f"{RESULT}/analysis.npz": f"{OTHER}/predictions.npz",
    f"{RESULT}/explorer.npz": f"{RESULT}/analysis.npz",
    "results/synthetic-minutes/frames.npz": f"{RESULT}/predictions.npz",
    "manifest.json": f"{RESULT}/run.json",
}


def page(notebook, row, identity):
    """An executed notebook that shows one run."""
    made = {"notebook": f"{notebook}.ipynb", "parameters": {"row": row}}
    shown = nbformat.v4.new_output("display_data", {"text/html": f"<table><tr><td>identity {identity}</td></tr></table>"})
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("show", outputs=[shown])], metadata={"handpose": made})


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A recorded run of four pages and one folder of results, with its manifest."""
    runs = tmp_path_factory.mktemp("small") / "runs"
    shutil.copytree(recorded.RUNS / "results" / "synthetic-minutes", runs / "results" / "synthetic-minutes")
    for name in ("analysis.npz", "explorer.npz"):  # so small a run keeps none of its own
        shutil.copy(recorded.RUNS / "results" / "synthetic-desktop" / "D3-seed0" / name, runs / RESULT)
    card = read_json(runs / RESULT / "run.json")
    stages = {stage: kept["identity"] for stage, kept in card["stages"].items()}
    nbformat.write(page("row", "D3", stages["refine"]), runs / "row-D3.ipynb")
    nbformat.write(page("row", "B", stages["disentangle"]), runs / "row-B.ipynb")
    for stage in ("align", "refine"):
        nbformat.write(page(stage, "D3", stages[stage]), runs / f"{stage}.ipynb")
    recorded.seal(runs)
    return runs


@pytest.fixture
def runs(small, tmp_path):
    return shutil.copytree(small, tmp_path / "book" / "runs", copy_function=os.link)


def rewrite(path, data):
    """Other bytes under a name; the file that a link leads to stays as it is."""
    path.unlink()
    path.write_bytes(data)


def test_the_recorded_run_is_as_it_was_recorded_and_of_one_piece():
    """After new pages: `python -m handpose.book --manifest` (`make record` and `make pages` write it themselves)."""
    assert recorded.changed() == []
    assert recorded.disagreeing() == []


def test_what_was_copied_is_sound(runs):
    recorded.check(runs)
    assert recorded.disagreeing(runs) == []


def test_a_row_that_a_variant_leaves_as_it_is_may_stand_beside_it(runs):
    variant = runs / "results" / "synthetic-minutes+kcs_weight=0.1"
    shutil.copytree(runs / RESULT, variant / Path(RESULT).name)
    assert recorded.disagreeing(runs) == []
    (variant / Path(RESULT).name).rename(variant / "A-seed0")
    [line] = recorded.disagreeing(runs)
    assert "A-seed0: its card is that of" in line


def test_a_card_of_an_earlier_stage_is_no_result_of_its_row(runs):
    card = json.loads((runs / RESULT / "run.json").read_text())
    rewrite(runs / RESULT / "run.json", json.dumps(card | {"stage": "warmup"}).encode())
    assert any("its card is of stage warmup, which is not the row's last" in line for line in recorded.disagreeing(runs))


@pytest.mark.parametrize("name", KINDS)
def test_a_deleted_file_is_named(runs, name):
    (runs / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing: put it back") as error:
        recorded.check(runs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", KINDS)
def test_a_changed_byte_is_named(runs, name):
    data = bytearray((runs / name).read_bytes())
    data[len(data) // 2] ^= 1
    rewrite(runs / name, data)
    with pytest.raises(ValueError, match="put it back") as error:
        recorded.check(runs)
    assert "\n" not in str(error.value)
    assert name in str(error.value) or name == "manifest.json"  # a wrong digest there blames its file


@pytest.mark.parametrize(("name", "other"), KINDS.items())
def test_swapped_files_are_named(runs, name, other):
    one, two = (runs / name).read_bytes(), (runs / other).read_bytes()
    rewrite(runs / name, two)
    rewrite(runs / other, one)
    lines = " ".join(recorded.changed(runs))
    assert name in lines and (other in lines or name == "manifest.json")


def test_a_file_that_was_added_is_named(runs):
    shutil.copytree(runs / RESULT, runs / "results" / "synthetic-minutes" / "D3-seed9")
    with pytest.raises(ValueError, match=r"D3-seed9/\S+ is not in manifest.json.*and \d more"):
        recorded.check(runs)


def swap(*names):
    def change(runs):
        one, two = ((runs / name).read_bytes() for name in names)
        rewrite(runs / names[0], two)
        rewrite(runs / names[1], one)

    return change


def other_seed(runs):
    """The results of one seed copied over another's."""
    shutil.copytree(runs / OTHER, runs / OTHER.replace("seed0", "seed9"))


def better_card(runs):
    card = read_json(runs / RESULT / "run.json")
    card["metrics"]["mepe"] -= 1
    (runs / RESULT / "run.json").unlink()
    write_json(runs / RESULT / "run.json", card)


def other_run_shown(runs):
    (runs / "row-B.ipynb").unlink()
    nbformat.write(page("row", "B", "0" * 16), runs / "row-B.ipynb")


def fewer_frames(runs):
    path = runs / RESULT / "predictions.npz"
    with np.load(path) as stored:
        arrays = {name: stored[name][..., :-1, :, :] if stored[name].ndim > 2 else stored[name] for name in stored.files}
    path.unlink()
    np.savez_compressed(path, **arrays)


def damaged(runs):
    data = (runs / RESULT / "predictions.npz").read_bytes()
    rewrite(runs / RESULT / "predictions.npz", data[: len(data) // 2])


@pytest.mark.parametrize(("change", "line"), [
    (swap(f"{RESULT}/predictions.npz", f"{OTHER}/predictions.npz"), "its predictions give"),
    (swap(f"{RESULT}/history.json", f"{OTHER}/history.json"), "its history"),
    (swap(f"{RESULT}/run.json", f"{OTHER}/run.json"), "its card is that of synthetic-minutes/baseline-seed0"),
    (swap("row-D3.ipynb", "row-B.ipynb"), "row-B.ipynb: it was made from row.ipynb, row D3"),
    (swap("align.ipynb", "refine.ipynb"), "align.ipynb: it was made from refine.ipynb"),
    (other_seed, "its card is that of synthetic-minutes/baseline-seed0"), (better_card, "its predictions give"),
    (other_run_shown, "it shows a run, 0000000000000000, that is not recorded"),
    (fewer_frames, "its predictions give nan"), (damaged, "predictions.npz is damaged"),
])  # fmt: skip
def test_a_manifest_is_not_written_over_what_disagrees(runs, change, line):
    before = (runs / "manifest.json").read_bytes()
    change(runs)
    with pytest.raises(ValueError, match=line) as error:
        recorded.seal(runs)
    assert "\n" not in str(error.value)
    assert (runs / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", recorded.BESIDE)
def test_a_page_of_results_beside_the_run_shows_its_own_dataset_and_preset(runs, name):
    shown = page("results", "", read_json(runs / RESULT / "run.json")["identity"])
    shown.metadata["handpose"]["parameters"] = dict(zip(("dataset", "preset"), recorded.BESIDE[name]))
    nbformat.write(shown, runs / f"{name}.ipynb")
    assert recorded.disagreeing(runs) == []
    shown.metadata["handpose"]["parameters"]["preset"] = "smoke"
    nbformat.write(shown, runs / f"{name}.ipynb")
    assert recorded.disagreeing(runs) == [f"{name}.ipynb: it was made from results.ipynb"]


@pytest.mark.parametrize("content", ["[]", "{", '{"a": 1}'])
def test_a_broken_manifest_is_said(runs, content):
    rewrite(runs / "manifest.json", content.encode())
    with pytest.raises(ValueError, match="manifest.json|a is missing"):
        recorded.check(runs)


class Killed(BaseException):
    """Stands for the end of the process: no handler but ``finally`` runs."""


def test_an_exchange_that_ends_anywhere_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    ends = 0
    for end in range(12):
        place, fresh = tmp_path / str(end) / "runs", tmp_path / str(end) / ".runs.new"
        for folder, text in ((place, "old"), (fresh, "new")):
            folder.mkdir(parents=True)
            for name in "ab":
                (folder / name).write_text(text)
        steps = iter(range(end, -1, -1))

        def counted(call, steps=steps):
            def step(*arguments, **options):
                if next(steps, 1) == 0:
                    raise Killed
                return call(*arguments, **options)

            return step

        with monkeypatch.context() as patch:
            for name in ("rename", "unlink", "rmdir"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                with recorded.settled(place):
                    recorded._exchange(fresh, place)
            except Killed:
                ends += 1
        settled_alone(place)
        texts = {path.name: path.read_text() for path in place.iterdir()}
        assert texts in ({"a": "old", "b": "old"}, {"a": "new", "b": "new"})
        assert (texts["a"] == "old") == (end == 0)
        recorded._exchange(fresh, place) if fresh.exists() else None
        assert sorted(path.name for path in place.parent.iterdir()) == [".runs.lock", "runs"] and (place / "b").read_text() == "new"
    assert ends >= 4


def started(call, *arguments):
    """A thread that stands for another process: a lock holds between the two alike. It has had time to end when it is returned."""
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    thread.join(0.3)
    return thread


def settled_alone(place):
    with recorded.settled(place):
        pass


@pytest.mark.parametrize("other", [settled_alone, recorded.check])
def test_who_comes_in_the_middle_of_an_exchange_waits(tmp_path, monkeypatch, other):
    place, fresh, rename, came = tmp_path / "runs", tmp_path / ".runs.new", os.rename, []
    for folder, text in ((place, "old"), (fresh, "new")):
        folder.mkdir()
        (folder / "a").write_text(text)
        recorded.write_manifest(folder)

    def slow(*paths):
        rename(*paths)
        if not came:
            came.append(None)
            came[:] = [started(other, place)]
            assert came[0].is_alive()

    monkeypatch.setattr(os, "rename", slow)
    with recorded.settled(place):
        recorded._exchange(fresh, place)
    came[0].join()
    recorded.check(place)
    assert (place / "a").read_text() == "new" and {path.name for path in tmp_path.iterdir()} == {".runs.lock", "runs"}


@pytest.fixture
def checkout(runs, tmp_path, monkeypatch):
    """A checkout with a recorded run, pages to record in its place, and results to record beside it."""
    pages = tmp_path / "runs" / "pages" / "synthetic-minutes-seed0-recorded"
    pages.mkdir(parents=True)
    nbformat.write(nbformat.read(runs / "row-B.ipynb", 4), pages / "row-B.ipynb")
    shutil.copytree(recorded.RUNS / "results" / "synthetic-gpu", tmp_path / "runs" / "results" / "synthetic-gpu", copy_function=os.link)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/runs/row-B\n")
    monkeypatch.setattr(book, "ROOT", tmp_path)
    monkeypatch.setattr(book, "picture", lambda path: None)
    return tmp_path


def test_one_process_at_a_time_records(checkout, runs, monkeypatch):
    monkeypatch.setattr(recorded.seal, "__defaults__", (runs,))
    monkeypatch.setattr(recorded.settled.__wrapped__, "__defaults__", (runs,))
    todo = (["--beside", "synthetic-gpu"], ["--record", str(checkout / "runs" / "pages" / "synthetic-minutes-seed0-recorded")], ["--manifest"])
    before = recorded.digests(runs)
    with recorded.settled(runs):
        others = [started(book.main, arguments) for arguments in todo]
        assert all(other.is_alive() for other in others) and recorded.digests(runs) == before
        assert not (runs.parent / ".runs.new").exists()
    for other in others:
        other.join()
    recorded.check(runs)
    assert {path.name for path in runs.glob("*.ipynb")} == {"row-B.ipynb"} and (runs / "results" / "synthetic-gpu" / "frames.npz").exists()


def test_a_run_that_is_replaced_stays_when_the_new_one_fails(runs):
    before = recorded.digests(runs)
    for change in (better_card, lambda fresh: 1 / 0):
        with pytest.raises((ValueError, ZeroDivisionError)), recorded.replaced(runs) as fresh:
            shutil.copytree(runs, fresh)
            change(fresh)
        recorded.check(runs)
        assert recorded.digests(runs) == before


def test_a_recorded_run_where_nobody_may_write_is_checked(runs, monkeypatch):
    """As if the disk could only be read: the test's user may be root, whom permissions don't stop."""

    def refusing(path, mode="r", *arguments, **options):
        if "w" in mode:
            raise PermissionError(errno.EACCES, "barred", str(path))
        return open(path, mode, *arguments, **options)

    monkeypatch.setattr(records, "open", refusing, raising=False)
    recorded.check(runs)
    with pytest.raises(PermissionError), recorded.settled(runs.parent / "gone" / "runs"):
        pass


def test_the_build_stops_at_a_changed_file(tmp_path):
    """`jupyter-book build` says it in one line and makes no page."""
    site = tmp_path / "site"
    for name in ("book", "handpose", "notebooks"):
        shutil.copytree(ROOT / name, site / name, copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "_config.yml", site)
    (site / "_toc.yml").write_text("format: jb-book\nroot: book/runs/refine\n")
    rewrite(site / "book" / "runs" / RESULT / "history.json", b"[]\n")
    done = subprocess.run([Path(sys.executable).with_name("jupyter-book"), "build", site], cwd=site, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{RESULT}/history.json has changed since it was recorded: put it back" in done.stdout + done.stderr
    assert not (site / "_build" / "html" / "book" / "runs" / "refine.html").exists()


def test_the_command_line_says_what_disagrees_in_one_line(runs, monkeypatch, capsys):
    monkeypatch.setattr(recorded.seal, "__defaults__", (runs,))
    book.main(["--manifest"])
    better_card(runs)
    with pytest.raises(SystemExit, match="^error: .*is of more than one piece: .*its predictions give"):
        book.main(["--manifest"])
    for wrong in ([], ["pages", "--manifest"]):
        with pytest.raises(SystemExit):
            book.main(wrong)
    assert "give PAGES, or --manifest alone" in capsys.readouterr().err
