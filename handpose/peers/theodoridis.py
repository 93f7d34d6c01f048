"""Theodoridis et al. 2020: autoencoders from picture to pose and from pose to pose, each for itself; then a variational mapper
takes the picture's latent to the pose's, and the pose autoencoder's decoder reads it.

The nearest relative of the paper, whose pose encoder and mapper are similar to its (section 4.2). A latent is a pair
(mean, log-variance), each (B, D).
"""

import torch
from torch.distributions import Normal, kl_divergence

from ..losses import kl_divergence as kl_to_prior
from ..losses import mean_squared_error
from ..models import CONTEXT_LATENT, POSE_LATENT, LinearDecoder, PoseEncoder, RGBEncoder, VariationalMapper, sample
from ..stages import Phase
from .parts import PeerNetworks, PeerStage, full_precision

RGB_LATENT = POSE_LATENT + CONTEXT_LATENT


class Mapped(PeerNetworks):
    """Two autoencoders and the mapper between their latents: images (B, 3, S, S) -> pose (B, 21, 3), without unit.

    ``mapped`` says by which way: False through the picture's own decoder, True through mapper and pose decoder.
    """

    def __init__(self, weights=None):
        super().__init__()
        self.rgb_encoder = RGBEncoder(RGB_LATENT, weights).to(memory_format=torch.channels_last)
        self.rgb_decoder = LinearDecoder(RGB_LATENT)
        self.pose_encoder = PoseEncoder()
        self.pose_decoder = LinearDecoder(POSE_LATENT)
        self.mapper = VariationalMapper(RGB_LATENT, POSE_LATENT)
        self.register_buffer("mapped", torch.tensor(False))  # kept with the weights, so that a stage opened later knows

    def encode(self, images):
        """The picture's latent: two (B, 128), in full precision."""
        return tuple(part.float() for part in self.rgb_encoder(images))

    def forward(self, images):
        latent = self.encode(images)
        with full_precision(images):
            if self.mapped:
                return self.pose_decoder(self.mapper(*latent)[0])
            return self.rgb_decoder(latent[0])


def divergence(latent, target):
    """KL(N(latent) || N(target)) of two latents (mean, log-variance), each (B, D): summed over D, mean over the batch, a scalar."""
    p, q = (Normal(mean, (0.5 * log_variance).exp(), validate_args=False) for mean, log_variance in (latent, target))
    return kl_divergence(p, q).sum(-1).mean()


class Apart(PeerStage):
    """The two autoencoders, each with its own terms: they share no weight and no term."""

    title = "autoencoders apart"
    learns = ("rgb_encoder", "rgb_decoder", "pose_encoder", "pose_decoder")

    def epochs(self):
        return self.preset.disentangle_epochs

    def cost(self, images, pose, picture, step):
        net, beta = self.networks, self.preset.beta
        rgb = net.encode(images)
        with full_precision(images):
            true = net.pose_encoder(pose)
            return {
                "mse_rgb": mean_squared_error(net.rgb_decoder(sample(*rgb)), pose),
                "kl_rgb": beta * kl_to_prior(*rgb),
                "mse_pose": mean_squared_error(net.pose_decoder(sample(*true)), pose),
                "kl_pose": beta * kl_to_prior(*true),
            }


class Mapping(PeerStage):
    """The mapper, first alone, then with the picture's encoder and the decoder; the pose encoder, which sets the aim, stays."""

    title = "mapping"

    def __init__(self, networks, preset):
        super().__init__(networks, preset)
        networks.mapped.fill_(True)

    def epochs(self):
        return self.preset.align_frozen_epochs + self.preset.align_epochs + self.preset.refine_epochs

    def phases(self):
        preset = self.preset
        together = self.epochs() - preset.align_frozen_epochs
        return (
            Phase("mapper alone", preset.align_frozen_epochs, preset.learning_rate, ("mapper",)),
            Phase("mapping, finetuned", together, preset.finetuning_rate, ("rgb_encoder", "mapper", "pose_decoder")),
        )

    def cost(self, images, pose, picture, step):
        net = self.networks
        latent = net.encode(images)
        with full_precision(images):
            mapped = net.mapper(*latent)
            return {
                "mse_mapped": mean_squared_error(net.pose_decoder(sample(*mapped)), pose),
                "kl_mapped": self.preset.beta * divergence(mapped, net.pose_encoder(pose)),
            }


NETWORKS = Mapped
STAGES = {"apart": Apart, "mapping": Mapping}

_SEEN_BY = "as Stergioulas et al. 2021, whose own are similar, describe it"
#: What each choice is, how we made it, and where it is from.
KNOWN = (
    ("two autoencoders", "picture to pose and pose to pose, trained apart: no weight and no term in common", f"known: {_SEEN_BY} (section 2)"),
    ("mapper", "a variational one, from the picture's latent to the pose's", f"known: {_SEEN_BY} (section 2)"),
    ("mapper's layers", ("draws a sample, two hidden layers of 512, gives mean and log-variance: the paper's (fig. 2b), whose "
     "widths are not printed"), f"assumed; that it is similar is known, {_SEEN_BY} (section 4.2)"),
    ("mapper's start", "its variance begins at 0.0001, as that of our mappers", "assumed"),
    ("pose encoder", "63-512-512-512, then mean and log-variance: the widths of Spurr et al. 2018's public code",
     f"assumed; that the paper's is similar is known, {_SEEN_BY} (section 4.2)"),
    ("backbone", "ResNet-18, as for all others", "assumed"),
    ("latents", "128 numbers for the picture and 64 for the pose, the paper's own (section 4.2)", "assumed"),
    ("decoders", "plain: four hidden layers of 512 with batch normalisation, the paper's baseline", "assumed"),
    ("losses, apart", "mean squared error of the pose and KL to N(0, I), weighted by the preset's beta, in both", "assumed"),
    ("losses, mapping", ("mean squared error of the pose that the pose decoder makes of the mapped sample; KL from the mapped "
     "latent to the one that the pose encoder gives, weighted by beta"), "assumed"),
    ("who learns, mapping", "first the mapper alone, then picture encoder, mapper and pose decoder; the pose encoder never",
     "assumed; frozen first, then finetuned, is how the paper aligns (section 3.1.2)"),
    ("optimiser", "Adam, rate and schedule as for the paper's own; stage 1's epochs apart, those of stages 2 and 3 mapping", "assumed"),
    ("input", "the paper's crops, with handedness, palm and scale given; the method's own protocol was not found", "assumed"),
    ("input size", "the backbone sees the preset's picture; no layer depends on its size", "scaled"),
)  # fmt: skip
