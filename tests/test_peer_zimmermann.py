"""Zimmermann & Brox 2017: the canonical frame and back, the rotation, score maps, and what each stage teaches."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose.experiments import PRESETS, find_preset
from handpose.peers import parts, zimmermann
from handpose.peers.zimmermann import STAGES, ColorHandPose3D, map_error, rodrigues, to_canonical
from tests.gradients import reached


def poses(seed, count=5):
    return torch.randn(count, 21, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(count=4, size=32):
    torch.manual_seed(0)
    return torch.randn(count, 3, size, size), torch.randn(count, 21, 3), torch.rand(count, 21, 3) * 0.6 - 0.3


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_the_canonical_frame_is_the_hands_own_and_inverts(seed):
    pose = poses(seed)
    canonical, R = to_canonical(pose)
    assert torch.allclose(canonical @ R, pose)
    assert torch.allclose(R @ R.transpose(1, 2), torch.eye(3, dtype=R.dtype).expand_as(R), atol=1e-9)
    assert torch.allclose(R.det(), R.new_ones(5))
    middle, little = canonical[:, 9], canonical[:, 17]
    assert middle[:, [0, 2]].abs().max() < 1e-9 and (middle[:, 1] > 0).all()
    assert little[:, 2].abs().max() < 1e-9 and (little[:, 0] > 0).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_turning_a_hand_changes_its_rotation_alone(seed):
    pose, turn = poses(seed), rodrigues(poses(seed + 1)[:, 0])
    canonical, R = to_canonical(pose)
    again, turned = to_canonical(pose @ turn)
    assert torch.allclose(again, canonical, atol=1e-8) and torch.allclose(turned, R @ turn, atol=1e-8)


def test_rotation_of_a_known_axis():
    quarter = rodrigues(torch.tensor([[0.0, 0.0, math.pi / 2]]))
    assert torch.allclose(quarter @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([[0.0, 1.0, 0.0]]), atol=1e-6)
    assert torch.equal(rodrigues(torch.zeros(1, 3))[0], torch.eye(3))


@pytest.mark.parametrize("angle", [1e-6, 1e-3, 1.0, 3.1, 5.0])
def test_rotation_is_the_exponential_of_the_axis(angle):
    u = torch.nn.functional.normalize(poses(0)[:, 0], dim=-1) * angle
    K = torch.linalg.cross(torch.eye(3, dtype=u.dtype).expand(len(u), 3, 3), u[:, None].expand(len(u), 3, 3))
    assert torch.allclose(rodrigues(u), torch.linalg.matrix_exp(K), atol=1e-7)


def test_rotation_has_a_gradient_at_zero():
    u = torch.zeros(2, 3, requires_grad=True)
    rodrigues(u)[:, 0, 1].sum().backward()
    assert torch.allclose(u.grad, torch.tensor([0.0, 0.0, -1.0]).expand(2, 3))


def test_a_score_map_falls_to_1_over_e_at_25_of_256_pixels():
    xy = torch.zeros(1, 21, 2)
    xy[..., :] = 0.5 / 256
    maps = parts.gaussian_maps(xy, 256, 256, zimmermann.SIGMA)
    assert maps[0, 3, 128, 128] == 1 and maps[0, 3, 128, 153].item() == pytest.approx(math.exp(-1), rel=1e-5)


def test_error_of_maps_off_by_a_constant():
    maps = torch.rand(2, 21, 8, 8)
    assert map_error(maps + 0.3, maps).item() == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_side_of_the_score_maps(size):
    with torch.no_grad():
        maps = ColorHandPose3D().eval().score_maps(torch.zeros(1, 3, size, size))
    assert [tuple(each.shape) for each in maps] == [(1, 21, size // 4, size // 4)] * 3
    assert not any(each.any() for each in maps)  # they start empty


def test_the_prediction_is_the_canonical_pose_turned():
    networks, (images, _, _) = ColorHandPose3D().eval(), batch()
    canonical, R = networks.lifted(networks.score_maps(images)[-1])
    assert networks(images).shape == (4, 21, 3) and torch.allclose(networks(images), canonical @ R, atol=1e-5)
    assert torch.allclose(R @ R.transpose(1, 2), torch.eye(3).expand(4, 3, 3), atol=1e-5)


def test_each_stage_teaches_its_own_networks():
    networks, (images, pose, picture) = ColorHandPose3D(), batch()
    for term in STAGES["scoremaps"](networks, PRESETS["smoke"]).cost(images, pose, picture, 0).values():
        assert reached(networks, term) <= {"rgb_encoder", "pose_net"}
    terms = STAGES["lifting"](networks, PRESETS["smoke"]).cost(images, pose, picture, 0)
    assert reached(networks, terms["canonical"]) == {"pose_prior"} and reached(networks, terms["viewpoint"]) == {"viewpoint"}
    learnt = [name for stage in STAGES.values() for name in stage.learns]
    assert sorted(learnt) == sorted(name for name, _ in networks.named_children())


def test_every_weight_of_the_score_maps_learns():
    networks, (images, pose, picture) = ColorHandPose3D(), batch()
    for unit in (networks.pose_net.score, *networks.pose_net.refine):
        torch.nn.init.normal_(unit[-1].weight, std=0.1)
    sum(STAGES["scoremaps"](networks, PRESETS["smoke"]).cost(images, pose, picture, 0).values()).backward()
    assert all(weight.grad is not None and weight.grad.any() for part in (networks.rgb_encoder, networks.pose_net) for weight in part.parameters())


def test_lifting_knows_the_true_pose_at_no_cost():
    """Its target is the true canonical pose and the true rotation: a network that gives them has nothing to learn."""
    _, pose, picture = batch()
    stage = STAGES["lifting"](ColorHandPose3D(), PRESETS["smoke"])
    stage.networks.lifted = lambda maps: to_canonical(pose)
    assert [term.item() for term in stage.cost(None, pose, picture, 0).values()] == [0, 0]


@pytest.mark.parametrize("stage", STAGES)
def test_a_few_steps_lower_the_cost(stage):
    networks, (images, pose, picture) = ColorHandPose3D(), batch()
    networks.pose_prior.eval(), networks.viewpoint.eval()  # no dropout
    module, costs = STAGES[stage](networks, PRESETS["smoke"]), []
    optimizer = torch.optim.Adam(networks.parameters(), 1e-3)
    for step in range(12):
        torch.manual_seed(1)  # the same noise on the places
        cost = sum(module.cost(images, pose, picture, step).values())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < 0.9 * costs[0]


@pytest.mark.parametrize("preset", PRESETS)
def test_stages_share_out_the_epochs(preset):
    """The score maps get what every method gets; lifting, which looks at no picture, the steps that theirs has beside it."""
    preset = find_preset(preset)
    maps, lifting = (stage.epochs(SimpleNamespace(preset=preset)) for stage in STAGES.values())
    assert maps == parts.budget(preset)
    assert abs(lifting - maps * 80_000 / 30_000) <= 0.5


def test_lifting_never_sees_a_flipped_hand_and_score_maps_do():
    """From places alone the depth of a hand and that of its mirror image can't be told apart."""
    preset = find_preset("smoke")
    networks = ColorHandPose3D()
    assert preset.flip_probability > 0
    assert STAGES["lifting"](networks, preset).preset == replace(preset, flip_probability=0.0)
    assert STAGES["scoremaps"](networks, preset).preset == preset


def test_lifting_reads_maps_of_the_joints_places_with_noise(monkeypatch):
    _, pose, picture = batch()
    monkeypatch.setattr(zimmermann, "noise", torch.ones_like)
    stage, read = STAGES["lifting"](ColorHandPose3D(), PRESETS["smoke"]), []
    stage.networks.lifted = lambda maps: read.append(maps) or to_canonical(pose)
    stage.cost(None, pose, picture, 0)
    places = picture[..., :2] + zimmermann.PLACE_NOISE
    torch.testing.assert_close(read[0], parts.gaussian_maps(places, zimmermann.LIFTED_SIDE, zimmermann.LIFTED_SIDE, zimmermann.SIGMA))
