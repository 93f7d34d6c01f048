"""What is trained on Colab survives the runtime: copied to the Drive, fetched by the next runtime, gone on with."""

import errno
import json
import os
import shutil
import time

import numpy as np
import pytest

from handpose import drive, train
from handpose.drive import carry_fingerprint, fetch, keep, store
from handpose.records import read_json, write_json
from handpose.results import obtain
from handpose.runs import prepare_data, run_stage

STAGE = "stages/A-disentangle-quick-seed0-0123"


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


@pytest.fixture
def places(tmp_path):
    """(output_dir, the Drive's folder), with an unfinished stage, a result, and what need not be kept."""
    output_dir = tmp_path / "runs"
    write(output_dir / STAGE, last_safetensors="epoch 1", _hidden="half written")
    write(output_dir / "results/synthetic-quick/A-seed0", run_json="{}", predictions_npz="poses")
    write(output_dir / "shards/one", crops_npy="large")
    write(output_dir / "data/one", picture_png="many")
    return output_dir, tmp_path / "drive" / "handpose"


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_stages_and_results_are_copied_and_frames_are_not(places):
    output_dir, folder = places
    names = store(output_dir, folder)
    assert files(folder) == {
        f"{STAGE}/last.safetensors": "epoch 1",
        "results/synthetic-quick/A-seed0/run.json": "{}",
        "results/synthetic-quick/A-seed0/predictions.npz": "poses",
    }
    assert names.index("results/synthetic-quick/A-seed0/run.json") > names.index("results/synthetic-quick/A-seed0/predictions.npz")
    assert store(output_dir, folder) == []  # only what is new
    (output_dir / STAGE / "last.safetensors").write_text("epoch 22")
    assert store(output_dir, folder) == [f"{STAGE}/last.safetensors"]
    assert files(folder)[f"{STAGE}/last.safetensors"] == "epoch 22"


def test_what_is_replaced_goes_empty_to_the_bin(places, monkeypatch):
    output_dir, folder = places
    store(output_dir, folder)
    binned, unlink = [], drive.Path.unlink

    def watched(path, **options):
        binned.append(path.stat().st_size)
        unlink(path, **options)

    monkeypatch.setattr(drive.Path, "unlink", watched)
    (output_dir / STAGE / "last.safetensors").write_text("epoch 22")
    store(output_dir, folder)
    assert binned == [0] and files(folder)[f"{STAGE}/last.safetensors"] == "epoch 22"


@pytest.mark.parametrize("end", [1, 2, 3])
def test_a_drive_that_goes_away_in_the_middle_of_a_copy_still_holds_a_checkpoint(places, tmp_path, monkeypatch, end):
    """Before the old one is put aside, before the new one takes its place, before the old one is dropped."""
    output_dir, folder = places
    store(output_dir, folder)
    (output_dir / STAGE / "last.safetensors").write_text("epoch 22")
    steps = []

    def gone_at(call):
        def step(*arguments):
            steps.append(call)
            if len(steps) == end:
                raise OSError(errno.ENOTCONN, "transport endpoint is not connected")
            return call(*arguments)

        return step

    with monkeypatch.context() as patch:
        for name in ("replace", "truncate"):
            patch.setattr(drive.os, name, gone_at(getattr(os, name)))
        with pytest.raises(OSError, match="not connected"):
            store(output_dir, folder)
    fetch(folder, tmp_path / "next")
    assert files(tmp_path / "next")[f"{STAGE}/last.safetensors"] == ("epoch 22" if end == 3 else "epoch 1")
    store(output_dir, folder)
    assert files(folder)[f"{STAGE}/last.safetensors"] == "epoch 22"


def test_a_finished_stage_leaves_no_checkpoint_on_the_drive(places):
    output_dir, folder = places
    store(output_dir, folder)
    (output_dir / STAGE / "last.safetensors").unlink()
    write(output_dir / STAGE, networks_safetensors="weights", run_json="{}")
    store(output_dir, folder)
    assert sorted(path.name for path in (folder / STAGE).iterdir()) == ["networks.safetensors", "run.json"]


