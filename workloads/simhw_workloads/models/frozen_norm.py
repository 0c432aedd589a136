"""Batch norm that learns no more: a fixed factor and shift per channel, as detectors have it that are fine-tuned."""

import torch
from torch import Tensor, nn


class FrozenNorm(nn.Module):
    """What a batch norm does when it evaluates, with nothing to learn.

    Parameters
    ----------
    norm : nn.BatchNorm2d
        Its statistics, factors and shifts are taken as they are.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            self.register_buffer("scale", scale.clone())
            self.register_buffer("shift", norm.bias - norm.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x * self.scale[:, None, None] + self.shift[:, None, None]


def freeze_norms(model: nn.Module) -> int:
    """Put a `FrozenNorm` in the place of each batch norm of a model; gives how many there were."""
    count = 0
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, FrozenNorm(child))
                count += 1
    return count
