"""What the tests of the methods of Table 3 share: a backbone that costs nothing, and which networks a term teaches."""

from torch import nn


class SmallBackbone(nn.Sequential):
    """ResNet-18's place holder."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 16, 3, stride=4, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(16, 10)

    def forward(self, images):
        for layer in list(self)[:-1]:
            images = layer(images)
        return self.fc(images)


def reached(networks, term=None):
    """Names of the parts of ``networks`` that ``term`` moves; without a term, those that have a gradient that is not zero."""
    if term is not None:
        networks.zero_grad(set_to_none=True)
        term.backward(retain_graph=True)
    return {name.split(".")[0] for name, weight in networks.named_parameters() if weight.grad is not None and weight.grad.any()}
