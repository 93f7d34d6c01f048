"""Benchmarks, printed: ``python -m tests.bench``. How many synthetic frames are written, and decoded, a second."""

import tempfile
import time
from pathlib import Path

from handpose.data import RHD, write_shards, write_synthetic
from handpose.records import available_cores


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main():
    cores = available_cores()
    print(f"{cores} cores; colour, mask and depth written as PNG")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_synthetic(folder / "warm", training=4, evaluation=0, size=64)  # compiles the renderer
        for size, count in ((128, 400), (320, 120)):
            root = folder / str(size)
            took = seconds(lambda: write_synthetic(root, training=count, evaluation=0, size=size))
            print(f"synthetic frames of {size} px: {count / took:.0f} a second")
            took = seconds(lambda: write_shards(RHD(root, "training"), root / "shards", 64, progress=False))
            print(f"frames of {size} px into shards: {count / took:.0f} a second")


if __name__ == "__main__":
    main()
