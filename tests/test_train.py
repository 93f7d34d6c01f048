import contextlib
import dataclasses
import functools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from handpose import geometry, losses, metrics, models, stages, train
from handpose.data.augment import warp
from handpose.data.shards import Shards
from handpose.experiments import PRESETS, Row
from handpose.models import VariationalMapper, sample
from handpose.stages import STAGES, Align, Disentangle, Networks, Refine, make_networks

PRESET = dataclasses.replace(PRESETS["smoke"], disentangle_epochs=3, align_frozen_epochs=1, align_epochs=2, refine_epochs=2)
BASELINE = Row()
D0 = Row(injection=True, disentangle=True, align=True)
D3 = Row(injection=True, disentangle=True, align=True, kcs=True, geo=True)


class SmallBackbone(nn.Module):
    """ResNet-18's place holder: convolutions in channels-last memory and batch statistics, in milliseconds."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Linear(16, 10)

    def forward(self, images):
        return self.fc(self.layers(self.conv1(images)))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The same networks, narrow: training takes a moment and a checkpoint little room."""
    monkeypatch.setattr(models, "resnet", SmallBackbone)
    for name in ("InjectionDecoder", "LinearDecoder", "PoseEncoder", "VariationalMapper", "LatentDiscriminator"):
        monkeypatch.setattr(stages, name, functools.partial(getattr(models, name), hidden=32))


def hands(count, seed=0):
    rng = np.random.default_rng(seed)
    poses = rng.normal(size=(count, 21, 3)).astype(np.float32)
    root = rng.normal(size=(count, 3)).astype(np.float32) * 50 + np.float32([0, 0, 600])
    scale = rng.uniform(25, 35, count).astype(np.float32)
    left = rng.random(count) < 0.5
    rotation = geometry.view_rotation(rng.uniform(0, 320, (count, 2)), np.array([[300.0, 0, 160], [0, 300, 160], [0, 0, 1]]))
    return Shards(
        crops=rng.integers(0, 256, (count, 46, 46, 3), np.uint8),
        pose=poses,
        rotation=rotation.astype(np.float32),
        root=root,
        scale=scale,
        left=left,
        visible=np.ones((count, 21), bool),
        frame=np.arange(count),
        target=geometry.restore_pose(poses, rotation, left, root, scale).astype(np.float32),
        fingerprint="random",
        skipped=(),
    )


TRAINING, EVALUATION = hands(70), hands(10, 1)


def new_stage(name="disentangle", row=D3, preset=PRESET, seed=0):
    torch.manual_seed(seed)
    return STAGES[name](Networks(row, aligned=name != "disentangle"), row, preset)


def run(stage, folder, seed=0):
    history = train.train(stage, TRAINING, EVALUATION, folder, seed, train.make_fabric(device="cpu"), progress=False)
    state = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    return state, history


def timeless(history):
    return [{key: value for key, value in record.items() if key not in ("seconds", "images_per_second")} for record in history]


def differing(first, second):
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


def parts(names):
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(("name", "row"), [("disentangle", BASELINE), ("disentangle", D3), ("align", D3), ("refine", D3)])
def test_the_same_seed_gives_the_same_weights(tmp_path, name, row):
    state, history = run(new_stage(name, row), tmp_path / "first")
    again, history_again = run(new_stage(name, row), tmp_path / "second")
    assert not differing(state, again)
    assert timeless(history) == timeless(history_again)


def test_another_seed_gives_other_draws(tmp_path):
    state, _ = run(new_stage(), tmp_path / "first", seed=0)
    other, _ = run(new_stage(), tmp_path / "second", seed=1)
    assert differing(state, other)


class Killed(BaseException):
    pass


def kill(monkeypatch, target, call):
    """Let ``target`` of the training loop raise at its ``call``-th call."""
    original, calls = getattr(train, target), []

    def deadly(*arguments, **options):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(train, target, deadly)


