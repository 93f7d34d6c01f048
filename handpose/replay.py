"""A training step, and on a GPU the recording of it that is played again.

At the paper's batch of 64 a fast GPU waits more than half of the time for Python to ask for the next of a step's thousand
operations. A CUDA graph asks for all of them at once: the same operations, on the same numbers.
"""

import copy
import warnings
from collections import deque

import torch

#: Steps from which a recording pays, each kind of step, and steps that the GPU may lie behind Python.
PAYS, _BEHIND = 50, 2


class Step:
    """One step of training: forward, backward, the optimiser's; ``step(batch, number)`` gives what it cost.

    ``model(batch, number)`` gives the terms to minimise, {name: scalar}; ``backward`` is called with their sum. ``watched``: weights
    whose gradients' norms are wanted, {name: weight}.
    """

    def __init__(self, model, optimizer, backward, watched):
        self.model, self.optimizer, self.backward, self.watched = model, optimizer, backward, watched

    def __call__(self, batch, number, watching=False):
        """Terms, and where ``watching`` norms, of those watched weights that have a gradient: {name: scalar} twice, detached."""
        terms = self.model(batch, number)
        self.optimizer.zero_grad()
        self.backward(sum(terms.values()))
        norms = {name: weight.grad.norm() for name, weight in self.watched.items() if weight.grad is not None} if watching else {}
        self.optimizer.step()
        return {name: term.detach() for name, term in terms.items()}, norms


class ReplayedStep:
    """``step``, a ``Step``, recorded as CUDA graphs and replayed. Its optimiser must be ``capturable``, its learning rates tensors.

    ``cycle`` steps after one another differ and are recorded each, after as many that were taken plainly: in those the optimiser makes
    its moments and cuDNN chooses its algorithms. Batches must all have one shape. Where PyTorch can't record a step, a warning
    says so and all steps are taken plainly.
    """

    def __init__(self, step, cycle):
        self.step, self.cycle = step, cycle
        self.plain, self.recorded, self.pool = max(3, cycle), {}, None
        self.behind = deque()

    def __call__(self, batch, number, watching=False):
        if self.plain:
            self.plain -= 1
            return self.step(batch, number, watching)
        kind = number % self.cycle
        if kind not in self.recorded:
            try:
                self.recorded[kind] = self._record(batch, number)
            except RuntimeError as error:
                warnings.warn(f"steps are not replayed, training is slower: {error}", stacklevel=2)
                self.recorded.clear()
                self.plain = float("inf")
                return self.step(batch, number, watching)
        graph, (terms, norms) = self.recorded[kind]
        for name, value in vars(batch).items():
            getattr(self.batch, name).copy_(value)
        graph.replay()
        self._wait()
        fresh = lambda found: {name: value.clone() for name, value in found.items()}  # noqa: E731  the next replay writes there
        return fresh(terms), fresh(norms) if watching else {}

    def _record(self, batch, number):
        """The graph of a step, not yet taken, and the tensors that it writes its costs to."""
        if not self.recorded:
            self.batch = copy.copy(batch)
            for name, value in vars(batch).items():
                setattr(self.batch, name, value.clone())
        self.step.optimizer.zero_grad()
        graph = torch.cuda.CUDAGraph()
        # Threads that read batches ahead go on meanwhile.
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            found = self.step(self.batch, number, watching=True)
        self.pool = graph.pool()
        return graph, found

    def _wait(self):
        """Python stays a few steps ahead of the GPU: a graph is asked for so fast that it would be hundreds, each with a batch."""
        done = torch.cuda.Event()
        done.record()
        self.behind.append(done)
        if len(self.behind) > _BEHIND:
            self.behind.popleft().synchronize()