def test_a_new_runtime_gets_all_of_it_and_nothing_of_its_own_is_overwritten(places, tmp_path):
    output_dir, folder = places
    store(output_dir, folder)
    write(folder / STAGE, empty_safetensors="")  # a copy that was cut off
    fresh = write(tmp_path / "fresh" / STAGE, last_safetensors="mine").parents[1]
    assert fetch(folder, fresh) == ["results/synthetic-quick/A-seed0/predictions.npz", "results/synthetic-quick/A-seed0/run.json"]
    assert files(fresh)[f"{STAGE}/last.safetensors"] == "mine" and f"{STAGE}/empty.safetensors" not in files(fresh)
    assert fetch(folder, tmp_path / "other") and files(tmp_path / "other")[f"{STAGE}/last.safetensors"] == "epoch 1"


def test_it_goes_on_copying_while_the_process_lives(places):
    output_dir, folder = places
    folder.parent.mkdir()
    where, stop = keep(output_dir, folder.parent, every=0.05)
    assert where == folder and keep(output_dir, folder.parent, every=0.05)[1] is stop  # once a process
    wait_for(lambda: (folder / STAGE / "last.safetensors").exists())
    (output_dir / STAGE / "last.safetensors").write_text("epoch 22")
    stop()
    assert files(folder)[f"{STAGE}/last.safetensors"] == "epoch 22"


def test_a_full_drive_does_not_end_the_training(places, monkeypatch, capsys):
    def full(*arguments):
        raise OSError("no space left")

    output_dir, folder = places
    folder.parent.mkdir()
    monkeypatch.setattr(drive.shutil, "copy2", full)
    _, stop = keep(output_dir, folder.parent, every=0.05)
    said = []
    wait_for(lambda: said.append(capsys.readouterr().err) or "not copied to the Drive (no space left); training goes on" in "".join(said))
    stop()


@pytest.mark.parametrize("call", ["mkdir", "fetch"])
def test_a_drive_that_can_not_be_read_does_not_stop_the_page(places, monkeypatch, capsys, call):
    def gone(*arguments, **options):
        raise OSError("transport endpoint is not connected")

    output_dir, folder = places
    folder.parent.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(*((drive.Path, "mkdir") if call == "mkdir" else (drive, "fetch")), gone)
        where, stop = keep(output_dir, folder.parent, every=1000)
    assert where is None and "not all was fetched from the Drive (transport endpoint is not connected)" in capsys.readouterr().err
    stop()
    assert not folder.exists() or files(folder) == {}  # nothing is copied over what it may hold
    where, stop = keep(output_dir, folder.parent, every=1000)  # it is back
    stop()
    assert where == folder and files(folder)[f"{STAGE}/last.safetensors"] == "epoch 1"


