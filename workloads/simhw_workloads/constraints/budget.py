"""One budget of weights that are not zero for several layers together: no layer has a share of its own."""

import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.constraints.masks import Masks, clear, mask_of, weight_of
from simhw_workloads.task import Task
from simhw_workloads.train import Hook


@torch.no_grad()
def largest_of_all(model: nn.Module, paths: list[str], count: int) -> Masks:
    """Masks that hold the `count` weights of largest magnitude of those layers together.

    Raises
    ------
    WorkloadError
        They have not as many, or none is to stay.
    """
    weights = {path: weight_of(model, path) for path in paths}
    every = torch.cat([weight.abs().flatten() for weight in weights.values()])
    if not 1 <= count <= len(every):
        raise WorkloadError(f"{count} of {len(every)} weights are to stay; give at least one and at most all")
    held = mask_of(every, every.topk(count).indices)
    each = held.split([weight.numel() for weight in weights.values()])  # type: ignore[no-untyped-call]  # torch's
    return {path: mask.reshape(weight.shape) for (path, weight), mask in zip(weights.items(), each, strict=True)}


class Budget(Hook):
    """Keeps the largest weights of all layers together after every step; the others become zero.

    Parameters
    ----------
    paths : list of str
    count : int
        Weights that stay.
    """

    def __init__(self, paths: list[str], count: int) -> None:
        self.paths, self.count = paths, count

    def start(self, model: nn.Module, task: Task) -> None:
        """Clear before the first step."""
        clear(model, largest_of_all(model, self.paths, self.count))

    def stepped(self, model: nn.Module, step: int) -> None:
        """Clear after each."""
        clear(model, largest_of_all(model, self.paths, self.count))
