"""Yang & Yao 2019, disentangled VAE: some latents for the pose in the hand's own frame, the others for the viewpoint."""

import torch
import torch.nn.functional as F
from torch import nn

from .. import losses
from ..models import JOINTS, RGBEncoder, sample
from ..skeleton import MIDDLE_MCP, WRIST
from .parts import PeerNetworks, PeerStage, deep_mlp, full_precision
from .spurr import PictureDecoder, small_picture

STANDS_ON = ("spurr",)

#: Latents of each factor; 64 together.
FACTOR = 32
_HIDDEN, _LAYERS = 512, 6
_LITTLE_MCP = 17
_FIRST_LOG_VARIANCE = -5.0
#: The picture is no aim of ours, and most of its error is background that the latents know nothing of.
_PICTURE_WEIGHT = 0.1

#: What we know of the method, what we assumed, what we scaled with the input size: (what, how, status).
KNOWN = (
    ("factors", "canonical pose and viewpoint, an encoder and a decoder for each", "known: notes on the paper in a public repository"),
    ("pose", "the canonical pose turned by the viewpoint", "assumed"),
    (
        "canonical frame", "middle MCP from the wrist along y, little MCP in the plane of x and y; the origin is the root",
        "assumed: theirs was not found; ours is after Zimmermann & Brox's code",
    ),
    (
        "viewpoint", "two vectors of three numbers, made a rotation by Gram and Schmidt: no angle jumps. The encoder reads the same six",
        "assumed",
    ),
    ("picture encoder", "ResNet-18, one linear layer to mean and log-variance", "assumed, from memory of the paper"),
    ("latents", "64; 32 for the pose, 32 for the viewpoint", "assumed: 64 from memory of the paper, the halves ours"),
    ("encoders and decoders of the factors", "six layers of 512 with ReLU, then a linear one", "assumed, from memory of the paper"),
    ("first variance of the encoders", "exp(-5), as in all our encoders", "assumed"),
    ("picture decoder", "four deconvolutions, as for Spurr et al.", "assumed: like DC-GAN, from memory of the paper"),
    ("decoded picture", "32 x 32 pixels at every preset", "scaled"),
    (
        "latents of the picture's content", "left out: they serve the making of pictures. So the decoded picture shows a mean background",
        "assumed",
    ),
    (
        "training", "factor by factor from the labels, jointly from the picture, and the picture from both, all in every step",
        "assumed: their order was not found",
    ),
    ("weights", "1 for each squared error, 0.1 for the picture, the preset's beta for the divergences", "assumed"),
    ("prediction", "the mean latent of the picture, through both decoders", "assumed"),
    ("optimiser, augmentation, batch, epochs, handedness, scale", "as all rows of this book", "assumed"),
)  # fmt: skip


def rotation(six):
    """Two vectors made a rotation by Gram and Schmidt: (B, 6) -> (B, 3, 3), rows x, y, z.

    The first gives the direction of y, the second, less its part along y, that of x; z is their cross product.
    """
    y = F.normalize(six[:, :3], dim=-1)
    x = F.normalize(six[:, 3:] - (six[:, 3:] * y).sum(-1, keepdim=True) * y, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], 1)


def six_numbers(R):
    """A rotation as the network reads it: (B, 3, 3) -> (B, 6), its rows y and x. ``rotation`` is the inverse."""
    return R[:, [1, 0]].flatten(1)


def canonical(pose):
    """A pose in the hand's own frame, and its viewpoint: (B, 21, 3) -> (B, 21, 3) and the rotation R (B, 3, 3).

    From the wrist, the middle MCP lies along y, and the little MCP in the half plane z = 0, x > 0. The origin stays where it
    is, R does not mirror, and ``canonical @ R`` is the pose again.
    """
    wrist = pose[:, WRIST]
    R = rotation(torch.cat([pose[:, MIDDLE_MCP] - wrist, pose[:, _LITTLE_MCP] - wrist], -1))
    return pose @ R.transpose(1, 2), R


def _layers(inputs, outputs):
    """Six layers of 512 with ReLU, then a linear one."""
    return deep_mlp(inputs, *(_LAYERS * (_HIDDEN,)), outputs)


