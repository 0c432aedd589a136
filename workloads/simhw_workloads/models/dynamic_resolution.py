"""Dynamic resolution: a small gate chooses for each image the resolution at which the classifier sees it.

All resolutions share the classifier's weights.  Each has batch norms of its own, which see its images alone.  The
choice is hard.  While it is learnt, it is drawn by Gumbel's trick, and its gradient is that of the softmax (straight
through).  Source: arXiv 2106.02898; spec page techniques.md, 2.1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

RESOLUTIONS = (32, 24, 16)
WIDTHS = (16, 32, 64)
_SEEN = 16
"""Height and width of the image that the gate sees."""


class ResolutionNorm(nn.Module):
    """A batch norm for each resolution.

    Attributes
    ----------
    resolution : int
        Whose norm works now.
    """

    def __init__(self, channels: int, resolutions: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(resolutions))
        self.resolution = 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W), normalised."""
        result: Tensor = self.norms[self.resolution](x)
        return result


class ResolutionCNN(nn.Module):
    """Three convolutions with pools between, means of quarters of the image, and two linear layers: for any resolution.

    Parameters
    ----------
    resolutions : int
        How many batch norms each convolution has.
    classes : int
    widths : sequence of int
    """

    def __init__(self, resolutions: int, classes: int = 10, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place, (before, width) in enumerate(zip((1, *widths[:-1]), widths, strict=True)):
            layers += [nn.MaxPool2d(2)] if place else []
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), ResolutionNorm(width, resolutions)]
            layers += [nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.fc1 = nn.Linear(4 * widths[-1], 64)
        self.fc2 = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images at the first resolution."""
        return self.at(x, 0)

    def at(self, x: Tensor, resolution: int) -> Tensor:
        """(N, 1, r, r) images at the resolution of that number to (N, classes) logits."""
        for module in self.modules():
            if isinstance(module, ResolutionNorm):
                module.resolution = resolution
        features = functional.adaptive_avg_pool2d(self.features(x), 2).flatten(1)
        logits: Tensor = self.fc2(torch.relu(self.fc1(features)))
        return logits


class FeatureNorm(nn.BatchNorm1d):
    """Batch norm of (N, features).  One image has no spread: it is normalised as in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        """The features, normalised."""
        if len(x) > 1:
            return super().forward(x)
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


def gate_of(resolutions: int) -> nn.Sequential:
    """Two convolutions and the mean of every channel: scores (N, resolutions).

    Means over an image hardly differ from image to image.  Without the last norm the scores of all images move
    together, and a penalty on arithmetic ends at one resolution for all.
    """
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        FeatureNorm(16),
        nn.Linear(16, resolutions),
    )


class DynamicResolution(nn.Module):
    """The classifier and its gate.

    Parameters
    ----------
    resolutions : sequence of int
        Heights and widths, the largest first.
    classes : int
    seed : int
        Of the draws.

    Attributes
    ----------
    every : bool
        Whether all resolutions are shown, and none chosen: (N, resolutions, classes) logits.
    choice : (N, resolutions) Tensor
        Of the last forward pass: 1 at each image's resolution, with the gradient of the softmax.
    """

    def __init__(self, resolutions: Sequence[int] = RESOLUTIONS, classes: int = 10, seed: int = 0) -> None:
        super().__init__()
        self.resolutions, self.classes = tuple(resolutions), classes
        self.every = False
        self.classifier = ResolutionCNN(len(self.resolutions), classes)
        self.gate: nn.Module = gate_of(len(self.resolutions))
        self.choice = torch.zeros(0)
        self._random = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, r, r) images, r the largest resolution, to (N, classes) logits."""
        if self.every:
            return torch.stack([self.at(x, number) for number in range(len(self.resolutions))], 1)
        self.choice = self.chosen(x)
        logits = x.new_zeros(len(x), self.classes)
        for number in range(len(self.resolutions)):
            rows = self.choice[:, number].nonzero()[:, 0]
            if len(rows):
                # Times 1, so that the gate learns how good this choice was.
                answer = self.at(x[rows], number) * self.choice[rows, number, None]
                logits = logits.index_copy(0, rows, answer)
        return logits

    def at(self, x: Tensor, number: int) -> Tensor:
        """Logits of images that all are seen at the resolution of that number."""
        return self.classifier.at(_resized(x, self.resolutions[number]), number)

    def scores(self, x: Tensor) -> Tensor:
        """(N, resolutions): what the gate says of each image."""
        result: Tensor = self.gate(_resized(x, _SEEN))
        return result

    def chosen(self, x: Tensor) -> Tensor:
        """(N, resolutions): 1 at the resolution of each image; drawn in training, of the highest score otherwise."""
        scores = self.scores(x)
        if not self.training:
            return functional.one_hot(scores.argmax(1), len(self.resolutions)).to(x.dtype)
        uniform = torch.rand(scores.shape, generator=self._random).clamp(1e-9, 1 - 1e-7)
        soft = torch.softmax(scores - (-uniform.log()).log(), 1)
        hard = functional.one_hot(soft.argmax(1), len(self.resolutions)).to(x.dtype)
        # The value is exactly 0 or 1 where the difference is added to 0 first.
        return hard + (soft - soft.detach())


def _resized(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
