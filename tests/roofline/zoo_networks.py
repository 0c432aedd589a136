"""Definitions of published convolutional networks of residual, inception and searched blocks."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.roofline.zoo_layers import Concat, ConvBN, Gate, Residual, classifier


def regnetx_1_6gf() -> nn.Module:
    """RegNetX-1.6GF: bottlenecks without a bottleneck, in groups of 24 channels."""
    stages, inputs = [], 32
    for width, depth in zip((72, 168, 408, 912), (2, 4, 10, 2), strict=True):
        for block in range(depth):
            stride = 2 if block == 0 else 1
            body = nn.Sequential(
                ConvBN(inputs, width),
                ConvBN(width, width, 3, stride, groups=width // 24),
                ConvBN(width, width, act=None),
            )
            stages.append(Residual(body, ConvBN(inputs, width, 1, stride, act=None) if block == 0 else None))
            inputs = width
    return nn.Sequential(ConvBN(3, 32, 3, 2), *stages, classifier(912))


def se_resnext101_32x4d() -> nn.Module:
    """SE-ResNeXt-101 32x4d."""
    blocks, inputs = [], 64
    for stage, depth in enumerate((3, 4, 23, 3)):
        width, outputs = 128 << stage, 256 << stage
        for block in range(depth):
            stride = 2 if block == 0 and stage else 1
            body = nn.Sequential(
                ConvBN(inputs, width),
                ConvBN(width, width, 3, stride, groups=32),
                ConvBN(width, outputs, act=None),
                Gate(outputs, outputs // 16),
            )
            blocks.append(Residual(body, ConvBN(inputs, outputs, 1, stride, act=None) if block == 0 else None))
            inputs = outputs
    return nn.Sequential(ConvBN(3, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), *blocks, classifier(2048))


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return [depthwise, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]


def xception() -> nn.Module:
    """Xception: separable convolutions without a function between depthwise and pointwise."""

    def block(
        inputs: int, outputs: int, repeats: int, stride: int, first_relu: bool = True, grow_first: bool = True
    ) -> nn.Module:
        body: list[nn.Module] = []
        for turn in range(repeats):
            grown = turn > 0 if grow_first else turn == repeats - 1
            a = outputs if grow_first and turn else inputs
            b = outputs if grow_first or grown else inputs
            body += [nn.ReLU()] * (turn > 0 or first_relu) + _separable(a, b)
        if stride > 1:
            body.append(nn.MaxPool2d(3, stride, 1))
        skip = None if inputs == outputs and stride == 1 else ConvBN(inputs, outputs, 1, stride, act=None)
        return Residual(nn.Sequential(*body), skip, act=None)

    entry = [block(64, 128, 2, 2, first_relu=False), block(128, 256, 2, 2), block(256, 728, 2, 2)]
    middle = [block(728, 728, 3, 1) for _ in range(8)]
    end = [*_separable(1024, 1536), nn.ReLU(), *_separable(1536, 2048), nn.ReLU(), classifier(2048)]
    stem = [ConvBN(3, 32, 3, 2, padding=0), ConvBN(32, 64, 3, padding=0)]
    return nn.Sequential(*stem, *entry, *middle, block(728, 1024, 2, 2, grow_first=False), *end)


class InceptionResidual(nn.Module):
    """x plus a scaled 1x1 convolution of branches side by side."""

    def __init__(self, branches: nn.Module, between: int, channels: int, scale: float, relu: bool = True) -> None:
        super().__init__()
        self.branches = branches
        self.conv = nn.Conv2d(between, channels, 1)
        self.scale = scale
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """As `x`."""
        y: Tensor = self.conv(self.branches(x))
        y = y * self.scale + x if self.scale != 1 else y + x
        return functional.relu(y) if self.relu else y


def inception_resnet_v2() -> nn.Module:
    """Inception-ResNet-v2."""

    def chain(inputs: int, *convs: tuple[int, int | tuple[int, int], int]) -> nn.Sequential:
        """Convolutions of (outputs, kernel, stride); those of stride 2 are not padded."""
        layers = []
        for outputs, kernel, stride in convs:
            layers.append(ConvBN(inputs, outputs, kernel, stride, padding=0 if stride == 2 else None))
            inputs = outputs
        return nn.Sequential(*layers)

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2)

    stem: list[nn.Module] = [
        *[ConvBN(3, 32, 3, 2, padding=0), ConvBN(32, 32, 3, padding=0), ConvBN(32, 64, 3), pool()],
        *[ConvBN(64, 80), ConvBN(80, 192, 3, padding=0), pool()],
    ]
    average = nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), ConvBN(192, 64))
    mixed_5b = Concat(
        ConvBN(192, 96), chain(192, (48, 1, 1), (64, 5, 1)), chain(192, (64, 1, 1), (96, 3, 1), (96, 3, 1)), average
    )  # fmt: skip
    mixed_6a = Concat(ConvBN(320, 384, 3, 2, padding=0), chain(320, (256, 1, 1), (256, 3, 1), (384, 3, 2)), pool())
    mixed_7a = Concat(
        chain(1088, (256, 1, 1), (384, 3, 2)),
        chain(1088, (256, 1, 1), (288, 3, 2)),
        chain(1088, (256, 1, 1), (288, 3, 1), (320, 3, 2)),
        pool(),
    )

    def block35() -> nn.Module:
        branches = Concat(
            ConvBN(320, 32), chain(320, (32, 1, 1), (32, 3, 1)), chain(320, (32, 1, 1), (48, 3, 1), (64, 3, 1))
        )
        return InceptionResidual(branches, 128, 320, 0.17)

    def block17() -> nn.Module:
        branches = Concat(ConvBN(1088, 192), chain(1088, (128, 1, 1), (160, (1, 7), 1), (192, (7, 1), 1)))
        return InceptionResidual(branches, 384, 1088, 0.10)

    def block8(scale: float, relu: bool) -> nn.Module:
        branches = Concat(ConvBN(2080, 192), chain(2080, (192, 1, 1), (224, (1, 3), 1), (256, (3, 1), 1)))
        return InceptionResidual(branches, 448, 2080, scale, relu)

    return nn.Sequential(
        *stem, mixed_5b, *[block35() for _ in range(10)], mixed_6a, *[block17() for _ in range(20)],
        mixed_7a, *[block8(0.20, True) for _ in range(9)], block8(1.0, False), ConvBN(2080, 1536), classifier(1536),
    )  # fmt: skip


def _inverted(
    inputs: int,
    outputs: int,
    expand: int,
    kernel: int,
    stride: int,
    act: type[nn.Module],
    squeeze: bool = False,
    skip: bool = True,
) -> nn.Module:
    """An inverted bottleneck: 1x1 up, depthwise, gate, 1x1 down."""
    width = inputs * expand
    layers: list[nn.Module] = [ConvBN(inputs, width, act=act)] * (expand > 1)
    layers.append(ConvBN(width, width, kernel, stride, groups=width, act=act))
    if squeeze:
        layers.append(Gate(width, inputs // 4, act))
    body = nn.Sequential(*layers, ConvBN(width, outputs, act=None))
    return Residual(body, act=None) if skip and stride == 1 and inputs == outputs else body


def efficientnet_b3() -> nn.Module:
    """EfficientNet-B3: B0's stages, 1.2 times as wide and 1.4 times as deep."""
    # Expansion, kernel, stride, channels, layers.
    stages = [
        (1, 3, 1, 24, 2),
        (6, 3, 2, 32, 3),
        (6, 5, 2, 48, 3),
        (6, 3, 2, 96, 5),
        (6, 5, 1, 136, 5),
        (6, 5, 2, 232, 6),
        (6, 3, 1, 384, 2),
    ]
    blocks, inputs = [], 40
    for expand, kernel, stride, outputs, depth in stages:
        for turn in range(depth):
            blocks.append(_inverted(inputs, outputs, expand, kernel, stride if turn == 0 else 1, nn.SiLU, squeeze=True))
            inputs = outputs
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(1536, 1000)]
    return nn.Sequential(ConvBN(3, 40, 3, 2, act=nn.SiLU), *blocks, ConvBN(384, 1536, act=nn.SiLU), *head)


