"""AlexNet as one column (Krizhevsky 2014, arXiv 1404.5997): five convolutions with large early kernels, three linear
layers.
"""

from torch import nn

from simhw_workloads.models.width import scaled


def alexnet(classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False) -> nn.Sequential:
    """AlexNet; 61,100,840 parameters at 1000 classes, as published.

    Parameters
    ----------
    classes : int
    width : float
        Share of the published channels and hidden units.
    channels : int
        Of the images.
    small_input : bool
        For images of 28 to 64 pixels: a 5x5 stem of stride 1 in place of 11x11 of stride 4, and 2x2 positions at the
        linear layers.
    """
    first, second, third, fourth, hidden = (scaled(each, width) for each in (64, 192, 384, 256, 4096))
    stem = nn.Conv2d(channels, first, 5, padding=2) if small_input else nn.Conv2d(channels, first, 11, 4, 2)
    pooled = 2 if small_input else 6
    model = nn.Sequential(
        stem, nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(second, third, 3, padding=1), nn.ReLU(),
        nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU(),
        nn.Conv2d(fourth, fourth, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(pooled), nn.Flatten(),
        nn.Dropout(), nn.Linear(fourth * pooled * pooled, hidden), nn.ReLU(),
        nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, classes),
    )  # fmt: skip
    for module in list(model)[:-1]:
        # In place of the author's recipe of 2012.  With PyTorch's smaller weights narrow copies learn nothing for
        # long.
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all of them have one
    return model
