"""The networks (sections 3.1 and 3.3). A latent is a pair (mean, log-variance), each (B, D).

A pose is (B, 21, 3), centred on the root and divided by the hand's scale. Layer widths that the paper
leaves open follow its references: 512 units, as in the cross-modal VAE of Spurr et al. (2018).
"""

import math

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from .processes import noise

POSE_LATENT = 64
CONTEXT_LATENT = 64
HIDDEN = 512
JOINTS = 21
_FIRST_LOG_VARIANCE = -5.0
#: Of the mappers, whose means are small at first: a sample would otherwise be several times as much noise as signal.
MAPPER_VARIANCE = 1e-4


def sample(mean, log_variance):
    """Reparameterised draw from N(mean, exp(log_variance)): (B, D) twice -> (B, D)."""
    return mean + noise(mean) * (0.5 * log_variance).exp()


def _gaussian(features):
    mean, log_variance = features.chunk(2, dim=-1)
    # exp() of an unbounded log-variance overflows in half precision early in training.
    return mean, log_variance.clamp(-20.0, 10.0)


def _gaussian_head(features, latent, log_variance=_FIRST_LOG_VARIANCE):
    """Linear layer to mean and log-variance. The variance starts small: with the default start the sample is nearly
    all noise, and the decoder learns nothing until it has come down.
    """
    head = nn.Linear(features, 2 * latent)
    nn.init.constant_(head.bias[latent:], log_variance)
    return head


class SmallMapConv(nn.Conv2d):
    """A 3 x 3 convolution, padded by 1 and without bias, that makes maps of up to 2 x 2 on a CPU by one matrix product.

    There it takes a third of the usual convolution's time, and such maps took almost half of a training step on pictures of 64 px.
    """

    def forward(self, input):
        step = self.stride[0]
        high, wide = ((side - 1) // step + 1 for side in input.shape[-2:])
        if input.device.type != "cpu" or max(high, wide) > 2:
            return super().forward(input)
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        taps = [padded[:, i : i + step * high : step, j : j + step * wide : step] for i in range(3) for j in range(3)]
        return F.linear(torch.cat(taps, -1), self.weight.permute(0, 2, 3, 1).flatten(1)).permute(0, 3, 1, 2)


def resnet():
    """torchvision's ResNet-18, weights and their names too, with convolutions that are fast where maps are small."""
    from torchvision.models import resnet18  # a second that only what has networks need wait

    network = resnet18()
    for block in network.layer4:
        for name in ("conv1", "conv2"):
            conv = getattr(block, name)
            small = nn.utils.skip_init(SmallMapConv, conv.in_channels, conv.out_channels, 3, conv.stride, 1, bias=False)
            small.weight = conv.weight
            setattr(block, name, small)
    return network


class RGBEncoder(nn.Module):
    """E_RGB (sections 3.1.1, 4.2): ResNet-18, then mean and log-variance of ``latent`` numbers.

    Images (B, 3, H, W), float, normalised by the ImageNet statistics -> two (B, latent). The first
    ``POSE_LATENT`` latents are pose-specific, the rest context. ``weights``: "imagenet" (torchvision's
    file, fetched by it), None (from scratch), or the path of a ResNet-18 ``.safetensors`` file.
    Raises ValueError with what to do when the weights can't be had.
    """

    def __init__(self, latent=POSE_LATENT + CONTEXT_LATENT, weights=None):
        super().__init__()
        self.backbone = resnet()
        features = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        if weights is not None:
            _load_backbone(self.backbone, weights)
        self.head = _gaussian_head(features, latent)

    def forward(self, images):
        return _gaussian(self.head(self.backbone(images)))


def _load_backbone(backbone, weights):
    try:
        if str(weights) == "imagenet":
            from torchvision.models import ResNet18_Weights

            state = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
        else:
            state = load_file(weights)
        backbone.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
    except Exception as error:  # any network, file or format failure ends in the same advice
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"ResNet-18 weights {str(weights)!r} can't be had ({type(error).__name__}: {reason}); give the path of a "
            "local .safetensors file, or None to train from scratch"
        ) from error