@pytest.mark.parametrize(
    ("name", "target", "call"),
    [
        ("disentangle", "_mean_error", 1),  # before anything was saved
        ("disentangle", "_save", 2),
        ("disentangle", "warp", 9),  # amid an epoch: evaluation warps too
        ("align", "_mean_error", 2),  # at a change of phase
        ("align", "_mean_error", 3),  # within a later phase
        ("refine", "_save", 2),
    ],
)
def test_an_interrupted_run_ends_as_an_undisturbed_one(tmp_path, monkeypatch, name, target, call):
    undisturbed, history = run(new_stage(name), tmp_path / "undisturbed")
    with monkeypatch.context() as patch:
        kill(patch, target, call)
        with pytest.raises(Killed):
            run(new_stage(name), tmp_path / "interrupted")
    torch.manual_seed(99)  # a new process has other random numbers, and other weights before it reads the checkpoint
    resumed, resumed_history = run(new_stage(name, seed=0 if call == 1 else 5), tmp_path / "interrupted")
    assert differing(undisturbed, resumed) == set()
    assert timeless(resumed_history) == timeless(history)


def test_the_scale_of_float16_is_kept_beside_the_weights(tmp_path):
    networks = new_stage().networks
    precision = SimpleNamespace(state_dict=lambda: {"scale": 3.0}, load_state_dict=lambda state: loaded.append(state))
    loaded: list = []
    train._save(tmp_path / "last", networks, torch.optim.Adam(networks.parameters()), (0, 1), [], precision)
    assert train._resume(tmp_path / "last", networks, precision)[0] == (0, 1) and loaded == [{"scale": 3.0}]


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    state, history = run(new_stage(), tmp_path)
    monkeypatch.setattr(train, "_mean_error", None)  # any epoch would need it
    again, history_again = run(new_stage(seed=1), tmp_path)
    assert not differing(state, again)
    assert history_again == history


def test_an_epoch_uses_every_full_batch_once(tmp_path, monkeypatch):
    seen = []

    def watch(crops, pose, *augmentation):
        if len(augmentation) == 4:  # training
            seen.append(pose)
        return warp(crops, pose, *augmentation)

    monkeypatch.setattr(train, "warp", watch)
    _, history = run(new_stage(preset=dataclasses.replace(PRESET, disentangle_epochs=2)), tmp_path)
    assert [len(batch) for batch in seen] == [32, 32, 32, 32]  # 70 hands, two batches an epoch
    assert [record["steps"] for record in history] == [2, 2]
    first, second = torch.cat(seen[:2]), torch.cat(seen[2:])
    assert len(first.unique(dim=0)) == len(second.unique(dim=0)) == 64
    assert not torch.equal(first, second)  # another order


def test_the_history_says_what_each_epoch_did(tmp_path):
    _, history = run(new_stage("align"), tmp_path)
    assert [record["phase"] for record in history] == ["align, encoders frozen"] + 2 * ["align, all finetuned"]
    assert [record["epoch"] for record in history] == [0, 0, 1]
    for record in history:
        assert {"mse_rgb", "kl_rgb", "mse_pose", "kl_pose", "mepe", "seconds", "images_per_second"} < record.keys()
        assert math.isfinite(record["mepe"])
    with safe_open(tmp_path / "last.safetensors", "pt") as file:
        assert json.loads(file.metadata()["record"])["history"] == history


def test_training_lowers_the_loss(tmp_path):
    _, history = run(new_stage(row=BASELINE, preset=dataclasses.replace(PRESET, disentangle_epochs=6)), tmp_path)
    assert history[-1]["mse_pose"] < history[0]["mse_pose"]


def test_frozen_encoders_keep_weights_and_batch_statistics(tmp_path):
    stage = new_stage("align", preset=dataclasses.replace(PRESET, align_epochs=0))
    before = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    after, _ = run(stage, tmp_path)
    assert parts(differing(before, after)) == {"rgb_mapper", "pose_mapper", "rgb_decoder"}
    assert "rgb_decoder.main.0.norm.running_mean" in differing(before, after)


def test_finetuning_changes_the_encoders_too(tmp_path):
    stage = new_stage("align", preset=dataclasses.replace(PRESET, align_frozen_epochs=0, align_epochs=1))
    before = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    after, _ = run(stage, tmp_path)
    changed = parts(differing(before, after))
    assert changed == {"rgb_encoder", "pose_encoder", "rgb_mapper", "pose_mapper", "rgb_decoder"}


