"""Masks: where the weights of layers may differ from zero, and the hook that holds them there."""

import torch
from torch import Tensor, nn

from simhw_workloads.task import Task
from simhw_workloads.train import Hook

Masks = dict[str, Tensor]
"""By the path of a layer: of bool, in its weight's shape."""


@torch.no_grad()
def clear(model: nn.Module, masks: Masks) -> None:
    """Set the weights of layers to zero where their masks do not hold."""
    for path, mask in masks.items():
        weight_of(model, path).mul_(mask)


def nonzero_masks(model: nn.Module, paths: list[str]) -> Masks:
    """Masks that hold the weights of those layers that are not zero now."""
    return {path: weight_of(model, path).detach() != 0 for path in paths}


def mask_of(like: Tensor, places: Tensor) -> Tensor:
    """True at those places of the flattened tensor."""
    mask = torch.zeros(like.numel(), dtype=torch.bool)
    mask[places] = True
    return mask.reshape(like.shape)


def weight_of(model: nn.Module, path: str) -> nn.Parameter:
    """The weight of the layer at a path."""
    weight = model.get_submodule(path).weight
    assert isinstance(weight, nn.Parameter)
    return weight


class Held(Hook):
    """Keeps the weights outside of masks at zero, while the others train on.

    Parameters
    ----------
    masks : Masks
    """

    def __init__(self, masks: Masks) -> None:
        self.masks = masks

    def start(self, model: nn.Module, task: Task) -> None:
        """Clear before the first step."""
        clear(model, self.masks)

    def stepped(self, model: nn.Module, step: int) -> None:
        """Clear after each."""
        clear(model, self.masks)
