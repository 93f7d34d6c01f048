"""The parts of a run that ``tests.soak`` ends at random moments: what each does, how it is ended, and what must come of it."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

from handpose import book, recorded
from handpose.data import RHD, write_shards, write_synthetic
from handpose.data.untrusted import load_arrays
from handpose.experiments import row_stages
from handpose.notebook import execute
from handpose.results import obtain
from handpose.runs import run_stage

ROOT = Path(__file__).parents[1]
PRESET = "smoke+training=48+evaluation=12+batch=16+frame_size=64"
STAGES = row_stages("D3", PRESET)
#: In the order in which each finds what it stands on.
PHASES = ("frames", "frames in STB's layout", "shards", *STAGES, "results", "notebook", "record", "book")
#: What differs between any two runs, in cards and histories.
TIMES = ("seconds", "wall_seconds", "images_per_second", "peak_memory_mib", "commit", "dirty")
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.copyfile", "shutil.rmtree"}


def _options(folder):
    return dict(preset=PRESET, output_dir=folder / "runs", progress=False, device="cpu")


def _record(folder):
    book.ROOT = folder
    with recorded.settled(folder / "book" / "runs"):
        pass
    book.record(folder / "runs" / "pages" / "synthetic-minutes-seed0-recorded")


def _build(folder):
    from jupyter_book.cli.main import main

    os.chdir(folder / "site")
    with contextlib.redirect_stdout(sys.stderr):
        main(["build", str(folder / "site"), "--quiet"], standalone_mode=False)


def _notebook(folder):
    parameters = {"preset": PRESET, "output_dir": str(folder / "runs"), "row": "D3"}
    execute(ROOT / "notebooks" / "refine.ipynb", folder / "pages" / "refine.ipynb", parameters)


def perform(phase, folder):
    """Do all of a phase in ``folder``, or go on with it."""
    if phase == "frames":
        write_synthetic(folder / "rhd", training=24, evaluation=8, size=64, workers=2)
    elif phase == "frames in STB's layout":
        write_synthetic(folder / "stb", "stb", training=0, evaluation=3, workers=2)
    elif phase == "shards":
        for split in ("training", "evaluation"):
            write_shards(RHD(folder / "rhd", split), folder / "shards" / split, 32, workers=2, progress=False)
    elif phase in STAGES:
        run_stage(phase, "D3", **_options(folder))
    else:
        {"results": lambda _: obtain("D3", **_options(folder)), "notebook": _notebook, "record": _record, "book": _build}[phase](folder)


def prepare(phase, calm, folder):
    """Make ``folder`` with what the phase stands on, from the undisturbed run in ``calm``: links, for files are replaced, never changed."""
    folder.mkdir(parents=True)
    if phase == "shards":
        shutil.copytree(calm / "frames" / "rhd", folder / "rhd", copy_function=os.link)
    elif phase in STAGES[1:] or phase in ("results", "notebook"):
        before = PHASES[PHASES.index(phase) - 1]
        shutil.copytree(calm / before / "runs", folder / "runs", copy_function=os.link)
    elif phase == "record":
        _recorded_run(folder)
    elif phase == "book":
        for name in ("book", "handpose", "notebooks", "tests"):
            ignore = shutil.ignore_patterns("__pycache__", "results", "row-*", "runs", "checks")  # the soak writes there
            shutil.copytree(ROOT / name, folder / "site" / name, ignore=ignore)
        shutil.copy(ROOT / "_config.yml", folder / "site")
        (folder / "site" / "_toc.yml").write_text("format: jb-book\nroot: book/glossary\nchapters:\n- file: book/runs/refine\n")
        (folder / "site" / "book" / "runs").mkdir()
        shutil.copy(ROOT / "book" / "runs" / "refine.ipynb", folder / "site" / "book" / "runs")
        recorded.write_manifest(folder / "site" / "book" / "runs")


def _recorded_run(folder):
    """A small recorded run, and other pages to record in its place."""
    runs, pages = folder / "book" / "runs", folder / "runs" / "pages" / "synthetic-minutes-seed0-recorded"
    shutil.copytree(ROOT / "book" / "runs" / "results" / "synthetic-minutes", runs / "results" / "synthetic-minutes")
    pages.mkdir(parents=True)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/runs/change_row\nchapters:\n- file: book/runs/data\n")
    for name in ("change_row", "data"):
        text = (ROOT / "book" / "runs" / f"{name}.ipynb").read_text()
        (runs / f"{name}.ipynb").write_text(text)
        (pages / f"{name}.ipynb").write_text(text.replace("\n }\n", "\n }\n\n", 1) + "\n")
    (folder / "book" / "_static").mkdir()
    recorded.write_manifest(runs)


def run(phase, folder, moment, counted):
    """In a process of its own: perform a phase, to be ended at ``moment``; writes how long and with how many changes of files it ran.

    moment: None, {"cpu_seconds": seconds of processor time}, or {"changes": how many changes of files, "delay": seconds after}.
    """
    silence = open(folder / ".said", "a")  # noqa: SIM115 (for as long as the process lives)
    for stream in (1, 2):
        os.dup2(silence.fileno(), stream)
    began, changes = time.process_time(), _arm(str(folder), moment or {})
    perform(phase, folder)
    counted.write_text(json.dumps({"cpu_seconds": time.process_time() - began, "changes": changes[0]}))


def _end(delay=0.0):
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(folder, moment):
    """See to it that this process ends at ``moment``; returns where changes of files in ``folder`` are counted."""
    changes, writing = [0], os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event, arguments):
        path = str(arguments[0]) if arguments else ""
        if not path.startswith(folder) or not (event in _CHANGES or event == "open" and (arguments[2] or 0) & writing):
            return
        changes[0] += 1
        if changes[0] == moment.get("changes"):
            threading.Thread(target=_end, args=(moment["delay"],)).start() if moment["delay"] else _end()

    def watch():
        began = time.process_time()
        while time.process_time() - began < moment["cpu_seconds"]:
            time.sleep(0.001)
        _end()

    sys.addaudithook(hook)
    if "cpu_seconds" in moment:
        threading.Thread(target=watch, daemon=True).start()
    return changes


def timeless(value):
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def content(path, folder):
    """Digest of what a file in ``folder`` says: weights and arrays bit for bit, cards and histories without what is timed, notebooks
    without the folder's own path, which is a parameter, all else its bytes.
    """
    if path.suffix in (".npz", ".safetensors"):
        with contextlib.ExitStack() as stack:
            arrays = load_file(path) if path.suffix == ".safetensors" else stack.enter_context(np.load(path))
            data = b"".join(key.encode() + np.ascontiguousarray(arrays[key]).tobytes() for key in sorted(arrays))
    elif path.suffix == ".json":
        data = json.dumps(timeless(json.loads(path.read_text())), sort_keys=True).encode()
    else:
        data = path.read_bytes().replace(str(folder).encode(), b"") if path.suffix == ".ipynb" else path.read_bytes()
    return hashlib.sha256(data).hexdigest()


def visible(folder):
    """Files under the names that readers look for: not hidden, not marked as unfinished."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") or ".unfinished-" in part or part.endswith(".partial") for part in parts):
            yield path


def contents(folder):
    """{name: digest} of all that a phase leaves. Of a built book: its pages, scripts and pictures, not Sphinx's own notes."""
    kept = {path.relative_to(folder).as_posix(): path for path in visible(folder)}
    return {name: content(path, folder) for name, path in kept.items() if not name.endswith("objects.inv")}


def half_written(phase, folder, wanted):
    """What is there just after the end under a name that readers look for, and is not whole: a line, or "".

    Pages of a built book are written in place: they have no readers before the build is done, and it begins anew.
    """
    if phase == "book":
        return ""
    if phase == "record":
        with recorded.settled(folder / "book" / "runs"):
            pass
        return "".join(recorded.changed(folder / "book" / "runs")[:1])
    for path in visible(folder):
        name = path.relative_to(folder).as_posix()
        try:
            if path.name == "last.safetensors":
                with safe_open(path, "np") as file:
                    json.loads(file.metadata()["record"])
            elif path.parent.name == "chunks":
                load_arrays(path.read_bytes())
            elif not path.name.startswith(("labels-", "raw.")) and content(path, folder) != wanted.get(name):
                return f"{name} is half written"
        except Exception as error:
            return f"{name} is half written: {error!r}"
    return ""
