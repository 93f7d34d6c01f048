import pytest
import torch

from handpose import experiments
from handpose.models import POSE_LATENT
from handpose.peers import gu, parts
from tests.gradients import reached

LEARNING = {
    "autoencoders": {"rgb_encoder", "picture_decoder", "pose_encoder", "pose_decoder", "discriminator"},
    "translators": {"rgb_encoder", "pose_decoder", "to_pose", "to_picture"},
}
SMOKE = experiments.PRESETS["smoke"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def batch():
    """Images, poses and (unused) picture coordinates of four hands."""
    return torch.randn(4, 3, 32, 32), torch.randn(4, 21, 3), torch.randn(4, 21, 3)


def learns(networks, names):
    """As the loop sets a phase: who learns, and who is in training mode."""
    for name, child in networks.named_children():
        child.requires_grad_(name in names).train(name in names)


@pytest.mark.parametrize(("side", "drawn"), [(32, 16), (64, 32), (256, 128), (72, 32)])
def test_the_decoder_draws_what_it_is_held_against(side, drawn):
    assert gu.PictureDecoder()(torch.randn(2, 128), side).shape == (2, 3, drawn, drawn)
    assert gu.small(torch.randn(2, 3, side, side)).shape == (2, 3, drawn, drawn)


def test_the_small_picture_is_the_mean_of_its_pixels():
    images = torch.arange(32.0).expand(1, 3, 32, 32)
    torch.testing.assert_close(gu.small(images)[0, 0, 0], torch.arange(16) * 2 + 0.5)


def test_a_translation_leaves_the_pose_specific_part():
    z = torch.randn(4, 128)
    both = gu.translated(z, lambda context: context + 1)
    torch.testing.assert_close(both[:, :POSE_LATENT], z[:, :POSE_LATENT])
    torch.testing.assert_close(both[:, POSE_LATENT:], z[:, POSE_LATENT:] + 1)


def test_before_it_is_trained_a_translator_gives_the_priors_mean(batch):
    networks = gu.NETWORKS().eval()
    assert not networks.to_pose(torch.randn(4, 64)).any()
    pose_part = networks.encode(batch[0])[0][:, :POSE_LATENT]
    torch.testing.assert_close(networks(batch[0]), networks.pose_decoder(torch.nn.functional.pad(pose_part, (0, 64))))


def test_a_pose_for_every_picture_depends_on_both_parts(batch):
    networks = gu.NETWORKS().eval()
    torch.nn.init.normal_(networks.to_pose.layers[-1].weight)
    pose = networks(batch[0])
    assert pose.shape == (4, 21, 3)
    with torch.no_grad():
        networks.rgb_encoder.head.weight[POSE_LATENT:128] += 1  # the context's mean
    assert not torch.allclose(networks(batch[0]), pose)


class Sure(torch.nn.Module):
    """Calls a latent by the sign of its first number, and is sure of it."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, z):
        return self.gain * z[:, :1]


def test_the_two_sides_of_the_adversary_have_opposite_labels():
    low, high = -torch.ones(4, 64), torch.ones(4, 64)

    def sides(z_rgb, z_true):
        return tuple(side.item() for side in gu.adversary(Sure(), z_rgb, z_true))

    fool, tell = sides(low, high)  # told right: pictures 0, poses 1
    assert tell < 1e-6 and fool == pytest.approx(20)
    fool, tell = sides(high, low)
    assert fool < 1e-6 and tell == pytest.approx(20)
    for same in (low, high):  # each modality counts half on both sides
        assert sides(same, same) == pytest.approx((10, 10))


def test_each_side_of_the_adversary_learns_from_its_own_term_alone():
    discriminator = gu.LatentDiscriminator()
    z_rgb, z_true = (torch.randn(4, 64, requires_grad=True) for _ in range(2))
    fool, tell = gu.adversary(discriminator, z_rgb, z_true)
    fool.backward()
    assert z_rgb.grad.any() and z_true.grad.any()
    assert all(weight.grad is None for weight in discriminator.parameters())
    z_rgb.grad = z_true.grad = None
    tell.backward()
    assert z_rgb.grad is None and z_true.grad is None
    assert all(weight.grad.any() for weight in discriminator.parameters())


def test_which_networks_each_term_of_the_autoencoders_moves(batch):
    networks = gu.NETWORKS()
    terms = gu.Autoencoders(networks, SMOKE).cost(*batch, 0)
    assert {name: reached(networks, term) for name, term in terms.items()} == {
        "mse_picture": {"rgb_encoder", "picture_decoder"},
        "kl_rgb": {"rgb_encoder"},
        "mse_pose": {"rgb_encoder", "pose_encoder", "pose_decoder"},  # both latents are normalised in one batch
        "kl_pose": {"pose_encoder"},
        "mse_paired": {"rgb_encoder", "pose_encoder", "pose_decoder"},
        "encoders": {"rgb_encoder", "pose_encoder"},
        "discriminator": {"discriminator"},
    }


def test_which_networks_each_term_of_the_translators_moves(batch):
    networks = gu.NETWORKS()
    for translator in (networks.to_pose, networks.to_picture):
        torch.nn.init.normal_(translator.layers[-1].weight)  # at zero it lets no gradient through
    learns(networks, LEARNING["translators"])
    terms = gu.Translators(networks, SMOKE).cost(*batch, 0)
    assert {name: reached(networks, term) for name, term in terms.items()} == {
        "mse_translated": {"rgb_encoder", "pose_decoder", "to_pose"},
        "kl_rgb": {"rgb_encoder"},
        "mse_picture": {"to_picture"},
    }


@pytest.mark.parametrize("preset", experiments.PRESETS.values(), ids=experiments.PRESETS)
def test_all_stages_together_have_row_d3s_epochs(preset):
    networks = gu.NETWORKS()
    stages = {name: make(networks, preset) for name, make in gu.STAGES.items()}
    assert tuple(stages) == experiments.PEERS["Gu"].stages
    lengths = [phase.epochs for stage in stages.values() for phase in stage.phases()]
    assert sum(lengths) == parts.budget(preset) == sum(stage.epochs() for stage in stages.values())
    assert min(lengths) >= 1
    assert {name: {part for phase in stage.phases() for part in phase.learns} for name, stage in stages.items()} == LEARNING


@pytest.mark.parametrize("stage", gu.STAGES)
def test_a_few_steps_lower_the_loss(stage, batch):
    networks = gu.NETWORKS()
    model = gu.STAGES[stage](networks, SMOKE)
    learns(networks, LEARNING[stage])
    optimizer = torch.optim.Adam([weight for weight in networks.parameters() if weight.requires_grad], 1e-3)
    costs = []
    for step in range(6):
        terms = model.cost(*batch, step)
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        costs.append(sum(value.item() for name, value in terms.items() if name.startswith("mse")))
    assert costs[-1] < 0.9 * costs[0]


def test_the_pose_decoder_learns_without_the_pictures_context(batch):
    networks, read = gu.NETWORKS(), []
    networks.pose_decoder.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0].detach()))
    gu.Autoencoders(networks, SMOKE).cost(*batch, 0)
    (latent,) = read
    rgb, true = latent.chunk(2)
    assert not rgb[:, POSE_LATENT:].any() and rgb[:, :POSE_LATENT].any() and true[:, POSE_LATENT:].any()


def test_rates_of_the_translators():
    phases = gu.STAGES["translators"](gu.NETWORKS(), SMOKE).phases()
    assert [phase.learning_rate for phase in phases] == [SMOKE.learning_rate, SMOKE.finetuning_rate]