def test_refinement_leaves_the_pose_side_alone(tmp_path):
    stage = new_stage("refine")
    before = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    after, _ = run(stage, tmp_path)
    assert parts(differing(before, after)) == {"rgb_encoder", "rgb_mapper", "rgb_decoder"}


def test_disentanglement_changes_every_network(tmp_path):
    stage = new_stage()
    before = {name: value.clone() for name, value in stage.networks.state_dict().items()}
    after, _ = run(stage, tmp_path)
    assert parts(differing(before, after)) == {name for name, _ in stage.networks.named_children()}


def test_everything_may_learn_again_when_a_stage_is_done(tmp_path):
    stage = new_stage("refine")
    run(stage, tmp_path)
    assert all(weight.requires_grad for weight in stage.networks.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_epoch(tmp_path, monkeypatch, value):
    run(new_stage(preset=dataclasses.replace(PRESET, disentangle_epochs=1)), tmp_path)
    good = (tmp_path / "last.safetensors").read_bytes()
    monkeypatch.setattr(losses, "mean_squared_error", lambda predicted, target: predicted.mean() * value)
    with pytest.raises(FloatingPointError, match="disentangle, epoch 2"):
        run(new_stage(), tmp_path)
    assert (tmp_path / "last.safetensors").read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_predictions_that_are_not_finite_after_an_epoch_stop_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "predict", lambda networks, shards, *_: np.full_like(shards.target, np.nan))
    with pytest.raises(FloatingPointError, match="predictions are no longer finite in disentangle, epoch 1"):
        run(new_stage(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_hand_is_too_few():
    with pytest.raises(ValueError, match="^1 hand to learn from: batch normalisation needs two"):
        train.train(new_stage(), hands(1), hands(2), None, 0, None)


def rates(folder, monkeypatch, preset):
    seen, adam = [], torch.optim.Adam

    class Watched(adam):
        def step(self, *arguments, **options):
            seen.append(self.param_groups[0]["lr"])
            return super().step(*arguments, **options)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    run(new_stage(row=BASELINE, preset=preset), folder)
    return seen


def test_the_learning_rate_is_constant_or_falls_along_a_cosine(tmp_path, monkeypatch):
    preset = dataclasses.replace(PRESET, disentangle_epochs=2)
    with monkeypatch.context() as patch:
        assert rates(tmp_path / "constant", patch, preset) == [1e-3] * 4
    expected = [1e-3 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    falling = rates(tmp_path / "falling", monkeypatch, dataclasses.replace(preset, decay=True))
    assert falling == pytest.approx(expected)


def test_epoch_seeds_differ():
    seeds = {train.epoch_seed(seed, phase, epoch) for seed in range(4) for phase in range(3) for epoch in range(20)}
    assert len(seeds) == 240
    assert train.epoch_seed(1, 0, 2) == train.epoch_seed(1, 0, 2)


class KnowsThePose(nn.Module):
    """Reads the number of a hand off its picture and gives its pose."""

    def __init__(self, pose):
        super().__init__()
        self.pose = torch.from_numpy(pose)

    def forward(self, images):
        numbers = (images[:, 0].mean((1, 2)) * 0.229 + 0.485) * 255
        return self.pose[numbers.round().long()]


@pytest.mark.parametrize("batch", [3, 10, 256])
def test_prediction_leads_back_to_the_camera_frame(batch):
    crops = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None, None], (10, 46, 46, 3))
    shards = dataclasses.replace(EVALUATION, crops=crops)
    predicted = train.predict(KnowsThePose(shards.pose), shards, 32, train.make_fabric(device="cpu"), batch)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, shards.target, atol=1e-2)


def test_prediction_uses_neither_batch_statistics_nor_draws():
    networks = Networks(D3).train()
    fabric = train.make_fabric(device="cpu")
    together = train.predict(networks, EVALUATION, 32, fabric)
    assert not networks.training
    np.testing.assert_allclose(train.predict(networks.train(), EVALUATION, 32, fabric, batch=1), together, atol=1e-2)


