"""Moon et al. 2020, InterNet, for one hand: a volume of heat for each joint, over the picture and the depth about the root."""

import torch
import torch.nn.functional as F
from torch import nn

from ..models import JOINTS
from .parts import Backbone, PeerNetworks, PeerStage, deconvolutions, full_precision, gaussian_maps, places
from .picture import from_picture

#: Depths about the root that the volume covers, in units of the hand's scale: about the 400 mm of the method.
DEPTH_RANGE = 9.0
#: Steps of depth.
DEPTHS = 16
#: Width of a target's peak, in voxels.
SIGMA = 2.5
#: Weight of the squared error: its gradients must be well above Adam's epsilon.
_WEIGHT = 1000.0


class Volumes(PeerNetworks):
    """ResNet-18, three deconvolutions, one convolution to a volume for each joint: (B, 3, S, S) -> (B, 21, D, S/4, S/4)."""

    in_picture = True

    def __init__(self, weights=None):
        super().__init__()
        self.rgb_encoder = Backbone(weights)
        self.up = deconvolutions(Backbone.features, (256, 256, 256)).to(memory_format=torch.channels_last)
        self.maps = nn.Conv2d(256, JOINTS * DEPTHS, 1)
        # Most of a volume is empty: with random weights the first steps only quieten noise, and spoil what the backbone knows.
        nn.init.zeros_(self.maps.weight)
        nn.init.zeros_(self.maps.bias)  # type: ignore[arg-type]

    def volumes(self, images):
        """Heat of every voxel, float32 (B, 21, D, H, W), near voxels first."""
        return self.maps(self.up(self.rgb_encoder(images))).float().unflatten(1, (JOINTS, DEPTHS))

    def picture(self, images):
        volumes = self.volumes(images)
        with full_precision(images):
            return peak(volumes)

    def lift(self, picture, cameras, root, scale):
        """Picture coordinates (N, 21, 3) to (N, 21, 3) mm with the true depth of the root, (N, 3) mm, as in the method's own evaluation."""
        return from_picture(picture, cameras, cameras.depth(root), scale)


def target_volumes(picture, height, width):
    """Peaks of 1 at the joints: picture coordinates (B, 21, 3) -> (B, 21, D, height, width)."""
    flat = gaussian_maps(picture[..., :2], height, width, SIGMA / width)
    distance = picture[..., 2:] / DEPTH_RANGE - places(DEPTHS, picture)  # in units of the volume's depth
    along = torch.exp(-(distance**2) / (2 * (SIGMA / DEPTHS) ** 2))
    return along[..., None, None] * flat[:, :, None]


def peak(volumes):
    """Where each volume is highest, between voxels: (B, 21, D, H, W) -> picture coordinates (B, 21, 3).

    The highest voxel, moved along each axis by at most half a voxel to the top of the Gaussian through it and its two
    neighbours (of the highest inner voxel, where the highest lies on a face).
    """
    best = volumes.flatten(2).argmax(-1)
    _, _, depths, height, width = volumes.shape
    at = [best // (height * width), best // width % height, best % width]
    at = [place.clamp(1, count - 2) for place, count in zip(at, (depths, height, width))]
    batch, joint = (torch.arange(count, device=best.device) for count in volumes.shape[:2])
    logs = volumes.clamp(min=1e-3).log()
    moved = []
    for axis in range(3):
        low, middle, high = (
            logs[(batch[:, None], joint, *(place + step * (number == axis) for number, place in enumerate(at)))] for step in (-1, 0, 1)
        )
        curve = (2 * middle - low - high).clamp(min=1e-3)
        moved.append(at[axis] + (0.5 * (high - low) / curve).clamp(-0.5, 0.5))
    z, y, x = ((place + 0.5) / count - 0.5 for place, count in zip(moved, (depths, height, width)))
    return torch.stack([x, y, DEPTH_RANGE * z], -1)


class Heat(PeerStage):
    """Mean squared error of the volumes."""

    title = "volumes of heat"

    def cost(self, images, pose, picture, step):
        volumes = self.networks.volumes(images)
        with full_precision(images):
            return {"volumes": _WEIGHT * F.mse_loss(volumes, target_volumes(picture, *volumes.shape[-2:]))}


KNOWN = (
    ("what it predicts", "for each joint a volume of heat, over the picture and over depth relative to the root",
     "known: the authors' code"),
    ("network", "three deconvolutions 4 x 4 of 256 with batch normalisation, then one 1 x 1 convolution", "known: the same"),
    ("backbone", "ResNet-18", "scaled: ResNet-50 in theirs; the backbone of all here"),
    ("volume", "16 steps of depth; across, a quarter of the picture's side", "scaled: 64 x 64 x 64 for a picture of 256 in theirs"),
    ("range of depth", "9 times the hand's scale about the root, joints beyond it lie outside",
     "scaled: 400 mm in theirs, with no scale given"),
    ("target", "a Gaussian of 2.5 voxels along each axis, mean squared error", "known: the same; so a peak is wider in a smaller volume"),
    ("height of the target", "1, and the squared error weighs 1000 times",
     "scaled: 255 in theirs, which Adam takes longer to reach than a short training has"),
    ("start of the last convolution", "0, so that volumes start empty", "assumed"),
    ("reading a volume", "the highest voxel, then the top of the Gaussian through its neighbours",
     "scaled: the highest voxel in theirs; a voxel is 4 times as large here in depth, and also across where the picture has 64 pixels"),
    ("axis of depth", "the line of sight through the crop's centre, as view correction has it for all here",
     "assumed: to compare; theirs is the camera's, which a crop does not show"),
    ("the root's depth", "the true one, to bring picture coordinates into the camera frame",
     "known: true or from a network of its own in theirs"),
    ("scale of the hand", "given, as to all here", "assumed: to compare; theirs is not told the scale"),
    ("which hand", "given: left hands are mirrored, there is one head and no classifier of handedness",
     "assumed: to compare; theirs has a head for each hand and predicts which are there"),
    ("the other hand", "not looked at: no depth between the two hands", "assumed: no row of the table has two hands"),
    ("augmentation and steps", "those of all here", "assumed: to compare; theirs also shifts, scales and recolours, and trains 50 epochs"),
    ("hidden joints", "count", "assumed: theirs leaves unlabelled joints out; here all are labelled"),
)  # fmt: skip

NETWORKS = Volumes
STAGES = {"volumes": Heat}
