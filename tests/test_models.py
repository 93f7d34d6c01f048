from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

from handpose import models
from handpose.experiments import Row
from handpose.stages import Networks


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def used_for_a_while(module, width):
    """The module in evaluation mode, with batch statistics and affine parts that are no longer 0 and 1."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(norm.weight, 0.5, 2)
            torch.nn.init.normal_(norm.bias)
    for _ in range(5):
        module(3 * torch.randn(16, width) + 1)
    return module.eval()


def test_rgb_encoder_gives_mean_and_log_variance_of_128():
    mean, log_variance = models.RGBEncoder()(torch.randn(2, 3, 64, 64))
    assert mean.shape == log_variance.shape == (2, 128)
    assert not torch.equal(mean, log_variance)


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (4, 2), (5, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_small_map_convolution_is_a_convolution(side, stride, layout):
    small = models.SmallMapConv(5, 7, 3, stride, 1, bias=False).double().to(memory_format=layout)
    images = torch.randn(3, 5, side, side, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    usual = torch.nn.functional.conv2d(images, small.weight, stride=stride, padding=1)
    torch.testing.assert_close(small(images), usual)
    weights = torch.randn_like(usual)
    ours, theirs = (torch.autograd.grad((maps * weights).sum(), (images, small.weight)) for maps in (small(images), usual))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("side", [32, 64, 96])
def test_our_resnet_is_torchvisions(side):
    torch.manual_seed(1)
    ours = models.resnet().eval()
    torch.manual_seed(1)
    theirs = resnet18().eval()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    images = torch.randn(2, 3, side, side)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_no_usual_convolution_makes_a_small_map(monkeypatch):
    made, usual = [], torch.nn.Conv2d.forward

    def watched(self, images):
        made.append((self.kernel_size[0], usual(self, images).shape[-1]))
        return usual(self, images)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    models.resnet()(torch.randn(2, 3, 64, 64))
    assert made and min(side for kernel, side in made if kernel == 3) > 2


def test_pose_encoder_is_the_mlp_of_the_paper():
    encoder = models.PoseEncoder()
    mean, log_variance = encoder(torch.randn(5, 21, 3))
    assert mean.shape == log_variance.shape == (5, 64)
    widths = [layer.in_features for layer in encoder.modules() if isinstance(layer, torch.nn.Linear)]
    assert widths == [63, 512, 512, 512]


@pytest.mark.parametrize("decoder", [models.InjectionDecoder, models.LinearDecoder])
@pytest.mark.parametrize("latent", [64, 128])
def test_decoders_give_signed_poses(decoder, latent):
    pose = decoder(latent)(torch.randn(8, latent))
    assert pose.shape == (8, 21, 3)
    assert pose.min() < 0 < pose.max()  # eq. 19 as printed would end in a ReLU


def test_injection_decoder_is_eq_18():
    decoder = used_for_a_while(models.InjectionDecoder(latent=6, hidden=10, layers=3), 6)
    state = {name: value.double().numpy() for name, value in decoder.state_dict().items()}

    def term(block, x):
        """relu(bn(W x)) in evaluation mode."""
        x = x @ state[f"{block}.linear.weight"].T
        x = (x - state[f"{block}.norm.running_mean"]) / np.sqrt(state[f"{block}.norm.running_var"] + 1e-5)
        return np.maximum(x * state[f"{block}.norm.weight"] + state[f"{block}.norm.bias"], 0)

    z = torch.randn(4, 6)
    y = z.double().numpy()
    for i in range(3):
        y = term(f"main.{i}", y) + term(f"inject.{i}", z.double().numpy())
    expected = (y @ state["out.weight"].T + state["out.bias"]).reshape(4, 21, 3)
    np.testing.assert_allclose(decoder(z).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_linear_decoder_is_the_injection_decoder_without_injection():
    injection = used_for_a_while(models.InjectionDecoder(latent=6, hidden=10, layers=3), 6)
    linear = models.LinearDecoder(latent=6, hidden=10, layers=3).eval()
    missing = linear.load_state_dict(injection.state_dict(), strict=False)
    assert not missing.missing_keys  # as deep and as wide
    assert all(name.startswith("inject.") for name in missing.unexpected_keys)
    with torch.no_grad():
        for block in injection.inject:  # a silent injection: relu(0)
            block.norm.weight.zero_()
            block.norm.bias.zero_()
    z = torch.randn(4, 6)
    torch.testing.assert_close(linear(z), injection(z))


def test_decoders_are_equally_deep_and_wide_by_default():
    injection, linear = models.InjectionDecoder(), models.LinearDecoder()
    assert [m.linear.weight.shape for m in injection.main] == [m.linear.weight.shape for m in linear.main]
    assert injection.out.weight.shape == linear.out.weight.shape
    assert len(injection.inject) == len(injection.main)


def test_mapper_draws_while_it_learns_and_takes_the_mean_after():
    mapper = models.VariationalMapper(inputs=64, outputs=128)
    latent = torch.randn(3, 64), torch.zeros(3, 64)
    mean, log_variance = mapper.train()(*latent)
    assert mean.shape == log_variance.shape == (3, 128)
    assert not torch.equal(mapper(*latent)[0], mean)
    mapper.eval()
    torch.testing.assert_close(mapper(*latent), mapper(*latent), rtol=0, atol=0)
    wide = latent[0], torch.full((3, 64), 5.0)
    torch.testing.assert_close(mapper(*wide), mapper(*latent), rtol=0, atol=0)  # the mean alone counts


def test_discriminator_gives_one_logit():
    logits = models.LatentDiscriminator()(torch.randn(64, 64))
    assert logits.shape == (64, 1)
    assert logits.min() < 0 or logits.max() > 1  # no probabilities


def test_sample_has_the_mean_and_the_variance_asked_for():
    mean, log_variance = torch.tensor([1.0, -3.0]), torch.log(torch.tensor([4.0, 0.25]))
    draws = models.sample(mean.expand(200_000, 2), log_variance.expand(200_000, 2))
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(draws.var(0), torch.tensor([4.0, 0.25]), rtol=0.03, atol=0)


def test_sample_lets_gradients_through_to_both_parts():
    mean, log_variance = torch.zeros(4, 2, requires_grad=True), torch.zeros(4, 2, requires_grad=True)
    models.sample(mean, log_variance).square().sum().backward()
    assert (mean.grad != 0).all()
    assert (log_variance.grad != 0).all()


def test_log_variance_stays_where_half_precision_can_hold_its_exponential():
    encoder = models.PoseEncoder()
    _, log_variance = encoder(1e6 * torch.randn(2, 21, 3))
    assert torch.isfinite(log_variance.exp()).all()
    assert log_variance.half().exp().isfinite().all()


def test_missing_weights_say_what_to_do(tmp_path):
    path = tmp_path / "absent.safetensors"
    with pytest.raises(ValueError, match="None to train from scratch") as caught:
        models.RGBEncoder(weights=path)
    assert str(path) in str(caught.value)


def test_weights_that_are_no_safetensors_say_what_to_do(tmp_path):
    path = tmp_path / "page.safetensors"
    path.write_text("<html>")
    with pytest.raises(ValueError, match="None to train from scratch"):
        models.RGBEncoder(weights=path)


def test_imagenet_weights_that_cannot_be_fetched_say_what_to_do(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", unreachable)
    with pytest.raises(ValueError, match="imagenet.*no route.*safetensors"):
        models.RGBEncoder(weights="imagenet")


def test_local_weights_are_loaded_without_their_classifier(tmp_path):
    state = resnet18().state_dict()
    save_file(state, tmp_path / "resnet18.safetensors")
    encoder = models.RGBEncoder(weights=tmp_path / "resnet18.safetensors")
    loaded = encoder.backbone.state_dict()
    assert loaded.keys() == {name for name in state if not name.startswith("fc.")}
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())


BASELINE = Row()
A = Row(injection=True)
B = Row(injection=True, disentangle=True)
C = Row(injection=True, align=True)
D0 = Row(injection=True, disentangle=True, align=True)


@pytest.mark.parametrize(("row", "width"), [(BASELINE, 128), (A, 128), (B, 64), (C, 128), (D0, 64)])
def test_the_decoder_reads_the_pose_part_or_the_whole_latent(row, width):
    networks = Networks(row)
    latent = torch.arange(128.0).expand(2, 128), -torch.arange(128.0).expand(2, 128)
    mean, log_variance = networks.pose_part(latent)
    torch.testing.assert_close(mean, latent[0][:, :width])  # pose first, context after
    torch.testing.assert_close(log_variance, latent[1][:, :width])
    assert networks.rgb_decoder.main[0].linear.in_features == width


@pytest.mark.parametrize("row", [BASELINE, A, B, C, D0])
def test_a_row_has_its_parts_and_no_others(row):
    networks = Networks(row)
    decoder = models.InjectionDecoder if row.injection else models.LinearDecoder
    assert type(networks.rgb_decoder) is type(networks.pose_decoder) is decoder
    assert hasattr(networks, "discriminator") == row.disentangle
    assert (networks.rgb_mapper is not None) == (networks.pose_mapper is not None) == row.align
    assert networks.pose_decoder.main[0].linear.in_features == 64


@pytest.mark.parametrize("row", [C, D0])
def test_both_mappers_lead_to_what_the_shared_decoder_reads(row):
    networks = Networks(row).eval()
    pose = networks.rgb_decoder(networks.pose_mapper(*networks.pose_encoder(torch.randn(2, 21, 3)))[0])
    assert pose.shape == (2, 21, 3)
    assert networks.aligned(networks.rgb_encoder(torch.randn(2, 3, 32, 32)))[0].shape == (2, networks.latent)


def test_stage_1_reads_the_latent_without_mappers():
    networks = Networks(D0, aligned=False)
    assert networks.rgb_mapper is None
    latent = torch.randn(2, 128), torch.randn(2, 128)
    torch.testing.assert_close(networks.aligned(latent), networks.pose_part(latent), rtol=0, atol=0)


@pytest.mark.parametrize("row", [BASELINE, D0])
def test_prediction_takes_the_mean_latent(row):
    networks = Networks(row).eval()
    images = torch.randn(2, 3, 64, 64)
    mean, _ = networks.aligned(networks.rgb_encoder(images))
    pose = networks(images)
    assert pose.shape == (2, 21, 3)
    torch.testing.assert_close(pose, networks.rgb_decoder(mean))
    torch.testing.assert_close(networks(images), pose, rtol=0, atol=0)


def test_context_does_not_reach_the_decoder():
    networks = Networks(D0).eval()
    latent = torch.randn(2, 2, 128)
    context, pose = latent.clone(), latent.clone()
    context[:, :, 64:] += 1
    pose[:, :, :64] += 1
    torch.testing.assert_close(networks.aligned(context), networks.aligned(latent), rtol=0, atol=0)
    assert not torch.equal(networks.aligned(pose)[0], networks.aligned(latent)[0])


def test_latents_start_with_a_small_variance_about_0():
    """Eq. 1's noise would drown the latents of a network that has learnt nothing."""
    head = models.PoseEncoder().layers[-1]
    assert (head.bias[64:] == -5).all() and head.bias[:64].abs().max() < 1
