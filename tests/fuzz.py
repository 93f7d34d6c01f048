"""Random corruptions of valid datasets: ``python -m tests.fuzz --count 1000 --seed 0 [--output FILE.json]``.

Each is read by the loader, by ``write_shards`` and by the dataset doctor, in a process of its own that is watched. It
must be read right or refused in one line: nothing hangs, nothing crashes, no other exception, no unbounded memory.
"""

import argparse
import contextlib
import multiprocessing
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from handpose.data import RHD, STB, open_shards, write_shards
from handpose.data.doctor import examine
from handpose.records import environment, peak_memory, write_check
from tests.corruptions import corrupt
from tests.trees import COUNTS, link_tree, write_rhd, write_stb

SECONDS = 60  # for one case, on a busy machine
MEBIBYTES = 500  # that one process may grow by
#: What may come of a corruption. ``changed``: other valid labels or pictures stand in the files now, and are read as they stand.
GOOD = ("read as before", "read as changed", "refused")
BAD = ("wrong", "hang", "crash", "exception", "lines", "half-written", "doctor", "memory")


class Wrong(Exception):
    """A corruption that was neither read right nor refused in one line: which of ``BAD`` it is, and why."""


def one_line(call):
    """The value of a call and None, or None and the line that refuses it."""
    try:
        return call(), None
    except (ValueError, FileNotFoundError) as error:
        line = str(error)
        if not line.strip() or len(line.splitlines()) != 1 or isinstance(error, UnicodeError):
            raise Wrong("lines", repr(error)) from None
        return None, line


def openers(layout, root):
    if layout == "rhd":
        return {split: partial(RHD, root, split) for split in COUNTS}
    return {f"{split} {camera}": partial(STB, root, split, camera) for split in COUNTS for camera in ("SK", "BB")}


def contents(dataset):
    """All frames of a dataset as bytes, to compare; checks what holds of every frame."""
    frames = []
    for frame in dataset:
        height, width, channels = frame.image.shape
        sound = (
            frame.image.dtype == np.uint8 and channels == 3 and height * width < 2**24
            and (frame.xyz.shape, frame.uv.shape, frame.K.shape, frame.visible.shape) == ((21, 3), (21, 2), (3, 3), (21,))
            and (frame.xyz.dtype, frame.uv.dtype, frame.K.dtype, frame.visible.dtype) == (np.float32, np.float32, np.float32, bool)
            and all(np.isfinite(array).all() for array in (frame.xyz, frame.uv, frame.K))
            and frame.hand in ("left", "right") and frame.K[0, 0] > 0 and frame.K[1, 1] > 0
        )  # fmt: skip
        if not sound:
            raise Wrong("wrong", f"a frame that is none was read: {frame}")
        arrays = (frame.image, frame.xyz, frame.uv, frame.K, frame.visible)
        frames.append((frame.hand, *(array.tobytes() for array in arrays)))
    return frames


def write(dataset, folder, name):
    """Shards of a dataset: how many frames, or None and the line that refuses it. What is left must not look finished."""
    shards, line = one_line(lambda: write_shards(dataset, folder / name, 8, workers=1, progress=False))
    if line is None:
        if len(shards) + len(shards.skipped) != len(dataset) or not np.isfinite(shards.pose).all() or not shards.crops.any():
            raise Wrong("wrong", f"shards of {len(shards)} frames and {len(shards.skipped)} left out, from {len(dataset)}")
    elif (folder / name).exists() or any(one_line(partial(open_shards, left))[1] is None for left in folder.glob(f"{name}.*")):
        raise Wrong("half-written", f"{folder / name} after: {line}")
    return line


def judge(layout, root, folder, healthy):
    """What comes of a tree: one of ``GOOD``; raises ``Wrong`` for anything that must not be."""
    outcome, written = "read as before", {}
    for name, call in openers(layout, root).items():
        dataset, line = one_line(call)
        found = None
        if line is None:
            found, line = one_line(partial(contents, dataset))
            refusal = write(dataset, folder, name)
            if line is None and refusal and "no hand that can be cropped" not in refusal:
                raise Wrong("wrong", f"every frame of {name} is read, and its shards are refused: {refusal}")
            written[name] = line is None and refusal is None
        if line is not None:
            outcome = "refused"
        elif found != healthy[name] and outcome == "read as before":
            outcome = "read as changed"
    try:
        report = examine(root, progress=False)
    except Exception as error:
        raise Wrong("doctor", repr(error)) from error
    lines = [*report.problems, *report.notes, *report.facts, report.title, report.next]
    if any("\n" in line for line in lines) or len(report.text().splitlines()) < 3:
        raise Wrong("doctor", f"more than a line: {report}")
    main = [name for name in openers(layout, root) if "BB" not in name]
    if report.healthy and not all(written.get(name) for name in main):
        raise Wrong("doctor", f"healthy, and yet not all is read: {written}")
    return outcome


