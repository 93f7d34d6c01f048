"""Gu et al. 2020: two autoencoders, picture to picture and pose to pose. Each latent has a pose-specific part, which an adversary
makes alike in both, and the context of its modality; then fully connected translators take one context to the other, so
that the pose decoder can read a picture.

The method without pairs can't know which picture shows which pose. Here it is told in the first stage, by decoding the
picture's pose-specific part to the true pose; the translators are told by what the other side's decoder makes of their context.
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from ..losses import discriminator_loss, generator_loss, kl_divergence, mean_squared_error
from ..models import CONTEXT_LATENT, POSE_LATENT, LatentDiscriminator, LinearDecoder, PoseEncoder, RGBEncoder, sample
from ..stages import Phase
from .parts import PeerNetworks, PeerStage, deconvolutions, full_precision, mlp

LATENT = POSE_LATENT + CONTEXT_LATENT
#: Weight of a picture's mean squared error against a pose's: pixels in units of ImageNet's deviation, poses in bones.
_PICTURE_WEIGHT = 0.1
#: The picture decoder's first map has a cell for so many pixels of the input's side, and three doublings follow.
_CELL = 16


class PictureDecoder(nn.Module):
    """Latent (B, 128) and the input's side S -> a picture of half the side: (B, 3, 8 * (S // 16), 8 * (S // 16)).

    A linear layer to a map of 4 x 4, resized to S // 16 cells a side, then transposed convolutions.
    """

    def __init__(self, latent=LATENT, width=128):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(latent, width * 16), nn.ReLU(), nn.Unflatten(-1, (width, 4, 4)))
        self.up = deconvolutions(width, (64, 32)).to(memory_format=torch.channels_last)
        self.out = nn.ConvTranspose2d(32, 3, 4, 2, 1)

    def forward(self, z, side):
        cells = F.interpolate(self.first(z), size=(side // _CELL,) * 2, mode="bilinear", align_corners=False)
        return self.out(self.up(cells))


def small(images):
    """What the picture decoder is to make of its input: (B, 3, S, S) -> (B, 3, 8 * (S // 16), 8 * (S // 16))."""
    return F.adaptive_avg_pool2d(images.float(), 8 * (images.shape[-1] // _CELL))


class Translator(nn.Module):
    """One modality's context (B, 64) to the other's (B, 64). It starts at zero, the mean of the prior: knowing nothing."""

    def __init__(self, latent=CONTEXT_LATENT, hidden=512):
        super().__init__()
        self.layers = mlp(latent, hidden, hidden, latent)
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, context):
        return self.layers(context)


class SplitAutoencoders(PeerNetworks):
    """The autoencoders, adversary and translators: images (B, 3, S, S) -> pose (B, 21, 3), without unit.

    Of each latent (B, 128) the first 64 numbers are pose-specific and the rest context.
    """

    def __init__(self, weights=None):
        super().__init__()
        self.rgb_encoder = RGBEncoder(LATENT, weights).to(memory_format=torch.channels_last)
        self.picture_decoder = PictureDecoder()
        self.pose_encoder = PoseEncoder(LATENT)
        self.pose_decoder = LinearDecoder(LATENT)
        self.discriminator = LatentDiscriminator()
        self.to_pose, self.to_picture = Translator(), Translator()

    def encode(self, images):
        """The picture's latent: two (B, 128), in full precision."""
        return tuple(part.float() for part in self.rgb_encoder(images))

    def forward(self, images):
        mean = self.encode(images)[0]
        with full_precision(images):
            return self.pose_decoder(translated(mean, self.to_pose))


def translated(z, translator):
    """A latent of one modality as the other's decoder reads it: the pose-specific part as it is, the context translated.
    (B, 128) -> (B, 128).
    """
    return torch.cat([z[:, :POSE_LATENT], translator(z[:, POSE_LATENT:])], -1)


class Autoencoders(PeerStage):
    """Both autoencoders, the adversary between their pose-specific parts, and the paired term.

    As the pose decoder reads both latents in one batch, both are normalised alike.
    """

    title = "autoencoders"
    learns = ("rgb_encoder", "picture_decoder", "pose_encoder", "pose_decoder", "discriminator")

    def epochs(self):
        return self.preset.disentangle_epochs

    def cost(self, images, pose, picture, step):
        net, beta = self.networks, self.preset.beta
        rgb = net.encode(images)
        with full_precision(images):
            true = net.pose_encoder(pose)
            z_rgb, z_true = sample(*rgb), sample(*true)
        drawn = net.picture_decoder(z_rgb, images.shape[-1])
        with full_precision(images):
            from_rgb, from_true = net.pose_decoder(torch.cat([translated(z_rgb, torch.zeros_like), z_true])).chunk(2)
            fool, tell = adversary(net.discriminator, z_rgb[:, :POSE_LATENT], z_true[:, :POSE_LATENT])
            return {
                "mse_picture": _PICTURE_WEIGHT * F.mse_loss(drawn.float(), small(images)),
                "kl_rgb": beta * kl_divergence(*rgb),
                "mse_pose": mean_squared_error(from_true, pose),
                "kl_pose": beta * kl_divergence(*true),
                "mse_paired": mean_squared_error(from_rgb, pose),
                "encoders": self.preset.adversarial_weight * fool,
                "discriminator": tell,
            }


def adversary(discriminator, z_rgb, z_true):
    """The two sides of the adversary on pose-specific parts, each (B, 64): two scalars.

    The discriminator calls pictures 0 and poses 1; the encoders want the opposite. Each side learns from its own alone.
    """
    frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    fooled = functional_call(discriminator, frozen, (torch.cat([z_rgb, z_true]),)).chunk(2)
    told = discriminator(torch.cat([z_rgb, z_true]).detach()).chunk(2)
    return 0.5 * generator_loss(fooled[0]) + 0.5 * generator_loss(-fooled[1]), discriminator_loss(*told)


class Translators(PeerStage):
    """The translators, first alone, then with the picture's encoder and the pose decoder.

    Each is judged by what the other modality's decoder makes of its context.
    """

    title = "translators"

    def epochs(self):
        return self.preset.align_frozen_epochs + self.preset.align_epochs + self.preset.refine_epochs

    def phases(self):
        preset, new = self.preset, ("to_pose", "to_picture")
        together = self.epochs() - preset.align_frozen_epochs
        return (
            Phase("translators alone", preset.align_frozen_epochs, preset.learning_rate, new),
            Phase("translators, finetuned", together, preset.finetuning_rate, ("rgb_encoder", "pose_decoder", *new)),
        )

    def cost(self, images, pose, picture, step):
        net, beta = self.networks, self.preset.beta
        rgb = net.encode(images)
        with full_precision(images):
            from_rgb = net.pose_decoder(translated(sample(*rgb), net.to_pose))
            seen = translated(sample(*net.pose_encoder(pose)), net.to_picture)
        drawn = net.picture_decoder(seen, images.shape[-1])
        with full_precision(images):
            return {
                "mse_translated": mean_squared_error(from_rgb, pose),
                "kl_rgb": beta * kl_divergence(*rgb),
                "mse_picture": _PICTURE_WEIGHT * F.mse_loss(drawn.float(), small(images)),
            }


NETWORKS = SplitAutoencoders
STAGES = {"autoencoders": Autoencoders, "translators": Translators}

_SEEN_BY = "as Stergioulas et al. 2021 describe it (section 2)"
#: What each choice is, how we made it, and where it is from.
KNOWN = (
    ("two autoencoders", "picture to picture and pose to pose, each latent split in two by adversarial training", f"known: {_SEEN_BY}"),
    ("translators", "a network of fully connected layers between the contexts of the two modalities", f"known: {_SEEN_BY}"),
    ("backbone", "ResNet-18, as for all others", "assumed"),
    ("latents", "64 numbers of pose and 64 of context for each, the paper's own for a picture (section 4.2)", "assumed"),
    ("pose encoder", "63-512-512-512, then mean and log-variance, as the paper's own", "assumed"),
    ("pose decoder", "four hidden layers of 512 with batch normalisation, the paper's baseline", "assumed"),
    ("adversary", ("the paper's discriminator and its weight, at the encoders' learning rate, on samples of the pose-specific parts; both "
     "encoders learn to fool it"), "assumed"),
    ("pose decoder's batches", "what the two modalities make of a picture and of its pose passes it as one batch", "assumed"),
    ("what pairs are for", ("the picture's pose-specific part, with zeros for context, is decoded to the true pose; no other term of the "
     "first stage says which picture shows which pose"), "assumed"),
    ("translators' layers", "64-512-512-64, one each way; they start at zero", "assumed"),
    ("translators' losses", ("mean squared error of what the other modality's decoder makes of the pose-specific part and the "
     "translated context; KL of the picture's latent"), "assumed"),
    ("who learns, translators", "first the translators alone, then with picture encoder and pose decoder; never the other two", "assumed"),
    ("weights of losses", "KL to N(0, I) as the paper's own; mean squared errors 0.1 of the picture, 1 of the pose", "assumed"),
    ("optimiser", ("Adam, rate and schedule as for the paper's own; stage 1's epochs for the autoencoders, those of stages 2 and 3 for "
     "the translators"), "assumed"),
    ("input", "the paper's crops, with handedness, palm and scale given; the method's own protocol was not found", "assumed"),
    ("picture decoder", ("a linear layer to 128 maps, transposed convolutions to 64, 32 and 3, after Spurr et al. 2018's public code, "
     "whose picture too has half the input's side"), "assumed"),
    ("picture decoder's first map", "a cell for every 16 pixels of the input's side", "scaled"),
)  # fmt: skip
