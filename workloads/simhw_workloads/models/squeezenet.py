"""SqueezeNet 1.1 (Iandola et al., arXiv 1602.07360; version 1.1 of its repository): few parameters by 1x1
convolutions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw_workloads.models.width import scaled


class Fire(nn.Module):
    """1x1 down to `squeeze` channels, then 1x1 and 3x3 up side by side, each with a ReLU: (N, 2 expand, H, W)."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 2 expand, H, W)."""
        x = functional.relu(self.squeeze(x))
        return torch.cat([functional.relu(self.expand1x1(x)), functional.relu(self.expand3x3(x))], 1)


def squeezenet1_1(
    classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False
) -> nn.Sequential:
    """SqueezeNet 1.1; 1,235,496 parameters at 1000 classes, as published.

    Parameters
    ----------
    classes : int
    width : float
        Share of the published channels.
    channels : int
        Of the images.
    small_input : bool
        For images of 28 to 64 pixels: a stem of stride 1 with padding, and no pool behind it.
    """

    def fire(inputs: int, squeeze: int, expand: int) -> Fire:
        # A module's inputs are twice what the one before it expands to, so they are scaled as that is.
        return Fire(2 * scaled(inputs // 2, width), scaled(squeeze, width), scaled(expand, width))

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    stem = scaled(64, width)
    first = nn.Conv2d(channels, stem, 3, padding=1) if small_input else nn.Conv2d(channels, stem, 3, 2)
    last = nn.Conv2d(2 * scaled(256, width), classes, 1)
    model = nn.Sequential(
        first, nn.ReLU(), nn.Identity() if small_input else pool(),
        Fire(stem, scaled(16, width), scaled(64, width)), fire(128, 16, 64), pool(),
        fire(128, 32, 128), fire(256, 32, 128), pool(),
        fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), fire(512, 64, 256),
        nn.Dropout(), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    for module in model.modules():
        # As its authors: there is no normalisation that would make up for small initial weights.
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all of them have one
    nn.init.normal_(last.weight, std=0.01)
    return model
