"""DenseNet-121 of Huang et al. (CVPR 2017).

Each layer takes the outputs of all layers before it in its block, and adds a few channels.

Parameter names follow the common convention (``features.denseblock1.denselayer1.conv1``, ``classifier``).
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from simhw_workloads.models.width import scaled

_GROWTH, _STEM, _BOTTLENECK = 32, 64, 4
_BLOCKS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 down to 4 times the growth; norm, ReLU, 3x3; the result is put behind the input's channels."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        inner = _BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, inputs + growth, H, W)."""
        new = self.conv1(self.relu1(self.norm1(x)))
        new = self.conv2(self.relu2(self.norm2(new)))
        return torch.cat([x, new], 1)


class DenseNet(nn.Module):
    """Dense blocks, with transitions between them that halve channels and positions.

    Parameters
    ----------
    blocks : tuple of int
        Layers per block; (6, 12, 24, 16) is DenseNet-121.
    classes : int
    width : float
        Share of the published growth and of the stem's channels.
    channels : int
        Of the images.
    small_input : bool
        A 3x3 stem of stride 1 without max pooling, for images of 28 to 64 pixels.
    """

    def __init__(
        self,
        blocks: tuple[int, ...] = _BLOCKS,
        classes: int = 1000,
        width: float = 1.0,
        channels: int = 3,
        small_input: bool = False,
    ) -> None:
        super().__init__()
        now, growth = scaled(_STEM, width), scaled(_GROWTH, width)
        kernel, stride = (3, 1) if small_input else (7, 2)
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(channels, now, kernel, stride=stride, padding=kernel // 2, bias=False),
            norm0=nn.BatchNorm2d(now),
            relu0=nn.ReLU(),
        )
        if not small_input:
            parts["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
        for number, count in enumerate(blocks, 1):
            layers: OrderedDict[str, nn.Module] = OrderedDict(
                (f"denselayer{place + 1}", DenseLayer(now + place * growth, growth)) for place in range(count)
            )
            parts[f"denseblock{number}"] = nn.Sequential(layers)
            now += count * growth
            if number < len(blocks):
                parts[f"transition{number}"] = _transition(now)
                now //= 2
        parts["norm5"] = nn.BatchNorm2d(now)
        self.features = nn.Sequential(parts)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(now, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) images to (N, classes) logits."""
        x = self.relu(self.features(x))
        logits: Tensor = self.classifier(self.avgpool(x).flatten(1))
        return logits


def _transition(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inputs),
            relu=nn.ReLU(),
            conv=nn.Conv2d(inputs, inputs // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


def densenet121(classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False) -> DenseNet:
    """DenseNet-121; 7,978,856 parameters at 1000 classes, as published."""
    return DenseNet(_BLOCKS, classes, width, channels, small_input)
