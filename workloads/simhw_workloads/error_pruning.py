"""Error-map pruning: of the gradient that comes back to a convolution only the most important channels go on.

A channel's importance is gamma2 times the magnitudes of its gradient, summed over the batch, plus gamma1 times those of
its weights.  The others are zero: they do nothing for the input's gradient, and their weights get none.  The forward
pass is untouched.  Source: arXiv 2007.03213; its gammas by way of public code that quotes it (spec page techniques.md,
2.3).
"""

from typing import Any

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError

OF_WEIGHTS, OF_GRADIENTS = 1.0, 2.0
"""gamma1 and gamma2."""


class PrunedErrors(nn.Module):
    """Stands behind a convolution: passes its output on, and of the gradient the most important channels.

    Parameters
    ----------
    convolution : nn.Conv2d
        Whose output it gets.  It stays the parameter of its own place in the model alone.
    kept : float
        Share of the channels, 0 < kept <= 1.
    """

    def __init__(self, convolution: nn.Conv2d, kept: float) -> None:
        super().__init__()
        if not 0 < kept <= 1:
            raise WorkloadError(f"error maps keep a share of {kept} of their channels; give 0 < share <= 1")
        self.kept = kept
        self._of = (convolution,)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) as they are."""
        result: Tensor = _Pruned.apply(x, self._of[0].weight.detach(), self.kept)  # type: ignore[no-untyped-call]  # torch's
        return result


class _Pruned(torch.autograd.Function):
    """Nothing forward; backward, zeros in all but the most important channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kept: float) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.kept = kept
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (weight,) = gradients, ctx.saved_tensors
        left_out = torch.ones(gradient.shape[1], dtype=torch.bool)
        left_out[important_channels(gradient, weight, ctx.kept)] = False
        return gradient.masked_fill(left_out[:, None, None], 0.0), None, None


def important_channels(gradient: Tensor, weight: Tensor, kept: float) -> Tensor:
    """Numbers of the channels that stay, of a (N, O, H, W) gradient and (O, I, k, k) weights."""
    importance = OF_GRADIENTS * gradient.abs().sum((0, 2, 3)) + OF_WEIGHTS * weight.abs().sum((1, 2, 3))
    return importance.topk(max(1, round(kept * len(importance)))).indices


def prune_errors(model: nn.Module, kept: float) -> None:
    """Prune the errors of every convolution."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Conv2d)
    ]
    for parent, name, convolution in found:
        setattr(parent, name, nn.Sequential(convolution, PrunedErrors(convolution, kept)))
