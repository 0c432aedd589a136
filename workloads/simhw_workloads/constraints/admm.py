"""Alternating direction method of multipliers: weights are trained while they are pulled to a set that is not convex.

Training finds W for the loss plus rho / 2 |W - Z + U|^2.  From time to time Z becomes the point of the set nearest to
W + U, and the dual U grows by W - Z.  The set is known by its projection alone: few weights that are not zero, few
levels, a tensor-train rank.  Source: Zhang et al. (ECCV 2018) and ADMM-NN (arXiv 1812.11677), in Boyd's scaled form
(Foundations and Trends in Machine Learning 3(1), 2011, section 3.1.1).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from simhw_workloads.constraints.masks import weight_of
from simhw_workloads.task import Batch, Task
from simhw_workloads.train import Hook

Projection = Callable[[Tensor], Tensor]
"""A weight to the nearest point of a set, in the weight's shape."""


class ADMM(Hook):
    """Pulls the weights of layers towards sets, each layer to its own.

    Parameters
    ----------
    projections : mapping of path to Projection
        Layers that are not named train freely.
    rho : float
        Weight of the penalty.
    every : int
        Steps from one update of Z and U to the next: an epoch's in the papers.
    tighten : (int, float), optional
        After that step rho is so many times as large.  The dual is divided by as much, so that rho U goes on as it was
        (Boyd, section 3.4.1).
    """

    def __init__(
        self, projections: Mapping[str, Projection], rho: float, every: int, tighten: tuple[int, float] | None = None
    ) -> None:
        self.projections, self.rho, self.every, self.tighten = projections, rho, every, tighten
        self._near: dict[str, Tensor] = {}
        self._dual: dict[str, Tensor] = {}

    def start(self, model: nn.Module, task: Task) -> None:
        """Begin with Z at the weights' own projections, and without a dual."""
        for path, projection in self.projections.items():
            weight = weight_of(model, path).detach()
            self._near[path], self._dual[path] = projection(weight), torch.zeros_like(weight)

    def loss(self, model: nn.Module, output: Tensor, batch: Batch) -> Tensor:
        """Half rho times the squared distances."""
        distances = [
            (weight_of(model, path) - self._near[path] + self._dual[path]).square().sum() for path in self.projections
        ]
        return 0.5 * self.rho * torch.stack(distances).sum()

    @torch.no_grad()
    def stepped(self, model: nn.Module, step: int) -> None:
        """Update Z and U, where it is time."""
        if step % self.every == 0:
            for path, projection in self.projections.items():
                moved = weight_of(model, path) + self._dual[path]
                self._near[path] = projection(moved)
                self._dual[path] = moved - self._near[path]
        if self.tighten is not None and step == self.tighten[0]:
            self.rho *= self.tighten[1]
            for dual in self._dual.values():
                dual /= self.tighten[1]


class Projected(Hook):
    """Puts weights onto their sets after every step: projected gradient descent.

    Parameters
    ----------
    projections : mapping of path to Projection
    """

    def __init__(self, projections: Mapping[str, Projection]) -> None:
        self.projections = projections

    def start(self, model: nn.Module, task: Task) -> None:
        """Project before the first step."""
        project(model, self.projections)

    def stepped(self, model: nn.Module, step: int) -> None:
        """Project after each."""
        project(model, self.projections)


def residual(model: nn.Module, projections: Mapping[str, Projection]) -> float:
    """How far the weights are from their sets: the distance over their norm, of all layers together."""
    weights = {path: weight_of(model, path).detach() for path in projections}
    off = sum(float((weight - projections[path](weight)).square().sum()) for path, weight in weights.items())
    return float((off / sum(float(weight.square().sum()) for weight in weights.values())) ** 0.5)


@torch.no_grad()
def project(model: nn.Module, projections: Mapping[str, Projection]) -> None:
    """Put the weights onto their sets."""
    for path, projection in projections.items():
        weight = weight_of(model, path)
        weight.copy_(projection(weight.detach()))
