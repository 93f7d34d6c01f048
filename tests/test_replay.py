"""A step that is recorded and replayed trains what the same step trains that is not. What needs a GPU is skipped where there is none."""

import contextlib
import copy
import dataclasses
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from handpose import peers, replay, train
from handpose.experiments import PEERS, find_row
from handpose.replay import ReplayedStep, Step
from handpose.stages import STAGES, make_networks
from tests.test_train import EVALUATION, PRESET, TRAINING

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU was found")


class Pair:
    """A batch."""

    def __init__(self, images, pose):
        self.images, self.pose = images, pose


def batches(count):
    draws = torch.Generator().manual_seed(0)
    return [Pair(torch.randn(6, 4, generator=draws), torch.randn(6, 2, generator=draws)) for _ in range(count)]


def new_step(cycle=1, watched=True):
    """A step that learns a line; of a ``cycle`` of 2, every second has another loss, with another name."""
    torch.manual_seed(0)
    net = nn.Linear(4, 2)

    def model(batch, number):
        apart = net(batch.images) - batch.pose
        return {"square": apart.square().mean()} if number % cycle == 0 else {"straight": apart.abs().mean(), "small": 0.1 * net.bias.square().sum()}

    return net, Step(model, torch.optim.Adam(net.parameters(), 1e-2), torch.Tensor.backward, {"weight": net.weight} if watched else {})


@pytest.fixture
def fake(monkeypatch):
    """CUDA graphs for a processor: what is recorded changes nothing, and a replay does it on what then lies in the same tensors."""
    made = []

    class Graph:
        def pool(self):
            return "pool"

        def replay(self):
            self.replays += 1
            found = self.again()
            for ours, theirs in zip(self.found, found):
                assert ours.keys() == theirs.keys()
                [ours[name].copy_(theirs[name]) for name in ours]

    @contextlib.contextmanager
    def graph(graph, pool, capture_error_mode):
        assert pool in (None, "pool") and capture_error_mode == "thread_local"
        graph.replays = 0
        made.append(graph)
        yield

    record = ReplayedStep._record

    def recorded(self, batch, number):
        step, learning = self.step, [weight for group in self.step.optimizer.param_groups for weight in group["params"]]
        before = copy.deepcopy([weight.data for weight in learning]), copy.deepcopy(step.optimizer.state_dict())
        graph, found = record(self, batch, number)
        [weight.data.copy_(value) for weight, value in zip(learning, before[0])]
        step.optimizer.load_state_dict(before[1])
        graph.found, graph.again = found, lambda: step(self.batch, number, True)
        return graph, found

    monkeypatch.setattr(ReplayedStep, "_record", recorded)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    waits = []
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=lambda: None, synchronize=lambda: waits.append(1)))
    return SimpleNamespace(graphs=made, waits=waits)


@pytest.mark.parametrize("cycle", [1, 2])
def test_replayed_steps_cost_and_learn_the_same(fake, cycle):
    (plain_net, plain), (net, step) = new_step(cycle), new_step(cycle)
    step = ReplayedStep(step, cycle)
    expected = [plain(batch, number, watching=number % 4 == 0) for number, batch in enumerate(batches(12))]
    found = [step(batch, number, watching=number % 4 == 0) for number, batch in enumerate(batches(12))]
    for ours, theirs in zip(found, expected):
        assert [one.keys() for one in ours] == [one.keys() for one in theirs]
        assert all(torch.equal(ours[part][name], theirs[part][name]) for part in (0, 1) for name in ours[part])
    assert torch.equal(net.weight, plain_net.weight)
    assert [graph.replays for graph in fake.graphs] == ([9] if cycle == 1 else [5, 4])  # three were taken plainly
    assert len(fake.waits) == 9 - replay._BEHIND  # Python is no further ahead


def test_every_kind_is_taken_plainly_before_it_is_recorded(fake):
    _, step = new_step(2)
    step = ReplayedStep(step, 6)
    for number, batch in enumerate(batches(6)):
        step(batch, number)
    assert not fake.graphs
    step(batches(1)[0], 6)
    assert len(fake.graphs) == 1