def test_a_missing_gpu_is_said_plainly(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match='device="cpu"'):
        train.make_fabric(device="cuda")


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_precision_asks_the_hardware(monkeypatch, native, precision):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    for device in ("cpu", "cuda"):
        assert train.choose_precision("auto", torch.device(device)) == precision
    assert train.choose_precision("16-mixed", torch.device("cpu")) == "16-mixed"


# What a batch costs in each stage


def batch(count=8):
    return warp(torch.from_numpy(TRAINING.crops[:count]), torch.from_numpy(TRAINING.pose[:count]), 32)


def gradient_reaches(term, module):
    gradients = torch.autograd.grad(term, list(module.parameters()), retain_graph=True, allow_unused=True)
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)


def test_encoder_and_discriminator_learn_from_their_own_terms():
    stage = new_stage()
    terms, net = stage(batch(), 0), stage.networks
    assert gradient_reaches(terms["generator"], net.rgb_encoder)
    assert not gradient_reaches(terms["generator"], net.discriminator)
    assert not gradient_reaches(terms["generator"], net.pose_encoder)
    assert gradient_reaches(terms["discriminator"], net.discriminator)
    assert not gradient_reaches(terms["discriminator"], net.rgb_encoder)
    assert not gradient_reaches(terms["discriminator"], net.pose_encoder)


def test_the_adversary_sees_pose_latents_only():
    stage = new_stage()
    latent = tuple(torch.randn(8, 128, requires_grad=True) for _ in range(2))
    terms = stage.cost(latent, batch().pose, 0)
    for name in ("generator", "mse_rgb"):
        (gradient,) = torch.autograd.grad(terms[name], latent[0], retain_graph=True)
        assert gradient[:, :64].any()
        assert not gradient[:, 64:].any()
    (gradient,) = torch.autograd.grad(terms["kl_rgb"], latent[0])
    assert gradient[:, 64:].any()  # context is kept near the prior too


def test_the_two_adversaries_pull_the_latents_apart():
    stage = new_stage()
    latent = tuple(torch.zeros(8, 128, requires_grad=True) for _ in range(2))
    torch.manual_seed(0)
    terms = stage.cost(latent, batch().pose, 0)
    (push,) = torch.autograd.grad(terms["generator"], latent[0])
    torch.manual_seed(0)
    z = sample(torch.zeros(8, 64), torch.zeros(8, 64))
    with torch.no_grad():
        before = stage.networks.discriminator(z).mean()
        after = stage.networks.discriminator(z - 1e3 * push[:, :64]).mean()
    assert after > before  # a step against the gradient looks more like a true pose


@pytest.mark.parametrize("row", [BASELINE, D3])
def test_stage_1_costs_eqs_1_to_4(row):
    stage = new_stage(row=row)
    net, pose = stage.networks.eval(), batch().pose
    latent = torch.randn(8, 128), torch.randn(8, 128)
    torch.manual_seed(0)
    terms = stage.cost(latent, pose, 0)
    torch.manual_seed(0)
    z_rgb = sample(*net.pose_part(latent))
    true = net.pose_encoder(pose)
    z_true = sample(*true)
    expected = {
        "mse_rgb": (net.rgb_decoder(z_rgb) - pose).square().mean(),
        "kl_rgb": 1e-5 * losses.kl_divergence(*latent),
        "mse_pose": (net.pose_decoder(z_true) - pose).square().mean(),
        "kl_pose": 1e-5 * losses.kl_divergence(*true),
    }
    if row.disentangle:
        rgb, real = net.discriminator(z_rgb), net.discriminator(z_true)
        expected["generator"] = 1e-2 * losses.generator_loss(rgb)
        expected["discriminator"] = losses.discriminator_loss(rgb, real)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name], msg=name)


