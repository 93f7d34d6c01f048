"""What a machine lacks is said in one line with what to do, and what was trained until then is gone on from."""

import errno
import resource
import signal

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open

from handpose import notebook, runs, train
from handpose.runs import NotFinite, open_run, prepare_data, run_stage
from handpose.trouble import line_of, said_plainly

PRESET = "smoke+weights=none+training=32+evaluation=8+batch=16+frame_size=64+disentangle_epochs=3"


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Options of a tiny stage 1 whose frames are there already."""
    where = tmp_path_factory.mktemp("runs")
    prepare_data(PRESET, output_dir=where, progress=False)
    return dict(stage="disentangle", row="baseline", preset=PRESET, output_dir=where, progress=False, device="cpu")


@pytest.fixture(scope="module")
def undisturbed(options):
    return run_stage(**options, seed=1)


def remove(run):
    for path in run.folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(("error", "words"), [
    (OSError(errno.ENOSPC, "No space left on device", "a/b"), ("the disk is full (a/b)", "make room")),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), ("the disk is full", "make room")),
    (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), ("the disk is full", "make room")),
    (OSError(errno.EROFS, "Read-only file system", "a"), ("(a)", "read-only file system", "choose another output_dir")),
    (PermissionError(errno.EACCES, "Permission denied", "a"), ("permission denied", "choose another output_dir")),
    (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a"), ("not a directory", "choose another output_dir")),
    (OSError(errno.EIO, "Input/output error", "a"), ("the disk failed (a)", "look at the disk")),
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ("out of memory", "smaller batch")),
    (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes"), ("out of memory",)),
    (MemoryError(), ("out of memory", "end other programs")),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), ("out of memory",)),
    (SafetensorError("Error while deserializing header: invalid header"), ("damaged", "remove it")),
])  # fmt: skip
def test_each_lack_has_its_line(error, words):
    line = line_of(error, "frames are written")
    assert all(word in line for word in (*words, "while frames are written")) and "\n" not in line
    with pytest.raises(ValueError, match="while frames are written"), said_plainly("frames are written"):
        raise error


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "None"), RuntimeError("shape"), KeyError("a"), ValueError("none")])
def test_other_errors_are_left_as_they_are(error):
    assert line_of(error) is None
    with pytest.raises(type(error)) as raised, said_plainly("nothing"):
        raise error
    assert raised.value is error


def epochs(path):
    with safe_open(path, "pt") as file:
        return file.metadata()["record"].count('"epoch"')


def failing_after(calls, error):
    """``train._save`` that does its work so many times and then raises."""
    real, left = train._save, iter(range(calls))

    def save(*arguments):
        if next(left, None) is None:
            raise error
        real(*arguments)

    return save


@pytest.mark.parametrize(("error", "line"), [
    (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"), (MemoryError(), "out of memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
    (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
])  # fmt: skip
def test_the_last_good_epoch_is_kept_and_gone_on_from(options, undisturbed, monkeypatch, error, line):
    wanted = undisturbed.predictions
    remove(undisturbed)
    with monkeypatch.context() as patch:
        patch.setattr(train, "_save", failing_after(2, error))
        with pytest.raises(ValueError, match=f"^{line}.* while stage disentangle of row baseline is trained: .*goes on") as raised:
            run_stage(**options, seed=1)
    assert "\n" not in str(raised.value)
    assert epochs(undisturbed.folder / "last.safetensors") == 2 and not (undisturbed.folder / "run.json").exists()
    again = run_stage(**options, seed=1)
    assert np.array_equal(again.predictions, wanted)
    assert sorted(path.name for path in again.folder.iterdir()) == ["history.json", "networks.safetensors", "predictions.npz", "run.json"]


def test_a_disk_that_takes_no_more(options):
    """A limit on the size of files stands in for a full disk: the system itself refuses to write."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(ValueError, match="^the disk is full.*make room"):
            run_stage(**options, seed=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    folder = next((options["output_dir"] / "stages").glob("baseline-*-seed2-*"))
    assert not list(folder.iterdir())  # and no half of a checkpoint


def test_a_folder_that_cannot_be_written(options, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="^a file can't be written .*choose another output_dir"):
        run_stage(**options | {"output_dir": tmp_path / "file" / "runs"})


def test_a_gpu_that_is_not_there_is_said_before_anything_is_rendered(options, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match='no GPU was found: use device="cpu"'):
        run_stage(**options | {"device": "cuda", "output_dir": tmp_path / "new"})
    assert not (tmp_path / "new").exists()


def test_gradients_that_explode_are_said_and_no_stage_is_finished(options):
    with pytest.raises(NotFinite, match="no longer finite in .*no epoch was good: lower the learning rate") as raised:
        run_stage(**options | {"preset": PRESET + "+learning_rate=1e38"})
    assert "\n" not in str(raised.value) and isinstance(raised.value, FloatingPointError)
    finished = list((options["output_dir"] / "stages").glob("baseline-*-seed0-*/run.json"))
    assert not finished


def test_gradients_that_explode_later_leave_the_last_good_epoch(options, undisturbed, monkeypatch):
    wanted, real = undisturbed.predictions, runs.train
    remove(undisturbed)

    class Exploding(runs.STAGES["disentangle"]):
        def __call__(self, *arguments):
            terms = super().__call__(*arguments)
            scale = float("nan") if arguments[-1] >= 4 else 1.0  # from the third epoch of two steps
            return {name: term * scale for name, term in terms.items()}

    with monkeypatch.context() as patch:
        patch.setitem(runs.STAGES, "disentangle", Exploding)
        with pytest.raises(NotFinite, match="epoch 3 .*the last good epoch is in .*lower the learning rate"):
            run_stage(**options, seed=1)
    checkpoint = undisturbed.folder / "last.safetensors"
    assert epochs(checkpoint) == 2
    with safe_open(checkpoint, "pt") as file:
        assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118 (not a dict)
    assert runs.train is real and np.array_equal(run_stage(**options, seed=1).predictions, wanted)


def test_poses_that_are_not_finite_finish_no_stage(options, undisturbed, monkeypatch):
    remove(undisturbed)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "predict", lambda networks, shards, *_: np.full_like(shards.target, np.nan))
        with pytest.raises(NotFinite, match="poses that are not finite: lower the learning rate"):
            run_stage(**options, seed=1)
    assert [path.name for path in undisturbed.folder.iterdir()] == ["last.safetensors"]
    run_stage(**options, seed=1)


