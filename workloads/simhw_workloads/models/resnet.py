"""Residual networks of He et al. (CVPR 2016): basic blocks (ResNet-18) and bottlenecks (ResNet-50, 101, 152).

Bottlenecks are v1.5: the stride stands in the 3x3 convolution.  Parameter names follow the common convention
(``conv1``, ``layer1.0.conv2``, ``layer1.0.downsample.0``, ``fc``), so that layers of a trace are found under the names
that people know.
"""

import torch
from torch import Tensor, nn

from simhw_workloads.models.width import scaled

EXPANSION = 4
"""A bottleneck's outputs over its inner channels."""
_STEM = 64
_STAGES = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm, around a skip connection; the first has the block's stride."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The normalisation before the sum."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += skip
        result: Tensor = self.relu(x)
        return result


class Bottleneck(nn.Module):
    """1x1 down, 3x3 (with the block's stride: v1.5), 1x1 up by 4, each with batch norm, around a skip connection."""

    expansion = EXPANSION

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        """The normalisation before the sum."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 4 width, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += skip
        result: Tensor = self.relu(x)
        return result


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, and a classifier on the average of all positions.

    Parameters
    ----------
    blocks : tuple of 4 int
        Blocks per stage; (3, 4, 6, 3) bottlenecks are ResNet-50.
    classes : int
        Outputs of the last linear layer.
    width : float
        Share of the published channels; all counts are multiples of 4.
    channels : int
        Of the images.
    small_input : bool
        A 3x3 stem of stride 1 without max pooling, for images of 28 to 64 pixels.
    block : type
        `BasicBlock` or `Bottleneck`.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
        classes: int = 1000,
        width: float = 1.0,
        channels: int = 3,
        small_input: bool = False,
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck,
    ) -> None:
        super().__init__()
        stem, stages = scaled(_STEM, width), [scaled(each, width) for each in _STAGES]
        kernel, stride = (3, 1) if small_input else (7, 2)
        self.conv1 = nn.Conv2d(channels, stem, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_input else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, stem, stages[0], blocks[0], stride=1)
        self.layer2 = _stage(block, stages[0] * block.expansion, stages[1], blocks[1], stride=2)
        self.layer3 = _stage(block, stages[1] * block.expansion, stages[2], blocks[2], stride=2)
        self.layer4 = _stage(block, stages[2] * block.expansion, stages[3], blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[3] * block.expansion, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            # The last normalisation of a block starts at zero, so that every block starts as the identity (Goyal et al.
            # 2017).
            if isinstance(module, BasicBlock | Bottleneck):
                nn.init.zeros_(module.last_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) images to (N, classes) logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    first = block(inputs, width, stride)
    return nn.Sequential(first, *(block(width * block.expansion, width, 1) for _ in range(blocks - 1)))


def resnet18(classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-18; 11,689,512 parameters at 1000 classes, as published."""
    return ResNet((2, 2, 2, 2), classes, width, channels, small_input, BasicBlock)


def resnet50(classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-50 v1.5; 25,557,032 parameters at 1000 classes, as published."""
    return ResNet((3, 4, 6, 3), classes, width, channels, small_input)


def resnet101(classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-101 v1.5; 44,549,160 parameters at 1000 classes, as published."""
    return ResNet((3, 4, 23, 3), classes, width, channels, small_input)


def resnet152(classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-152 v1.5; 60,192,808 parameters at 1000 classes, as published."""
    return ResNet((3, 8, 36, 3), classes, width, channels, small_input)