@pytest.mark.parametrize("row", [D0, Row(injection=True, align=True)])
def test_stage_2_costs_eqs_5_to_7(row):
    stage = new_stage("align", row)
    net, pose = stage.networks.eval(), batch().pose
    latent = torch.randn(8, 128), torch.randn(8, 128)
    torch.manual_seed(0)
    terms = stage.cost(latent, pose, 0)
    torch.manual_seed(0)
    rgb, true = net.rgb_mapper(*net.pose_part(latent)), net.pose_mapper(*net.pose_encoder(pose))
    expected = {
        "mse_rgb": (net.rgb_decoder(sample(*rgb)) - pose).square().mean(),
        "kl_rgb": 1e-5 * losses.kl_divergence(*rgb),
        "mse_pose": 1e-2 * (net.rgb_decoder(sample(*true)) - pose).square().mean(),
        "kl_pose": 1e-7 * losses.kl_divergence(*true),
    }
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name], msg=name)


@pytest.mark.parametrize(("kcs", "geo", "q"), [(True, True, [1, 0, 1, 0, 1]), (True, False, [1] * 5), (False, True, [0] * 5)])
def test_stage_3_alternates_between_its_two_losses(kcs, geo, q):
    row = dataclasses.replace(D0, kcs=kcs, geo=geo)
    stage = new_stage("refine", row)
    net, pose = stage.networks.eval(), batch().pose
    latent = torch.randn(8, 128), torch.randn(8, 128)
    for step, q_now in enumerate(q):
        torch.manual_seed(step)
        terms = stage.cost(latent, pose, step)
        torch.manual_seed(step)
        predicted = net.rgb_decoder(sample(*net.aligned(latent)))
        expected = {"mse_rgb": (predicted - pose).square().mean()}
        if q_now:
            expected["kcs"] = 1e-2 * losses.kcs_loss(predicted, pose)
        else:
            expected["geo"] = 1e-6 * losses.geometrical_loss(predicted, pose)
        assert terms.keys() == expected.keys()
        for name, term in terms.items():
            torch.testing.assert_close(term, expected[name], msg=name)


def test_stages_state_the_epochs_of_their_preset():
    def epochs(stage):
        return [phase.epochs for phase in stage.phases()]

    networks = Networks(D3)
    assert epochs(Disentangle(networks, D3, PRESET)) == [3]
    assert epochs(Align(networks, D3, PRESET)) == [1, 2]
    assert epochs(Refine(networks, D3, PRESET)) == [2]


@pytest.mark.parametrize("name", STAGES)
def test_a_phase_names_networks_that_exist(name):
    stage = new_stage(name)
    existing = {child for child, _ in stage.networks.named_children()}
    for phase in stage.phases():
        assert set(phase.learns) <= existing
        assert len(set(phase.learns)) == len(phase.learns)


@pytest.mark.parametrize(("batches", "calls"), [("own", [6, 6]), ("joint", [12])])
def test_the_shared_decoder_takes_the_latents_as_the_preset_says(batches, calls):
    networks, seen = Networks(D0), []
    stage = Align(networks, D0, dataclasses.replace(PRESET, alignment_batches=batches))
    networks.rgb_decoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    terms = stage.cost((torch.randn(6, 128), torch.randn(6, 128)), torch.randn(6, 21, 3), 0)
    assert seen == calls
    sum(terms.values()).backward()
    assert all(weight.grad.any() for weight in networks.pose_mapper.parameters())


def test_the_shared_decoder_keeps_the_statistics_of_the_pictures_alone():
    """What it evaluates by: those of the true poses' latents, however far away, leave no trace, but their weights learn."""
    networks, twin = Networks(D0), Networks(D0)
    twin.load_state_dict(networks.state_dict())
    stage, from_rgb, far = Align(networks, D0, PRESET), torch.randn(6, 64), 100 + torch.randn(6, 64)
    mine, theirs = stage.decoded(from_rgb, far)
    torch.testing.assert_close(mine, twin.rgb_decoder(from_rgb))
    assert not differing(networks.rgb_decoder.state_dict(), twin.rgb_decoder.state_dict())
    torch.testing.assert_close(theirs, twin.rgb_decoder(far))  # by its own statistics
    theirs.sum().backward()
    assert all(block.linear.weight.grad.any() for block in networks.rgb_decoder.main)


