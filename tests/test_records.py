import errno
import gc
import io
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from handpose import records


def test_atomic_path_puts_the_new_file_in_place(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with records.atomic_path(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()  # nothing to see before the block ends
        assert temporary.parent == path.parent  # a rename is atomic within one file system only
        assert temporary.suffix == path.suffix  # np.savez would add its own
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_of_the_old_file_never_sees_the_new_one(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with path.open() as reader:
        with records.atomic_path(path) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_atomic_path_leaves_the_old_file_when_the_block_fails(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), records.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_path_leaves_nothing_when_the_first_write_fails(tmp_path):
    with pytest.raises(RuntimeError), records.atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path):
    path = tmp_path / "file.txt"
    with records.atomic_path(path) as first:
        first.write_text("first")
        with records.atomic_path(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"


def test_others_may_read_what_was_written(tmp_path):
    """safetensors lets only its owner read a file, which on a file system that many share hides the networks."""
    with records.atomic_path(tmp_path / "a.safetensors") as temporary:
        save_file({"x": torch.zeros(1)}, temporary)
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_survives_the_round_trip(tmp_path):
    value = {"row": "D3", "metrics": {"mepe": 13.88, "auc": None}, "list": [1, 2.5, True]}
    records.write_json(tmp_path / "run.json", value)
    assert records.read_json(tmp_path / "run.json") == value


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.json"
    records.write_json(path, 1)
    with pytest.raises(TypeError):
        records.write_json(path, {"array": object()})
    assert records.read_json(path) == 1


def test_broken_json_is_named(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"row": ')
    with pytest.raises(ValueError, match="run.json is not valid JSON"):
        records.read_json(path)


def test_digest_does_not_depend_on_the_order_of_keys():
    first = records.digest({"a": 1, "b": {"c": [1, 2], "d": None}})
    assert records.digest({"b": {"d": None, "c": [1, 2]}, "a": 1}) == first
    assert records.digest({"a": 1, "b": {"c": [2, 1], "d": None}}) != first
    assert records.digest({"a": "1", "b": {"c": [1, 2], "d": None}}) != first


def test_digest_is_sha_256():
    assert records.digest(b"abc") == "ba7816bf8f01cfea"
    assert records.digest("abc") == records.digest(b'"abc"')


def test_source_digest_changes_with_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PACKAGE", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "losses.py").write_text("a = 1\n")
    (tmp_path / "data" / "shards.py").write_text("b = 1\n")
    everything, losses = records.source_digest(), records.source_digest("losses.py")
    assert len({everything, losses, records.source_digest("data/shards.py")}) == 3
    (tmp_path / "data" / "shards.py").write_text("b = 2\n")
    assert records.source_digest() != everything
    assert records.source_digest("losses.py") == losses


def test_source_in_another_language_counts_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PACKAGE", tmp_path)
    digests = []
    for text in ("let a = 1; // one", "let a = 1; // two"):
        (tmp_path / "explorer.js").write_text(text)
        digests.append(records.source_digest("explorer.js"))
    assert len(set(digests)) == 2


def test_environment_says_where_a_run_ran():
    card = records.environment()
    assert set(card) == {"commit", "dirty", "source", "versions", "platform"}
    assert set(card["versions"]) == {"python", "torch", "torchvision", "lightning-fabric", "numpy"}
    assert card["commit"] is None or len(card["commit"]) == 40
    assert (card["dirty"] is None) == (card["commit"] is None)
    json.dumps(card)


def test_environment_outside_a_checkout_or_without_git_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PACKAGE", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert records.environment()["commit"] is None
    monkeypatch.setenv("PATH", "")
    card = records.environment()
    assert card["commit"] is None
    assert card["dirty"] is None


def test_a_repository_around_the_package_is_not_its_own(tmp_path, monkeypatch):
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "site-packages" / "handpose").mkdir(parents=True)
    (tmp_path / "handpose").mkdir()
    monkeypatch.setattr(records, "PACKAGE", tmp_path / "handpose")
    assert len(records.this_commit()) == 40
    monkeypatch.setattr(records, "PACKAGE", tmp_path / "site-packages" / "handpose")
    assert records.this_commit() is None and records.environment()["dirty"] is None


def read_only(monkeypatch, number=errno.EROFS):
    """As if the disk could only be read; the test's user may be root, whom permissions don't stop."""

    def refusing(path, mode="r", *arguments, **options):
        if "w" in mode:
            raise OSError(number, "barred", str(path))
        return open(path, mode, *arguments, **options)

    monkeypatch.setattr(records, "open", refusing, raising=False)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_what_is_finished_needs_no_lock_where_nobody_may_write(tmp_path, monkeypatch, number):
    with records.only_one(tmp_path / "a", tmp_path / "a" / "last") as may_write:
        assert may_write
    read_only(monkeypatch, number)
    for last in (None, tmp_path / "a" / "last"):
        with pytest.raises(OSError), records.only_one(tmp_path / "a", last):
            pass
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "last").touch()
    with records.only_one(tmp_path / "a", tmp_path / "a" / "last") as may_write:
        assert not may_write
    with pytest.raises(RuntimeError, match="^inside$"), records.only_one(tmp_path / "a", tmp_path / "a" / "last"):
        raise RuntimeError("inside")


def test_a_tilde_without_a_user_is_a_name(monkeypatch):
    assert records.expanded("~nobody-of-this-name/a.png") == Path("~nobody-of-this-name/a.png")
    monkeypatch.setenv("HOME", "/somewhere")
    assert records.expanded("~/a.png") == Path("/somewhere/a.png")


def test_names_that_are_no_text_are_printed(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    records.print_any_name()
    print("a\udcff")
    stream.flush()
    assert stream.buffer.getvalue() == b"a\\udcff\n"
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # nothing to change there
    records.print_any_name()


def test_comments_and_docstrings_are_no_source():
    code = 'def f(x):\n    """What."""\n    y = "# no comment"  # why\n\n    return y\n'
    assert records.bare_source(code) == 'def f(x):\n    y = "# no comment"\n    return y'
    longer = '"""Module."""\n# all of it\n' + code.replace("What.", "What\n    it does.")
    assert records.bare_source(longer) == records.bare_source(code)
    assert records.bare_source(code.replace("return y", "return x")) != records.bare_source(code)


def test_threads_may_ask_for_digests_at_once():
    """Garbage that waits as it goes lets another thread in while one parses: Python 3.11 loses count of its depth then."""

    class Waits:
        def __init__(self):
            self.itself = self

        def __del__(self):
            time.sleep(0.0005)

    def bare(text):
        Waits()
        return records.bare_source(text)

    texts = [path.read_text() for path in sorted(records.PACKAGE.glob("*.py"))[:12]]
    before = gc.get_threshold()
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(bare, texts * 4))
    finally:
        gc.set_threshold(*before)
    assert found == [records.bare_source(text) for text in texts] * 4
