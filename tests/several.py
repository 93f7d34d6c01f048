"""Run under torchrun, or alone: the first step of a stage, and what is predicted, kept in the file named first.

In double precision throughout: in float32 the rounding of a sum decides now and then on which side of 0 a ReLU is.
"""

import sys
from dataclasses import replace

import torch

from handpose import processes, train
from handpose.data.augment import Batch, warp
from handpose.experiments import find_preset, find_row
from handpose.stages import STAGES, Networks
from tests.test_train import hands

ROW = find_row("D3")
PRESET = replace(find_preset("smoke"), batch=16, weights=None, disentangle_epochs=1, align_frozen_epochs=0)


FLOAT = torch.Tensor.float


def double(*arguments):
    torch.Tensor.float = FLOAT
    batch = warp(*arguments)
    torch.Tensor.float = torch.Tensor.double
    return Batch(batch.images.double(), batch.pose.double())


def first_step(name, folder):
    """Gradients and statistics of batch normalisation after one step of the stage ``name``, its history, and what it then predicts."""
    torch.manual_seed(0)
    stage = STAGES[name](Networks(ROW, aligned=name != "disentangle"), ROW, PRESET).double()
    fabric, evaluation = train.make_fabric("32-true", "cpu"), hands(11, 1)
    history = train.train(stage, hands(16), evaluation, folder, 0, fabric, progress=False)
    networks = stage.networks
    found = {weight: value.grad for weight, value in networks.named_parameters() if value.grad is not None}
    found |= {buffer: value.float() for buffer, value in networks.named_buffers()}
    return found, history, torch.from_numpy(train.predict(networks, evaluation, PRESET.size, fabric, batch=4))


def main(file, *names):
    torch.set_num_threads(1)
    torch.Tensor.float, train.warp = torch.Tensor.double, double
    found = {name: first_step(name, f"{file}-{name}") for name in names}
    if processes.rank() == 0:
        torch.save(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
