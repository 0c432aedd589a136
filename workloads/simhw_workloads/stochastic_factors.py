"""Stochastic updates of tensor factors, without back-propagation: each batch asks for factors, and they move a little.

A batch of tensors is given its shares X of the factors by least squares; the factors that would fit the batch best come
from least squares too, and the factors move to them by a small part.  Augmented: the same with a changed copy of each
tensor, and X is first moved so that a tensor and its copy are alike, and unlike the others.  Source: arXiv 2106.07900
(NeurIPS 2022); spec page techniques.md, 2.9.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from simhw_workloads.models.factors import SpectralFactors, gram, khatri_rao, least_squares
from simhw_workloads.task import Batch
from simhw_workloads.train import Hook

APART = 0.01
"""How much more a tensor's own copy draws than the mean of all copies pushes; of the authors' code."""


class StochasticFactors(Hook):
    """Gives factors the gradient with which a plain step of rate eta makes (1 - eta) A + eta A* of them.

    The hook remembers the batch; its `gradient` is the `Gradient` of `Run.fit`.

    Parameters
    ----------
    augment : callable or None
        A changed copy of pictures; None leaves copies out.
    alike : float
        How far shares move so that a tensor and its copy are alike.
    """

    def __init__(self, augment: Callable[[Tensor], Tensor] | None = None, alike: float = 0.0) -> None:
        self.augment, self.alike = augment, alike
        self._pictures: Tensor | None = None

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """Remember the pictures."""
        self._pictures = batch.inputs
        return batch

    @torch.no_grad()
    def gradient(self, model: nn.Module, closure: Callable[[], Tensor]) -> Tensor:
        """Set each factor's gradient to what lies between it and the one that fits the batch best.

        Returns
        -------
        Tensor
            Share of the squares of the batch, copies included, that the factors leave over.
        """
        assert isinstance(model, SpectralFactors)
        assert self._pictures is not None
        pictures = [self._pictures] if self.augment is None else [self._pictures, self.augment(self._pictures)]
        tensors = [model.tensors(each) for each in pictures]
        projections = [model.projections(each) for each in tensors]
        shares = [model.solved(each) for each in projections]
        fits = [_explained(model, *pair) for pair in zip(projections, shares, strict=True)]
        loss = 1 - torch.stack(fits).sum() / torch.stack([each.square().sum() for each in tensors]).sum()
        if len(shares) == 2 and self.alike:
            one, other = shares
            shares = [
                model.solved(projections[0] - self.alike * pull(one, other)),
                model.solved(projections[1] - self.alike * pull(other, one)),
            ]
        for factor, best in zip(model.factors, fitting(model, tensors, shares), strict=True):
            factor.grad = factor - best
        return loss


def pull(shares: Tensor, of_copies: Tensor) -> Tensor:
    """Gradient (N, R) by the shares of what is lowest where each is like its copy's and unlike the others'.

    With h and h' the shares and those of the copies at length 1, that is the sum over i of h_i (mean of h' - (1/N +
    `APART`) h'_i).
    """
    length = shares.norm(dim=1, keepdim=True).clamp(min=1e-12)
    one, other = shares / length, nn.functional.normalize(of_copies)
    towards = other.mean(0) - (1 / len(other) + APART) * other
    # Only what lies across h turns it.
    along = torch.einsum("nr,nr->n", towards, one)[:, None]
    across: Tensor = (towards - along * one) / length
    return across


def fitting(model: SpectralFactors, tensors: list[Tensor], shares: list[Tensor]) -> list[Tensor]:
    """For each factor the one that fits those tensors best, the others and the shares as they are."""
    factors = list(model.factors)
    every, together = torch.cat(tensors), torch.cat(shares)
    inner = torch.stack([each.T @ each for each in shares]).sum(0)
    best = []
    for axis in range(len(factors)):
        others = factors[:axis] + factors[axis + 1 :]
        # One product for each tensor, summed.
        unfolded = every.movedim(axis + 1, 1).flatten(2)
        projections = torch.bmm(unfolded, khatri_rao(others) * together[:, None]).sum(0)
        best.append(least_squares(inner * gram(others), projections, model.ridge))
    return best


def _explained(model: SpectralFactors, projections: Tensor, shares: Tensor) -> Tensor:
    """Squares that the factors explain: with m projections and x shares the sum of 2 m x - x V x, V without ridge."""
    fitted = shares @ gram(list(model.factors))
    return (2 * projections * shares - fitted * shares).sum()