class PoseEncoder(nn.Module):
    """E_pose (section 3.1.1): an MLP 63-512-512-512, then mean and log-variance. (B, 21, 3) -> two (B, latent)."""

    def __init__(self, latent=POSE_LATENT, hidden=HIDDEN):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(3 * JOINTS, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            _gaussian_head(hidden, latent),
        )  # fmt: skip

    def forward(self, pose):
        return _gaussian(self.layers(pose))


class _Block(nn.Module):
    """relu(bn(W x)): one term of eq. 18. The bias is left to the batch normalisation."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x):
        return torch.relu(self.norm(self.linear(x)))


class InjectionDecoder(nn.Module):
    """ID (section 3.3, eqs. 18-19, fig. 2a): z is projected and added after every hidden layer.

    y_i = relu(bn(W_i y_{i-1})) + relu(bn(W_i^s z)). For i = 1 the left term is relu(bn(z)) as printed,
    projected to the hidden width, since the widths differ. The last layer is linear (coordinates are
    signed; eq. 19 prints a ReLU). z (B, latent) -> (B, 21, 3).
    """

    def __init__(self, latent=POSE_LATENT, hidden=HIDDEN, layers=4):
        super().__init__()
        self.main = nn.ModuleList([_Block(latent if i == 0 else hidden, hidden) for i in range(layers)])
        self.inject = nn.ModuleList([_Block(latent, hidden) for _ in range(layers)])
        self.out = nn.Linear(hidden, 3 * JOINTS)

    def forward(self, z):
        y = z
        for main, inject in zip(self.main, self.inject):
            y = main(y) + inject(z)
        return self.out(y).unflatten(-1, (JOINTS, 3))


class LinearDecoder(nn.Module):
    """The plain stack of fully connected layers of Tables 1 and 2: as deep and wide, no injection.

    z (B, latent) -> (B, 21, 3).
    """

    def __init__(self, latent=POSE_LATENT, hidden=HIDDEN, layers=4):
        super().__init__()
        self.main = nn.ModuleList([_Block(latent if i == 0 else hidden, hidden) for i in range(layers)])
        self.out = nn.Linear(hidden, 3 * JOINTS)

    def forward(self, z):
        for main in self.main:
            z = main(z)
        return self.out(z).unflatten(-1, (JOINTS, 3))


class VariationalMapper(nn.Module):
    """T_RGB or T_pose (section 3.1.2, fig. 2b): one Gaussian latent to another.

    Takes (mean, log-variance), each (B, inputs), draws a sample (in evaluation mode, and with ``reads="mean"``:
    the mean), and gives the aligned (mean, log-variance), each (B, outputs). ``variance``: about what it gives before any
    training. Raises ValueError for other ``reads``, and unless ``variance`` is above 0.
    """

    def __init__(self, inputs=POSE_LATENT, outputs=POSE_LATENT, hidden=HIDDEN, reads="sample", variance=MAPPER_VARIANCE):
        super().__init__()
        if reads not in ("sample", "mean"):
            raise ValueError(f'a mapper reads a "sample" or the "mean", not {reads!r}')
        if not variance > 0:
            raise ValueError(f"a mapper's first variance must be above 0, got {variance}")
        self.reads = reads
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            _gaussian_head(hidden, outputs, math.log(variance)),
        )  # fmt: skip

    def forward(self, mean, log_variance):
        z = sample(mean, log_variance) if self.training and self.reads == "sample" else mean
        return _gaussian(self.layers(z))


class LatentDiscriminator(nn.Module):
    """Dis (section 3.1.1, eq. 1): one logit for a pose latent, high for true poses. (B, latent) -> (B, 1)."""

    def __init__(self, latent=POSE_LATENT, hidden=256):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(latent, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden), nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, z):
        return self.layers(z)
