"""What a method costs: weights and multiply-adds of predicting one picture, and the time of a training step beside another's."""

import time
from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from . import peers
from .data.augment import Batch
from .experiments import Peer, find_preset, find_row
from .replay import ReplayedStep, Step
from .runs import untrained
from .stages import STAGES
from .train import choose_precision


@dataclass(frozen=True)
class Cost:
    """parameters: weights that the prediction depends on; multiply_adds: of one picture (a multiply-add is two operations)."""

    parameters: int
    multiply_adds: int


@cache
def cost_of(row, preset):
    """``Cost`` of the networks of ``row`` at the size of ``preset``. Raises ValueError for unknown names."""
    networks = untrained(find_row(row).stages[-1], row, preset).eval()
    size = find_preset(preset).size
    with torch.random.fork_rng(), torch.enable_grad():
        images = torch.randn(1, 3, size, size)
        with FlopCounterMode(display=False) as counter:
            pose = networks(images)
        pose.sum().backward()
    used = sum(weight.numel() for weight in networks.parameters() if weight.grad is not None)
    return Cost(used, counter.get_total_flops() // 2)


class Steps:
    """Training steps of one stage on one batch that is in memory: forward, backward and Adam.

    ``precision`` other than the preset's, ``layout`` of the pictures and the backbone's weights, ``compiled``, whether
    torch.compile makes the encoder, and ``replayed``, whether steps are recorded and replayed as training does on a GPU, for comparisons.
    ``device`` is "cpu" or "cuda".
    """

    def __init__(self, stage, row, preset, precision=None, layout=torch.channels_last, compiled=False, replayed=False, device="cpu"):
        row, settings = find_row(row), find_preset(preset)
        networks = untrained(stage, row, preset)
        if layout != torch.channels_last:
            networks.rgb_encoder.to(memory_format=layout)
        if compiled:
            networks.rgb_encoder.compile()
        if isinstance(row, Peer):
            self.stage = peers.module(row.module).STAGES[stage](networks, settings)
        else:
            self.stage = STAGES[stage](networks, row, settings)
        self.device = torch.device(device)
        self.stage.to(self.device)
        learns = self.stage.phases()[-1].learns
        for name, part in networks.named_children():
            part.requires_grad_(name in learns).train(name in learns)
        learning = [weight for weight in networks.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(learning, 1e-4, fused=True, capturable=replayed)
        self.half = choose_precision(precision or settings.precision, self.device) == "bf16-mixed"
        take = Step(self._terms, self.optimizer, torch.Tensor.backward, {})
        self.take = ReplayedStep(take, self.stage.cycle) if replayed else take
        images = torch.randn(settings.batch, 3, settings.size, settings.size, device=self.device).contiguous(memory_format=layout)
        self.batch = Batch(images, 0.3 * torch.randn(settings.batch, 42 if isinstance(row, Peer) else 21, 3, device=self.device))
        self.step = 0

    def seconds(self, count=1):
        """Seconds that a step takes, the mean of ``count``; a GPU is waited for before the first and after the last."""
        self._wait()
        began = time.perf_counter()
        for _ in range(count):
            self.take(self.batch, self.step)
            self.step += 1
        self._wait()
        return (time.perf_counter() - began) / count

    def _terms(self, batch, number):
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return self.stage(batch, number)

    def _wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def training_speeds(rows, preset, repeats=5):
    """Images a second that the slowest stage of each of ``rows`` trains at on this processor: {row: images/s}.

    The least time of ``repeats``, taken in turns, so that what else runs on the machine hits all alike: to be compared with
    each other, not with other machines. A stage whose steps differ is timed over as many as there are kinds.
    """
    with torch.random.fork_rng(), torch.enable_grad():
        steps = {row: [Steps(stage, row, preset) for stage in find_row(row).stages] for row in rows}
        for row in rows:
            [each.seconds(each.stage.cycle) for each in steps[row]]  # the first is slower
        least = {row: [float("inf")] * len(steps[row]) for row in rows}
        for _ in range(repeats):
            for row in rows:
                least[row] = [min(best, each.seconds(each.stage.cycle)) for best, each in zip(least[row], steps[row])]
    return {row: len(steps[row][0].batch.images) / max(least[row]) for row in rows}
