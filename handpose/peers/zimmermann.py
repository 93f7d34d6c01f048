"""Zimmermann & Brox 2017: score maps of the joints, then the pose in a frame of the hand's own and the rotation into view.

Crops are given, so their first network, which finds the hand (HandSegNet), is left out.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from ..models import JOINTS
from ..processes import Dropout, noise
from ..skeleton import MIDDLE_MCP
from .parts import Backbone, PeerNetworks, PeerStage, budget, deconvolutions, full_precision, gaussian_maps

_LITTLE_MCP = 17
#: Standard deviation of a score map's peak over the crop's side: theirs is exp(-d^2 / 25^2) in 256 pixels.
SIGMA = 25 / 256 / math.sqrt(2)
#: Side of the score maps that the lifting networks read.
LIFTED_SIDE = 16
#: Noise on the joints' places from which lifting learns, over the crop's side.
PLACE_NOISE = 0.02
#: Steps of lifting over those of the score maps: 80 000 over 30 000 in theirs.
LONGER = 8 / 3


def to_canonical(pose):
    """The pose in the hand's own frame, and the way back: (B, 21, 3) -> canonical (B, 21, 3), R (B, 3, 3), pose = canonical @ R.

    The root, 0 in ``pose``, stays; the middle finger's MCP lies on the y axis and the little finger's at z = 0, x > 0.
    """
    y = F.normalize(pose[:, MIDDLE_MCP], dim=-1)
    little = pose[:, _LITTLE_MCP]
    x = F.normalize(little - (little * y).sum(-1, keepdim=True) * y, dim=-1)
    R = torch.stack([x, y, torch.linalg.cross(x, y)], 1)
    return pose @ R.transpose(1, 2), R


def rodrigues(u):
    """Rotation about the axis u by the angle |u|: (B, 3) -> (B, 3, 3), smooth at 0."""
    square = u.square().sum(-1)
    small = square < 1e-8
    safe = torch.where(small, 1.0, square)
    angle = safe.sqrt()
    a = torch.where(small, 1 - square / 6, angle.sin() / angle)[:, None, None]
    b = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / safe)[:, None, None]
    x, y, z = u.unbind(-1)
    zero = torch.zeros_like(x)
    K = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3, device=u.device) + a * K + b * (K @ K)


def _conv(inputs, outputs, side=3, stride=1):
    layers = (nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.01))
    return nn.Sequential(*layers)


def _convs(inputs, widths, side=3):
    return nn.Sequential(*(_conv(before, width, side) for before, width in zip((inputs, *widths), widths)))


class PoseNet(nn.Module):
    """Score maps and two refinements of them: feature maps (B, 512, S/32, S/32) -> three (B, 21, S/4, S/4), the last is the best.

    Where theirs ends, in a small map of features, here ResNet-18 and three deconvolutions do.
    """

    encoding = 32

    def __init__(self):
        super().__init__()
        self.up = deconvolutions(Backbone.features, (256, 128, self.encoding))
        self.score = nn.Sequential(_conv(self.encoding, 128, 1), nn.Conv2d(128, JOINTS, 1))
        self.refine = nn.ModuleList([
            nn.Sequential(_convs(JOINTS + self.encoding, (32,) * 5, 7), _conv(32, 32, 1), nn.Conv2d(32, JOINTS, 1)) for _ in range(2)
        ])  # fmt: skip
        for last in (self.score[-1], *(unit[-1] for unit in self.refine)):  # type: ignore[index]  # maps start empty
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, features):
        encoding = self.up(features)
        maps = [self.score(encoding)]
        for unit in self.refine:
            maps.append(unit(torch.cat([maps[-1], encoding], 1)))
        return [each.float() for each in maps]


class _FromMaps(nn.Module):
    """Convolutions over score maps (B, 21, 16, 16), then fully connected layers: -> (B, outputs)."""

    def __init__(self, widths, hidden, outputs, dropout):
        super().__init__()
        layers, inputs = [], JOINTS
        for width, strides in zip(widths, ((1, 2), (1, 2), (1, 1))):
            for stride in strides:
                layers += [nn.Conv2d(inputs, width, 3, stride, 1), nn.LeakyReLU(0.01)]
                inputs = width
        self.convs = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        layers, inputs = [nn.Flatten()], inputs * (LIFTED_SIDE // 4) ** 2
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.LeakyReLU(0.01), Dropout(dropout)]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, outputs))
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps):
        return self.layers(self.convs(maps.contiguous(memory_format=torch.channels_last))).float()


class ColorHandPose3D(PeerNetworks):
    """PoseNet, and on its score maps PosePrior, the canonical pose, and ViewPoint, the rotation from there."""

    def __init__(self, weights=None):
        super().__init__()
        self.rgb_encoder = Backbone(weights)
        self.pose_net = PoseNet()
        self.pose_prior = _FromMaps((32, 64, 128), (512, 512), 3 * JOINTS, 0.2)
        self.viewpoint = _FromMaps((64, 128, 256), (256, 128), 3, 0.25)

    def lifted(self, maps):
        """Score maps (B, 21, H, W) to canonical pose (B, 21, 3) and rotation (B, 3, 3)."""
        maps = F.adaptive_avg_pool2d(maps, LIFTED_SIDE)
        canonical, axis = self.pose_prior(maps), self.viewpoint(maps)
        with full_precision(maps):
            return canonical.unflatten(-1, (JOINTS, 3)), rodrigues(axis)

    def score_maps(self, images):
        """Three sets of score maps, each (B, 21, S/4, S/4), from images (B, 3, S, S)."""
        return self.pose_net(self.rgb_encoder(images))

    def forward(self, images):
        canonical, R = self.lifted(self.score_maps(images)[-1])
        with full_precision(images):
            return canonical @ R


class ScoreMaps(PeerStage):
    """Root mean squared error of every joint's map, of all three sets of maps."""

    title = "score maps"
    learns = ("rgb_encoder", "pose_net")

    def cost(self, images, pose, picture, step):
        maps = self.networks.score_maps(images)
        with full_precision(images):
            target = gaussian_maps(picture[..., :2], *maps[-1].shape[-2:], SIGMA)  # type: ignore[call-arg]
            return {f"maps {number}": map_error(each, target) for number, each in enumerate(maps, 1)}


