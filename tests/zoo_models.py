"""Definitions of published convolutional networks, from which the shipped layer lists are captured; evaluation mode, shapes alone.

Each follows the paper and the implementation that its entry in `ZOO` names; the parameter count published with that implementation
tells whether it does.  ``python -m tests.zoo_models`` writes the layer lists anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw.capture.shapes import network_of
from simhw.roofline.compact_list import write_compact_list
from simhw.roofline.layers import Network


class ConvBN(nn.Sequential):
    """Convolution without bias, batch norm, and ReLU or another function."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int] = 1, stride: int = 1, padding: int | tuple[int, int] | None = None,
        groups: int = 1, act: type[nn.Module] | None = nn.ReLU,
    ) -> None:  # fmt: skip
        same = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
        conv = nn.Conv2d(inputs, outputs, kernel, stride, same if padding is None else padding, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), *([act()] if act else []))


def alexnet() -> nn.Module:
    """AlexNet as one column (Krizhevsky 2014)."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(6), nn.Flatten(),
        nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )  # fmt: skip


def mobilenet_v1() -> nn.Module:
    """MobileNet (Howard 2017), width 1: depthwise 3x3 and 1x1 convolutions in turn."""
    widths = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2), *[(512, 512, 1)] * 5]
    widths += [(512, 1024, 2), (1024, 1024, 1)]
    blocks = [nn.Sequential(ConvBN(a, a, 3, stride, groups=a), ConvBN(a, b)) for a, b, stride in widths]
    return nn.Sequential(ConvBN(3, 32, 3, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


class Fire(nn.Module):
    """SqueezeNet's module: 1x1 down, then 1x1 and 3x3 up side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.expand1x1(x)), functional.relu(self.expand3x3(x))], 1)


def squeezenet1_1() -> nn.Module:
    """SqueezeNet 1.1 (Iandola 2016; 1.1 of its repository)."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128), Fire(256, 32, 128),
        pool(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
        nn.Dropout(), nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


@dataclass(frozen=True)
class ZooEntry:
    """A published network.

    Attributes
    ----------
    build : callable
        Makes the model.
    parameters : int
        As published with the implementation.
    size : tuple of int
        Channels and spatial size of the input.
    source : str
        Paper and implementation.
    """

    build: Callable[[], nn.Module]
    parameters: int
    source: str
    size: Sequence[int] = (3, 224, 224)


ZOO = {
    "alexnet": ZooEntry(alexnet, 61_100_840, "Krizhevsky, One weird trick (arXiv 1404.5997); layers as torchvision's alexnet"),
    "mobilenet-v1": ZooEntry(mobilenet_v1, 4_231_976, "Howard et al., MobileNets (arXiv 1704.04861), table 1, width 1.0"),
    "squeezenet1_1": ZooEntry(
        squeezenet1_1, 1_235_496, "Iandola et al., SqueezeNet (arXiv 1602.07360), version 1.1; layers as torchvision's squeezenet1_1"
    ),
}


def captured(name: str) -> Network:
    """The network captured from its definition, with its source."""
    entry = ZOO[name]
    with torch.device("meta"):
        model = entry.build().eval()
        inputs = torch.empty(1, *entry.size)
    return replace(network_of(model, inputs, name), source=entry.source)


if __name__ == "__main__":
    for zoo_name in ZOO:
        write_compact_list(captured(zoo_name), Path(__file__).parents[1] / "simhw" / "networks" / f"{zoo_name}.yaml", ZOO[zoo_name].size)
