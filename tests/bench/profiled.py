"""Where the time of training goes: the whole loop under PyTorch's profiler, by kind of operation."""

import re
import time

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from handpose.experiments import find_preset
from handpose.runs import prepare_data
from tests.bench import Figure
from tests.bench.networks import PRESET, epoch

#: Kinds of operations by their names in PyTorch, forward and backward; the first that fits counts.
KINDS = {
    "convolutions": r"conv",
    "batch normalisation": r"batch_norm",
    "matrix products: linear layers, convolutions of small maps": r"::(add)?mm$|bmm",
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
    return dict(sorted(found.items(), key=lambda one: -one[1])) | {"everything else: Python, the warp, shards, checkpoint": max(0.0, 1 - sum(found.values()))}


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


def _is_span(event, name="Optimizer."):
    """Whether an event only names what happens in it."""
    return event.name.startswith(name)


def steps_of(events):
    """A profiler's events from Adam's first step to its last, without what comes before and after: (events, number of steps)."""
    marks = sorted(event.time_range.start for event in events if event.device_type == DeviceType.CPU and _is_span(event, "Optimizer.step"))
    return [event for event in events if marks[0] <= event.time_range.start < marks[-1]], len(marks) - 1


def kernel_seconds(events):
    """Seconds on the GPU by the operation that asked for them: {operation: seconds}."""
    found = {}
    for event in events:
        if event.device_type == DeviceType.CPU and event.kernels and not _is_span(event):
            found[event.name] = found.get(event.name, 0.0) + sum(kernel.duration for kernel in event.kernels) / 1e6
    return found


def busy_seconds(events):
    """Seconds in which the GPU does at least one thing, copies too."""
    work = [event.time_range for event in events if event.device_type != DeviceType.CPU and not _is_span(event)]
    busy, until = 0.0, float("-inf")
    for start, end in sorted((span.start, span.end) for span in work):
        busy, until = busy + max(0.0, end - max(start, until)), max(until, end)
    return busy / 1e6


def gpu_profile(number, stage, data, few, preset, device="cuda"):
    """The GPU's time by kind of operation, and how long it waits in a step.

    Under the profiler the loop is slower: it sees an epoch on ``few``; the time of a step is that of epochs on ``data`` without it.
    """
    rate = max(record["images_per_second"] for record in epoch(stage, data, f"{preset}+{stage}_epochs=2", device))
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")) as profiler:
        epoch(stage, few, f"{preset}+{stage}_epochs=1", device)
    events, steps = steps_of(profiler.events())
    operations = kernel_seconds(events)
    if not operations:
        raise RuntimeError("the profiler saw no work on a GPU")
    whole = sum(operations.values())
    for kind, share in list(shares(operations, whole).items())[:-1]:
        yield Figure("profile", f"stage {number}, of the GPU's time: {kind}", f"{100 * share:.0f} %")
    idle = max(0.0, 1 - busy_seconds(events) / steps * rate / find_preset(preset).batch)
    yield Figure("profile", f"stage {number}, of a step's time in the loop: the GPU waits", f"{100 * idle:.0f} %")
