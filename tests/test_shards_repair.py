"""Shards after accidents: unreadable pictures, repairs, kills, full disks, damage. Always the fingerprint of an undisturbed write."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from handpose.data import RHD, STB, open_shards, shards, write_shards, write_synthetic
from handpose.records import read_json
from tests.trees import link_tree, refused, replace, write_rhd, write_stb

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Twenty small frames and the fingerprint of their shards."""
    folder = tmp_path_factory.mktemp("made")
    root = write_synthetic(folder / "hands", training=20, size=64, workers=1)
    return root, write(RHD(root, "training"), folder / "shards").fingerprint


@pytest.fixture
def copy(made, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_CHUNK", 4)
    return link_tree(made[0], tmp_path / "hands")


def write(dataset, folder):
    return write_shards(dataset, folder, 16, workers=2, progress=False)


def picture(root, index, kind="color"):
    return root / "training" / kind / f"{index:05d}.png"


def counted(root, monkeypatch):
    """RHD's frames, and which were asked for."""
    asked, whole = [], RHD.__getitem__
    monkeypatch.setattr(RHD, "__getitem__", lambda self, index: asked.append(index) or whole(self, index))
    return RHD(root, "training"), asked


def test_all_unreadable_pictures_are_counted_and_only_their_chunks_are_read_again(made, copy, tmp_path, monkeypatch):
    good = {path: path.read_bytes() for path in (picture(copy, 5), picture(copy, 13, "mask"), picture(copy, 14))}
    replace(picture(copy, 5), good[picture(copy, 5)][:100])
    picture(copy, 13, "mask").unlink()
    replace(picture(copy, 14), b"")
    with refused(ValueError, "3 of 20 frames can't be read, the first: ", picture(copy, 5), f"check {copy}", "goes on where it stopped"):
        write(RHD(copy, "training"), tmp_path / "shards")
    assert not (tmp_path / "shards").exists()
    for path, data in good.items():
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    frames, asked = counted(copy, monkeypatch)
    assert write(frames, tmp_path / "shards").fingerprint == made[1]
    assert sorted(asked) == [4, 5, 6, 7, 12, 13, 14, 15]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hands", "shards"]


def test_a_picture_that_changed_before_the_end_is_read_again(made, copy, tmp_path, monkeypatch):
    healthy = picture(copy, 2).read_bytes()
    replace(picture(copy, 2), picture(copy, 3).read_bytes())  # readable, and not the one that it will be
    picture(copy, 19).rename(tmp_path / "aside")
    with refused(ValueError, "1 of 20"):
        write(RHD(copy, "training"), tmp_path / "shards")
    (tmp_path / "aside").rename(picture(copy, 19))
    replace(picture(copy, 2), healthy)
    frames, asked = counted(copy, monkeypatch)
    assert write(frames, tmp_path / "shards").fingerprint == made[1]
    assert sorted(asked) == [0, 1, 2, 3, 16, 17, 18, 19]


def test_a_picture_that_changed_after_the_crops_were_put_together_is_read_again(made, copy, tmp_path, monkeypatch):
    healthy = picture(copy, 2).read_bytes()
    replace(picture(copy, 2), picture(copy, 3).read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(RHD(copy, "training"), tmp_path / "shards")
    replace(picture(copy, 2), healthy)
    assert write(RHD(copy, "training"), tmp_path / "shards").fingerprint == made[1]


def test_crops_that_did_not_reach_the_disk_are_written_again(made, copy, tmp_path):
    picture(copy, 19).rename(tmp_path / "aside")
    with refused(ValueError, "1 of 20"):
        write(RHD(copy, "training"), tmp_path / "shards")
    (tmp_path / "aside").rename(picture(copy, 19))
    (raw,) = tmp_path.glob("shards.unfinished-*/raw.npy")
    with open(raw, "r+b") as file:  # what a power cut leaves of pages that were still in memory
        file.seek(3000)
        file.write(bytes(500))
    assert write(RHD(copy, "training"), tmp_path / "shards").fingerprint == made[1]


def test_a_finished_folder_of_pictures_that_changed_is_refused(copy, tmp_path):
    write(RHD(copy, "training"), tmp_path / "shards")
    replace(picture(copy, 2), picture(copy, 3).read_bytes())
    with refused(ValueError, tmp_path / "shards", "other data", "remove it"):
        write(RHD(copy, "training"), tmp_path / "shards")


def test_a_full_disk_is_said(made, copy, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with refused(ValueError, "free space", "make room", tmp_path):
            write(RHD(copy, "training"), tmp_path / "shards")
    assert [path.name for path in tmp_path.iterdir()] == ["hands"]

    def full(path, mode, *rest):
        if mode == "r+b":
            raise OSError(28, "No space left on device")
        return open(path, mode, *rest)

    with monkeypatch.context() as patch:  # as long as there was room at the start
        patch.setattr(shards, "open", full, raising=False)
        with refused(OSError, "No space left on device", "make room", "goes on where it stopped", tmp_path):
            write(RHD(copy, "training"), tmp_path / "shards")
    assert write(RHD(copy, "training"), tmp_path / "shards").fingerprint == made[1]


@pytest.mark.parametrize("name", ["crops.npy", "labels.npz", "shards.json"])
@pytest.mark.parametrize("keep", [0, 0.5])
def test_damaged_shards_are_refused(made, tmp_path, name, keep):
    write(RHD(made[0], "training"), tmp_path / "shards")
    path = tmp_path / "shards" / name
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with refused(ValueError, tmp_path / "shards"):
        open_shards(tmp_path / "shards")


KILLED = """
import sys
from handpose.data import RHD, shards
shards._CHUNK = 2
shards.write_shards(RHD(sys.argv[1], "training"), sys.argv[2], 16, workers=2, progress=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_killed_write_goes_on_to_the_same_fingerprint(made, tmp_path, monkeypatch):
    """SIGKILL as soon as the first, the third, the seventh record is there; what was done is not done again."""
    monkeypatch.setattr(shards, "_CHUNK", 2)
    for wait_for in (1, 3, 7):
        command = [sys.executable, "-c", KILLED, made[0], tmp_path / "shards"]
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        while process.poll() is None and len(list(tmp_path.glob("shards.unfinished-*/labels-*.npz"))) < wait_for:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not (tmp_path / "shards").exists():
            with refused(FileNotFoundError, "no finished shards"):
                open_shards(tmp_path / "shards")
    done = len(list(tmp_path.glob("shards.unfinished-*/labels-*.npz")))
    frames, asked = counted(made[0], monkeypatch)
    assert write(frames, tmp_path / "shards").fingerprint == made[1]
    assert len(asked) == (20 - 2 * done if done else 0)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_what_the_folder_says_of_itself(made, tmp_path):
    write(RHD(made[0], "training"), tmp_path / "shards")
    settings = read_json(tmp_path / "shards" / "shards.json")["settings"]
    assert set(settings) == {"size", "resolution", "view", "data", "code", "pictures"}


@pytest.mark.parametrize("layout", ["rhd", "stb"])
def test_sizes_of_pictures(tmp_path, layout):
    if layout == "rhd":
        frames = RHD(write_rhd(tmp_path), "training")
        paths = [[frames.folder / kind / f"{index:05d}.png" for kind in ("color", "mask")] for index in range(3)]
    else:
        frames = STB(write_stb(tmp_path), "evaluation", "BB")
        paths = [[path] for path in frames.paths]
    np.testing.assert_array_equal(frames.picture_sizes(), [[path.stat().st_size for path in row] for row in paths])
    before = frames.label_stamp()
    paths[1][0].unlink()
    assert frames.picture_sizes()[1, 0] == -1 and frames.label_stamp() == before
