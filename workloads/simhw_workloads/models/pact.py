"""ResNet-18 with PACT: activations and weights of 4 bits while it trains (Choi et al. 2018, arXiv 1805.06085).

A layer multiplies small integers.  What they are times is applied to the sums, outside of the products: the layer says
these scales under `operand_scales`, and capture writes them beside the integers.

- An activation is clipped between 0 and a bound that is learnt, and rounded to one of 15 steps.
- A weight is rounded to one of -7 to 7 steps, of which 7 are the tensor's largest magnitude.  The paper takes DoReFa's
  rule for weights; its levels are odd multiples of half a step, which have no 4-bit integers.
- Gradients pass a rounding as if it were not there.  The bound has those of the activations that it clips.
- The first convolution and the last linear layer stay as they are, as in the paper.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw_workloads.models.resnet import BasicBlock, ResNet

BITS = 4
FIRST_BOUND = 6.0
"""Of an activation before training: above nearly all that batch norm gives.  The paper begins at 10."""


class Quantised(NamedTuple):
    """Integers, and the scalar that makes activations of them."""

    integers: Tensor
    scale: Tensor

    @property
    def values(self) -> Tensor:
        """The activations."""
        return self.integers * self.scale


class _Round(torch.autograd.Function):
    """To the nearest integer; the gradient passes unchanged."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def rounded(x: Tensor) -> Tensor:
    """To the nearest integer, ties to even; the gradient passes unchanged."""
    result: Tensor = _Round.apply(x)  # type: ignore[no-untyped-call]  # torch's
    return result


class ClippedActivation(nn.Module):
    """PACT: between 0 and a bound that is learnt, in ``2**bits - 1`` steps.

    Attributes
    ----------
    bound : () Parameter
        The paper's alpha.
    """

    def __init__(self, bits: int = BITS) -> None:
        super().__init__()
        self.steps = 2**bits - 1
        self.bound = nn.Parameter(torch.tensor(FIRST_BOUND))

    def forward(self, x: Tensor) -> Quantised:
        """Any shape to integers of 0 to `steps` of the same shape."""
        clipped = torch.where(x < self.bound, x.clamp(min=0), self.bound)
        # Not learnt through the steps, or each activation would move the bound.
        scale = self.bound.detach() / self.steps
        return Quantised(rounded(clipped / scale), scale)


class QuantisedConv2d(nn.Conv2d):
    """A convolution of integers with weights of ``bits`` bits, without bias.

    Attributes
    ----------
    operand_scales : dict of str to () Tensor
        What A, W and G of the last forward pass are times, for capture.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, bits: int = BITS
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.most = 2 ** (bits - 1) - 1
        self.operand_scales: dict[str, Tensor] = {}

    def integers(self) -> Quantised:
        """The weights, as -`most` to `most`."""
        scale = self.weight.detach().abs().max() / self.most
        return Quantised(rounded(self.weight / scale), scale)

    def forward(self, x: Quantised) -> Tensor:  # type: ignore[override]  # of integers and their scale
        """(N, inputs, H, W) integers to (N, outputs, H', W') numbers."""
        weights = self.integers()
        scale = x.scale * weights.scale
        # The gradient of the integers' sums is that of the outputs times the scale.
        self.operand_scales = {"a": x.scale, "w": weights.scale, "g": 1 / scale}
        return functional.conv2d(x.integers, weights.integers, None, self.stride, self.padding) * scale


class PactBlock(BasicBlock):
    """A basic block whose convolutions multiply integers; the skip connection takes the quantised input."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__(inputs, width, stride)
        self.conv1 = QuantisedConv2d(inputs, width, 3, stride, 1)
        self.conv2 = QuantisedConv2d(width, width, 3, 1, 1)
        if self.downsample is not None:
            self.downsample[0] = QuantisedConv2d(inputs, width, 1, stride)
        self.activation1, self.activation2 = ClippedActivation(), ClippedActivation()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        quantised = self.activation1(x)
        skip = quantised.values if self.downsample is None else self.downsample(quantised)
        x = self.bn1(self.conv1(quantised))
        x = self.bn2(self.conv2(self.activation2(x)))
        result: Tensor = functional.relu(x + skip)
        return result


def resnet18_pact(classes: int = 1000, width: float = 1.0, channels: int = 3, small_input: bool = False) -> ResNet:
    """ResNet-18 of 4-bit products; 11,689,528 parameters at 1000 classes: two bounds a block beside the published."""
    return ResNet((2, 2, 2, 2), classes, width, channels, small_input, PactBlock)
