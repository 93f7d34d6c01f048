"""Several processes that train one network together, started by torchrun: each takes its share of every batch.

What they compute is what one process would with the whole batch: the same augmentation and noise, statistics of batch
normalisation over the whole batch, gradients averaged over all shares. Without torchrun there is one process, and nothing
here does anything.
"""

import contextlib
import os
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from .records import only_one

#: How long a process waits for the others: the first may have a whole dataset to decode before.
PATIENCE = timedelta(hours=2)


def started():
    """How many processes torchrun started on this machine, and on how many machines: (1, 1) without it."""
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return 1, 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def count():
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank():
    """Which of them this one is, from 0."""
    return dist.get_rank() if count() > 1 else 0


def share(whole):
    """This process's part of a batch, an array or tensor (B, ...) -> (B / processes, ...). Raises ValueError where B can't be shared out."""
    if len(whole) % count():
        raise ValueError(f"a batch of {len(whole)} can't be shared out evenly to {count()} processes: choose another batch")
    part = len(whole) // count()
    return whole[rank() * part : (rank() + 1) * part]


def noise(like):
    """Standard normal numbers of the shape of ``like`` (b, ...): this process's share of what one would draw for the whole batch."""
    if count() == 1:
        return torch.randn_like(like)
    return share(torch.randn((len(like) * count(), *like.shape[1:]), dtype=like.dtype, device=like.device))


class Dropout(nn.Dropout):
    """Dropout by this process's share of what one would drop of the whole batch."""

    def forward(self, input):
        if count() == 1 or not self.training:
            return super().forward(input)
        return input * share(nn.functional.dropout(input.new_ones(len(input) * count(), *input.shape[1:]), self.p))


def mean(value):
    """The mean of a tensor over all processes."""
    if count() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / count()


def piece(length):
    """This process's piece of ``length`` things in a row, all of them in somebody's: a slice."""
    bounds = np.linspace(0, length, count() + 1).round().astype(int)
    return slice(int(bounds[rank()]), int(bounds[rank() + 1]))


def gather(array):
    """The arrays (n, ...) of all processes, one after the other, in each of them: what was taken apart by ``piece`` is whole again."""
    if count() == 1:
        return array
    parts: list = [None] * count()
    dist.all_gather_object(parts, array)
    return np.concatenate(parts)


@contextlib.contextmanager
def first():
    """The first process goes through the block before the others do, which then find what it made."""
    if rank() > 0:
        dist.barrier()
    yield
    if count() > 1 and rank() == 0:
        dist.barrier()


@contextlib.contextmanager
def one_group(folder, last):
    """``records.only_one`` for all processes together: the first holds the lock, and all leave together."""
    with contextlib.ExitStack() as held:
        answer = [held.enter_context(only_one(folder, last)) if rank() == 0 else None]
        if count() > 1:
            dist.broadcast_object_list(answer)
        yield answer[0]
        if count() > 1:
            dist.barrier()


def synchronise(module):
    """``module`` with statistics of batch normalisation over the batch of all processes; as it is where there is one."""
    if count() == 1:
        return module
    if next(module.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.forward = _Normalise(part)  # type: ignore[method-assign]
    return module


class _Normalise:
    """The forward pass of a batch normalisation over all processes, on processors: PyTorch's own is for GPUs alone."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        layer = self.layer
        if not layer.training:
            return type(layer).forward(layer, x)
        over = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.float()
        middle = _Mean.apply(values.mean(over))
        centred = values - middle.view(shape)
        variance = _Mean.apply(centred.square().mean(over))
        with torch.no_grad():
            seen = x.numel() // x.shape[1] * count()
            layer.num_batches_tracked.add_(1)
            layer.running_mean.lerp_(middle, layer.momentum)
            layer.running_var.lerp_(variance * seen / (seen - 1), layer.momentum)
        scale = layer.weight * (variance + layer.eps).rsqrt()
        return (centred * scale.view(shape) + layer.bias.view(shape)).to(x.dtype)


class _Mean(torch.autograd.Function):
    """Mean over all processes. Its gradient is the mean of theirs: each holds the loss of its own share, and the whole is their mean."""

    @staticmethod
    def forward(ctx, value):
        return mean(value)

    @staticmethod
    def backward(ctx, gradient):
        return mean(gradient.contiguous())
