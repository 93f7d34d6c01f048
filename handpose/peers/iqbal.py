"""Iqbal et al. 2018, latent 2.5D heat maps: joints in the picture, their depth relative to the root, and the root's depth
from the length of one bone.
"""

import torch
from torch import nn

from .. import processes
from ..models import JOINTS
from ..skeleton import WRIST
from .parts import Backbone, PeerNetworks, PeerStage, deconvolutions, full_precision, soft_argmax
from .picture import from_picture, root_depth

#: Weight of the depth term against the one in the picture; picture coordinates are about 20 times smaller than relative depths.
_PICTURE_WEIGHT = 20.0
#: The bone whose length says how far the hand is, wrist to index MCP.
REFERENCE = (WRIST, 5)


class Latent25D(PeerNetworks):
    """Heat maps that are learnt without a target map, and a depth map for each: (B, 3, S, S) -> picture coordinates (B, 21, 3).

    Places are the soft-argmax of each heat map, softened by a temperature of its own; the relative depth is the depth map's
    mean under the heat map. ``palm`` is the mean length of ``REFERENCE`` over the hand's scale, of the hands trained on.
    """

    in_picture = True
    palm: torch.Tensor
    seen: torch.Tensor

    def __init__(self, weights=None):
        super().__init__()
        self.rgb_encoder = Backbone(weights)
        self.up = deconvolutions(Backbone.features, (256, 256, 128)).to(memory_format=torch.channels_last)
        self.maps = nn.Conv2d(128, 2 * JOINTS, 1)
        self.temperature = _Temperature()
        self.register_buffer("palm", torch.tensor(2.0))
        self.register_buffer("seen", torch.tensor(0.0))

    @torch.no_grad()
    def measure(self, pose):
        """Take a batch of true poses (B, 21, 3), without unit, into the mean ``palm``."""
        one, other = REFERENCE
        taken = len(pose) * processes.count()
        self.seen += taken
        self.palm += (processes.mean((pose[:, one] - pose[:, other]).norm(dim=-1).mean()) - self.palm) * taken / self.seen

    def picture(self, images):
        maps = self.maps(self.up(self.rgb_encoder(images)))
        with full_precision(images):
            heat, depth = maps.float().chunk(2, 1)
            probability = self.temperature(heat).flatten(2).softmax(-1).unflatten(-1, heat.shape[-2:])
            relative = (probability * depth).sum((-2, -1))
            return torch.cat([soft_argmax(probability), relative[..., None]], -1)

    def lift(self, picture, cameras, root, scale):
        """Picture coordinates (N, 21, 3) to (N, 21, 3) mm; the root's depth comes from the bone, ``root`` is not looked at."""
        return from_picture(picture, cameras, scale * root_depth(picture, cameras, REFERENCE, float(self.palm)), scale)


class _Temperature(nn.Module):
    """A learnt factor for each joint's map."""

    def __init__(self):
        super().__init__()
        self.log_beta = nn.Parameter(torch.zeros(JOINTS, 1, 1))

    def forward(self, heat):
        return heat * self.log_beta.exp()


class Latent(PeerStage):
    """L1 on places and relative depths."""

    title = "latent 2.5D maps"

    def cost(self, images, pose, picture, step):
        self.networks.measure(pose)
        predicted = self.networks.picture(images)
        error = (predicted - picture).abs()
        return {"picture": _PICTURE_WEIGHT * error[..., :2].mean(), "depth": error[..., 2].mean()}


KNOWN = (
    ("what it predicts", ("for each joint a heat map and a depth map; places by soft-argmax, relative depth by the mean under the "
     "heat map"),
     "known: two public re-implementations (RHDHand, peclr)"),
    ("temperature of the soft-argmax", "learnt, one a joint", "known: the same"),
    ("unit of depth", "the length of the middle finger's proximal phalanx, which is the scale all methods are given",
     "assumed: the field's scale; the length of the reference bone in peclr"),
    ("reference bone", "wrist to index MCP", "known: peclr"),
    ("its length", "the mean over the training hands, times the scale that is given",
     "assumed: to compare; given in theirs, and no other method here is told a second length"),
    ("axis of depth", "the line of sight through the crop's centre, as view correction has it for all here",
     "assumed: to compare; theirs is the camera's, which a crop does not show"),
    ("the root's depth", "from that bone's length, by the quadratic equation; peclr then refines it by a small network, ours does not",
     "known: the same; its print misses K^-1 and a factor of 2"),
    ("where noise leaves no solution", "the nearest depth, kept between 1 and 200 bones", "assumed; the re-implementation clamps, too"),
    ("losses", "L1 on places and on relative depths; places, in units of the crop, weigh 20 times", "known: L1; assumed: the weight in these units"),
    ("network", "ResNet-18, three deconvolutions (256, 256, 128), one convolution", "assumed: hourglass or convolutions in theirs; the backbone of all here"),
    ("maps", "a quarter of the picture's side", "scaled"),
)  # fmt: skip

NETWORKS = Latent25D
STAGES = {"latent25d": Latent}
