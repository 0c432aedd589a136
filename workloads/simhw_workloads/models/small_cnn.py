"""A small CNN with one layer of each shape that a simulator must get right, for tests that take seconds."""

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Three convolutions (plain, strided, grouped) and two linear layers on small grey images.

    Batch norm stands only between `conv2` and its ReLU: it makes that layer's output gradient dense, whereas `conv1`
    and `conv3`, whose outputs go straight into a ReLU, get output gradients with the ReLU's zeros.
    """

    def __init__(self, size: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        half = (size + 1) // 2
        self.fc1 = nn.Linear(32 * half * half, 32)
        self.fc2 = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, size, size) images to (N, classes) logits."""
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = torch.relu(self.conv3(x))
        x = torch.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc2(x)
        return logits
