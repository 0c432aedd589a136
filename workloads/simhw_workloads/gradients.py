"""Gradients that take more than one forward and one backward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from simhw_workloads.train import Gradient


def sharpness_aware(rho: float = 0.05) -> Gradient:
    """Gradients at the point of highest loss nearby: sharpness-aware minimisation (Foret et al., ICLR 2021).

    A first pass finds the gradient g, the weights move by rho g / |g|, a second pass computes the gradients there, and
    the weights move back: twice the arithmetic of a step.  Normalisations take their running statistics from the first
    pass alone.

    Parameters
    ----------
    rho : float
        How far the weights move.
    """

    def gradient(model: nn.Module, closure: Callable[[], Tensor]) -> Tensor:
        loss = closure()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        moved = [(parameter, parameter.grad) for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.sqrt(sum((grad.square().sum() for _, grad in moved), start=torch.zeros(())))
        moves = [(parameter, rho * grad / norm.clamp(min=1e-12)) for parameter, grad in moved]
        _add(moves, 1)
        for parameter, _ in moves:
            parameter.grad = None
        with still_statistics(model):
            closure().backward()  # type: ignore[no-untyped-call]
        _add(moves, -1)
        return loss

    return gradient


@contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """Stop all batch norms from updating their running statistics; they still normalise by the batch's own."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def _add(moves: list[tuple[nn.Parameter, Tensor]], sign: int) -> None:
    for parameter, move in moves:
        parameter.add_(move, alpha=sign)
