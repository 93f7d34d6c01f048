"""What predicting one picture costs: weights that take part, and multiply-adds."""

from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from .experiments import find_preset, find_row
from .runs import untrained


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