def test_what_a_replay_gives_is_not_overwritten_by_the_next(fake):
    _, step = new_step()
    step = ReplayedStep(step, 1)
    found = [step(batch, number, watching=True) for number, batch in enumerate(batches(6))]
    kept = [(terms["square"].item(), norms["weight"].item()) for terms, norms in found]
    assert len(set(kept)) == 6


def test_what_cant_be_recorded_is_said_once_and_trained_plainly(monkeypatch):
    (plain_net, plain), (net, step) = new_step(), new_step()
    monkeypatch.setattr(ReplayedStep, "_record", lambda self, batch, number: (_ for _ in ()).throw(RuntimeError("no such thing")))
    step = ReplayedStep(step, 1)
    with pytest.warns(UserWarning, match="^steps are not replayed, training is slower: no such thing") as said:
        [step(batch, number) for number, batch in enumerate(batches(8))]
    [plain(batch, number) for number, batch in enumerate(batches(8))]
    assert len(said) == 1 and torch.equal(net.weight, plain_net.weight)


def test_norms_are_of_watched_weights_with_a_gradient_and_only_when_asked():
    net, step = new_step()
    idle = nn.Parameter(torch.ones(1))
    step.watched["idle"] = idle
    assert step(batches(1)[0], 0)[1] == {}
    assert step(batches(1)[0], 1, watching=True)[1] == {"weight": net.weight.grad.norm()}
    assert not any(term.requires_grad for term in step(batches(1)[0], 2)[0].values())


@pytest.mark.parametrize("kind, processes, scaler, can", [
    ("cuda", 1, None, True), ("cpu", 1, None, False), ("cuda", 2, None, False), ("cuda", 1, object(), False),
])  # fmt: skip
def test_steps_are_recorded_on_one_gpu_without_a_scale(monkeypatch, kind, processes, scaler, can):
    monkeypatch.setattr(train.processes, "count", lambda: processes)
    fabric = SimpleNamespace(device=SimpleNamespace(type=kind), strategy=SimpleNamespace(precision=SimpleNamespace(scaler=scaler)))
    assert train._can_replay(fabric) is can


def test_a_rate_that_a_recorded_step_reads_stays_where_it_is():
    rate = torch.tensor(1.0)
    groups = [{"lr": rate}, {"lr": 1.0}]
    [train._set_rate(group, 0.25) for group in groups]
    assert groups[0]["lr"] is rate and rate == 0.25 and groups[1]["lr"] == 0.25


def history(row, stage, monkeypatch, tmp_path, replayed):
    """History of training ``stage`` of ``row`` on the GPU, in float32."""
    preset = dataclasses.replace(PRESET, disentangle_epochs=1, align_frozen_epochs=1, align_epochs=1, refine_epochs=1, batch=8, weights=None)
    if row in PEERS:
        networks = peers.make_networks(find_row(row).module, preset, 0)
        module = peers.module(find_row(row).module).STAGES[stage](networks, preset)
    else:
        module = STAGES[stage](make_networks(stage, find_row(row), preset, 0), find_row(row), preset)
    monkeypatch.setattr(train, "PAYS", 1)
    monkeypatch.setattr(train, "_can_replay", lambda fabric: replayed)
    shards = TRAINING if row not in PEERS else dataclasses.replace(TRAINING, pose=TRAINING.pose.repeat(2, 1))
    return train.train(module, shards, EVALUATION, tmp_path / f"{row}{stage}{replayed}", 0, train.make_fabric("32-true", "cuda"), False)


@GPU
@pytest.mark.parametrize("row, stage", [("D3", "disentangle"), ("D3", "align"), ("D3", "refine"), ("Spurr", "crossmodal"), ("Gu", "translators")])
def test_on_a_gpu_both_train_alike(monkeypatch, tmp_path, row, stage):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "steps are not replayed")
        plain, replayed = (history(row, stage, monkeypatch, tmp_path, one) for one in (False, True))
    for ours, theirs in zip(replayed, plain):
        if theirs["epoch"] == 0:  # two plain trainings, too, grow apart: a GPU adds in no fixed order
            for name in set(theirs) - {"seconds", "images_per_second", "gradients", "phase", "mepe"}:
                assert ours[name] == pytest.approx(theirs[name], rel=0.1), name
