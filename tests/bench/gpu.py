"""What a GPU makes of it: training, the batch that pays, arithmetic, prediction, and where the time goes, at the paper's picture size.

All in one process: what a GPU takes to start would be most of the time.
"""

import gc
import multiprocessing
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from handpose.cost import Steps
from handpose.experiments import find_preset
from handpose.records import available_cores
from handpose.runs import prepare_data, untrained
from handpose.train import choose_precision, make_fabric
from tests.bench import Figure, least
from tests.bench.networks import ROW, epoch, evaluation
from tests.bench.profiled import gpu_profile

#: As many frames as RHD has.
PRESET = "gpu+weights=none"
#: Frames where fewer tell as much.
FEW = 8192
BATCHES = (64, 128, 256, 512)
#: Seconds for all of it, the frames apart: a part that would begin later is left out. torch.compile comes last and may have what is
#: left, up to ``COMPILING``.
SECONDS, COMPILING, LEAST = 120, 40, 5
_PICTURES = 1280  # between two waits for the GPU: 20 steps of the paper's batch


def of_gpu(preset=PRESET, device="cuda", seconds=None):
    """Every part in turn. One that fails, or has no time left of ``seconds``, says so in a figure; the others are measured all the same."""
    seconds = SECONDS if seconds is None else seconds
    if device == "cuda":
        torch.set_num_threads(available_cores())
    data = prepare_data(preset, output_dir="runs/bench", progress=False)
    began = time.perf_counter()
    for part in (of_training, of_batches, of_prediction, of_profile, of_arithmetic, of_tuning, of_compiling):
        topic = part.__name__.removeprefix("of_")
        left = seconds - (time.perf_counter() - began)
        if left < LEAST and part is not of_training:
            yield Figure(topic, "not measured", "no time was left")
            continue
        if part is of_compiling:
            part = partial(of_compiling, limit=min(COMPILING, left))
        try:
            for figure in part(data, preset, device):
                print(figure, file=sys.stderr, flush=True)  # at once: should the machine be lost, it is not
                yield figure
        except Exception as error:
            traceback.print_exc()
            yield Figure(topic, "did not work", type(error).__name__)
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
        print(f"{topic}: done {time.perf_counter() - began:.0f} seconds after the frames", file=sys.stderr, flush=True)


def loop_rate(data, preset, device, epochs=2):
    """Pictures a second in stage 1 through the real loop: the best of ``epochs``, since in the first the GPU warms up."""
    return max(record["images_per_second"] for record in epoch("disentangle", data, f"{preset}+disentangle_epochs={epochs}", device))


def step_seconds(steps, repeats=3):
    """Seconds of one of the ``Steps``: the least of some means over many, after as many that warm up."""
    return least(repeats, partial(steps.seconds, _count(steps)))[0]


