"""Three-way tensors as sums of outer products of shared factors; the shares of a tensor are its features.

A picture is read as so many signals as it has rows.  Their spectrograms make its tensor: rows, times, frequencies.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def khatri_rao(factors: Sequence[Tensor]) -> Tensor:
    """Columns (prod of rows, R) of which each is the outer product of those columns of factors (rows, R), flat."""
    product = factors[0]
    for factor in factors[1:]:
        product = (product[:, None] * factor).flatten(0, 1)
    return product


def gram(factors: Sequence[Tensor]) -> Tensor:
    """The inner products (R, R) of the Khatri-Rao product's columns, from those of its factors."""
    product = factors[0].T @ factors[0]
    for factor in factors[1:]:
        product = product * (factor.T @ factor)
    return product


def least_squares(inner: Tensor, projections: Tensor, ridge: float) -> Tensor:
    """The (N, R) that fit best: of columns with those inner products (R, R), on which what is fitted has those
    projections (N, R).
    """
    solution: Tensor = torch.linalg.solve(inner + ridge * torch.eye(len(inner)), projections, left=False)
    return solution


class SpectralFactors(nn.Module):
    """Factors of the spectrograms of pictures' rows.

    Parameters
    ----------
    size : int
        Height and width of a picture.
    window, hop : int
        Pixels of a piece of a row that is transformed, and from one piece to the next.
    rank : int
        Columns R of each factor.
    ridge : float
        Added to the least squares that features come from.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int, window: int, hop: int, rank: int, ridge: float) -> None:
        super().__init__()
        self.window, self.hop, self.ridge = window, hop, ridge
        shape = size, (size - window) // hop + 1, window // 2 + 1
        self.factors = nn.ParameterList(nn.Parameter(torch.randn(rows, rank) / rows**0.5) for rows in shape)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(()))

    def settle(self, pictures: Tensor) -> None:
        """Let those pictures' tensors have mean 0 at each place, and variance 1 over all."""
        self.mean, self.deviation = torch.zeros(()), torch.ones(())
        tensors = self.tensors(pictures)
        self.mean = tensors.mean(0)
        self.deviation = (tensors - self.mean).std()

    def tensors(self, pictures: Tensor) -> Tensor:
        """Log magnitudes (N, rows, times, frequencies) of pictures (N, 1, rows, columns)."""
        pieces = pictures[:, 0].unfold(2, self.window, self.hop) * torch.hann_window(self.window, periodic=False)
        return (torch.log1p(torch.fft.rfft(pieces, dim=3).abs()) - self.mean) / self.deviation

    def projections(self, tensors: Tensor) -> Tensor:
        """Inner products (N, R) of tensors with the outer products of the factors' columns."""
        return tensors.flatten(1) @ khatri_rao(list(self.factors))

    def solved(self, projections: Tensor) -> Tensor:
        """The shares (N, R) that fit best, in least squares with a ridge."""
        return least_squares(gram(list(self.factors)), projections, self.ridge)

    def forward(self, pictures: Tensor) -> Tensor:
        """Features (N, R) of pictures (N, 1, rows, columns)."""
        return self.solved(self.projections(self.tensors(pictures)))

    @torch.no_grad()
    def left_over(self, pictures: Tensor) -> float:
        """Share of the squares of pictures' tensors that the factors do not explain."""
        tensors = self.tensors(pictures)
        told = self.solved(self.projections(tensors)) @ khatri_rao(list(self.factors)).T
        return float((tensors.flatten(1) - told).square().sum() / tensors.square().sum())
