"""A whole run, killed at several moments and started again, ends with the files of an undisturbed one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
PAGES = "runs/pages/synthetic-smoke-seed0"
#: What differs between any two runs.
TIMES = ("seconds", "wall_seconds", "images_per_second", "peak_memory_mib", "commit", "dirty")


def start(folder):
    command = [sys.executable, "-m", "snakemake", "--snakefile", "notebooks/Snakefile", "--cores", "2", "--nolock", "--quiet", "all",
               "--rerun-incomplete", "--config", "preset=smoke", f"python={sys.executable}", "--", f"{PAGES}/row-B.ipynb"]  # fmt: skip
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder), "TQDM_DISABLE": "1"}, start_new_session=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]


def checkout(folder):
    for name in ("handpose", "notebooks", "book"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("runs", "__pycache__"))
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


@pytest.mark.skipif(os.name != "posix", reason="kills by process group")
def test_a_run_that_is_killed_ends_as_an_undisturbed_one(tmp_path):
    calm, killed = checkout(tmp_path / "calm"), checkout(tmp_path / "killed")
    began = time.monotonic()
    finish(calm)
    whole = time.monotonic() - began
    for moment in np.random.default_rng(0).uniform(0.15, 0.8, 3):
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
