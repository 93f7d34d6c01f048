"""Spurr et al. 2018: the pairs take turns, and each reaches its own encoder and decoder alone."""

import pytest
import torch
from torch import nn

from handpose import models
from handpose.data.augment import Batch
from handpose.experiments import PEERS, PRESETS
from handpose.peers import spurr
from handpose.peers.parts import budget
from tests.gradients import SmallBackbone, reached

PRESET = PRESETS["smoke"]
CYCLE = len(spurr.PAIRS)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(models, "resnet", SmallBackbone)


def make_stage():
    torch.manual_seed(0)
    return spurr.STAGES["crossmodal"](spurr.NETWORKS(), PRESET)


def batch(count=8, size=32):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, size, size, generator=generator)
    return Batch(images, torch.randn(count, 42, 3, generator=generator))


def test_the_pairs_are_all_four_and_every_second_one_predicts():
    assert set(spurr.PAIRS) == {(source, target) for source in ("rgb", "pose") for target in ("rgb", "pose")}
    assert [pair == ("rgb", "pose") for pair in spurr.PAIRS] == [True, False] * (CYCLE // 2)


def test_one_pair_a_step_in_a_cycle():
    stage, data = make_stage(), batch()
    for step in range(2 * CYCLE):
        source, target = spurr.PAIRS[step % CYCLE]
        terms = stage(data, step)
        assert set(terms) == {f"mse_{source}_{target}", f"kl_{source}_{target}"}
        assert all(term.ndim == 0 and term > 0 for term in terms.values())


@pytest.mark.parametrize("step", range(CYCLE))
def test_a_step_reaches_one_encoder_and_one_decoder_and_leaves_the_others_as_they_are(step):
    stage = make_stage()
    source, target = spurr.PAIRS[step]
    before = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    optimizer = torch.optim.Adam(stage.networks.parameters(), 1e-3)
    sum(stage(batch(), step).values()).backward()
    assert reached(stage.networks) == {f"{source}_encoder", f"{target}_decoder"}
    optimizer.step()
    changed = {name.split(".")[0] for name, value in stage.networks.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{source}_encoder", f"{target}_decoder"}


def test_the_divergence_reaches_the_encoder_alone():
    stage = make_stage()
    stage(batch(), 0)["kl_rgb_pose"].backward()
    assert reached(stage.networks) == {"rgb_encoder"}


def test_the_prediction_is_the_pose_decoded_from_the_mean_latent():
    networks = make_stage().networks.eval()
    images = batch().images
    first, second = networks(images), networks(images)
    assert first.shape == (8, 21, 3)
    assert torch.equal(first, second)  # nothing is drawn
    assert torch.equal(first, networks.pose_decoder(networks.rgb_encoder(images)[0]))


def test_the_sizes_are_those_of_the_public_code():
    networks = spurr.NETWORKS()
    decoder = [layer for layer in networks.pose_decoder.modules() if isinstance(layer, nn.Linear)]
    encoder = [layer for layer in networks.pose_encoder.modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in decoder] == [512] * 5 + [63]
    assert [layer.out_features for layer in encoder] == [512, 512, 512, 60]
    assert networks.rgb_encoder.head.out_features == 60


@pytest.mark.parametrize("size", [32, 64, 256])
def test_the_decoded_picture_has_the_shape_of_the_small_one(size):
    images = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, size, size)
    small = spurr.small_picture(images)
    assert spurr.PictureDecoder()(torch.randn(2, 30)).shape == small.shape == (2, 3, spurr.PICTURE_SIDE, spurr.PICTURE_SIDE)
    assert torch.equal(small[:, :, 0, 0], torch.arange(3.0).expand(2, 3))


def test_small_pictures_keep_the_mean():
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(spurr.small_picture(images).mean((2, 3)), images.mean((2, 3)))


def test_a_few_steps_lower_the_loss_of_every_pair():
    stage, data = make_stage(), batch()
    optimizer = torch.optim.Adam(stage.networks.parameters(), 1e-3)
    costs = []
    for step in range(8 * CYCLE):
        cost = sum(stage(data, step).values())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    for step in range(CYCLE):
        assert costs[-CYCLE + step] < 0.95 * costs[step], spurr.PAIRS[step]


@pytest.mark.parametrize("preset", PRESETS)
def test_it_has_the_epochs_of_row_d3(preset):
    (phase,) = spurr.STAGES["crossmodal"](spurr.NETWORKS(), PRESETS[preset]).phases()
    assert phase.epochs == budget(PRESETS[preset])
    assert set(phase.learns) == {"rgb_encoder", "pose_encoder", "pose_decoder", "rgb_decoder"}


def test_its_stage_is_the_row_s():
    assert tuple(spurr.STAGES) == PEERS["Spurr"].stages


def test_the_pose_decoder_tells_latents_apart_from_the_start():
    """Six layers with PyTorch's own start say the same of every latent, and pass no gradient on."""
    torch.manual_seed(0)
    z = torch.randn(64, spurr.LATENT, requires_grad=True)
    poses = spurr.PoseDecoder()(z)
    assert poses.std(0).mean() > 0.1
    assert torch.autograd.grad(poses.square().mean(), z)[0].norm() > 1e-2
