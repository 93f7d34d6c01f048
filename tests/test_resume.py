"""A whole run, killed at several moments and started again, ends with the files of an undisturbed one; what it asks of the machine."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from safetensors.numpy import load_file

from handpose.records import available_cores

ROOT = Path(__file__).parents[1]
PAGES = "runs/pages/synthetic-smoke-seed0"
#: What differs between any two runs.
TIMES = ("seconds", "wall_seconds", "images_per_second", "peak_memory_mib", "commit", "dirty")


def start(folder):
    command = [sys.executable, "-m", "snakemake", "--snakefile", "notebooks/Snakefile", "--cores", "16", "--nolock", "--quiet", "all",
               "--rerun-incomplete", "--config", "preset=smoke", f"python={sys.executable}", "--", f"{PAGES}/row-B.ipynb"]  # fmt: skip
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder), "TQDM_DISABLE": "1"}, start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip


def finish(folder):
    """Seconds that a run took, and its samples: what each thread of each of its notebooks had used of the processor, ten times a second."""
    process, began, samples = start(folder), time.monotonic(), []
    watching = threading.Thread(target=watch, args=(process, samples))
    watching.start()
    _, errors = process.communicate(timeout=600)
    watching.join()
    assert process.returncode == 0, errors[-3000:]
    return time.monotonic() - began, samples


def watch(process, samples):
    while process.poll() is None:
        if Path("/proc/self/task").exists():
            samples.append({kernel: used(kernel) for kernel in kernels(process.pid)})
        time.sleep(0.1)


def stat(path):
    """The numbers of a process or thread from its parent's on; nothing once it has ended."""
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()[1:]
    except OSError:
        return None


def kernels(root):
    """The processes below ``root`` that execute a notebook."""
    found = {int(path.name): stat(path) for path in Path("/proc").iterdir() if path.name.isdecimal()}
    parents = {process: int(numbers[0]) for process, numbers in found.items() if numbers}
    for process in parents:
        above = process
        while above in parents and above != root:
            above = parents[above]
        try:
            if above == root and b"ipykernel" in Path(f"/proc/{process}/cmdline").read_bytes():
                yield process
        except OSError:
            pass


def used(process):
    """Processor time of each thread so far, in ticks: {thread: ticks}."""
    try:
        found = {int(path.name): stat(path) for path in Path(f"/proc/{process}/task").iterdir()}
    except OSError:
        return {}
    return {thread: int(numbers[10]) + int(numbers[11]) for thread, numbers in found.items() if numbers}


def worked(before, after):
    """The threads of a process that used at least half as much in between as the one that used most, if that was a tick or more."""
    spent = {thread: ticks - before.get(thread, 0) for thread, ticks in after.items()}
    most = max(spent.values(), default=0)
    return {thread for thread, ticks in spent.items() if 2 * ticks >= most > 0}


def busy(samples, half=10):
    """How many threads worked side by side, all notebooks together, in the two seconds when most did.

    Shares of a process's own time, not of the clock: the machine may be busy with other things. A thread counts where it worked
    in both halves of the two seconds, so that threads that follow each other don't add up.
    """
    counts = [0]
    for first, middle, last in zip(samples, samples[half:], samples[2 * half :]):
        both = first.keys() & last.keys() & middle.keys()
        counts.append(sum(len(worked(first[one], middle[one]) & worked(middle[one], last[one])) for one in both))
    return max(counts)


def checkout(folder):
    for name in ("handpose", "notebooks", "book"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("runs", "*.pyc*", "*.tmp*"))  # kernels are compiled
    for name in ("pyproject.toml", "_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, folder)
    return folder


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)}  # fmt: skip


def timeless(value):
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def shown(path):
    return [(cell.source, [output.get("text") for output in cell.get("outputs", [])]) for cell in nbformat.read(path, 4).cells]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The checkout of a run that nobody disturbed, its seconds, and its samples."""
    folder = checkout(tmp_path_factory.mktemp("calm") / "checkout")
    return folder, *finish(folder)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads where Linux lists them")
def test_no_run_has_more_busy_threads_than_there_are_cores(undisturbed):
    """Whatever `--cores` says: here it says 16."""
    _, seconds, samples = undisturbed
    assert len(samples) > seconds
    assert 1 <= busy(samples) <= available_cores()


def test_busy_threads_are_counted():
    def rising(count, **speeds):
        return [{1: {thread: speed * moment for thread, speed in speeds.items()}} for moment in range(count)]

    assert busy(rising(40, main=2, one=9, other=10)) == 2 and busy(rising(40, idle=0)) == 0 and busy([]) == 0
    assert busy([one | {2: two[1]} for one, two in zip(rising(40, a=5), rising(40, a=3, b=3))]) == 3  # two notebooks
    first = [{1: {"a": min(10 * moment, 200), "b": max(0, 10 * (moment - 20))}} for moment in range(40)]
    assert busy(first) == 1  # one after the other


@pytest.mark.skipif(os.name != "posix", reason="kills by process group")
def test_a_run_that_is_killed_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    (calm, whole, _), killed = undisturbed, checkout(tmp_path / "killed")
    for moment in np.random.default_rng(0).uniform((0.15, 0.5), (0.5, 0.8)):
        process = start(killed)
        time.sleep(moment * whole)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(killed)
    runs = files(calm / "runs")
    assert runs == files(killed / "runs")
    assert {"pages/synthetic-smoke-seed0/row-B.ipynb", "results/synthetic-smoke/B-seed0/run.json"} <= runs
    for name in runs:
        one, other = calm / "runs" / name, killed / "runs" / name
        if name.endswith(".json"):
            assert timeless(json.loads(one.read_text())) == timeless(json.loads(other.read_text())), name
        elif name.endswith(".npz"):
            with np.load(one) as first, np.load(other) as second:
                assert all(np.array_equal(first[key], second[key]) for key in first.files), name
        elif name.endswith(".safetensors"):
            first, second = load_file(one), load_file(other)
            assert all(np.array_equal(first[key], second[key]) for key in first), name
        elif name.endswith("row-B.ipynb"):
            assert shown(one) == shown(other)
        elif not name.endswith(".ipynb"):
            assert one.read_bytes() == other.read_bytes(), name