@pytest.mark.parametrize("decay", [False, True])
def test_the_discriminator_learns_at_its_share_of_the_rate(tmp_path, monkeypatch, decay):
    rates, step = [], torch.optim.Adam.step

    def watched(self, *arguments, **options):
        rates.append([(group["lr"], {id(weight) for weight in group["params"]}) for group in self.param_groups])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    stage = new_stage(preset=dataclasses.replace(PRESET, discriminator_rate=0.25, disentangle_epochs=2, decay=decay))
    run(stage, tmp_path)
    (first, learning), (shared, slow) = rates[0]
    assert first == PRESET.learning_rate and slow == {id(weight) for weight in stage.networks.discriminator.parameters()}
    assert learning | slow == {id(weight) for weight in stage.networks.parameters()}
    assert all(now[1][0] == pytest.approx(now[0][0] / 4) for now in rates)
    assert (len({now[0][0] for now in rates}) > 1) == decay
    rates.clear()
    run(new_stage(row=BASELINE), tmp_path / "without")
    assert {len(now) for now in rates} == {1}


def test_a_mapper_starts_with_the_variance_of_the_preset():
    latent = torch.randn(64, 64), torch.full((64, 64), -20.0)
    for variance in (1e-4, 1e-2):
        networks = make_networks("align", D0, dataclasses.replace(PRESET, mapper_variance=variance, weights=None), 0)
        for mapper in (networks.rgb_mapper, networks.pose_mapper):
            assert mapper(*latent)[1].exp().mean().item() == pytest.approx(variance, rel=0.2)
    with pytest.raises(ValueError, match="must be above 0"):
        VariationalMapper(variance=0.0)


def test_the_warm_up_learns_x_and_y_and_predicts_no_depth():
    networks = make_networks("warmup", D3, PRESET, 0)
    stage, now = STAGES["warmup"](networks, D3, PRESET), batch()
    predicted = networks(now.images)
    assert predicted.shape == now.pose.shape and not predicted[..., 2].any()
    (name, term), = stage(now, 0).items()
    assert name == "mse_xy"
    torch.testing.assert_close(term, (predicted[..., :2] - now.pose[..., :2]).square().mean())


def test_a_warm_up_is_trained_resumed_and_handed_on(tmp_path):
    networks = make_networks("warmup", D3, PRESET, 0)
    stage = STAGES["warmup"](networks, D3, dataclasses.replace(PRESET, warmup_epochs=2))
    state, history = run(stage, tmp_path)
    assert [record["gradients"] for record in history] == [{}, {}]
    first = make_networks("disentangle", D3, PRESET, 1, state)
    assert torch.equal(first.rgb_encoder.backbone.conv1.weight, state["rgb_encoder.backbone.conv1.weight"])


def test_the_history_holds_the_gradients_of_the_watched_layers(tmp_path):
    _, history = run(new_stage(), tmp_path)
    names = ["backbone, first layer", *[f"decoder layer {layer}" for layer in (1, 2, 3, 4)]]
    assert all(list(record["gradients"]) == names for record in history)
    assert all(value > 0 for record in history for value in record["gradients"].values())


def test_the_decoder_of_table_2_can_read_both_parts():
    row = dataclasses.replace(D3, align=False, kcs=False, geo=False, concat=True)
    stage = new_stage(row=row)
    assert stage.networks.latent == 128 and stage.networks.rgb_decoder.inject[0].linear.in_features == 128
    seen = []
    stage.networks.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[1]))
    stage(batch(), 0)
    assert set(seen) == {64}  # the adversary still sees the pose part alone


def test_a_control_goes_on_with_its_last_stage():
    further = new_stage("further", dataclasses.replace(D3, align=False, kcs=False, geo=False))
    assert [phase.epochs for phase in further.phases()] == [PRESET.align_frozen_epochs + PRESET.align_epochs]
    assert [phase.learning_rate for phase in further.phases()] == [PRESET.finetuning_rate]
    onward = new_stage("onward", dataclasses.replace(D3, align=False, kcs=False, geo=False))
    assert [phase.epochs for phase in onward.phases()] == [PRESET.refine_epochs] and onward.networks.rgb_mapper is None
    plain = new_stage("refine", D0)
    assert plain(batch(), 0).keys() == plain(batch(), 1).keys() == {"mse_rgb"}


