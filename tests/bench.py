"""Benchmarks, printed: ``python -m tests.bench``. How many synthetic frames are rendered, and made into shards, a second.

The frames for the shards are rendered once and kept in ``runs/bench``. ``--frames 41258`` makes as many of them as RHD
has, by hard links, and 64 px shards of all (1 GB): that takes minutes.
"""

import argparse
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
from handpose.records import available_cores, peak_memory

FOLDER = Path("runs/bench")
SIZE, RENDERED = 320, 600  # px, frames


def bench_rendering():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_synthetic(folder / "warm", training=4, evaluation=0, size=64)  # compiles the renderer
        for size, count in ((128, 400), (320, 120)):
            start = time.perf_counter()
            write_synthetic(folder / str(size), training=count, evaluation=0, size=size)
            rate = count / (time.perf_counter() - start)
            print(f"rendered at {size} px, colour, mask and depth written as PNG: {rate:.0f} frames a second")


def make_frames(count):
    """A folder of ``count`` training frames in RHD's layout: rendered ones, repeated by hard links."""
    rendered = write_synthetic(FOLDER / f"frames-{SIZE}px", training=RENDERED, size=SIZE)
    if count == RENDERED:
        return rendered
    root = FOLDER / f"frames-{SIZE}px-{count}"
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


def bench_shards(count, sizes, repeats, threads=2):
    root = make_frames(count)
    official = OFFICIAL_COUNTS["training"]
    for size in sizes:
        runs = []
        for _ in range(repeats):  # each in a fresh process, for its peak of memory
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                runs.append(pool.submit(write_once, root, size, threads).result())
        frames, seconds, _, _, gigabytes = min(runs, key=lambda run: run[1])
        work, memory = min(run[2] for run in runs), max(run[3] for run in runs)
        print(
            f"{frames} frames of {SIZE} px into shards for {size} px, {threads} threads: {frames / seconds:.0f} frames a second "
            f"(best of {repeats}; {', '.join(f'{run[0] / run[1]:.0f}' for run in runs)}), {1000 * work / frames:.2f} ms of processor time "
            f"a frame, so {threads * frames / work:.0f} a second on {threads} free cores; peak memory {memory} MiB\n"
            f"  RHD's {official} training frames at this rate: {official * seconds / frames / 60:.1f} minutes "
            f"({official * work / frames / threads / 60:.1f} on free cores), {official / frames * gigabytes:.1f} GB"
        )


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="*", default=["rendering", "shards"], help="rendering, shards or both (the default)")
    parser.add_argument("--frames", type=int, default=RENDERED, help="frames to make into shards")
    options = parser.parse_args()
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}")
    if "rendering" in options.what:
        bench_rendering()
    if "shards" in options.what:
        whole = options.frames > 10 * RENDERED
        bench_shards(options.frames, (64,) if whole else (64, 256), 1 if whole else 3)


if __name__ == "__main__":
    main()
