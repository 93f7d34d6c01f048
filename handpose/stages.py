"""The three stages (section 3): the networks they share, and what a batch costs in each.

A stage is a module whose ``forward(batch, step)`` gives the terms to minimise; ``phases`` says which
networks learn for how many epochs. The training loop asks nothing else of it.
"""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.func import functional_call

from . import losses
from .models import (
    CONTEXT_LATENT,
    MAPPER_VARIANCE,
    POSE_LATENT,
    InjectionDecoder,
    LatentDiscriminator,
    LinearDecoder,
    PoseEncoder,
    RGBEncoder,
    VariationalMapper,
    sample,
)


@dataclass(frozen=True)
class Phase:
    """Networks of the set (by name) that learn together for ``epochs``; the others are frozen.

    ``shares``: those of them that learn at a share of the learning rate, {name: share}.
    """

    name: str
    epochs: int
    learning_rate: float
    learns: tuple
    shares: dict = field(default_factory=dict)


class Networks(nn.Module):
    """The set of networks that a row's stages share; parts that the row lacks are not there.

    With disentanglement the 128 latents of the picture are 64 of pose and 64 of context, and the decoder
    reads the pose part (or both, where the row says ``concat``); without it, one block of 128. ``aligned``
    False leaves the mappers out: stage 1. ``mapper_input`` and ``mapper_variance`` as in ``VariationalMapper``.
    """

    def __init__(self, row, aligned=True, weights=None, mapper_input="sample", mapper_variance=MAPPER_VARIANCE):
        super().__init__()
        decoder = InjectionDecoder if row.injection else LinearDecoder
        self.latent = POSE_LATENT if row.disentangle and not row.concat else POSE_LATENT + CONTEXT_LATENT
        self.rgb_encoder = RGBEncoder(weights=weights).to(memory_format=torch.channels_last)
        self.rgb_decoder = decoder(self.latent)
        self.pose_encoder = PoseEncoder()
        self.pose_decoder = decoder(POSE_LATENT)
        if row.disentangle:
            self.discriminator = LatentDiscriminator()
        self.rgb_mapper = self.pose_mapper = None
        if row.align and aligned:
            self.rgb_mapper = VariationalMapper(self.latent, self.latent, reads=mapper_input, variance=mapper_variance)
            self.pose_mapper = VariationalMapper(POSE_LATENT, self.latent, reads=mapper_input, variance=mapper_variance)

    @property
    def watched(self):
        """Weights whose gradients the training records: the backbone's first layer, the decoder's hidden layers."""
        layers = {f"decoder layer {number}": block.linear.weight for number, block in enumerate(self.rgb_decoder.main, 1)}  # type: ignore[union-attr]
        return {"backbone, first layer": self.rgb_encoder.backbone.conv1.weight} | layers

    def pose_part(self, latent):
        """What the decoder or T_RGB reads of a picture's latent: (mean, log-variance), each (B, 64) or (B, 128)."""
        return tuple(part[:, : self.latent] for part in latent)

    def aligned(self, latent):
        """The Gaussian that the shared decoder reads, from a picture's latent: the pose part, mapped from stage 2 on."""
        latent = self.pose_part(latent)
        return latent if self.rgb_mapper is None else self.rgb_mapper(*latent)

    def forward(self, images):
        """Predicted pose from the mean latent (section 4.2): (B, 3, S, S) -> (B, 21, 3), without unit."""
        latent = self.rgb_encoder(images)
        with _full_precision(images):
            return self.rgb_decoder(self.aligned([part.float() for part in latent])[0])


class Backbone(nn.Module):
    """What the warm-up trains: ResNet-18 with one linear layer to the x and y of 21 joints; z is predicted as 0."""

    def __init__(self):
        super().__init__()
        self.rgb_encoder = RGBEncoder().to(memory_format=torch.channels_last)
        self.rgb_encoder.head = nn.Linear(self.rgb_encoder.head.in_features, 42)
        self.watched = {}

    def forward(self, images):
        """(B, 3, S, S) -> (B, 21, 3), without unit."""
        features = self.rgb_encoder.backbone(images)
        with _full_precision(images):
            return nn.functional.pad(self.rgb_encoder.head(features.float()).unflatten(-1, (21, 2)), (0, 1))


