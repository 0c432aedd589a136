"""A video network after ECO-Lite: a 2D network on every frame, a 3D residual network on the features of all; 3D
convolutions in eight ways.

The units are those of `simhw.roofline.networks.video`, which has the network by shape at its published size: 3 x 3 x 3
convolutions as they are, put together from spatial and temporal ones on five-dimensional tensors (R(2+1)D, P3D-A, -B,
-C, Rank-1), or as convolutions of images on four-dimensional ones (Prop-Add, Prop-Cat).  Source: arXiv 2407.16514; spec
page techniques.md, 5.5.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw.roofline.networks.video import STAGES, VARIANTS
from simhw_workloads.models.width import scaled

FRAME_CHANNELS = 96
"""Of a frame's features."""
Triple = tuple[int, int, int]


def _convolution(inputs: int, outputs: int, kernel: Triple, stride: Triple) -> nn.Conv3d:
    """With `same` padding."""
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)


class InSeries(nn.Sequential):
    """Convolutions in a row.  Normalisation and ReLU follow each but the last."""

    def __init__(self, inputs: int, parts: tuple[tuple[Triple, Triple, int], ...]) -> None:
        modules: list[nn.Module] = []
        for kernel, stride, outputs in parts:
            modules += [_convolution(inputs, outputs, kernel, stride), nn.BatchNorm3d(outputs), nn.ReLU()]
            inputs = outputs
        super().__init__(*modules[:-2])
        self.outputs = inputs


class Pseudo3d(nn.Module):
    """Spatial and temporal convolutions whose results are added: beside each other (P3D-B), or the second behind the
    first (P3D-C).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, behind: bool) -> None:
        super().__init__()
        self.space = _convolution(inputs, outputs, (1, 3, 3), (stride,) * 3)
        self.time = (
            _convolution(outputs, outputs, (3, 1, 1), (1, 1, 1))
            if behind
            else _convolution(inputs, outputs, (3, 1, 1), (stride,) * 3)
        )
        self.behind, self.outputs = behind, outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T / stride, H / stride, W / stride)."""
        space = self.space(x)
        result: Tensor = space + self.time(space if self.behind else x)
        return result


class Proposed(nn.Module):
    """A 3x3 convolution of every frame beside a 3x1 of (time, positions), added (Prop-Add) or side by side (Prop-Cat).

    Where the unit strides by s, the spatial branch strides in space and then, by a 1x1, in time; the temporal branch
    takes every s-th frame and every s^2-th position.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, concatenate: bool) -> None:
        super().__init__()
        self.space = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.stride = nn.Conv2d(outputs, outputs, 1, (stride, 1), bias=False) if stride > 1 else nn.Identity()
        self.time = nn.Conv2d(inputs, outputs, (3, 1), (stride, stride * stride), (1, 0), bias=False)
        self.concatenate, self.outputs = concatenate, outputs * (1 + concatenate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T / stride, H / stride, W / stride)."""
        step = self.space.stride[0]
        if any(size % step for size in x.shape[2:]):
            raise WorkloadError(f"frames, height and width {tuple(x.shape[2:])} must be multiples of the stride {step}")
        space = by_frame(self.space, x)
        height, width = space.shape[3:]
        space = self.stride(space.flatten(3))
        time = self.time(x.flatten(3))
        both = torch.cat([space, time], dim=1) if self.concatenate else space + time
        return both.reshape(len(x), self.outputs, both.shape[2], height, width)


