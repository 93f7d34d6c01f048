"""The three stages (section 3): the networks they share, and what a batch costs in each.

A stage is a module whose ``forward(batch, step)`` gives the terms to minimise; ``phases`` says which
networks learn for how many epochs. The training loop asks nothing else of it.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call

from . import losses
from .models import (
    CONTEXT_LATENT,
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
    """Networks of the set (by name) that learn together for ``epochs``; the others are frozen."""

    name: str
    epochs: int
    learning_rate: float
    learns: tuple


class Networks(nn.Module):
    """The set of networks that a row's stages share; parts that the row lacks are not there.

    With disentanglement the 128 latents of the picture are 64 of pose and 64 of context, and the decoder
    reads the pose part; without it, one block of 128. ``aligned`` False leaves the mappers out: stage 1.
    """

    def __init__(self, row, aligned=True, weights=None):
        super().__init__()
        decoder = InjectionDecoder if row.injection else LinearDecoder
        self.latent = POSE_LATENT if row.disentangle else POSE_LATENT + CONTEXT_LATENT
        self.rgb_encoder = RGBEncoder(weights=weights).to(memory_format=torch.channels_last)
        self.rgb_decoder = decoder(self.latent)
        self.pose_encoder = PoseEncoder()
        self.pose_decoder = decoder(POSE_LATENT)
        if row.disentangle:
            self.discriminator = LatentDiscriminator()
        self.rgb_mapper = self.pose_mapper = None
        if row.align and aligned:
            self.rgb_mapper = VariationalMapper(self.latent, self.latent)
            self.pose_mapper = VariationalMapper(POSE_LATENT, self.latent)

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


def _full_precision(tensor):
    """Only the backbone gains from half precision; the losses need float32."""
    return torch.autocast(tensor.device.type, enabled=False)


class Stage(nn.Module):
    """A stage: its networks, its settings, and its cost. Subclasses give ``phases`` and ``cost``."""

    def __init__(self, networks, row, preset):
        super().__init__()
        self.networks, self.row, self.preset = networks, row, preset

    def forward(self, batch, step):
        """Terms of this stage's objective on one batch: {name: scalar}, weighted; their sum is minimised."""
        latent = self.networks.rgb_encoder(batch.images)
        with _full_precision(batch.images):
            return self.cost(tuple(part.float() for part in latent), batch.pose, step)


class Disentangle(Stage):
    """Stage 1: RGB-to-pose and pose-to-pose VAE together, and the discriminator (eqs. 1-4)."""

    def phases(self):
        learns = tuple(name for name, _ in self.networks.named_children())
        return (Phase("disentangle", self.preset.disentangle_epochs, self.preset.learning_rate, learns),)

    def cost(self, latent, pose, step):
        net, beta = self.networks, self.preset.beta
        mean, log_variance = net.pose_part(latent)
        z_rgb = sample(mean, log_variance)
        true_latent = net.pose_encoder(pose)
        z_true = sample(*true_latent)
        terms = {
            "mse_rgb": losses.mean_squared_error(net.rgb_decoder(z_rgb), pose),  # eq. 2
            "kl_rgb": beta * losses.kl_divergence(*latent),  # pose and context: their divergences add
            "mse_pose": losses.mean_squared_error(net.pose_decoder(z_true), pose),  # eq. 3
            "kl_pose": beta * losses.kl_divergence(*true_latent),
        }
        if self.row.disentangle:
            # Each side learns from its own term alone: the encoder through a frozen copy of the
            # discriminator, the discriminator from detached latents.
            frozen = {name: weight.detach() for name, weight in net.discriminator.named_parameters()}
            fooled = functional_call(net.discriminator, frozen, (z_rgb,))
            terms["generator"] = self.preset.adversarial_weight * losses.generator_loss(fooled)
            terms["discriminator"] = losses.discriminator_loss(
                net.discriminator(z_rgb.detach()), net.discriminator(z_true.detach())
            )  # eq. 1
        return terms


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
        # One pass for both: in two, each would be normalised by its own batch statistics, and evaluation by their mixture.
        from_rgb, from_true = net.rgb_decoder(torch.cat([sample(*rgb), sample(*true)])).chunk(2)
        return {
            "mse_rgb": losses.mean_squared_error(from_rgb, pose),  # eq. 6
            "kl_rgb": beta * losses.kl_divergence(*rgb),
            "mse_pose": w * losses.mean_squared_error(from_true, pose),  # eq. 7
            "kl_pose": w * beta * losses.kl_divergence(*true),
        }


class Refine(Stage):
    """Stage 3: MSE + q r_kcs KCS + q' r_geo GEO (eqs. 8-17); q alternates where a row has both losses."""

    def phases(self):
        learns = ("rgb_encoder", "rgb_mapper", "rgb_decoder")
        return (Phase("refine", self.preset.refine_epochs, self.preset.finetuning_rate, learns),)

    def cost(self, latent, pose, step):
        net = self.networks
        predicted = net.rgb_decoder(sample(*net.aligned(latent)))
        terms = {"mse_rgb": losses.mean_squared_error(predicted, pose)}
        if self.q(step):
            terms["kcs"] = self.preset.kcs_weight * losses.kcs_loss(predicted, pose)
        else:
            terms["geo"] = self.preset.geo_weight * losses.geometrical_loss(predicted, pose)
        return terms

    def q(self, step):
        """Eq. 17's q, with q' = 1 - q: 1 for KCS alone, 0 for GEO alone, else 1 and 0 at every other step."""
        if self.row.kcs and self.row.geo:
            return 1 - step % 2
        return int(self.row.kcs)


STAGES = {"disentangle": Disentangle, "align": Align, "refine": Refine}
