"""Benchmarks: ``python -m tests.bench [TOPIC ...] [--output FILE.json]``. Ratios, measured in one run, each topic in a process of its own.

``gpu`` is measured by itself, where there is a GPU; the others don't use one.
"""

import argparse
import dataclasses
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from handpose.records import available_cores, device_name, environment, write_check
from tests.bench import frames
from tests.bench.topics import GPU_TOPICS, TOPICS, measured


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.split("\n")[0])
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)} (all), or {', '.join(GPU_TOPICS)}")
    parser.add_argument("--frames", type=int, default=frames.RENDERED, help="frames to make into shards")
    parser.add_argument("--seconds", type=float, help="for gpu, the frames apart: what has no time left is not measured")
    parser.add_argument("--output", type=Path, help="keep the result here")
    options = parser.parse_args()
    if unknown := set(options.topics) - set(TOPICS | GPU_TOPICS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; the topics are {', '.join(TOPICS | GPU_TOPICS)}")
    on_gpu = bool(set(options.topics) & set(GPU_TOPICS))
    if on_gpu and set(options.topics) & set(TOPICS):
        parser.error("gpu is measured by itself")
    if on_gpu and not torch.cuda.is_available():
        parser.error("no GPU was found")
    began, found, load = time.time(), [], os.getloadavg()[0]
    print(f"{available_cores()} cores, load {load:.1f} before", flush=True)
    for topic in options.topics or TOPICS:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            how = {"shards": {"count": options.frames}, "gpu": {"seconds": options.seconds}}.get(topic, {})
            for figure in pool.submit(measured, topic, how).result():
                print(figure, flush=True)
                found.append(dataclasses.asdict(figure))
    if options.output:
        device = device_name(torch.device("cuda" if on_gpu else "cpu"))
        about = {"cores": available_cores(), "load": round(load, 1), "seconds": round(time.time() - began), "device": device}
        write_check(options.output, {"figures": found} | about | environment())


if __name__ == "__main__":
    main()