@pytest.mark.parametrize("name", ["networks.safetensors", "predictions.npz", "run.json", "history.json"])
def test_a_damaged_file_of_a_finished_stage_is_named(undisturbed, name):
    path = undisturbed.folder / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        with pytest.raises(ValueError, match=rf"{name} is (damaged|not valid JSON)") as raised:
            run = open_run(undisturbed.folder)
            run.networks(), run.predictions, run.history
        assert "\n" not in str(raised.value)
    finally:
        path.write_bytes(data)


def test_a_damaged_checkpoint_is_named_and_the_stage_begins_anew_without_it(options, undisturbed):
    wanted = undisturbed.predictions
    remove(undisturbed)
    checkpoint = undisturbed.folder / "last.safetensors"
    checkpoint.write_bytes(b"half")
    with pytest.raises(ValueError, match="last.safetensors is damaged .*remove it, and the stage is trained from its beginning"):
        run_stage(**options, seed=1)
    checkpoint.unlink()
    assert np.array_equal(run_stage(**options, seed=1).predictions, wanted)


def test_what_killed_writers_left_is_removed(options, undisturbed):
    left, other = undisturbed.folder / f".{'0' * 32}.last.safetensors", undisturbed.folder / ".nobody's"
    left.write_bytes(b"half")
    other.write_bytes(b"")
    run_stage(**options, seed=1)
    assert not left.exists() and other.exists()
    other.unlink()


@pytest.mark.parametrize(("error", "line"), [
    (OSError(errno.ENOSPC, "No space left on device", "page.ipynb"), "^error: the disk is full .* is written: make room"),
    ("dead", "^error: the notebook's process was ended from outside, most often for want of memory: end other programs"),
])  # fmt: skip
def test_a_page_that_cannot_be_made_says_why_in_one_line(monkeypatch, error, line):
    from nbclient.exceptions import DeadKernelError

    def execute(*_):
        raise DeadKernelError("Kernel died") if error == "dead" else error

    monkeypatch.setattr(notebook, "execute", execute)
    with pytest.raises(SystemExit, match=line):
        notebook.main(["notebooks/data.ipynb", "page.ipynb"])


def test_a_notebook_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match="^error: .*none.ipynb is no notebook: those of this book lie in notebooks"):
        notebook.main([str(tmp_path / "none.ipynb"), str(tmp_path / "page.ipynb")])
