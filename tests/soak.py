"""Ends parts of a run at random moments, starts them again: ``python -m tests.soak --count 50 --seed 0 [--output FILE.json]``.

Each point is one part, from rendering to building pages, in a process of its own that SIGKILL ends in the middle. Nothing that
it leaves may look whole and not be; the same call must then end as an undisturbed one, weights and predictions bit for bit.
"""

import argparse
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from handpose.records import device_name, environment, read_check, source_digest, write_check
from tests.kills import PHASES, PRESET, contents, half_written, prepare, run

SECONDS = 1800  # for one process, on a busy machine
TRIES = 6  # draws of an earlier moment, where the process was done before it came


def _start(phase, folder, moment=None):
    """Run a phase in a process of its own: its exit status, and what it counted when it came to its end."""
    context = multiprocessing.get_context("forkserver")  # PyTorch is imported once, before the forks
    context.set_forkserver_preload(["tests.kills", "papermill", "jupyter_book.cli.main", "handpose.landing", "handpose.equations"])
    counted = folder / ".counted"
    counted.unlink(missing_ok=True)
    process = context.Process(target=run, args=(phase, folder, moment, counted))
    process.start()
    process.join(SECONDS)
    process.kill()
    process.join()
    return process.exitcode, json.loads(counted.read_text()) if counted.exists() else None


def _undisturbed(phase, calm):
    """Run a phase in the folder ``calm``: what it leaves, and how long and with how many changes of files it ran."""
    folder = calm / phase
    prepare(phase, calm, folder)
    status, counted = _start(phase, folder)
    if status:
        raise RuntimeError(f"{phase} fails undisturbed: {(folder / '.said').read_text()[-2000:]}")
    return contents(folder), counted


def draw(rng, counted, share=1.0):
    """A moment in the life of a process: after a change of a file, at once or a little later, or after some processor time."""
    if rng.random() < 0.6:
        delay = float(rng.choice([0, rng.uniform(0, 0.03)]))
        return {"changes": int(rng.integers(1, max(2, int(counted["changes"] * share) + 1))), "delay": round(delay, 4)}
    return {"cpu_seconds": round(float(rng.uniform(0.02, 0.98) * counted["cpu_seconds"] * share), 3)}


def _point(phase, rng, calm, wanted, counted, folder):
    """End a phase at a random moment and start it again: {"phase", "moment", "recovered", "wrong"}."""
    for attempt in range(TRIES):
        moment = draw(rng, counted, 0.7**attempt)
        shutil.rmtree(folder, ignore_errors=True)
        prepare(phase, calm, folder)
        status, _ = _start(phase, folder, moment)
        if status == -9:
            break
    else:
        return {"phase": phase, "moment": moment, "recovered": False, "wrong": f"it was never ended (exit status {status})"}
    wrong = half_written(phase, folder, wanted)
    status, _ = _start(phase, folder)
    if status:
        wrong = wrong or f"started again, it fails: {(folder / '.said').read_text()[-500:]}"
    else:
        found = contents(folder)
        differ = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        wrong = wrong or (f"another end than undisturbed: {', '.join(differ[:5])}" if differ else "")
    return {"phase": phase, "moment": moment, "recovered": not wrong, "wrong": wrong}


def soak(count, seed, folder, phases=PHASES, progress=lambda *_: None, done=()):
    """``count`` points, spread evenly over ``phases``, in ``folder``: a list of dicts, of which ``done`` are the first.

    The phases before a phase must be in ``phases`` too.
    """
    calm, known, points = folder / "calm", {}, list(done)
    for phase in phases:
        known[phase] = _undisturbed(phase, calm)
    for number in range(len(points), count):
        phase = phases[number % len(phases)]
        point = _point(phase, np.random.default_rng([seed, number]), calm, *known[phase], folder / "point")
        points.append(point)
        progress(point, points)
    shutil.rmtree(folder / "point", ignore_errors=True)
    return points


def report(points, count, seed, seconds):
    """What is recorded: every point, how many recovered, and which source was tested where."""
    import torch

    about = environment()
    return {
        "count": count,
        "seed": seed,
        "preset": PRESET,
        "done": len(points),
        "recovered": sum(point["recovered"] for point in points),
        "phases": {phase: sum(point["phase"] == phase for point in points) for phase in PHASES},
        "points": points,
        "source": about["source"],
        "device": device_name(torch.device("cpu")),
        "seconds": round(seconds),
        **{key: about[key] for key in ("commit", "versions", "platform")},
    }


def earlier(path, seed):
    """Points and seconds of a soak that was ended, from its output; none where it tested another source or drew with another seed."""
    kept = read_check(path) if path and path.exists() else {}
    same = (kept.get("seed"), kept.get("source"), kept.get("preset")) == (seed, source_digest(), PRESET)
    return (kept["points"], kept["seconds"]) if same else ([], 0)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="write the points there, as JSON; what is there of the same is gone on from")
    options = parser.parse_args()
    done, seconds = earlier(options.output, options.seed)
    began = time.monotonic() - seconds

    def progress(point, points):
        print(f"{len(points):3} {point['phase']}, {point['moment']}: {point['wrong'] or 'recovered'}", flush=True)
        if options.output:
            write_check(options.output, report(points, options.count, options.seed, time.monotonic() - began))

    with tempfile.TemporaryDirectory() as folder:
        points = soak(options.count, options.seed, Path(folder), progress=progress, done=done)
    recovered = sum(point["recovered"] for point in points)
    print(f"{recovered} of {options.count} recovered")
    return int(recovered < options.count)


if __name__ == "__main__":
    sys.exit(main())
