"""What several of the seven methods share: the backbone, deconvolutions, soft-argmax, and the frame of a stage.

Heat maps are (B, 21, H, W) over the crop; places are picture coordinates: x and y from the crop's centre, in units of its
side, so that pixel (row i, column j) of a map stands for ((j + 0.5) / W - 0.5, (i + 0.5) / H - 0.5).
"""

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from ..models import JOINTS, RGBEncoder, resnet
from ..stages import Phase


class Backbone(nn.Module):
    """ResNet-18 up to its last feature map: images (B, 3, S, S) -> (B, 512, S/32, S/32)."""

    features = 512

    def __init__(self, weights=None):
        super().__init__()
        self.backbone = resnet() if weights is None else RGBEncoder(weights=weights).backbone
        self.backbone.fc = nn.Identity()
        self.to(memory_format=torch.channels_last)

    def forward(self, images):
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))


class _Deconvolution(nn.ConvTranspose2d):
    """4 x 4, of stride 2, without bias; from maps of up to 2 x 2 on a CPU by one matrix product, as ``models.SmallMapConv``."""

    def __init__(self, inputs, width):
        super().__init__(inputs, width, 4, 2, 1, bias=False)

    def forward(self, input):  # type: ignore[override]  # no output_size
        high, wide = input.shape[-2:]
        if input.device.type != "cpu" or max(high, wide) > 2:
            return super().forward(input)
        cells = input.flatten(2).transpose(1, 2) @ self.weight.flatten(1)
        return F.fold(cells.transpose(1, 2), (2 * high, 2 * wide), 4, padding=1, stride=2)


def deconvolutions(inputs, widths):
    """Blocks that each double the resolution: 4 x 4 transposed convolution of stride 2, batch normalisation, ReLU."""
    layers = []
    for width in widths:
        layers += [_Deconvolution(inputs, width), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers)


def mlp(*widths):
    """Fully connected layers of these widths with ReLU between them; the last is linear."""
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def deep_mlp(*widths):
    """``mlp`` of many layers, the hidden ones drawn as He et al. do, so that signals keep their size.

    With PyTorch's own start each layer shrinks them, and what comes out is the same for all inputs until long after a short
    training has ended.
    """
    layers = mlp(*widths)
    for layer in list(layers)[:-1:2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return layers


def places(count, like):
    """Centres of ``count`` pixels along a side of the crop, (count,), in units of the side, from its centre."""
    return (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5) / count - 0.5


def soft_argmax(probability):
    """Mean place under maps that sum to 1: (B, 21, H, W) -> (B, 21, 2), x and y in picture coordinates."""
    x = (probability.sum(-2) * places(probability.shape[-1], probability)).sum(-1)
    y = (probability.sum(-1) * places(probability.shape[-2], probability)).sum(-1)
    return torch.stack([x, y], -1)


def gaussian_maps(xy, height, width, sigma):
    """Target maps with a peak of 1 at each joint: xy (B, 21, 2), sigma in units of the crop's side -> (B, 21, H, W)."""
    across = torch.exp(-((xy[..., :1] - places(width, xy)) ** 2) / (2 * sigma**2))
    down = torch.exp(-((xy[..., 1:2] - places(height, xy)) ** 2) / (2 * sigma**2))
    return down[..., :, None] * across[..., None, :]


def full_precision(tensor):
    """Convolutions gain from half precision; soft-argmax and losses need float32."""
    return torch.autocast(tensor.device.type, enabled=False)


class PeerNetworks(nn.Module):
    """Networks of one method. ``forward(images)``, (B, 3, S, S), is the predicted pose (B, 21, 3), as ``stages.Networks``.

    A method that predicts in the picture gives ``picture(images)``, picture coordinates (B, 21, 3), and its
    ``lift(picture, cameras, root, scale)`` to millimetres in the camera frame, and its ``forward`` is ``flat`` of it.
    """

    #: Weights whose gradients the training records.
    watched: ClassVar[dict] = {}
    #: Whether the method predicts in the picture.
    in_picture = False

    def picture(self, images):
        """Picture coordinates (B, 21, 3) from images (B, 3, S, S)."""
        raise NotImplementedError

    def lift(self, picture, cameras, root, scale):
        """Picture coordinates (N, 21, 3) to millimetres in the camera frame (N, 21, 3), for a known root (N, 3) and scale (N,)."""
        raise NotImplementedError

    def forward(self, images):
        with full_precision(images):
            return flat(self.picture(images).float())


def flat(picture):
    """Picture coordinates to a pose as a far camera would see it, without unit and centred on nothing: (B, 21, 3) twice.

    The middle finger's proximal phalanx, whose length is 1, gives the scale of x and y. For the training curve only: it
    knows no camera.
    """
    bone = picture[:, 10] - picture[:, 9]  # middle PIP, middle MCP
    across = bone[:, :2].norm(dim=-1).clamp(min=1e-2)
    zoom = (1 - bone[:, 2] ** 2).clamp(min=0.05).sqrt() / across
    return torch.cat([picture[..., :2] * zoom[:, None, None], picture[..., 2:]], -1)


class PeerStage(nn.Module):
    """A stage of one of the seven: ``cost`` gives the terms to minimise on one batch, weighted; ``learns`` names who learns.

    ``cost(images, pose, picture, step)``: images (B, 3, S, S), pose (B, 21, 3) without unit, as all rows learn it, and the
    picture coordinates (B, 21, 3) of the same joints.
    """

    #: What the progress bar and the training curves call it.
    title = ""
    learns: tuple = ()  # all parts, where a subclass does not name some
    #: Steps after which what a step does begins again, and the share of steps that look at pictures.
    cycle, looks = 1, 1.0

    def __init__(self, networks, preset):
        super().__init__()
        self.networks, self.preset = networks, preset

    def cost(self, images, pose, picture, step):
        """Terms to minimise: {name: scalar}."""
        raise NotImplementedError

    def epochs(self):
        """As many as row D3 sees after the warm-up, so that every method sees as many images."""
        return budget(self.preset)

    def phases(self):
        learns = self.learns or tuple(name for name, _ in self.networks.named_children())
        return (Phase(self.title, self.epochs(), self.preset.learning_rate, learns),)

    def forward(self, batch, step):
        return self.cost(batch.images, batch.pose[:, :JOINTS], batch.pose[:, JOINTS:], step)


def budget(preset):
    """Epochs of row D3 after the warm-up: stages 1, 2 and 3 together."""
    return preset.disentangle_epochs + preset.align_frozen_epochs + preset.align_epochs + preset.refine_epochs
