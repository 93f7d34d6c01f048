"""How many synthetic frames are rendered, and made into shards, a second.

The frames for the shards are rendered once and kept in ``runs/bench``. ``--frames 41258`` makes as many of them as RHD
has, by hard links, and 64 px shards of all (1 GB): that takes minutes.
"""

import multiprocessing
import os
import pickle
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from handpose.data import RHD, write_shards, write_synthetic
from handpose.data.rhd import OFFICIAL_COUNTS
from handpose.data.synthetic.write import VERSION
from handpose.records import available_cores, peak_memory
from tests.bench import Figure

FOLDER = Path("runs/bench")
SIZE, RENDERED = 320, 600  # px, frames


def of_rendering():
    """By size of the picture, and by how many cores there are."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_synthetic(folder / "warm", training=4, evaluation=0, size=64)  # compiles the renderer
        cores = available_cores()
        for size, count in ((128, 400), (192, 240), (320, 120)):
            rates = {}
            for workers in dict.fromkeys((1, cores)):
                start = time.perf_counter()
                write_synthetic(folder / f"{size}-{workers}", training=count, evaluation=0, size=size, workers=workers)
                rates[workers] = count / (time.perf_counter() - start)
            told = ", ".join(f"{rate:.0f} a second on {workers}" for workers, rate in rates.items())
            gain = f" ({rates[cores] / rates[1]:.2f} times)" if cores > 1 else ""
            yield Figure("rendering", f"frames of {size} px with mask and depth, written as PNG, by cores", told + gain)


def make_frames(count):
    """A folder of ``count`` training frames in RHD's layout: rendered ones, repeated by hard links."""
    rendered = write_synthetic(FOLDER / f"frames-v{VERSION}-{SIZE}px", training=RENDERED, size=SIZE)
    if count == RENDERED:
        return rendered
    root = FOLDER / f"{rendered.name}-{count}"
    labels = rendered / "training" / "anno_training.pickle"
    done = root / "training" / labels.name
    if not done.exists():
        shutil.rmtree(root, ignore_errors=True)
        for kind in ("color", "mask"):
            (root / "training" / kind).mkdir(parents=True)
            for index in range(count):
                os.link(rendered / "training" / kind / f"{index % RENDERED:05d}.png", root / "training" / kind / f"{index:05d}.png")
        entries = pickle.loads(labels.read_bytes())
        done.write_bytes(pickle.dumps({index: entries[index % RENDERED] for index in range(count)}))
    return root


def write_once(root, size, threads):
    """Make shards of all frames, in this process: frames, seconds, seconds of processor time, peak memory in MiB, gigabytes."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        shards = write_shards(RHD(root, "training"), Path(folder) / "shards", size, workers=threads, progress=False)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        work = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return len(shards), seconds, work, peak_memory(), shards.crops.nbytes / 1e9


def of_shards(count=RENDERED, threads=2):
    """How long shards take, and what memory: each run in a process of its own."""
    root, official = make_frames(count), OFFICIAL_COUNTS["training"]
    whole = count > 10 * RENDERED
    for size in (64,) if whole else (64, 256):
        runs = []
        for _ in range(1 if whole else 2):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                runs.append(pool.submit(write_once, root, size, threads).result())
        frames, seconds, _, _, gigabytes = min(runs, key=lambda run: run[1])
        work, memory = min(run[2] for run in runs), max(run[3] for run in runs)
        what = f"{frames} frames of {SIZE} px into shards for {size} px, {threads} threads"
        yield Figure("shards", what, f"{frames / seconds:.0f} frames a second, {1000 * work / frames:.2f} ms of processor time each")
        yield Figure("shards", f"peak memory at {size} px", f"{memory} MiB")
        minutes, gigabytes = official * seconds / frames / 60, official / frames * gigabytes
        yield Figure("shards", f"RHD's {official} training frames at this rate", f"{minutes:.1f} minutes, {gigabytes:.1f} GB")
