"""VGG-16 of Simonyan and Zisserman (ICLR 2015), configuration D: thirteen 3x3 convolutions in five stages, three linear
layers.
"""

from torch import Tensor, nn

from simhw_workloads.models.width import scaled

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_HIDDEN = 4096
_POOLED = 7


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each with a ReLU, and a max pool of 2 after each stage; then linear layers with
    dropout.

    Parameters
    ----------
    classes : int
    width : float
        Share of the published channels and hidden units.
    channels : int
        Of the images.
    small_input : bool
        For images of 28 to 64 pixels: no pool after the last stage, and the linear layers take the average of all
        positions.
    bn : bool
        Batch norm between each convolution and its ReLU.  It makes output gradients dense.
    """

    def __init__(
        self, classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False, bn: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for stage, count in _STAGES:
            for _ in range(count):
                layers.append(nn.Conv2d(inputs, scaled(stage, width), 3, padding=1))
                inputs = scaled(stage, width)
                if bn:
                    layers.append(nn.BatchNorm2d(inputs))
                layers.append(nn.ReLU())
            layers.append(nn.MaxPool2d(2))
        if small_input:
            layers.pop()
        pooled, hidden = 1 if small_input else _POOLED, scaled(_HIDDEN, width)
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * pooled * pooled, hidden), nn.ReLU(), nn.Dropout(),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(),
            nn.Linear(hidden, classes),
        )  # fmt: skip
        for module in self.modules():
            # Thirteen layers without normalisation learn nothing from PyTorch's own, smaller initial weights.
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all of them have one

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) images to (N, classes) logits."""
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits


def vgg16(
    classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False, bn: bool = False
) -> VGG:
    """VGG-16; 138,357,544 parameters at 1000 classes as published, 138,365,992 with batch norm."""
    return VGG(classes, width, channels, small_input, bn)