def by_frame(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer of images on every frame of (N, C, T, H, W)."""
    samples, _, frames = x.shape[:3]
    images = layer(x.transpose(1, 2).flatten(0, 1))
    result: Tensor = images.unflatten(0, (samples, frames)).transpose(1, 2)
    return result


class Whole3d(nn.Module):
    """The 3 x 3 x 3 convolution itself."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = _convolution(inputs, outputs, (3, 3, 3), (stride,) * 3)
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T / stride, H / stride, W / stride)."""
        result: Tensor = self.conv(x)
        return result


def _r2plus1d(inputs: int, outputs: int, stride: int) -> nn.Module:
    # Middle channels that leave the parameters as they were (Tran et al., CVPR 2018).
    middle = 27 * inputs * outputs // (9 * inputs + 3 * outputs)
    return InSeries(inputs, (((1, 3, 3), (1, stride, stride), middle), ((3, 1, 1), (stride, 1, 1), outputs)))


def _rank_one(inputs: int, outputs: int, stride: int) -> nn.Module:
    return InSeries(
        inputs,
        (
            ((3, 1, 1), (stride, 1, 1), outputs),
            ((1, 3, 1), (1, stride, 1), outputs),
            ((1, 1, 3), (1, 1, stride), outputs),
        ),
    )


_UNITS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "conv3d": Whole3d,
    "r2plus1d": _r2plus1d,
    "prop-cat": lambda inputs, outputs, stride: Proposed(inputs, outputs, stride, concatenate=True),
    "prop-add": lambda inputs, outputs, stride: Proposed(inputs, outputs, stride, concatenate=False),
    "p3d-a": lambda inputs, outputs, stride: InSeries(
        inputs, (((1, 3, 3), (1, stride, stride), outputs), ((3, 1, 1), (stride, 1, 1), outputs))
    ),
    "p3d-b": lambda inputs, outputs, stride: Pseudo3d(inputs, outputs, stride, behind=False),
    "p3d-c": lambda inputs, outputs, stride: Pseudo3d(inputs, outputs, stride, behind=True),
    "rank-1": _rank_one,
}


def unit(variant: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    """What takes the place of a 3 x 3 x 3 convolution; its `outputs` are twice as many channels in Prop-Cat.

    Raises
    ------
    WorkloadError
        There is no such variant.
    """
    if variant not in _UNITS:
        raise WorkloadError(f"no 3D variant {variant!r}; there are {', '.join(VARIANTS)}")
    return _UNITS[variant](inputs, outputs, stride)


class VideoBlock(nn.Module):
    """Two units with batch norm around a skip connection."""

    def __init__(self, inputs: int, width: int, stride: int, variant: str) -> None:
        super().__init__()
        self.unit1 = unit(variant, inputs, width, stride)
        middle = int(self.unit1.outputs)  # type: ignore[arg-type]  # every unit says how many channels it gives
        self.bn1 = nn.BatchNorm3d(middle)
        self.unit2 = unit(variant, middle, width, 1)
        self.outputs = int(self.unit2.outputs)  # type: ignore[arg-type]
        self.bn2 = nn.BatchNorm3d(self.outputs)
        self.shortcut = (
            Shortcut(inputs, self.outputs, stride, flat=variant.startswith("prop"))
            if self.outputs != inputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T / stride, H / stride, W / stride)."""
        inner = torch.relu(self.bn1(self.unit1(x)))
        return torch.relu(self.bn2(self.unit2(inner)) + self.shortcut(x))


class Shortcut(nn.Module):
    """A 1x1x1 convolution; flat, a 1x1 that strides in space and one that strides in time; and batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.space: nn.Module
        if flat:
            self.space = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.time = nn.Conv2d(outputs, outputs, 1, (stride, 1), bias=False) if stride > 1 else nn.Identity()
        else:
            self.space = _convolution(inputs, outputs, (1, 1, 1), (stride,) * 3)
        self.bn = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) to (N, outputs, T / stride, H / stride, W / stride)."""
        if not self.flat:
            result: Tensor = self.bn(self.space(x))
            return result
        space = by_frame(self.space, x)
        flat = self.time(space.flatten(3))
        result = self.bn(flat.reshape(*flat.shape[:3], *space.shape[3:]))
        return result  # noqa: RET504  # typed above


class VideoHead(nn.Module):
    """The 3D ResNet-18 without its first stages.

    Parameters
    ----------
    inputs, classes : int
    width : float
        Share of the published channels.
    variant : str
        One of `simhw.roofline.networks.video.VARIANTS`.
    """

    def __init__(self, inputs: int, classes: int, width: float, variant: str) -> None:
        super().__init__()
        blocks: list[VideoBlock] = []
        for channels, stride in STAGES:
            for index in range(2):
                blocks.append(VideoBlock(inputs, scaled(channels, width), stride if index == 0 else 1, variant))
                inputs = blocks[-1].outputs
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, T, H, W) features to (N, classes) logits."""
        logits: Tensor = self.fc(self.blocks(x).mean((2, 3, 4)))
        return logits


class VideoNet(nn.Module):
    """Two convolutions on every frame, of which each halves its sides, and the 3D head.

    Parameters
    ----------
    classes : int
    width : float
        Share of the published channels.
    variant : str
    channels : int
        Of the clips.
    """

    def __init__(self, classes: int, width: float, variant: str = "conv3d", channels: int = 1) -> None:
        super().__init__()
        features = scaled(FRAME_CHANNELS, width)
        self.frame = nn.Sequential(
            nn.Conv2d(channels, features, 5, 2, 2, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, 1, 1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = VideoHead(features, classes, width, variant)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, T, H, W) clips to (N, classes) logits."""
        logits: Tensor = self.head(by_frame(self.frame, x))
        return logits
