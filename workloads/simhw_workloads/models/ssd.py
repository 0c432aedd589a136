"""Single-shot detectors (Liu et al., ECCV 2016): a small one that trains on a CPU, and SSD300 on VGG-16 as
published.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from simhw_workloads.models.width import scaled

MINI_CELLS = (16, 8, 4)
"""Cells along a side of the small detector's feature maps, for images of 64 pixels."""
_MINI_CHANNELS = (16, 32, 64)
_SSD300_BOXES = (4, 6, 6, 6, 4, 4)
_NORM_SCALE = 20.0


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _joined(heads: nn.ModuleList, maps: Sequence[Tensor], values: int) -> Tensor:
    """(N, boxes, values): of all maps, row by row, cell by cell, box by box."""
    return torch.cat(
        [head(each).permute(0, 2, 3, 1).reshape(len(each), -1, values) for head, each in zip(heads, maps, strict=True)],
        dim=1,
    )


class SsdMini(nn.Module):
    """Six convolutions, three feature maps (a quarter, an eighth and a sixteenth of the image), and a 3x3 head on each.

    Parameters
    ----------
    classes : int
        Without the background.
    boxes : int
        Default boxes of a cell.
    width : float
        Share of 16, 32 and 64 channels.

    Attributes
    ----------
    channels : int
        Of the feature maps.
    """

    def __init__(self, classes: int, boxes: int, width: float = 1.0) -> None:
        super().__init__()
        small, middle, large = (scaled(each, width) for each in _MINI_CHANNELS)
        self.backbone = nn.Sequential(
            _block(3, small),
            nn.MaxPool2d(2),
            _block(small, middle),
            _block(middle, middle),
            nn.MaxPool2d(2),
            _block(middle, large),
            _block(large, large),
        )
        self.extras = nn.ModuleList(_block(large, large, 2) for _ in MINI_CELLS[1:])
        self.channels = large
        self.values = 4 + classes + 1
        self.heads = nn.ModuleList(nn.Conv2d(large, boxes * self.values, 3, padding=1) for _ in MINI_CELLS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, boxes, 4 + classes + 1): offsets, and logits with the background's first."""
        maps = [self.backbone(x)]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return _joined(self.heads, maps, self.values)


class _ScaledNorm(nn.Module):
    """Each position's channels as a unit vector, times a learned factor per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), _NORM_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        norm = torch.sqrt((x * x).sum(1, keepdim=True)) + 1e-10
        result: Tensor = self.weight[None, :, None, None] * (x / norm)
        return result


class Ssd300(nn.Module):
    """SSD300 on VGG-16: 8,732 default boxes; 26,285,486 parameters at 20 classes and the background."""

    def __init__(self, classes: int = 20) -> None:
        super().__init__()

        def convolutions(*channels: int) -> list[nn.Module]:
            pairs = pairwise(channels)
            return [
                module for inputs, outputs in pairs for module in (nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())
            ]

        pool = nn.MaxPool2d(2)
        self.low = nn.Sequential(
            *convolutions(3, 64, 64), pool, *convolutions(64, 128, 128), pool, *convolutions(128, 256, 256, 256),
            nn.MaxPool2d(2, ceil_mode=True), *convolutions(256, 512, 512, 512),
        )  # fmt: skip
        self.norm = _ScaledNorm(512)
        self.high = nn.Sequential(
            pool, *convolutions(512, 512, 512, 512), nn.MaxPool2d(3, 1, 1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(), nn.Conv2d(1024, 1024, 1), nn.ReLU(),
        )  # fmt: skip
        shapes = ((1024, 256, 512, 2, 1), (512, 128, 256, 2, 1), (256, 128, 256, 1, 0), (256, 128, 256, 1, 0))
        self.extras = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, middle, 1), nn.ReLU(), nn.Conv2d(middle, outputs, 3, stride, padding), nn.ReLU()
            )
            for inputs, middle, outputs, stride, padding in shapes
        )
        self.values = 4 + classes + 1
        channels = (512, 1024, 512, 256, 256, 256)
        self.heads = nn.ModuleList(
            nn.Conv2d(inputs, boxes * self.values, 3, padding=1)
            for inputs, boxes in zip(channels, _SSD300_BOXES, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 300, 300) to (N, 8732, 4 + classes + 1): offsets, and logits with the background's first."""
        low = self.low(x)
        maps = [self.norm(low), self.high(low)]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        return _joined(self.heads, maps, self.values)
