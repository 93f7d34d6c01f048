"""Yang & Yao 2019: the canonical frame and its way back, rotations, and what each term of the factors teaches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handpose import models
from handpose.data.augment import Batch
from handpose.experiments import PEERS, PRESETS
from handpose.peers import yang
from handpose.peers.parts import budget
from handpose.skeleton import MIDDLE_MCP, WRIST
from tests.gradients import SmallBackbone, reached

PRESET = PRESETS["smoke"]
LITTLE_MCP = 17
ALL = {"rgb_encoder", "pose_encoder", "pose_decoder", "view_encoder", "view_decoder", "rgb_decoder"}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(models, "resnet", SmallBackbone)


def make_stage():
    torch.manual_seed(0)
    return yang.STAGES["factors"](yang.NETWORKS(), PRESET)


def poses(count, seed=0, dtype=torch.float64):
    return torch.randn(count, 21, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batch(count=8, size=32):
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.randn(count, 3, size, size, generator=generator), torch.randn(count, 42, 3, generator=generator))


def turns(count, seed):
    return yang.rotation(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_canonical_frame_and_its_way_back(seed):
    pose = poses(8, seed)
    hand, R = yang.canonical(pose)
    torch.testing.assert_close(hand @ R, pose)
    middle, little = hand[:, MIDDLE_MCP] - hand[:, WRIST], hand[:, LITTLE_MCP] - hand[:, WRIST]
    zero = torch.zeros(8, dtype=torch.float64)
    torch.testing.assert_close(middle[:, 0], zero)
    torch.testing.assert_close(middle[:, 2], zero)
    torch.testing.assert_close(little[:, 2], zero)
    assert (middle[:, 1] > 0).all() and (little[:, 0] > 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_turned_hand_has_the_same_canonical_pose_and_another_viewpoint(seed):
    pose, turn = poses(8, seed), turns(8, seed + 1)
    hand, R = yang.canonical(pose)
    same, other = yang.canonical(pose @ turn)
    torch.testing.assert_close(same, hand)
    torch.testing.assert_close(other, R @ turn)


def test_a_hand_that_lies_in_the_frame_already_stays():
    pose = poses(1)
    pose[0, WRIST] = torch.tensor([0.0, -1.0, 0.5])
    pose[0, MIDDLE_MCP] = torch.tensor([0.0, 1.0, 0.5])
    pose[0, LITTLE_MCP] = torch.tensor([0.7, 0.8, 0.5])
    hand, R = yang.canonical(pose)
    torch.testing.assert_close(R[0], torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(hand, pose)


def test_rotations_turn_and_do_not_mirror():
    R = turns(16, 0)
    torch.testing.assert_close(R @ R.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(16, 3, 3))
    torch.testing.assert_close(torch.linalg.det(R), torch.ones(16, dtype=torch.float64))
    torch.testing.assert_close(yang.rotation(yang.six_numbers(R)), R)


def test_a_rotation_of_known_numbers():
    R = yang.rotation(torch.tensor([[0.0, 0.0, 2.0, 3.0, 0.0, 5.0]]))  # y to the third axis, x to the first
    torch.testing.assert_close(R[0], torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]))


def test_no_numbers_at_all_leave_the_gradient_finite():
    six = torch.zeros(1, 6, requires_grad=True)
    yang.rotation(six).sum().backward()
    assert six.grad.isfinite().all()


def test_the_pose_is_the_canonical_one_turned_by_the_viewpoint():
    networks = yang.NETWORKS()
    z = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    hand, R, pose = networks.decode(z)
    assert hand.shape == (4, 21, 3) and R.shape == (4, 3, 3)
    torch.testing.assert_close(pose, hand @ R)
    other = z.clone()
    other[:, yang.FACTOR :] += 1
    same, turned, _ = networks.decode(other)
    assert torch.equal(same, hand) and not torch.allclose(turned, R)
    other = z.clone()
    other[:, : yang.FACTOR] += 1
    moved, same, _ = networks.decode(other)
    assert torch.equal(same, R) and not torch.allclose(moved, hand)


def test_factors_have_six_layers_of_512_on_the_way_in_and_out():
    networks = yang.NETWORKS()
    for name, last in {"pose_encoder": 64, "view_encoder": 64, "pose_decoder": 63, "view_decoder": 6}.items():
        layers = [layer for layer in getattr(networks, name).modules() if isinstance(layer, nn.Linear)]
        assert [layer.out_features for layer in layers] == [512] * 6 + [last]


def test_the_prediction_reads_the_mean_latent():
    networks = make_stage().networks.eval()
    images = batch().images
    predicted = networks(images)
    assert predicted.shape == (8, 21, 3)
    assert torch.equal(predicted, networks(images))  # nothing is drawn
    torch.testing.assert_close(predicted, networks.decode(networks.rgb_encoder(images)[0])[2])


REACHES = {
    "mse_canonical": {"pose_encoder", "pose_decoder"},
    "mse_view": {"view_encoder", "view_decoder"},
    "kl_factors": {"pose_encoder", "view_encoder"},
    "mse_rgb_canonical": {"rgb_encoder", "pose_decoder"},
    "mse_rgb_view": {"rgb_encoder", "view_decoder"},
    "mse_rgb_pose": {"rgb_encoder", "pose_decoder", "view_decoder"},
    "kl_rgb": {"rgb_encoder"},
    "picture": {"rgb_encoder", "pose_encoder", "view_encoder", "rgb_decoder"},
}


@pytest.mark.parametrize("term", REACHES)
def test_each_term_reaches_its_own_parts_alone(term):
    stage = make_stage()
    terms = stage(batch(), 0)
    assert set(terms) == set(REACHES)
    terms[term].backward()
    assert reached(stage.networks) == REACHES[term]


def test_the_labels_are_the_factors_of_the_pose():
    """With decoders that give the true factors, no squared error is left."""
    stage, data = make_stage(), batch()
    hand, R = yang.canonical(data.pose[:, :21])
    stage.networks.decode = lambda z: (hand, R, hand @ R)
    terms = stage(data, 0)
    for term in ("mse_canonical", "mse_view", "mse_rgb_canonical", "mse_rgb_view", "mse_rgb_pose"):
        assert terms[term] < 1e-10


def test_a_few_steps_lower_the_loss(monkeypatch):
    monkeypatch.setattr(yang, "_HIDDEN", 64)
    stage, data = make_stage(), batch()
    optimizer = torch.optim.Adam(stage.networks.parameters(), 1e-3)
    costs = []
    for step in range(30):
        terms = stage(data, step)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        costs.append({name: term.item() for name, term in terms.items()})
    assert sum(costs[-1].values()) < 0.8 * sum(costs[0].values())
    assert costs[-1]["mse_rgb_pose"] < costs[0]["mse_rgb_pose"]


@pytest.mark.parametrize("preset", PRESETS)
def test_it_has_the_epochs_of_row_d3(preset):
    (phase,) = yang.STAGES["factors"](yang.NETWORKS(), PRESETS[preset]).phases()
    assert phase.epochs == budget(PRESETS[preset])
    assert set(phase.learns) == ALL


def test_its_stage_is_the_row_s():
    assert tuple(yang.STAGES) == PEERS["Yang"].stages