def test_both_losses_at_once_are_a_choice():
    stage = new_stage("refine", D3, dataclasses.replace(PRESET, alternate=False))
    assert stage.q(0) == stage.q(1) == 0.5
    assert stage(batch(), 0).keys() == {"mse_rgb", "kcs", "geo"}


def test_a_mapper_may_read_the_mean():
    mean, log_variance = torch.randn(2, 5, 64)
    for reads, same in (("mean", True), ("sample", False)):
        mapper = VariationalMapper(reads=reads).train()
        assert torch.equal(mapper(mean, log_variance)[0], mapper(mean, log_variance)[0]) == same
    with pytest.raises(ValueError, match="a mapper reads"):
        VariationalMapper(reads="both")


def test_pictures_move_as_the_preset_says(tmp_path, monkeypatch):
    motions = []

    def watch(crops, pose, size, *motion):
        if motion:
            motions.append(motion)
        return warp(crops, pose, size, *motion)

    monkeypatch.setattr(train, "warp", watch)
    run(new_stage(preset=dataclasses.replace(PRESET, disentangle_epochs=1, max_rotation=10.0, flip_probability=0.0)), tmp_path)
    angles, flips = (torch.cat([motion[part] for motion in motions]) for part in (0, 1))
    assert 0.1 < angles.abs().max() <= math.radians(10) + 1e-6 and not flips.any()


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_each_picture_comes_with_its_own_pose(monkeypatch, kind):
    """On a GPU the pictures are gathered in other memory than on a processor; here the memory isn't pinned, and one stream is all there is."""
    count = len(TRAINING)
    numbers = np.arange(count, dtype=np.uint8)[:, None, None, None]
    shards = dataclasses.replace(TRAINING, crops=np.broadcast_to(numbers, TRAINING.crops.shape).copy())
    orders = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:64].view(2, 32)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory=False, **options: empty(*size, **options))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    sent, waited = [], []
    stream = SimpleNamespace(record_event=lambda: sent.append(None) or len(sent), wait_event=waited.append)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    device, seen = torch.device("cpu"), []
    if kind == "cuda":  # which tensors can't be sent to here
        monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: tensor)
        device = SimpleNamespace(type=kind)
    fabric = SimpleNamespace(device=device)
    for crops, pose, rows in train._batches(shards, orders, fabric):
        crops = crops if rows is None else crops[rows]
        seen.append(crops[:, 0, 0, 0].long())
        np.testing.assert_array_equal(pose.numpy(), shards.pose[seen[-1].numpy()])
    assert [set(one.tolist()) for one in seen] == [set(order.tolist()) for order in orders]
    assert sorted(waited) == ([1, 2] if kind == "cuda" else [])  # no batch is used before it has arrived


def test_the_error_of_an_epoch_is_about_the_root(tmp_path):
    stage, fabric = new_stage(preset=dataclasses.replace(PRESET, disentangle_epochs=1)), train.make_fabric(device="cpu")
    errors = {}
    for root in ("palm", "wrist"):
        (epoch,) = train.train(stage, TRAINING, EVALUATION, tmp_path / root, 0, fabric, False, root=root)
        predicted = train.predict(stage.networks, EVALUATION, 32, fabric)
        errors[root] = epoch["mepe"]
        assert epoch["mepe"] == pytest.approx(metrics.mepe(predicted, EVALUATION.target, root=root), abs=1e-3)
    assert abs(errors["palm"] - errors["wrist"]) > 0.1


def test_rates_of_the_later_stages():
    """New networks learn at the full rate, those that have been trained before at the lower one."""
    assert [phase.learning_rate for phase in new_stage("align").phases()] == [PRESET.learning_rate, PRESET.finetuning_rate]
    assert [phase.learning_rate for phase in new_stage("refine").phases()] == [PRESET.finetuning_rate]
    assert PRESET.finetuning_rate < PRESET.learning_rate