class FactorEncoder(nn.Module):
    """A factor, (B, inputs), to the mean and log-variance of its latents, each (B, 32)."""

    def __init__(self, inputs):
        super().__init__()
        self.layers = _layers(inputs, 2 * FACTOR)
        nn.init.constant_(self.layers[-1].bias[FACTOR:], _FIRST_LOG_VARIANCE)

    def forward(self, factor):
        mean, log_variance = self.layers(factor.flatten(1)).chunk(2, -1)
        return mean, log_variance.clamp(-20.0, 10.0)


class PoseDecoder(nn.Module):
    """Latents of the pose (B, 32) to the canonical pose (B, 21, 3), without unit."""

    def __init__(self):
        super().__init__()
        self.layers = _layers(FACTOR, 3 * JOINTS)

    def forward(self, z):
        return self.layers(z).unflatten(-1, (JOINTS, 3))


class ViewDecoder(nn.Module):
    """Latents of the viewpoint (B, 32) to a rotation (B, 3, 3); it starts near the identity."""

    def __init__(self):
        super().__init__()
        self.layers = _layers(FACTOR, 6)
        with torch.no_grad():
            self.layers[-1].bias.copy_(six_numbers(torch.eye(3)[None])[0])

    def forward(self, z):
        return rotation(self.layers(z))


class Disentangled(PeerNetworks):
    """An encoder for the picture, and for either factor an encoder and a decoder; the first 32 latents are the pose's."""

    def __init__(self, weights=None):
        super().__init__()
        self.rgb_encoder = RGBEncoder(2 * FACTOR, weights=weights).to(memory_format=torch.channels_last)
        self.pose_encoder, self.pose_decoder = FactorEncoder(3 * JOINTS), PoseDecoder()
        self.view_encoder, self.view_decoder = FactorEncoder(6), ViewDecoder()
        self.rgb_decoder = PictureDecoder(2 * FACTOR)

    def decode(self, z):
        """Latents (B, 64) to canonical pose (B, 21, 3), rotation (B, 3, 3), and the pose they make (B, 21, 3)."""
        pose, R = self.pose_decoder(z[:, :FACTOR]), self.view_decoder(z[:, FACTOR:])
        return pose, R, pose @ R

    def forward(self, images):
        """Predicted pose from the mean latent: (B, 3, S, S) -> (B, 21, 3), without unit."""
        mean, _ = self.rgb_encoder(images)
        with full_precision(images):
            return self.decode(mean.float())[2]


class Factors(PeerStage):
    """Evidence bounds of each factor from its label, of both and of their pose from the picture, and of the picture from either."""

    title = "factors"

    def cost(self, images, pose, picture, step):
        net, beta, mse = self.networks, self.preset.beta, losses.mean_squared_error
        latent = tuple(part.float() for part in net.rgb_encoder(images))
        with full_precision(images):
            hand, R = canonical(pose)
            of_pose, of_view = net.pose_encoder(hand), net.view_encoder(six_numbers(R))
            z = sample(*latent)
            z_true = torch.cat([sample(*of_pose), sample(*of_view)], -1)
            true_hand, true_R, _ = net.decode(z_true)
            rgb_hand, rgb_R, rgb_pose = net.decode(z)
            terms = {
                "mse_canonical": mse(true_hand, hand),
                "mse_view": mse(true_R, R),
                "kl_factors": beta * (losses.kl_divergence(*of_pose) + losses.kl_divergence(*of_view)),
                "mse_rgb_canonical": mse(rgb_hand, hand),
                "mse_rgb_view": mse(rgb_R, R),
                "mse_rgb_pose": mse(rgb_pose, pose),
                "kl_rgb": beta * losses.kl_divergence(*latent),
            }
        # One pass for both: in two, each would be normalised by its own batch statistics.
        decoded = net.rgb_decoder(torch.cat([z, z_true])).float()
        target = small_picture(images)
        return terms | {"picture": _PICTURE_WEIGHT * F.mse_loss(decoded, torch.cat([target, target]))}


NETWORKS = Disentangled
STAGES = {"factors": Factors}