def _full_precision(tensor):
    """Only the backbone gains from half precision; the losses need float32."""
    return torch.autocast(tensor.device.type, enabled=False)


class Stage(nn.Module):
    """A stage: its networks, its settings, and its cost. Subclasses give ``phases`` and ``cost``."""

    #: Steps after which what a step does begins again.
    cycle = 1

    def __init__(self, networks, row, preset):
        super().__init__()
        self.networks, self.row, self.preset = networks, row, preset

    def forward(self, batch, step):
        """Terms of this stage's objective on one batch: {name: scalar}, weighted; their sum is minimised."""
        latent = self.networks.rgb_encoder(batch.images)
        with _full_precision(batch.images):
            return self.cost(tuple(part.float() for part in latent), batch.pose, step)  # type: ignore[operator]


class Warmup(Stage):
    """Before stage 1, where ImageNet's weights can't be had: the backbone learns the joints' x and y, nothing of depth."""

    def phases(self):
        return (Phase("warm-up", self.preset.warmup_epochs, self.preset.learning_rate, ("rgb_encoder",)),)

    def forward(self, batch, step):
        predicted = self.networks(batch.images)
        return {"mse_xy": losses.mean_squared_error(predicted[..., :2], batch.pose[..., :2])}


class Disentangle(Stage):
    """Stage 1: RGB-to-pose and pose-to-pose VAE together, and the discriminator (eqs. 1-4)."""

    def phases(self):
        return (self.phase("disentangle", self.preset.disentangle_epochs, self.preset.learning_rate),)

    def phase(self, name, epochs, learning_rate):
        """All networks learn, the discriminator at its share of the rate: at the whole it wins, and tells the encoder nothing."""
        shares = {"discriminator": self.preset.discriminator_rate} if self.row.disentangle else {}
        return Phase(name, epochs, learning_rate, tuple(name for name, _ in self.networks.named_children()), shares)

    def cost(self, latent, pose, step):
        net, beta = self.networks, self.preset.beta
        z_rgb = sample(*net.pose_part(latent))
        true_latent = net.pose_encoder(pose)
        z_true = sample(*true_latent)
        terms = {
            "mse_rgb": losses.mean_squared_error(net.rgb_decoder(z_rgb), pose),  # eq. 2
            "kl_rgb": beta * losses.kl_divergence(*latent),  # pose and context: their divergences add
            "mse_pose": losses.mean_squared_error(net.pose_decoder(z_true), pose),  # eq. 3
            "kl_pose": beta * losses.kl_divergence(*true_latent),
        }
        if self.row.disentangle:
            z_rgb = z_rgb[:, :POSE_LATENT]
            # Each side learns from its own term alone: the encoder through a frozen copy of the
            # discriminator, the discriminator from detached latents.
            frozen = {name: weight.detach() for name, weight in net.discriminator.named_parameters()}
            fooled = functional_call(net.discriminator, frozen, (z_rgb,))
            terms["generator"] = self.preset.adversarial_weight * losses.generator_loss(fooled)
            terms["discriminator"] = losses.discriminator_loss(
                net.discriminator(z_rgb.detach()), net.discriminator(z_true.detach())
            )  # eq. 1
        return terms


class Further(Disentangle):
    """A control, not in the paper: stage 1 goes on for as long as stage 2 would take."""

    def phases(self):
        return (self.phase("stage 1 goes on", self.epochs(), self.preset.finetuning_rate),)

    def epochs(self):
        return self.preset.align_frozen_epochs + self.preset.align_epochs


class Onward(Further):
    """A control: then it goes on for as long as stage 3 would take."""

    def epochs(self):
        return self.preset.refine_epochs