def test_a_drive_that_takes_no_note_of_the_frames_does_not_stop_the_page(tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError("no space left")

    write_json(tmp_path / "here" / "shards" / "one" / "shards.json", {"settings": {}, "fingerprint": "new", "skipped": []})
    monkeypatch.setattr(drive, "write_json", full)
    assert carry_fingerprint(tmp_path / "here", tmp_path / "drive") == []
    assert "not kept in the Drive which frames these are (no space left); training goes on" in capsys.readouterr().err


def test_a_drive_that_answers_nothing_is_not_connected(monkeypatch):
    def gone(*arguments, **options):
        raise OSError(errno.ENOTCONN, "transport endpoint is not connected")

    monkeypatch.setattr(os, "stat", gone)
    assert not drive.connected()


def test_a_full_drive_keeps_no_half_copies(places, monkeypatch):
    def full(path, part):
        part.write_text("half")
        raise OSError("no space left")

    output_dir, folder = places
    monkeypatch.setattr(drive.shutil, "copy2", full)
    with pytest.raises(OSError, match="no space left"):
        store(output_dir, folder)
    assert files(folder) == {}


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


OPTIONS = dict(preset="smoke+training=40+evaluation=12+batch=20+disentangle_epochs=4", row="baseline", progress=False, device="cpu")


def test_a_runtime_that_dies_is_gone_on_from_by_the_next(tmp_path, monkeypatch):
    """Even where the next one's processor rounds the frames' grey values otherwise."""
    calm = run_stage("disentangle", output_dir=tmp_path / "calm", **OPTIONS)
    died, drive_of = tmp_path / "died", tmp_path / "drive"
    drive_of.mkdir()
    run_stage("warmup", output_dir=died, **OPTIONS)
    save, saved = train._save, []

    def die_after_two(*arguments):
        save(*arguments)
        saved.append(arguments)
        if len(saved) == 2:  # the runtime's end
            raise KeyboardInterrupt

    _, stop = keep(died, drive_of, every=1000)
    monkeypatch.setattr(train, "_save", die_after_two)
    with pytest.raises(KeyboardInterrupt):
        run_stage("disentangle", output_dir=died, **OPTIONS)
    assert carry_fingerprint(died, drive_of / "handpose") == []  # the first time: remembered
    stop()
    shutil.rmtree(died)

    fresh = tmp_path / "fresh"
    prepare_data(OPTIONS["preset"], output_dir=fresh, progress=False)
    for path in fresh.glob("shards/*/shards.json"):
        write_json(path, read_json(path) | {"fingerprint": "rounded"})
    for path in (drive_of / "handpose").glob("shards/*/shards.json"):  # a grey level more or less, and a picture's file has another size
        first = read_json(path)
        write_json(path, first | {"settings": first["settings"] | {"pictures": "other sizes"}})
    _, stop = keep(fresh, drive_of, every=1000)
    assert len(carry_fingerprint(fresh, drive_of / "handpose")) == 2 and carry_fingerprint(fresh, drive_of / "handpose") == []
    before = len(saved)
    run = run_stage("disentangle", output_dir=fresh, **OPTIONS)
    stop()
    assert len(saved) - before == 2  # epochs 3 and 4; the warm-up and the first two came from the Drive
    assert run.folder.name == calm.folder.name
    assert np.array_equal(run.predictions, calm.predictions)
    assert [epoch["mse_rgb"] for epoch in run.history] == [epoch["mse_rgb"] for epoch in calm.history]


def test_another_recipe_of_shards_is_not_taken_for_the_same(tmp_path):
    for root, record in (("here", {"settings": {"size": 64}, "fingerprint": "new", "skipped": []}),
                         ("drive", {"settings": {"size": 32}, "fingerprint": "old", "skipped": []})):  # fmt: skip
        write_json(tmp_path / root / "shards" / "one" / "shards.json", record)
    assert carry_fingerprint(tmp_path / "here", tmp_path / "drive") == []
    assert json.loads((tmp_path / "here" / "shards" / "one" / "shards.json").read_text())["fingerprint"] == "new"


def test_results_on_frames_that_differ_by_a_rounding_are_taken_together(tmp_path):
    """A row that was measured on the first runtime's frames, and one on the next one's."""
    options = OPTIONS | {"output_dir": tmp_path, "preset": OPTIONS["preset"].replace("epochs=4", "epochs=1")}
    first = obtain(**options)
    frames = first.folder.parent / "frames.npz"
    arrays = dict(np.load(frames)) | {"fingerprint": "another"}
    np.savez(frames, **arrays)
    assert obtain(**options | {"row": "A"}).folder.parent == first.folder.parent
    arrays["frame"] = arrays["frame"][::-1]
    np.savez(frames, **arrays)
    with pytest.raises(ValueError, match="holds results on other frames"):
        obtain(**options | {"row": "linear-pose"})