def map_error(maps, target):
    """Mean over hands and joints of the root mean squared error of a map: (B, 21, H, W) twice -> scalar."""
    return ((maps - target).square().mean((-2, -1)) + 1e-8).sqrt().mean()


class Lifting(PeerStage):
    """Canonical pose and rotation from true score maps, drawn at places with noise.

    No picture is looked at, so its epochs don't count as pictures seen. No hand is flipped: it would look like the other hand
    turned round, from behind, and places alone don't tell which it is.
    """

    title = "lifting"
    learns = ("pose_prior", "viewpoint")
    looks = 0.0

    def __init__(self, networks, preset):
        super().__init__(networks, replace(preset, flip_probability=0.0))

    def epochs(self):
        """Eight for every three of the score maps."""
        return round(LONGER * budget(self.preset))

    def cost(self, images, pose, picture, step):
        with full_precision(pose):
            xy = picture[..., :2] + PLACE_NOISE * noise(picture[..., :2])
            maps = gaussian_maps(xy, LIFTED_SIDE, LIFTED_SIDE, SIGMA)
            true_canonical, true_R = to_canonical(pose)
        canonical, R = self.networks.lifted(maps)
        return {"canonical": F.mse_loss(canonical, true_canonical), "viewpoint": F.mse_loss(R, true_R)}


KNOWN = (
    ("the hand in the picture", "crops are given, as to all here; their first network, HandSegNet, is left out",
     "assumed: to compare; the authors' code also has a script for the step from given joints alone"),
    ("score maps", "from an encoding, then two refinements, each of five convolutions 7 x 7", "known: the authors' code"),
    ("network before the encoding", "ResNet-18, which starts where all here do, and three deconvolutions (256, 128, 32)",
     "assumed: theirs has plain convolutions, which start from a network for body poses that is not at hand here"),
    ("widths of the refinements", "32, a quarter of theirs", "scaled"),
    ("resolution", "maps of a quarter of the picture's side", "scaled: an eighth in theirs, at 256 px"),
    ("batch normalisation", "in the score maps' network", "assumed: theirs has none"),
    ("start of the maps", "0, so that they start empty", "assumed"),
    ("non-linearity", "leaky ReLU of slope 0.01 after the encoding; lifting starts from Xavier's weights", "known: the same code"),
    ("target maps", "exp(-d^2 / 25^2) in pixels of a crop of 256; for each joint the root mean squared error, for all three maps alike",
     "known: the same code"),
    ("canonical frame", "palm at 0, middle MCP on the y axis, little MCP at z = 0 and x > 0", "known: the same code"),
    ("lifting", "from score maps, by six convolutions and fully connected layers each: the canonical pose, and the rotation's axis times its angle",
     "known: the same code"),
    ("dropout in lifting", "0.2 and 0.25", "known: the same code"),
    ("maps that lifting reads", "16 x 16, and the last convolution of each has stride 1", "scaled: 32 x 32, and stride 2, in theirs"),
    ("what lifting learns from", "true maps with noise on the places, of 2 % of the crop's side",
     "known: true maps with noise; assumed: its size, and none on the crop, which is given here"),
    ("flips in lifting", "none, even where a preset flips pictures: in two dimensions a flipped hand looks like one of the other side, seen from behind",
     "assumed: in theirs, which does not flip, an input says which hand it is"),
    ("lifting's losses", "mean squared errors of the canonical pose and of the rotation, weighted alike", "known: the same code"),
    ("hidden joints", "count", "assumed: theirs leaves them out where it learns score maps"),
    ("which hand", "given: left hands are mirrored", "scaled: an input of both lifting networks in theirs, where it also flips z"),
    ("learning rate", "that of all here", "assumed: to compare; theirs falls in three steps from 1e-4, and in two from 1e-5 for lifting"),
    ("length", "for score maps as many epochs as all here; for lifting, which looks at no picture, eight for every three of those",
     "known: the ratio, 80 000 steps of 8 over 30 000"),
)  # fmt: skip

NETWORKS = ColorHandPose3D
STAGES = {"scoremaps": ScoreMaps, "lifting": Lifting}