def _count(steps):
    return max(3, _PICTURES // len(steps.batch.images)) if steps.device.type == "cuda" else 1


def steps_of(preset, device, **options):
    """``Steps`` of stage 1, replayed as training replays them."""
    return Steps("disentangle", ROW, preset, device=device, **{"replayed": device == "cuda"} | options)


def bare_rate(preset, device, **options):
    """Pictures a second of the same stage on one batch that lies in the device's memory."""
    return find_preset(preset).batch / step_seconds(steps_of(preset, device, **options))


def of_training(data, preset, device):
    settings = find_preset(preset)
    alone, whole = bare_rate(preset, device), loop_rate(data, preset, device)
    alone = max(alone, bare_rate(preset, device))
    plain = bare_rate(preset, device, replayed=False)
    what = f"images a second at {settings.size} px, batch {settings.batch}, through the loop, {len(data.training)} frames"
    yield Figure("training", what, f"{whole:.0f}")
    yield Figure("training", "the bare network's, on a batch in the GPU's memory, its steps replayed too", f"{alone:.0f}")
    yield Figure("training", "the bare network's, each operation asked for by Python", f"{plain:.0f}")
    yield Figure("training", "share of the bare network's speed, replayed", f"{whole / alone:.2f}", "at least 0.85", whole / alone >= 0.85)
    yield Figure("training", "over its speed without replay", f"{whole / plain:.2f} times", "at least 0.85", whole / plain >= 0.85)


def paying(speeds):
    """The batch from which the next larger gains less than 5 %, of {batch: pictures a second}, smallest first; else the largest."""
    batches = list(speeds)
    return next((one for one, larger in pairwise(batches) if speeds[larger] < 1.05 * speeds[one]), batches[-1])


def of_batches(data, preset, device):
    speeds, size = {}, find_preset(preset).size
    for batch in BATCHES:
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        speeds[batch] = bare_rate(f"{preset}+batch={batch}", device)
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB of its memory" if device == "cuda" else ""
        yield Figure("batch", f"the bare network's images a second at {size} px, batch {batch}", f"{speeds[batch]:.0f}{memory}")
    pays = paying(speeds)
    yield Figure("batch", "the batch that pays: the next larger gains less than 5 %, or was not tried", f"{pays}")
    if pays != find_preset(preset).batch:
        whole = loop_rate(data, f"{preset}+batch={pays}", device)
        yield Figure("batch", f"images a second through the loop, batch {pays}", f"{whole:.0f}")
        yield Figure("batch", f"share of the bare network's speed, batch {pays}", f"{whole / speeds[pays]:.2f}")


def of_prediction(data, preset, device):
    """In float32, as results are predicted; every call is waited for."""
    settings, fabric = find_preset(preset), make_fabric("32-true", device)
    networks = untrained("refine", ROW, preset).to(fabric.device).eval()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for batch, calls in ((1, 200), (64, 40)):
        images = torch.randn(batch, 3, settings.size, settings.size, device=fabric.device)
        images = images.contiguous(memory_format=torch.channels_last)
        seconds = []
        with torch.inference_mode():
            for call in range(10 + calls):
                wait()
                began = time.perf_counter()
                networks(images)
                wait()
                if call >= 10:
                    seconds.append(time.perf_counter() - began)
        middle, late = 1000 * np.percentile(seconds, [50, 95])
        what = f"batch {batch} at {settings.size} px: a call's median and 95th percentile"
        yield Figure("prediction", what, f"{middle:.2f} and {late:.2f} ms")
        yield Figure("prediction", f"batch {batch}: pictures a second", f"{1000 * batch / middle:.0f}")
    yield evaluation(networks, first(data.training, FEW), settings.size, fabric)


def first(shards, count):
    """The first ``count`` hands of some shards."""
    return replace(shards, **{name: value[:count] for name, value in vars(shards).items() if isinstance(value, np.ndarray)})


def of_profile(data, preset, device, steps=20):
    """Stages 1 and 3; under the profiler ``steps`` steps of each, since more would take it too long."""
    few = replace(data, training=first(data.training, steps * find_preset(preset).batch))
    data = replace(data, training=first(data.training, FEW))
    for number, stage in ((1, "disentangle"), (3, "refine")):
        yield from gpu_profile(number, stage, data, few, preset, device)


def of_arithmetic(data, preset, device):
    """A step of stage 1 against the same step another way."""
    base, plain = steps_of(preset, device), steps_of(preset, device, layout=torch.contiguous_format)
    others = {"in PyTorch's default memory layout, over channels last": plain}
    native = choose_precision("auto", torch.device(device)) == "bf16-mixed"
    yield Figure("arithmetic", "what precision `auto` means here", "bfloat16" if native else "float32")
    if native:
        others["in float32, over bfloat16"] = steps_of(preset, device, precision="32-true")
    whole, *found = least(3, *(partial(steps.seconds, _count(steps)) for steps in (base, *others.values())))
    for what, seconds in zip(others, found):
        yield Figure("arithmetic", f"time of a step {what}", f"{seconds / whole:.2f} times")


def _tuned(preset, device):
    torch.backends.cudnn.benchmark = True
    return step_seconds(steps_of(preset, device))


def of_tuning(data, preset, device):
    """In a process of its own: PyTorch keeps for each shape the algorithm that it took first."""
    whole = step_seconds(steps_of(preset, device))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        tuned = pool.submit(_tuned, preset, device).result()
    what = "time of a step with algorithms that cuDNN tried out (`cudnn.benchmark`), over those that it guessed"
    yield Figure("arithmetic", what, f"{tuned / whole:.2f} times")


@contextmanager
def within(seconds):
    """A block that TimeoutError ends after ``seconds``; for the main thread."""

    def end(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def of_compiling(data, preset, device, limit=COMPILING):
    whole = step_seconds(steps_of(preset, device))
    steps, began = steps_of(preset, device, compiled=True), time.perf_counter()
    try:
        with within(limit):
            steps.seconds()  # compiles
    except Exception as error:  # no compiler, too slow, or any of what it can't do
        traceback.print_exc()
        late = time.perf_counter() - began >= limit  # PyTorch may raise an error of its own from the TimeoutError
        why = f"not done after {limit:.0f} seconds" if late else f"did not work ({type(error).__name__})"
        yield Figure("arithmetic", "torch.compile of the encoder", why)
        return
    yield Figure("arithmetic", "until torch.compile was done", f"{time.perf_counter() - began:.0f} seconds")
    compiled = step_seconds(steps)
    yield Figure("arithmetic", "time of a step with an encoder that torch.compile made, over one as it is", f"{compiled / whole:.2f} times")
