"""ResNet-9: a residual network for small images, plain and as it won the contest for hardware-aware efficient training.

The plain one is Page's (How to train your ResNet, 2018): a 3x3 stem, three convolutions that double the channels, each
with batch norm, ReLU and a max pool, and a residual block of two convolutions behind the first and the last of them.

The contest's has the same body on a stem of two convolutions: 3x3 with weights that whiten the patches of the training
images and are never trained, and 1x1.  CELU stands in place of ReLU, so activations have no exact zeros, and batch norm
takes its statistics over a few samples of the batch at a time.  Source: arXiv 2309.03965; spec page techniques.md, 5.6.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.models.width import scaled

_CHANNELS = (64, 128, 256, 512)
_LOGIT_SCALE = 0.125
"""Of the last layer's outputs (Page 2018): keeps the softmax soft while the weights grow."""
_PATCH = 3
_WHITENING_REGULARISER = 1e-2
_CELU_ALPHA = 0.3


class GhostBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of `ghost` samples at a time, each group by itself (Hoffer et al. 2017).

    Each group moves the running statistics, which normalise in evaluation as usual.  A batch of no more than `ghost`
    samples is one group, and of a batch that `ghost` does not divide the last group is smaller.
    """

    def __init__(self, channels: int, ghost: int) -> None:
        super().__init__(channels)
        self.ghost = ghost

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W), normalised."""
        if not self.training or len(x) <= self.ghost:
            return super().forward(x)
        groups = x.split(self.ghost)  # type: ignore[no-untyped-call]  # torch's
        return torch.cat([super(GhostBatchNorm, self).forward(group) for group in groups])


class Residual(nn.Module):
    """Two 3x3 convolutions, each with normalisation and activation, and their input added to the result."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module], activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = norm(channels)
        self.act1 = activation()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = norm(channels)
        self.act2 = activation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        inner = self.act1(self.norm1(self.conv1(x)))
        inner = self.act2(self.norm2(self.conv2(inner)))
        result: Tensor = x + inner
        return result


class ResNet9(nn.Module):
    """A stem, three convolutions with two residual blocks among them, and a classifier on the maxima over all
    positions.

    Parameters
    ----------
    stem : Module
        (N, channels, H, W) images to (N, 64 `width`, H, W), before normalisation.
    classes : int
    width : float
        Share of the published channels.
    norm : callable
        Makes the normalisation of so many channels.
    activation : callable
        Makes what stands behind it.
    """

    def __init__(
        self,
        stem: nn.Sequential,
        classes: int,
        width: float,
        norm: Callable[[int], nn.Module],
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        first, second, third, fourth = (scaled(each, width) for each in _CHANNELS)

        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), norm(outputs), activation(), nn.MaxPool2d(2)]

        self.stem = stem
        self.stem_norm = norm(first)
        self.stem_act = activation()
        self.layer1 = nn.Sequential(*block(first, second), Residual(second, norm, activation))
        self.layer2 = nn.Sequential(*block(second, third))
        self.layer3 = nn.Sequential(*block(third, fourth), Residual(fourth, norm, activation))
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(fourth, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) images to (N, classes) logits."""
        x = self.stem_act(self.stem_norm(self.stem(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.pool(x).flatten(1)) * _LOGIT_SCALE
        return logits


def resnet9(width: float = 1.0, classes: int = 10, channels: int = 3) -> ResNet9:
    """Plain ResNet-9 with batch norm and ReLU; 6,573,120 parameters, as published."""
    stem = nn.Sequential(nn.Conv2d(channels, scaled(_CHANNELS[0], width), 3, padding=1, bias=False))
    return ResNet9(stem, classes, width, nn.BatchNorm2d, nn.ReLU)


def haet_resnet9(width: float = 1.0, classes: int = 10, channels: int = 3, ghost: int = 32) -> ResNet9:
    """The contest's ResNet-9; give it the training images with `whiten` before it is trained.

    Parameters
    ----------
    width : float
        Share of the published channels; the whitening filters are 9 for each channel of the images, whatever it is.
    classes, channels : int
    ghost : int
        Samples whose statistics a normalisation takes together.
    """
    filters = channels * _PATCH * _PATCH
    whitening = nn.Conv2d(channels, filters, _PATCH, padding=1, bias=False)
    whitening.weight.requires_grad_(False)
    stem = nn.Sequential(whitening, nn.Conv2d(filters, scaled(_CHANNELS[0], width), 1, bias=False))
    return ResNet9(stem, classes, width, lambda count: GhostBatchNorm(count, ghost), lambda: nn.CELU(_CELU_ALPHA))


@torch.no_grad()
def whiten(model: ResNet9, images: Tensor) -> None:
    """Set the whitening layer's weights: its outputs over all patches are uncorrelated, and of variance near one.

    A filter is an eigenvector of the covariance of 3x3 patches, over the root of its eigenvalue and a regulariser,
    which keeps directions in which nothing varies from being amplified without bound; the largest eigenvalue comes
    first.

    Parameters
    ----------
    model : ResNet9
        Of `haet_resnet9`.
    images : (N, channels, H, W)
        Training images as the model takes them.

    Raises
    ------
    WorkloadError
        The model has no whitening layer, or one for images with other channels.
    """
    layer = model.stem[0]
    if not isinstance(layer, nn.Conv2d) or layer.weight.requires_grad:
        raise WorkloadError("the model has no whitening layer; build it with haet_resnet9")
    if images.shape[1] != layer.in_channels:
        raise WorkloadError(
            f"images of {images.shape[1]} channels for a whitening layer of {layer.in_channels}; build the model "
            "with channels="
        )
    # (9 channels, patches); in double precision, for eigenvalues that differ by orders of magnitude.
    patches = nn.functional.unfold(images, _PATCH).transpose(0, 1).flatten(1).double()
    values, vectors = torch.linalg.eigh(torch.cov(patches))
    filters = vectors / torch.sqrt(values.clamp(min=0) + _WHITENING_REGULARISER)
    layer.weight.copy_(filters.flip(1).T.reshape(layer.weight.shape))
