"""Parts that several definitions of published networks share."""

import torch
from torch import Tensor, nn


class ConvBN(nn.Sequential):
    """Convolution without bias, batch norm, and ReLU or another function."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int | tuple[int, int] | None = None,
        groups: int = 1,
        act: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        same = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
        conv = nn.Conv2d(
            inputs, outputs, kernel, stride, same if padding is None else padding, groups=groups, bias=False
        )
        super().__init__(conv, nn.BatchNorm2d(outputs), *([act()] if act else []))


class Residual(nn.Module):
    """act(body(x) + skip(x)); the identity where no skip is given."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None, act: type[nn.Module] | None = nn.ReLU) -> None:
        super().__init__()
        self.skip = skip
        self.body = body
        self.act = act() if act else None

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape that `body` gives."""
        skip = x if self.skip is None else self.skip(x)
        y: Tensor = self.body(x)
        y += skip
        return y if self.act is None else self.act(y)


class Gate(nn.Module):
    """Squeeze and excitation: channels scaled by a function of their means; `between` is squeezed to."""

    def __init__(
        self, channels: int, between: int, act: type[nn.Module] = nn.ReLU, gate: type[nn.Module] = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, between, 1)
        self.act = act()
        self.fc2 = nn.Conv2d(between, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """As `x`."""
        scale: Tensor = self.gate(self.fc2(self.act(self.fc1(self.pool(x)))))
        return x * scale


class Concat(nn.Module):
    """Branches of one input, side by side in the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """With the channels of all branches."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def classifier(features: int, classes: int = 1000) -> nn.Sequential:
    """Global average and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes))
