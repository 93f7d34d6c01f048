"""Spurr et al. 2018: one latent space for pictures and poses, learnt by pairs of an encoder and a decoder that take turns."""

import torch
import torch.nn.functional as F
from torch import nn

from .. import losses
from ..models import JOINTS, PoseEncoder, RGBEncoder, sample
from .parts import PeerNetworks, PeerStage, deconvolutions, deep_mlp, full_precision

LATENT = 30
_HIDDEN = 512
#: Channels and side of the picture decoder's first map; four deconvolutions make it 16 times as large.
_FIRST_CHANNELS, _FIRST_SIDE = 128, 2
PICTURE_SIDE = 16 * _FIRST_SIDE

#: The turns, (from, to), one a step: every second one is the pair that predicts, the other three share the rest.
PAIRS = (("rgb", "pose"), ("pose", "pose"), ("rgb", "pose"), ("rgb", "rgb"), ("rgb", "pose"), ("pose", "rgb"))

#: What we know of the method, what we assumed, what we scaled with the input size: (what, how, status).
KNOWN = (
    (
        "picture encoder", "ResNet-18, then one linear layer to mean and log-variance",
        "known: the authors' model source, as a public repository carries it",
    ),
    ("backbone's start", "where all here start; theirs starts from scratch", "assumed"),
    (
        "features to latent", "the mean over the whole last map; theirs pools 7 x 7 pixels, which leaves 2 x 2 of a picture of 256 pixels",
        "assumed",
    ),
    ("latent", "30 numbers", "known: the default in evaluate_model.py"),
    ("pose encoder", "63-512-512-512, ReLU, then mean and log-variance", "known: the same"),
    ("pose decoder", "six linear layers, 512 wide, ReLU, no batch normalisation", "known: the same"),
    (
        "the pose decoder's start", "as He et al. draw weights",
        "scaled: PyTorch's own in theirs, from which so deep a decoder says the same of every latent for longer than a short training lasts",
    ),
    (
        "picture decoder", "a linear layer to 128 maps, four 4 x 4 deconvolutions with 64, 32, 16 and 3 channels",
        "known: the same, with batch normalisation between the deconvolutions",
    ),
    (
        "decoded picture", "32 x 32 pixels from maps of 2 x 2; theirs, for an input of 256 pixels, 128 x 128 from maps of 8 x 8",
        "scaled, and the same at every preset",
    ),
    (
        "loss of a pair", "one mean squared error and the divergence from N(0, I)",
        "known: the author in issue 14 of spurra/vae-hands-3d",
    ),
    ("weight of the divergence", "the preset's beta", "assumed"),
    ("first variance of the encoders", "exp(-5), as in all our encoders", "assumed"),
    (
        "pairs",
        "all four of picture and pose. Which of them the published figure has is not known; decoding the picture did not improve much",
        "assumed; the remark is the author's, in issue 14 of spurra/vae-hands-3d",
    ),
    (
        "turns",
        "one pair a step: picture to pose every second step, the others between; two thirds of the steps look at pictures",
        "assumed; that pairs take turns is known: Stergioulas et al. 2021, section 2",
    ),
    ("prediction", "the mean latent of the picture, through the pose decoder", "known: evaluate_model.py"),
    (
        "handedness", "left hands are mirrored, as in all rows; theirs gives the side to the linear layer after the backbone",
        "known: README of spurra/vae-hands-3d",
    ),
    ("root and scale", "palm centre and the middle finger's proximal phalanx, the scale given", "known: evaluate_model.py"),
    ("optimiser, augmentation, batch, epochs", "as all rows of this book; the training code is not public", "assumed"),
)  # fmt: skip


class PoseDecoder(nn.Sequential):
    """Six linear layers with ReLU between them: latents (B, latent) -> pose (B, 21, 3), without unit."""

    def __init__(self, latent=LATENT, hidden=_HIDDEN):
        super().__init__(deep_mlp(latent, *(5 * (hidden,)), 3 * JOINTS), nn.Unflatten(-1, (JOINTS, 3)))


class PictureDecoder(nn.Sequential):
    """A linear layer to a first map, then four deconvolutions: latents (B, latent) -> (B, 3, 32, 32), normalised like the input.

    In evaluation it would normalise by the statistics of all latents that it was trained on, of pictures and of poses.
    """

    def __init__(self, latent=LATENT):
        cells = _FIRST_CHANNELS * _FIRST_SIDE**2
        super().__init__(
            nn.Linear(latent, cells, bias=False), nn.BatchNorm1d(cells), nn.ReLU(),
            nn.Unflatten(-1, (_FIRST_CHANNELS, _FIRST_SIDE, _FIRST_SIDE)),
            deconvolutions(_FIRST_CHANNELS, (64, 32, 16)),
            nn.ConvTranspose2d(16, 3, 4, 2, 1),
        )  # fmt: skip


def small_picture(images):
    """What the picture decoder is held against: images (B, 3, S, S) averaged to (B, 3, 32, 32)."""
    return F.adaptive_avg_pool2d(images, PICTURE_SIDE)


class CrossModal(PeerNetworks):
    """An encoder and a decoder for each modality, and one latent space between them."""

    def __init__(self, weights=None):
        super().__init__()
        self.rgb_encoder = RGBEncoder(LATENT, weights=weights).to(memory_format=torch.channels_last)
        self.pose_encoder = PoseEncoder(LATENT, _HIDDEN)
        self.pose_decoder = PoseDecoder()
        self.rgb_decoder = PictureDecoder()

    def encode(self, modality, images, pose):
        """Latent of the picture ("rgb") or of the pose ("pose"): (mean, log-variance), each (B, 30), float32."""
        if modality == "rgb":
            return tuple(part.float() for part in self.rgb_encoder(images))
        with full_precision(images):
            return self.pose_encoder(pose)

    def forward(self, images):
        """Predicted pose from the mean latent: (B, 3, S, S) -> (B, 21, 3), without unit."""
        mean, _ = self.encode("rgb", images, None)
        with full_precision(images):
            return self.pose_decoder(mean)


class Pairs(PeerStage):
    """Each step one pair: mean squared error of what it decodes, and its encoder's divergence from N(0, I)."""

    title = "pairs in turn"
    cycle, looks = len(PAIRS), sum("rgb" == source for source, _ in PAIRS) / len(PAIRS)

    def cost(self, images, pose, picture, step):
        source, target = PAIRS[step % len(PAIRS)]
        latent = self.networks.encode(source, images, pose)
        z = sample(*latent)
        if target == "rgb":
            error = F.mse_loss(self.networks.rgb_decoder(z).float(), small_picture(images))
        else:
            with full_precision(images):
                error = losses.mean_squared_error(self.networks.pose_decoder(z), pose)
        return {f"mse_{source}_{target}": error, f"kl_{source}_{target}": self.preset.beta * losses.kl_divergence(*latent)}


NETWORKS = CrossModal
STAGES = {"crossmodal": Pairs}