class Align(Stage):
    """Stage 2: mappers and the shared decoder, first with frozen encoders, then everything (eqs. 5-7)."""

    def phases(self):
        preset, new = self.preset, ("rgb_mapper", "pose_mapper", "rgb_decoder")
        all_of_it = ("rgb_encoder", "pose_encoder", *new)
        return (
            Phase("align, encoders frozen", preset.align_frozen_epochs, preset.learning_rate, new),
            Phase("align, all finetuned", preset.align_epochs, preset.finetuning_rate, all_of_it),
        )

    def cost(self, latent, pose, step):
        net, beta, w = self.networks, self.preset.beta, self.preset.alignment_weight
        rgb = net.aligned(latent)
        true = net.pose_mapper(*net.pose_encoder(pose))
        from_rgb, from_true = self.decoded(sample(*rgb), sample(*true))
        return {
            "mse_rgb": losses.mean_squared_error(from_rgb, pose),  # eq. 6
            "kl_rgb": beta * losses.kl_divergence(*rgb),
            "mse_pose": w * losses.mean_squared_error(from_true, pose),  # eq. 7
            "kl_pose": w * beta * losses.kl_divergence(*true),
        }

    def decoded(self, from_rgb, from_true):
        """Poses that the shared decoder makes of two batches of latents, (B, latent) each: two (B, 21, 3).

        Each is normalised by its own statistics, and the decoder keeps those of the pictures, which it predicts from. As one batch
        (``alignment_batches="joint"``) the true poses' path, which shall be the accurate one, is spoilt by the pictures' latents.
        """
        decoder = self.networks.rgb_decoder
        if self.preset.alignment_batches == "joint":
            return decoder(torch.cat([from_rgb, from_true])).chunk(2)
        from_rgb = decoder(from_rgb)
        passing = {name: buffer.clone() for name, buffer in decoder.named_buffers()}
        return from_rgb, functional_call(decoder, passing, (from_true,))


class Refine(Stage):
    """Stage 3: MSE + q r_kcs KCS + q' r_geo GEO (eqs. 8-17); q alternates where a row has both losses.

    A row with neither loss is a control: the same training without them.
    """

    cycle = 2

    def phases(self):
        learns = ("rgb_encoder", "rgb_mapper", "rgb_decoder")
        return (Phase("refine", self.preset.refine_epochs, self.preset.finetuning_rate, learns),)

    def cost(self, latent, pose, step):
        net = self.networks
        predicted = net.rgb_decoder(sample(*net.aligned(latent)))
        terms = {"mse_rgb": losses.mean_squared_error(predicted, pose)}
        q = self.q(step)
        if self.row.kcs and q > 0:
            terms["kcs"] = q * self.preset.kcs_weight * losses.kcs_loss(predicted, pose)
        if self.row.geo and q < 1:
            terms["geo"] = (1 - q) * self.preset.geo_weight * losses.geometrical_loss(predicted, pose)
        return terms

    def q(self, step):
        """Eq. 17's q, with q' = 1 - q: 1 for KCS alone, 0 for GEO alone, else 1 and 0 at every other step."""
        if self.row.kcs and self.row.geo:
            return 1 - step % 2 if self.preset.alternate else 0.5
        return int(self.row.kcs)


STAGES = {"warmup": Warmup, "disentangle": Disentangle, "further": Further, "onward": Onward, "align": Align, "refine": Refine}


def make_networks(stage, row, preset, seed, parent=None):
    """The networks that ``stage`` starts from, drawn from ``seed``; ``parent``: the state of the stage before, a dict.

    New parts (the mappers in stage 2) start fresh. Raises ValueError when the preset's weights can't be had.
    """
    torch.manual_seed(seed)
    if stage == "warmup":
        return Backbone()
    weights = preset.weights if parent is None else None
    mappers = {"mapper_input": preset.mapper_input, "mapper_variance": preset.mapper_variance}
    networks = Networks(row, aligned=stage in ("align", "refine"), weights=weights, **mappers)
    if parent and not any(name.startswith("rgb_decoder") for name in parent):  # the warm-up's: its head is not ours
        parent = {name: value for name, value in parent.items() if name.startswith("rgb_encoder.backbone")}
    networks.load_state_dict(parent or {}, strict=False)
    return networks
