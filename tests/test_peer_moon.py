"""Moon et al. 2020: volumes of heat, where they are highest, and the way back to millimetres."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handpose.geometry import hand_scale, palm_centre
from handpose.peers.moon import DEPTH_RANGE, DEPTHS, SIGMA, STAGES, Volumes, peak, target_volumes
from handpose.peers.picture import Cameras, to_picture


def joints(seed, count=3):
    """Picture coordinates within the volume, at least a voxel and a half from the faces of one with 8 voxels."""
    draws = torch.rand(count, 21, 3, generator=torch.Generator().manual_seed(seed))
    return (draws - 0.5) * torch.tensor([0.6, 0.6, 0.6 * DEPTH_RANGE])


def test_target_of_a_joint_in_the_middle_of_a_voxel():
    picture = torch.zeros(1, 21, 3)
    picture[..., 0], picture[..., 1], picture[..., 2] = 2.5 / 8 - 0.5, 5.5 / 8 - 0.5, DEPTH_RANGE * (3.5 / DEPTHS - 0.5)
    volumes = target_volumes(picture, 8, 8)
    assert volumes.shape == (1, 21, DEPTHS, 8, 8) and volumes[0, 4, 3, 5, 2] == 1
    fallen = float(np.exp(-0.5 / SIGMA**2))
    for neighbour in ((4, 5, 2), (3, 4, 2), (3, 5, 3)):  # a voxel away along depth, down and across
        assert volumes[(0, 4, *neighbour)].item() == pytest.approx(fallen, rel=1e-5)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([8, 16]))
def test_the_peak_of_a_known_volume_between_voxels(seed, side):
    picture = joints(seed)
    assert torch.allclose(peak(target_volumes(picture, side, side)), picture, atol=2e-4)


def test_the_peak_is_at_most_half_a_voxel_from_the_highest():
    volumes = torch.rand(2, 21, DEPTHS, 8, 8, generator=torch.Generator().manual_seed(0))
    volumes[:, :, 9, 4, 6] = 2
    place = peak(volumes) / torch.tensor([1, 1, DEPTH_RANGE])
    centre = torch.tensor([6.5 / 8, 4.5 / 8, 9.5 / DEPTHS]) - 0.5
    assert ((place - centre).abs() <= torch.tensor([0.5 / 8, 0.5 / 8, 0.5 / DEPTHS]) + 1e-6).all()


def test_the_peak_of_useless_volumes_is_finite():
    for volumes in (torch.zeros(1, 21, DEPTHS, 8, 8), -torch.ones(1, 21, DEPTHS, 8, 8)):
        place = peak(volumes)
        assert place.isfinite().all() and (place.abs() <= torch.tensor([0.5, 0.5, DEPTH_RANGE / 2])).all()
    corner = torch.zeros(1, 21, DEPTHS, 8, 8)
    corner[..., 0, 0, 0] = 1
    assert (peak(corner) < 0).all()


def test_the_true_volumes_lift_to_the_true_pose():
    draws = np.random.default_rng(0)
    xyz = draws.normal(0, 40, (4, 21, 3)) + [[[20.0, -30.0, 600.0]]]
    camera = [[2.3, 0.1, 0.05], [0, 2.4, 0.1], [0.02, -0.01, 1]]  # over the crop's side
    cameras = np.array([camera, np.diag([-1, 1, 1]) @ camera] * 2)  # every other hand is mirrored
    cameras = Cameras(cameras, np.array([[0.1, -0.2, 0.97]] * 4))
    root, scale = palm_centre(xyz), np.maximum(hand_scale(xyz), 60)
    again = Volumes().lift(to_picture(xyz, cameras, root, scale), cameras, root, scale)
    assert np.abs(again - xyz).max() < 1e-6
    farther = Volumes().lift(to_picture(xyz, cameras, root, scale), cameras, root + [0, 0, 10], scale)
    assert np.allclose(cameras.depth(farther - again), 9.7)  # the root's depth is the one that is given


def batch(count=4, size=32):
    torch.manual_seed(0)
    return torch.randn(count, 3, size, size), torch.randn(count, 21, 3), joints(1, count)


@pytest.mark.parametrize(("size", "side"), [(32, 8), (64, 16), (256, 64)])
def test_shapes(size, side):
    networks = Volumes().eval()
    images = torch.zeros(2, 3, size, size)
    with torch.no_grad():
        assert networks.volumes(images).shape == (2, 21, DEPTHS, side, side)
        assert networks.picture(images).shape == networks(images).shape == (2, 21, 3) and networks.in_picture


def test_the_cost_reaches_every_weight():
    networks, (images, pose, picture) = Volumes(), batch(size=64)
    assert not networks.volumes(images).any()  # volumes start empty
    torch.nn.init.normal_(networks.maps.weight)
    terms = STAGES["volumes"](networks, None).cost(images, pose, picture, 0)
    sum(terms.values()).backward()
    assert list(terms) == ["volumes"]
    assert all(weight.grad is not None and weight.grad.any() for weight in networks.parameters())


def test_a_few_steps_lower_the_cost():
    networks, (images, pose, picture) = Volumes(), batch()
    stage, costs = STAGES["volumes"](networks, None), []
    optimizer = torch.optim.Adam(networks.parameters(), 1e-3)
    for step in range(6):
        cost = sum(stage.cost(images, pose, picture, step).values())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < 0.8 * costs[0]
