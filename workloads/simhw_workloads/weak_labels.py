"""Weak labels: of each draw some points have an exact label, some an uncertain one, and most have none.

A step of training is one draw, and it is solved for all points at once.  Source: arXiv 2104.06548; spec page
techniques.md, 2.19.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from simhw_workloads.models.cluster_graph import Known, left_over, spread
from simhw_workloads.task import Batch
from simhw_workloads.train import Hook

EXACT, UNCERTAIN = 0.1, 0.2
"""Shares of points with a label of that kind, as on the spec page."""


@dataclass(frozen=True)
class Draw:
    """Which points have a label, and which.

    Attributes
    ----------
    exact, uncertain, unlabelled : Tensor
        Points, int64.
    labels : Tensor
        (N,), 0 of points without one.
    noise : float
        Deviation of uncertain labels.
    """

    exact: Tensor
    uncertain: Tensor
    unlabelled: Tensor
    labels: Tensor
    noise: float

    def known(self, uncertain: bool) -> Known:
        """The labels as distributions; without the uncertain ones if so asked."""
        there, deviations = torch.zeros_like(self.labels), torch.zeros_like(self.labels)
        there[self.exact] = 1
        if uncertain:
            there[self.uncertain] = 1
            deviations[self.uncertain] = self.noise
        return Known(there, there * self.labels, deviations)


def draw(targets: Tensor, noise: float, seed: int) -> Draw:
    """Draw labels of points with those targets (N,); those of an uncertain label are off by `noise` deviations."""
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(targets), generator=random)
    cuts = [round(EXACT * len(order)), round((EXACT + UNCERTAIN) * len(order))]
    exact, uncertain, unlabelled = order.tensor_split(cuts)
    labels = torch.zeros_like(targets)
    labels[exact] = targets[exact]
    errors = noise * torch.randn(len(uncertain), generator=random, dtype=targets.dtype)
    labels[uncertain] = targets[uncertain] + errors
    return Draw(exact, uncertain, unlabelled, labels, noise)


class Answers(nn.Module):
    """What points' targets are, by draw: means and deviations, NaN where a draw gave the point a label or did not ask.

    Parameters
    ----------
    factor : Tensor
        Of the points' graph, (N, m).
    draws : int
    """

    factor: Tensor

    def __init__(self, factor: Tensor, draws: int) -> None:
        super().__init__()
        self.register_buffer("factor", factor)
        self.answers = nn.Parameter(torch.full((len(factor), draws, 2), torch.nan, dtype=factor.dtype))

    def forward(self, points: Tensor) -> Tensor:
        """Means (B, draws) of points (B,) int64."""
        return self.answers[points, :, 0]


class Draws(Hook):
    """Solves a draw at each step.  Its `gradient` is the `Gradient` of `Run.fit`; it leaves none to an optimizer.

    Parameters
    ----------
    draws : list of Draw
        One for each step.
    uncertain : bool
        Whether uncertain labels are used.
    smoothness : float
        How much alike neighbours' answers shall be.
    """

    def __init__(self, draws: list[Draw], uncertain: bool, smoothness: float) -> None:
        self.draws, self.uncertain, self.smoothness = draws, uncertain, smoothness
        self._place = 0
        self._points = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int, indices: Tensor) -> Tensor:
        """Remember which draw it is; points stay in their order."""
        self._place = step - 1
        return indices.sort().values

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """Remember the points."""
        self._points = batch.indices
        return batch

    @torch.no_grad()
    def gradient(self, model: nn.Module, closure: Callable[[], Tensor]) -> Tensor:
        """Put down the answers of a draw, for the points of the step as if there were no others.

        Returns
        -------
        Tensor
            What is left of the sum that is made lowest.
        """
        assert isinstance(model, Answers)
        draw, points = self.draws[self._place], self._points
        known = draw.known(self.uncertain).rows(points)
        answers = spread(model.factor[points], known, self.smoothness)
        asked = torch.isin(points, draw.unlabelled)
        model.answers[points[asked], self._place] = answers[asked]
        return left_over(known, answers)


def draws_rmse(answers: Tensor, targets: Tensor) -> float:
    """Mean over draws of the root of the mean squared error of answers (N, draws); those that are NaN do not count.

    A draw in which fewer points were asked has less weight.
    """
    asked = ~answers.isnan()
    squares = (answers - targets[:, None]).square().nan_to_num().sum(0)
    count = asked.sum(0)
    return float((count * (squares / count.clamp(min=1)).sqrt()).sum() / count.sum())
