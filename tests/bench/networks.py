"""What training costs beside the bare network, the losses beside a step, a frozen phase beside a whole one, and prediction."""

import shutil
import tempfile
import time
from itertools import combinations

import numpy as np
import torch

from handpose import losses
from handpose.cost import Steps
from handpose.experiments import find_preset, find_row
from handpose.records import peak_memory
from handpose.runs import prepare_data, untrained
from handpose.stages import STAGES
from handpose.train import choose_precision, make_fabric, predict, train
from tests.bench import Figure, least

#: Small enough to be over in seconds, with the picture size of `quick` and `desktop`.
PRESET = "minutes+training=1024+evaluation=64+disentangle_epochs=1"
ROW = "D3"


def epoch(stage, data, preset=PRESET, device="cpu"):
    """Train ``stage`` in the loop that all runs go through, for the preset's epochs, by default one: its history."""
    module = STAGES[stage](untrained(stage, ROW, preset), find_row(ROW), find_preset(preset))
    with tempfile.TemporaryDirectory() as folder:
        return train(module, data.training, data.evaluation, folder, 0, make_fabric(find_preset(preset).precision, device), progress=False)


def of_training():
    """End to end against the bare network: the same stage on a batch in memory, on one thread each."""
    torch.set_num_threads(1)
    settings = find_preset(PRESET)
    data = prepare_data(PRESET, output_dir="runs/bench", progress=False)

    def trained():
        return 1 / epoch("disentangle", data)[-1]["images_per_second"]

    steps = Steps("disentangle", ROW, PRESET)
    bare = lambda: min(steps.seconds() for _ in range(16)) / settings.batch  # noqa: E731
    whole, alone = least(3, trained, bare)
    share = alone / whole
    yield Figure("training", f"images a second at {settings.size} px, batch {settings.batch}, one thread", f"{1 / whole:.0f}")
    yield Figure("training", "the bare network's, on a batch in memory", f"{1 / alone:.0f}")
    yield Figure("training", "share of the bare network's speed", f"{share:.2f}", "at least 0.9", share >= 0.9)


def of_arithmetic():
    """What precision, memory layout and compilation are worth: a step of stage 1 against the same step another way, one thread."""
    torch.set_num_threads(1)
    native = choose_precision("auto", torch.device("cpu"))
    arithmetic = "bfloat16" if native == "bf16-mixed" else "float32, since this processor does not compute in bfloat16"
    yield Figure("arithmetic", "what precision `auto` means here", arithmetic)
    whole = Steps("disentangle", ROW, PRESET)
    plain = Steps("disentangle", ROW, PRESET, layout=torch.contiguous_format)
    others = {"in PyTorch's default memory layout, over channels last": plain}
    if native == "bf16-mixed":
        others["in float32, over bfloat16"] = Steps("disentangle", ROW, PRESET, precision="32-true")
    first = None
    if shutil.which("g++") or shutil.which("clang++"):
        compiled = Steps("disentangle", ROW, PRESET, compiled=True)
        others["with an encoder that torch.compile made, over one as it is"] = compiled
        began = time.perf_counter()
        compiled.seconds()  # compiles
        first = time.perf_counter() - began
    base, *found = least(8, whole.seconds, *[steps.seconds for steps in others.values()])
    for what, seconds in zip(others, found):
        yield Figure("arithmetic", f"time of a step {what}", f"{seconds / base:.2f} times")
    if first is not None:
        yield Figure("arithmetic", "until torch.compile was done", f"{first:.0f} seconds")


def _heron(pose):
    """Joint-line distances by the loop over triples: eq. 14 with Heron's formula, (B, 21, 3) -> list of 3990 arrays (B,)."""
    found = []
    for i in range(21):
        for j, k in combinations([joint for joint in range(21) if joint != i], 2):
            a, b, c = (pose[:, one] - pose[:, other] for one, other in ((i, j), (i, k), (j, k)))
            a, b, c = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
            s = (a + b + c) / 2
            found.append(2 * (s * (s - a) * (s - b) * (s - c)).clamp(min=1e-12).sqrt() / c)
    return found