def spnasnet_100() -> nn.Module:
    """Single-Path NAS: inverted bottlenecks of searched kernels and expansions."""
    # Of each block: expansion, kernel, stride, channels, repetitions.
    found = [
        *[(1, 3, 1, 16, 1), (3, 3, 2, 24, 3), (6, 5, 2, 40, 1), (3, 3, 1, 40, 3), (6, 5, 2, 80, 1), (3, 3, 1, 80, 3)],
        *[(6, 5, 1, 96, 1), (3, 5, 1, 96, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1)],
    ]
    blocks, inputs = [], 32
    for expand, kernel, stride, outputs, depth in found:
        for turn in range(depth):
            blocks.append(_inverted(inputs, outputs, expand, kernel, stride if turn == 0 else 1, nn.ReLU))
            inputs = outputs
    return nn.Sequential(ConvBN(3, 32, 3, 2), *blocks, ConvBN(320, 1280), classifier(1280))


def _bn_conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), conv)


class DualPath(nn.Module):
    """A dual path block: `residual` channels are added to, `growth` more are appended."""

    def __init__(self, inputs: int, between: int, residual: int, growth: int, stride: int, project: bool) -> None:
        super().__init__()
        self.residual = residual
        self.project = _bn_conv(inputs, residual + 2 * growth, 1, stride) if project else None
        self.a = _bn_conv(inputs, between)
        self.b = _bn_conv(between, between, 3, stride, groups=40)
        self.c = _bn_conv(between, residual + growth)

    def forward(self, x: tuple[Tensor, Tensor] | Tensor) -> tuple[Tensor, Tensor]:
        """Residual and dense path."""
        whole = torch.cat(x, 1) if isinstance(x, tuple) else x
        if self.project is not None:
            projected = self.project(whole)
            added, dense = projected[:, : self.residual], projected[:, self.residual :]
        else:
            added, dense = x
        out = self.c(self.b(self.a(whole)))
        return added + out[:, : self.residual], torch.cat([dense, out[:, self.residual :]], 1)


