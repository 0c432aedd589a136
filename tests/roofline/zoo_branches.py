"""Definitions of published convolutional networks of parallel branches, shuffled channels, and video."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.roofline.zoo_layers import ConvBN, Residual, classifier


class SelectiveKernels(nn.Module):
    """A dense and a grouped 3x3 convolution side by side, weighted per channel by a softmax over both."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.dense = ConvBN(width, width, 3, stride)
        self.grouped = ConvBN(width, width, 3, stride, groups=32)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = ConvBN(width, width // 16)
        self.select = nn.Conv2d(width // 16, 2 * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H / stride, W / stride)."""
        a, b = self.dense(x), self.grouped(x)
        chosen: Tensor = self.select(self.squeeze(self.pool(a) + self.pool(b)))
        first, second = chosen.reshape(len(x), 2, -1, 1, 1).softmax(1).unbind(1)
        y: Tensor = a * first + b * second
        return y


def sk_resnet50() -> nn.Module:
    """ResNet-50 with selective kernels in place of its 3x3 convolutions."""
    blocks, inputs = [], 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        width, outputs = 64 << stage, 256 << stage
        for turn in range(depth):
            stride = 2 if turn == 0 and stage else 1
            body = nn.Sequential(
                ConvBN(inputs, width), SelectiveKernels(width, stride), ConvBN(width, outputs, act=None)
            )
            blocks.append(Residual(body, ConvBN(inputs, outputs, 1, stride, act=None) if turn == 0 else None))
            inputs = outputs
    return nn.Sequential(ConvBN(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks, classifier(2048))


def _basic(channels: int) -> nn.Module:
    return Residual(nn.Sequential(ConvBN(channels, channels, 3), ConvBN(channels, channels, 3, act=None)))


def _bottleneck(inputs: int, width: int, stride: int = 1) -> nn.Module:
    """ResNet's bottleneck, with a 1x1 convolution on the skip where channels change."""
    body = nn.Sequential(ConvBN(inputs, width), ConvBN(width, width, 3, stride), ConvBN(width, 4 * width, act=None))
    changes = stride != 1 or inputs != 4 * width
    return Residual(body, ConvBN(inputs, 4 * width, 1, stride, act=None) if changes else None)


class HighResolution(nn.Module):
    """Branches of falling resolution, four basic blocks each, and every output the sum of all of them resampled."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(_basic(width) for _ in range(4))) for width in widths)
        self.fuse = nn.ModuleList(self._path(widths, a, b) for b in range(len(widths)) for a in range(len(widths)))
        self.relu = nn.ReLU()

    @staticmethod
    def _path(widths: tuple[int, ...], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
            return nn.Sequential(ConvBN(widths[source], widths[target], act=None), up)
        steps = [ConvBN(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
        return nn.Sequential(*steps, ConvBN(widths[source], widths[target], 3, 2, act=None))

    def forward(self, xs: list[Tensor]) -> list[Tensor]:
        """As many tensors as come in, of their shapes."""
        ys = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        fused = []
        for target in range(len(xs)):
            paths = list(self.fuse)[target * len(xs) :]
            total = paths[0](ys[0])
            for path, y in zip(paths[1 : len(xs)], ys[1:], strict=True):
                total = total + path(y)
            fused.append(self.relu(total))
        return fused


class HRNet(nn.Module):
    """HRNet-W18-C: four stages of 1 to 4 branches, and a head that widens and gathers them."""

    def __init__(self) -> None:
        super().__init__()
        widths = (18, 36, 72, 144)
        self.stem = nn.Sequential(
            ConvBN(3, 64, 3, 2), ConvBN(64, 64, 3, 2), _bottleneck(64, 64), *(_bottleneck(256, 64) for _ in range(3))
        )
        self.split = nn.ModuleList([ConvBN(256, 18, 3), ConvBN(256, 36, 3, 2)])
        self.lower = nn.ModuleList([ConvBN(36, 72, 3, 2), ConvBN(72, 144, 3, 2)])
        self.stages = nn.ModuleList(
            nn.Sequential(*(HighResolution(widths[:branches]) for _ in range(modules)))
            for branches, modules in ((2, 1), (3, 4), (4, 3))
        )
        self.widen = nn.ModuleList(
            _bottleneck(width, new) for width, new in zip(widths, (32, 64, 128, 256), strict=True)
        )
        self.gather = nn.ModuleList(self._biased(128 << number, 256 << number, 3, 2) for number in range(3))
        self.final = self._biased(1024, 2048, 1, 1)
        self.head = classifier(2048)

    @staticmethod
    def _biased(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1000)."""
        x = self.stem(x)
        xs = [transition(x) for transition in self.split]
        for number, stage in enumerate(self.stages):
            if number:
                xs.append(self.lower[number - 1](xs[-1]))
            xs = stage(xs)
        ys = [widen(each) for widen, each in zip(self.widen, xs, strict=True)]
        y = ys[0]
        for gather, each in zip(self.gather, ys[1:], strict=True):
            y = each + gather(y)
        logits: Tensor = self.head(self.final(y))
        return logits


class OmniScale(nn.Module):
    """OSNet's body: four streams of 1 to 4 light 3x3 convolutions, each through one shared gate, summed."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        width = outputs // 4
        self.conv1 = ConvBN(inputs, width)
        self.streams = nn.ModuleList(
            nn.Sequential(*(self._light(width) for _ in range(length))) for length in (1, 2, 3, 4)
        )
        self.squeeze = nn.Conv2d(width, width // 16, 1)
        self.excite = nn.Conv2d(width // 16, width, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv3 = ConvBN(width, outputs, act=None)

    @staticmethod
    def _light(width: int) -> nn.Module:
        pointwise, depthwise = (
            nn.Conv2d(width, width, 1, bias=False),
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        )
        return nn.Sequential(pointwise, depthwise, nn.BatchNorm2d(width), nn.ReLU())

    def _gated(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(functional.relu(self.squeeze(self.pool(x)))))

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, H, W)."""
        x = self.conv1(x)
        total = self._gated(self.streams[0](x))
        for stream in list(self.streams)[1:]:
            total = total + self._gated(stream(x))
        y: Tensor = self.conv3(total)
        return y


def osnet_x1_0() -> nn.Module:
    """OSNet x1.0 as it gives features of people: without the classifier of training."""

    def block(inputs: int, outputs: int) -> nn.Module:
        return Residual(OmniScale(inputs, outputs), ConvBN(inputs, outputs, act=None) if inputs != outputs else None)

    layers: list[nn.Module] = [ConvBN(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for inputs, outputs, halve in ((64, 256, True), (256, 384, True), (384, 512, False)):
        layers += [block(inputs, outputs), block(outputs, outputs)]
        layers += [ConvBN(outputs, outputs), nn.AvgPool2d(2, 2)] if halve else []
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU()]
    return nn.Sequential(*layers, ConvBN(512, 512), *head)


class HardGate(nn.Module):
    """ShuffleNetV2+'s squeeze and excitation: no biases, batch norm between, hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = ConvBN(channels, channels // 4)
        self.excite = nn.Conv2d(channels // 4, channels, 1, bias=False)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """As `x`."""
        scale: Tensor = self.gate(self.excite(self.squeeze(self.pool(x))))
        return x * scale


class Shuffle(nn.Module):
    """ShuffleNetV2+'s unit: half of the channels, or at stride 2 all of them, through a branch; the rest past it."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, act: type[nn.Module], gate: bool, deep: bool
    ) -> None:
        super().__init__()
        half, new, self.stride = outputs // 2, outputs - inputs, stride

        def depthwise(channels: int, step: int) -> nn.Module:
            return ConvBN(channels, channels, kernel, step, groups=channels, act=None)

        if deep:
            first = [
                depthwise(inputs, stride),
                ConvBN(inputs, half, act=act),
                depthwise(half, 1),
                ConvBN(half, half, act=act),
            ]
            layers = [*first, depthwise(half, 1), ConvBN(half, new, act=act)]
        else:
            layers = [ConvBN(inputs, half, act=act), depthwise(half, stride), ConvBN(half, new, act=act)]
        self.branch = nn.Sequential(*layers, *([HardGate(new)] if gate else []))
        self.past = nn.Sequential(depthwise(inputs, 2), ConvBN(inputs, inputs, act=act)) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, H / stride, W / stride)."""
        if self.past is not None:
            return torch.cat([self.past(x), self.branch(x)], 1)
        past, through = x.reshape(len(x), -1, 2, *x.shape[2:]).permute(2, 0, 1, 3, 4).contiguous().unbind(0)
        return torch.cat([past, self.branch(through)], 1)


def shufflenetv2_plus_small() -> nn.Module:
    """ShuffleNetV2+ Small: units of searched kernels (0 stands for the deep unit)."""
    kernels = [3, 3, 0, 5, 5, 5, 3, 3, 7, 3, 7, 5, 5, 3, 7, 3, 7, 5, 0, 7]
    units, inputs = [], 16
    chosen = iter(kernels)
    for stage, (depth, outputs) in enumerate(((4, 36), (4, 104), (8, 208), (4, 416))):
        act = nn.Hardswish if stage else nn.ReLU
        for turn in range(depth):
            kernel = next(chosen)
            units.append(
                Shuffle(
                    inputs if turn == 0 else outputs // 2,
                    outputs,
                    kernel or 3,
                    2 if turn == 0 else 1,
                    act,
                    stage > 1,
                    kernel == 0,
                )
            )
        inputs = outputs
    head = [nn.AdaptiveAvgPool2d(1), HardGate(1280), nn.Flatten(), nn.Linear(1280, 1280, bias=False), nn.Hardswish()]
    end = [ConvBN(416, 1280, act=nn.Hardswish), *head, nn.Dropout(0.2), nn.Linear(1280, 1000, bias=False)]
    return nn.Sequential(ConvBN(3, 16, 3, 2, act=nn.Hardswish), *units, *end)


def c3d() -> nn.Module:
    """C3D: eight 3x3x3 convolutions; 101 classes."""

    def conv(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv3d(inputs, outputs, 3, padding=1), nn.ReLU()]

    return nn.Sequential(
        *conv(3, 64), nn.MaxPool3d((1, 2, 2)), *conv(64, 128), nn.MaxPool3d(2), *conv(128, 256), *conv(256, 256),
        nn.MaxPool3d(2),
        *conv(256, 512), *conv(512, 512), nn.MaxPool3d(2), *conv(512, 512), *conv(512, 512), nn.MaxPool3d(2, 2, (0, 1,
        1)),
        nn.Flatten(), nn.Linear(8192, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 101),
    )  # fmt: skip


def reid_strong_baseline() -> nn.Module:
    """ResNet-50 with a last stage of stride 1, as it gives features of people; its first batch norm has no ReLU after
    it.
    """
    blocks, inputs = [], 64
    for stage, depth in enumerate((3, 4, 6, 3)):
        for turn in range(depth):
            blocks.append(_bottleneck(inputs, 64 << stage, 2 if turn == 0 and stage in (1, 2) else 1))
            inputs = 256 << stage
    return nn.Sequential(
        ConvBN(3, 64, 7, 2, act=None), nn.MaxPool2d(3, 2, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def dncnn() -> nn.Module:
    """DnCNN-S: 17 3x3 convolutions at full resolution, which give the noise."""
    middle = [ConvBN(64, 64, 3) for _ in range(15)]
    return nn.Sequential(
        nn.Conv2d(1, 64, 3, padding=1, bias=False), nn.ReLU(), *middle, nn.Conv2d(64, 1, 3, padding=1, bias=False)
    )
