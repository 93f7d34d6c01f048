"""Where the time of training goes: the whole loop under PyTorch's profiler, by kind of operation."""

import re
import time

import torch
from torch.profiler import ProfilerActivity, profile

from handpose.runs import prepare_data
from tests.bench import Figure
from tests.bench.networks import PRESET, epoch

#: Kinds of operations by their names in PyTorch, forward and backward; the first that fits counts.
KINDS = {
    "convolutions": r"conv",
    "batch normalisation": r"batch_norm",
    "linear layers": r"::(add)?mm$|bmm",
    "warp of the pictures": r"grid_sampl|affine_grid",
    "Adam": r"adam",
    "copies and conversions": r"copy_$|::to$|contiguous|clone",
}


def kind_of(operation):
    """The kind of an operation, "aten::relu" say, in ``KINDS``."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, operation)), "other operations")


def shares(operations, whole):
    """Shares of ``whole`` seconds by kind, largest first: {kind: share}, of {operation: its own seconds}. What no operation took is Python's."""
    found = {}
    for operation, seconds in operations.items():
        found[kind_of(operation)] = found.get(kind_of(operation), 0.0) + seconds / whole
    return dict(sorted(found.items(), key=lambda one: -one[1])) | {"everything else: Python, shards, checkpoint": max(0.0, 1 - sum(found.values()))}


def of_profile():
    """One epoch of stage 1 and one of stage 3, each after one that warms up, on one thread."""
    torch.set_num_threads(1)
    data = prepare_data(PRESET, output_dir="runs/bench", progress=False)
    for number, stage in ((1, "disentangle"), (3, "refine")):
        epoch(stage, data)
        began = time.perf_counter()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            epoch(stage, data)
        whole = time.perf_counter() - began
        operations = {event.key: event.self_cpu_time_total / 1e6 for event in profiler.key_averages()}
        for kind, share in shares(operations, whole).items():
            yield Figure("profile", f"stage {number}: {kind}", f"{100 * share:.0f} %")
