"""An autoencoder whose code is signs: x' = A sign(B x), with rows of B of length 1; and a denoiser behind it.

Source: arXiv 2402.05013 (ICML 2024); spec page techniques.md, 2.20.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Sign(torch.autograd.Function):
    """The sign, +1 for 0; backward it is a hyperbolic tangent, as the sign itself has no gradient to learn from."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return torch.where(values >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (values,) = context.saved_tensors
        return gradient * (1 - torch.tanh(values).square())


class UnitRows(nn.Linear):
    """A linear layer without bias, each of whose rows of weights is scaled to length 1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return nn.functional.linear(x, nn.functional.normalize(self.weight))


class Denoiser(nn.Module):
    """What a value is in the mean, given the decoder's noisy one u: c u / (1 + exp(-(b + k u^2))).

    This is the form of the exact mean for sparse Gaussian values in Gaussian noise: c u where the value is not zero,
    times the probability of that.  Its three numbers are learnt.
    """

    def __init__(self) -> None:
        super().__init__()
        # It starts as nearly the identity.
        self.scale, self.offset, self.slope = (nn.Parameter(torch.tensor(each)) for each in (1.0, 3.0, 0.1))

    def forward(self, u: Tensor) -> Tensor:
        """Every value by itself."""
        return self.scale * u * torch.sigmoid(self.offset + self.slope * u.square())


class Autoencoder(nn.Module):
    """Encoder and linear decoder, with a code of signs or of real numbers between.

    Parameters
    ----------
    size, code : int
        Values of a vector, and of its code.
    signs : bool
        Whether the code is signs.
    """

    def __init__(self, size: int, code: int, signs: bool) -> None:
        super().__init__()
        self.signs = signs
        self.encoder = UnitRows(size, code)
        self.decoder = nn.Linear(code, size, bias=False)
        self.denoiser: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, size) to the same shape."""
        code = self.encoder(x)
        if self.signs:
            code = _Sign.apply(code)  # type: ignore[no-untyped-call]  # torch's
        restored: Tensor = self.denoiser(self.decoder(code))
        return restored


def sign_error(rate: float) -> float:
    """Least mean squared error of a code of signs and a linear decoder, for white Gaussian vectors: 1 - 2 r / pi.

    Gradient descent reaches it, and stays there for sparse vectors, which could be coded better (arXiv 2402.05013).

    Parameters
    ----------
    rate : float
        Signs per value, 0 to 1.
    """
    return 1 - 2 * rate / math.pi


def linear_error(rate: float) -> float:
    """The same of a code of real numbers: what the code's subspace leaves out, 1 - r."""
    return 1 - rate
