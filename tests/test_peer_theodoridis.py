import pytest
import torch

from handpose import experiments
from handpose.losses import kl_divergence
from handpose.peers import make_networks, parts, theodoridis
from tests.gradients import reached

LEARNING = {"apart": {"rgb_encoder", "rgb_decoder", "pose_encoder", "pose_decoder"}, "mapping": {"rgb_encoder", "mapper", "pose_decoder"}}
SMOKE = experiments.PRESETS["smoke"]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def batch():
    """Images, poses and (unused) picture coordinates of four hands."""
    return torch.randn(4, 3, 32, 32), torch.randn(4, 21, 3), torch.randn(4, 21, 3)


def test_a_pose_for_every_picture_by_either_way(batch):
    networks = theodoridis.NETWORKS().eval()
    apart = networks(batch[0])
    theodoridis.Mapping(networks, SMOKE)
    mapped = networks(batch[0])
    assert apart.shape == mapped.shape == (4, 21, 3)
    latent = networks.encode(batch[0])
    torch.testing.assert_close(apart, networks.rgb_decoder(latent[0]))
    torch.testing.assert_close(mapped, networks.pose_decoder(networks.mapper(*latent)[0]))


def test_the_way_is_kept_with_the_weights(batch):
    networks = theodoridis.NETWORKS()
    theodoridis.Mapping(networks, SMOKE)
    again = make_networks("theodoridis", SMOKE, 1, networks.state_dict())
    assert again.mapped
    torch.testing.assert_close(again.eval()(batch[0]), networks.eval()(batch[0]))


def test_divergence_between_latents():
    mean, log_variance = torch.randn(3, 5), torch.randn(3, 5)
    prior = torch.zeros(3, 5), torch.zeros(3, 5)
    torch.testing.assert_close(theodoridis.divergence((mean, log_variance), prior), kl_divergence(mean, log_variance))
    assert theodoridis.divergence((mean, log_variance), (mean, log_variance)) == pytest.approx(0, abs=1e-6)
    # KL(N(1, 1) || N(0, 4)) = ln 2 + (1 + 1) / 8 - 1/2
    one, two = (torch.ones(1, 1), torch.zeros(1, 1)), (torch.zeros(1, 1), torch.full((1, 1), 4.0).log())
    assert theodoridis.divergence(one, two) == pytest.approx(0.6931472 + 0.25 - 0.5)


def test_the_autoencoders_share_no_term(batch):
    networks = theodoridis.NETWORKS()
    terms = theodoridis.Apart(networks, SMOKE).cost(*batch, 0)
    assert {name: reached(networks, term) for name, term in terms.items()} == {
        "mse_rgb": {"rgb_encoder", "rgb_decoder"},
        "kl_rgb": {"rgb_encoder"},
        "mse_pose": {"pose_encoder", "pose_decoder"},
        "kl_pose": {"pose_encoder"},
    }


def test_mapping_reaches_from_the_picture_to_the_pose_decoder(batch):
    networks = theodoridis.NETWORKS()
    networks.pose_encoder.requires_grad_(False)  # as the loop does: no phase has it learn
    terms = theodoridis.Mapping(networks, SMOKE).cost(*batch, 0)
    assert {name: reached(networks, term) for name, term in terms.items()} == {
        "mse_mapped": {"rgb_encoder", "mapper", "pose_decoder"},
        "kl_mapped": {"rgb_encoder", "mapper"},
    }


@pytest.mark.parametrize("preset", experiments.PRESETS.values(), ids=experiments.PRESETS)
def test_all_stages_together_have_row_d3s_epochs(preset):
    networks = theodoridis.NETWORKS()
    stages = {name: make(networks, preset) for name, make in theodoridis.STAGES.items()}
    assert tuple(stages) == experiments.PEERS["Theodoridis"].stages
    lengths = [phase.epochs for stage in stages.values() for phase in stage.phases()]
    assert sum(lengths) == parts.budget(preset) == sum(stage.epochs() for stage in stages.values())
    assert min(lengths) >= 1
    assert {name: {part for phase in stage.phases() for part in phase.learns} for name, stage in stages.items()} == LEARNING


@pytest.mark.parametrize("stage", theodoridis.STAGES)
def test_a_few_steps_lower_the_loss(stage, batch):
    networks = theodoridis.NETWORKS()
    model = theodoridis.STAGES[stage](networks, SMOKE)
    for name, child in networks.named_children():
        child.requires_grad_(name in LEARNING[stage]).train(name in LEARNING[stage])
    optimizer = torch.optim.Adam([weight for weight in networks.parameters() if weight.requires_grad], 1e-3)
    costs = []
    for step in range(6):
        loss = sum(model.cost(*batch, step).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        costs.append(loss.item())
    assert costs[-1] < 0.9 * costs[0]


def test_the_mapped_latent_is_drawn_to_the_true_one(batch):
    networks = theodoridis.NETWORKS()
    stage = theodoridis.Mapping(networks, SMOKE)
    networks.eval()
    images, pose, picture = batch
    mapped, true = networks.mapper(*networks.encode(images)), networks.pose_encoder(pose)
    torch.testing.assert_close(stage.cost(images, pose, picture, 0)["kl_mapped"], SMOKE.beta * theodoridis.divergence(mapped, true))


def test_rates_of_the_mapping():
    phases = theodoridis.Mapping(theodoridis.NETWORKS(), SMOKE).phases()
    assert [phase.learning_rate for phase in phases] == [SMOKE.learning_rate, SMOKE.finetuning_rate]