def of_losses():
    """The kinematic losses: against the loop over triples, and against a step of stage 3."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    predicted, target = torch.randn(64, 21, 3, requires_grad=True), torch.randn(64, 21, 3)

    def timed(loss):
        began = time.perf_counter()
        loss(predicted, target).backward()
        return time.perf_counter() - began

    def loop(predicted, target):
        return torch.stack([(a - b).abs() for a, b in zip(_heron(predicted), _heron(target))]).sum(0).mean()

    timed(lambda p, t: losses.geometrical_loss(p[:1], t[:1]))  # what the first call needs once
    before = peak_memory()
    geo, kcs = least(10, lambda: timed(losses.geometrical_loss), lambda: timed(losses.kcs_loss))
    memory = peak_memory() - before
    looped = timed(loop)
    settings = find_preset(PRESET)
    step = least(10, Steps("refine", ROW, PRESET).seconds)[0] * 64 / settings.batch
    share = (geo + kcs) / step
    yield Figure("losses", "GEO, forward and backward, batch 64, against the loop over triples",
                 f"{looped / geo:.0f} times as fast ({1000 * geo:.1f} ms)", "at least 150", looped / geo >= 150)  # fmt: skip
    yield Figure("losses", "memory that both losses add at their peak", f"{memory} MiB", "under 25 MB", memory * 1.048576 < 25)
    yield Figure("losses", "GEO and KCS together, of a step of stage 3 for as many pictures", f"{100 * share:.1f} %", "under 5 %", share < 0.05)


class _Frozen(Steps):
    """The steps of stage 2's first phase."""

    def __init__(self):
        super().__init__("align", ROW, PRESET)
        learns = self.stage.phases()[0].learns
        for name, part in self.stage.networks.named_children():
            part.requires_grad_(name in learns).train(name in learns)
        weights = [weight for weight in self.stage.networks.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(weights, 1e-4, fused=True)


def of_frozen_phase():
    torch.set_num_threads(1)
    frozen, whole = least(12, _Frozen().seconds, Steps("align", ROW, PRESET).seconds)
    share = frozen / whole
    yield Figure("alignment", "a step with frozen encoders, of a whole one", f"{share:.2f}", "at most 1/3", share <= 1 / 3)


def of_prediction():
    """Pictures a second, and how long one call takes, in float32 on one thread."""
    torch.set_num_threads(1)
    settings, networks = find_preset(PRESET), untrained("refine", ROW, PRESET).eval()
    for batch in (1, 64):
        images = torch.randn(batch, 3, settings.size, settings.size).contiguous(memory_format=torch.channels_last)
        seconds = []
        with torch.inference_mode():
            networks(images)
            for _ in range(200 if batch == 1 else 20):
                began = time.perf_counter()
                networks(images)
                seconds.append(time.perf_counter() - began)
        middle, late = 1000 * np.percentile(seconds, [50, 95])
        yield Figure("prediction", f"batch {batch} at {settings.size} px: a call's median and 95th percentile", f"{middle:.1f} and {late:.1f} ms")
        yield Figure("prediction", f"batch {batch}: pictures a second", f"{1000 * batch / middle:.0f}")
    data = prepare_data(PRESET, output_dir="runs/bench", progress=False)
    yield evaluation(networks, data.training, settings.size, make_fabric("32-true", "cpu"))


def evaluation(networks, shards, size, fabric):
    """The figure of predicting all of ``shards``, on the device of ``fabric``."""

    def evaluated():
        began = time.perf_counter()
        predict(networks, shards, size, fabric)
        return time.perf_counter() - began

    rate = len(shards) / least(2, evaluated)[0]
    return Figure("prediction", "evaluation from shards, crops cut and poses turned back: pictures a second", f"{rate:.0f}")


