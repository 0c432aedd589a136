"""A small plain CNN on grey images: what pruning, quantisation and factors are tried on before anything larger.

Three 3x3 convolutions, each with batch norm, ReLU and a max pool, and two linear layers.  At 28x28 it has 61,098
parameters and takes 1.96 million multiply-accumulates a sample.
"""

import torch
from torch import Tensor, nn

WIDTH = 16
HIDDEN = 64


class DigitCNN(nn.Module):
    """Convolutions of `width`, twice and four times `width` channels; the image halves behind each.

    Parameters
    ----------
    size : int
        Height and width of the images; at least 8.
    classes, width : int
    """

    ORDER = ("conv1", "conv2", "conv3", "fc1", "fc2")
    """Its layers with weights, each of which reads what the one before it gives."""

    def __init__(self, size: int = 28, classes: int = 10, width: int = WIDTH) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(4 * width * (size // 8) ** 2, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, size, size) images to (N, classes) logits."""
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        x = self.pool(torch.relu(self.bn2(self.conv2(x))))
        x = self.pool(torch.relu(self.bn3(self.conv3(x))))
        logits: Tensor = self.fc2(torch.relu(self.fc1(x.flatten(1))))
        return logits