def run_case(layout, base, healthy, seed, number):
    """Damage a copy of the tree ``base`` and look at it: what was done, what came of it, details."""
    rng = np.random.default_rng([seed, number])
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        root = link_tree(base, folder / "data")
        done, memory = "?", peak_memory()
        try:
            done = corrupt(rng, root, layout)
            outcome, detail = judge(layout, root, folder, healthy), ""
            if peak_memory() - memory > MEBIBYTES:
                outcome, detail = "memory", f"{peak_memory() - memory} MiB"
        except Wrong as wrong:
            outcome, detail = wrong.args
        except Exception:
            outcome, detail = "exception", traceback.format_exc()
        return done, outcome, detail
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve(connection, bases, healthy, seed):
    """The watched process: takes numbers of cases, gives back what came of them."""
    warnings.simplefilter("error")
    while (number := connection.recv()) is not None:
        layout = layout_of(number)
        connection.send(run_case(layout, bases[layout], healthy[layout], seed, number))


def layout_of(number):
    """Three of five cases are RHD's: STB's larger pictures take longer."""
    return "rhd" if number % 5 < 3 else "stb"


class Watched:
    """A process that runs cases one after the other; a new one after it had to be ended."""

    def __init__(self, *arguments):
        self.arguments, self.process = arguments, None

    def __call__(self, number):
        if self.process is None:
            self.connection, theirs = multiprocessing.Pipe()
            self.process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, *self.arguments), daemon=True)
            self.process.start()
            theirs.close()
        self.connection.send(number)
        try:
            if self.connection.poll(SECONDS):
                return self.connection.recv()
            found = "?", "hang", f"more than {SECONDS} s"
        except EOFError:
            self.process.join(10)
            found = "?", "crash", f"exit status {self.process.exitcode}"
        self.close()
        return found

    def close(self):
        if self.process is not None:
            with contextlib.suppress(OSError):  # it is gone
                self.connection.send(None)
                self.process.join(1)
            self.process.kill()
            self.process.join()
            self.process = None


def fuzz(count, seed, folder, progress=lambda *_: None):
    """Run ``count`` cases on trees made in ``folder``: {layout: Counter of outcomes}, and a list of the bad ones."""
    bases = {"rhd": write_rhd(folder / "rhd"), "stb": write_stb(folder / "stb")}
    healthy = {layout: {name: contents(call()) for name, call in openers(layout, root).items()} for layout, root in bases.items()}
    outcomes, bad = {layout: Counter() for layout in bases}, []
    watched = Watched(bases, healthy, seed)
    try:
        for number in range(count):
            done, outcome, detail = watched(number)
            outcomes[layout_of(number)][outcome] += 1
            if outcome not in GOOD:
                bad.append({"case": number, "layout": layout_of(number), "done": done, "outcome": outcome, "detail": detail})
            progress(number, done, outcome, detail)
    finally:
        watched.close()
    return outcomes, bad


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this one case, in this process, and say all about it")
    parser.add_argument("--output", type=Path, help="write the counts there, as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.only is not None:
            layout = layout_of(options.only)
            base = {"rhd": write_rhd, "stb": write_stb}[layout](folder / layout)
            healthy = {name: contents(call()) for name, call in openers(layout, base).items()}
            print(*run_case(layout, base, healthy, options.seed, options.only), sep="\n")
            return 0

        def progress(number, done, outcome, detail):
            if outcome not in GOOD:
                print(f"case {number}: {done}: {outcome}: {detail}", flush=True)

        outcomes, bad = fuzz(options.count, options.seed, folder, progress)
    for layout, counted in outcomes.items():
        print(f"{layout}: " + ", ".join(f"{counted[name]} {name}" for name in (*GOOD, *BAD) if name in GOOD or counted[name]))
    print(f"{len(bad)} of {options.count} were neither read right nor refused in one line")
    if options.output:
        counts = {layout: {name: counted[name] for name in (*GOOD, *BAD)} for layout, counted in outcomes.items()}
        about = {key: environment()[key] for key in ("source", "commit", "dirty", "versions", "platform")}
        write_check(options.output, {"count": options.count, "seed": options.seed, "outcomes": counts, "bad": bad, **about})
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