class DPN131(nn.Module):
    """Dual path network 131, 40 groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvBN(3, 128, 7, 2), nn.MaxPool2d(3, 2, 1))
        blocks, inputs = [], 128
        for stage, (depth, growth) in enumerate(zip((4, 8, 28, 3), (16, 32, 32, 128), strict=True)):
            residual, between = 256 << stage, 160 << stage
            for turn in range(depth):
                stride = 2 if turn == 0 and stage else 1
                blocks.append(DualPath(inputs, between, residual, growth, stride, project=turn == 0))
                inputs = residual + 3 * growth if turn == 0 else inputs + growth
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Conv2d(inputs, 1000, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1000)."""
        y = self.relu(self.norm(torch.cat(self.blocks(self.stem(x)), 1)))
        logits: Tensor = self.classifier(self.pool(y)).flatten(1)
        return logits


class CrossStage(nn.Module):
    """A cross stage partial stage: half of the channels pass the blocks by."""

    def __init__(self, inputs: int, outputs: int, depth: int, stride: int) -> None:
        super().__init__()
        act = nn.LeakyReLU
        conv = partial(ConvBN, act=act)
        half = outputs // 2
        self.down = conv(inputs, inputs, 3, stride, groups=32) if stride > 1 else None
        self.expand = ConvBN(inputs, outputs, act=None)
        self.blocks = nn.Sequential(
            *(
                Residual(
                    nn.Sequential(conv(half, half), conv(half, half, 3, groups=32), ConvBN(half, half, act=None)),
                    act=act,
                )
                for _ in range(depth)
            )
        )
        self.transition_b = conv(half, half)
        self.transition = conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, H / stride, W / stride)."""
        if self.down is not None:
            x = self.down(x)
        past, through = self.expand(x).chunk(2, 1)
        y: Tensor = self.transition(torch.cat([past, self.transition_b(self.blocks(through))], 1))
        return y


def cspresnext50() -> nn.Module:
    """CSPResNeXt-50."""
    stages, inputs = [], 64
    for stage, (outputs, depth) in enumerate(zip((256, 512, 1024, 2048), (3, 3, 5, 2), strict=True)):
        stages.append(CrossStage(inputs, outputs, depth, 2 if stage else 1))
        inputs = outputs
    stem = ConvBN(3, 64, 7, 2, act=nn.LeakyReLU)
    return nn.Sequential(stem, nn.MaxPool2d(3, 2, 1), *stages, classifier(2048))


class Res2NetBody(nn.Module):
    """Bottleneck whose 3x3 convolution runs on quarters, each with the result of the one before."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv1 = ConvBN(inputs, 4 * width)
        self.convs = nn.ModuleList(ConvBN(width, width, 3, stride) for _ in range(3))
        self.pool = nn.AvgPool2d(3, stride, 1) if first else None
        self.conv3 = ConvBN(4 * width, outputs, act=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, H / stride, W / stride)."""
        parts = self.conv1(x).chunk(4, 1)
        done: list[Tensor] = []
        for part, conv in zip(parts[:3], self.convs, strict=True):
            done.append(conv(part if self.first or not done else done[-1] + part))
        done.append(parts[3] if self.pool is None else self.pool(parts[3]))
        y: Tensor = self.conv3(torch.cat(done, 1))
        return y


def res2net101_v1b() -> nn.Module:
    """Res2Net-101 v1b, 26w x 4s: three 3x3 convolutions as stem, averages before the skip's convolution."""
    blocks, inputs = [], 64
    for stage, depth in enumerate((3, 4, 23, 3)):
        width, outputs = 26 << stage, 256 << stage
        for turn in range(depth):
            stride = 2 if turn == 0 and stage else 1
            skip = None
            if turn == 0:
                average = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
                skip = nn.Sequential(average, ConvBN(inputs, outputs, act=None))
            blocks.append(Residual(Res2NetBody(inputs, width, outputs, stride, turn == 0), skip))
            inputs = outputs
    stem = [ConvBN(3, 32, 3, 2), ConvBN(32, 32, 3), ConvBN(32, 64, 3), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, classifier(2048))
