"""Collaborative compression: input channels and singular values of a layer go together, whichever costs less.

What a change of a layer's weights W to W' costs is estimated as the sum of (G (W' - W))^2 with the mean gradient G of
the loss on a few samples.  Three steps:

1. Layer by layer, units (input channels, or singular values) are taken away one after the other, and the cost is fitted
   as ``p1 exp(p2 share)`` of the share of the layer's multiply-accumulates that goes.
2. The shares of all layers are those of the least total cost for a given reduction: a Lagrangian has a closed form.
3. Each layer is compressed to its share again in steps of a few units.  A unit's cost there is what it costs now and,
   discounted, what the cheapest unit costs behind it; the singular values are worked out anew each time.

Source: arXiv 2105.11228 and the code released with it (spec page techniques.md, 2.11).  The forward estimate is read as
one step ahead (confidence 0.5).  A cost is set against the multiply-accumulates that it saves.  A pair of factors saves
nothing before its rank is low, so the first step to one goes as far as is cheapest by that measure: ours.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import Matrix

DISCOUNT = 0.9
"""Of the estimate ahead (the released code's gamma)."""
STEP = 0.01
"""Share of a layer's units that go at a time."""
MOST = 0.95
"""Of a layer that may go."""


@dataclass(frozen=True)
class LayerState:
    """A layer on its way to fewer channels and a lower rank.

    Attributes
    ----------
    weight, gradient : (out, in, places) float64
        Of the layer as it was; a linear layer behind a flattening has a channel's places together.
    rows : int
        Outputs of a sample, by place: what each multiply-accumulate of the kernel is repeated for.
    kept : (in,) bool
    rank : int or None
        None while the layer is whole.
    """

    weight: Matrix
    gradient: Matrix
    rows: int
    kept: npt.NDArray[np.bool_]
    rank: int | None = None

    @property
    def units(self) -> int:
        """Channels and singular values of the whole layer."""
        outputs, inputs, places = self.weight.shape
        return int(inputs + min(outputs, inputs * places))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a sample."""
        outputs, _, places = self.weight.shape
        reads = int(self.kept.sum()) * places
        each: int = outputs * reads if self.rank is None else self.rank * (reads + outputs)
        return self.rows * each

    @property
    def share(self) -> float:
        """Share of the layer's multiply-accumulates that is gone."""
        return 1 - self.macs / (self.rows * self.weight.size)

    @cached_property
    def approximation(self) -> Matrix:
        """The weights (out, in, places) that are left."""
        return self._masked if self.rank is None else self._at(self.rank)

    @cached_property
    def cost(self) -> float:
        """The estimate of what it costs against the whole layer."""
        return self._cost_of(self.approximation)

    @property
    def _masked(self) -> Matrix:
        made: Matrix = self.weight * self.kept[:, None]
        return made

    @cached_property
    def _singular(self) -> tuple[Matrix, Matrix, Matrix]:
        left, values, right = np.linalg.svd(self._masked.reshape(len(self.weight), -1), full_matrices=False)
        return left, values, right

    def _at(self, rank: int) -> Matrix:
        left, values, right = self._singular
        made: Matrix = (left[:, :rank] * values[:rank] @ right[:rank]).reshape(self.weight.shape)
        return made

    def _cost_of(self, weight: Matrix) -> float:
        return float(np.square(self.gradient * (weight - self.weight)).sum())

    def without_channels(self, count: int) -> "LayerState | None":
        """The state without the channels that cost least; None where too few would be left."""
        if int(self.kept.sum()) <= count:
            return None
        costs = np.square(self.gradient * self.approximation).sum((0, 2))
        costs[~self.kept] = np.inf
        kept = self.kept.copy()
        kept[np.argsort(costs, kind="stable")[:count]] = False
        return replace(self, kept=kept)

    def without_values(self, count: int, most: float) -> "LayerState | None":
        """The state without its smallest singular values; None where none is left.

        The first time as many go as cost least for what they save, within the share `most` or as near to it as may be.
        """
        if self.rank is not None:
            return replace(self, rank=self.rank - count) if self.rank > count else None
        outputs, _, places = self.weight.shape
        reads = int(self.kept.sum()) * places
        # A pair of this rank takes as much as the whole layer: one less pays.
        even = math.ceil(outputs * reads / (outputs + reads))
        pairs = [replace(self, rank=rank) for rank in range(even - 1, 0, -1)]
        if not pairs:
            return None
        within = [pair for pair in pairs if pair.share <= most] or pairs[:1]
        return min(
            within[::count],
            key=lambda pair: (self._cost_of(self._at(pair.rank or 0)) - self.cost) / (self.macs - pair.macs),
        )

    def choices(self, most: float, channels: bool, values: bool) -> "list[LayerState]":
        """What the next step may be; those alone that take less."""
        count = max(1, round(STEP * self.units))
        found = [
            self.without_channels(count) if channels else None,
            self.without_values(count, most) if values else None,
        ]
        return [each for each in found if each is not None and each.macs < self.macs]


def cheapest(
    state: LayerState, most: float, *, ahead: bool, channels: bool = True, values: bool = True
) -> LayerState | None:
    """The next step that costs least for what it saves; None where there is none.

    Parameters
    ----------
    state : LayerState
    most : float
        Share of the layer that is to go.
    ahead : bool
        Add the discounted cost of the cheapest step behind it.
    channels, values : bool
        Which units may go.
    """
    now = state.cost
    found: list[tuple[float, int, LayerState]] = []
    for place, choice in enumerate(state.choices(most, channels, values)):
        price = (choice.cost - now) / (state.macs - choice.macs)
        # Nothing comes behind a step that reaches the share.
        if (
            ahead
            and choice.share < most
            and (behind := cheapest(choice, most, ahead=False, channels=channels, values=values)) is not None
        ):
            price += DISCOUNT * (behind.cost - choice.cost) / (choice.macs - behind.macs)
        found.append((price, place, choice))
    return min(found)[2] if found else None


def compressed(state: LayerState, share: float, channels: bool = True, values: bool = True) -> LayerState:
    """Take units away, step by step, until that share of the multiply-accumulates is gone or none can go."""
    while state.share < share:
        step = cheapest(state, share, ahead=True, channels=channels, values=values)
        if step is None:
            break
        state = step
    return state


def fitted(state: LayerState, channels: bool = True, values: bool = True) -> tuple[float, float]:
    """`p1` and `p2` of the cost by share, ``p1 exp(p2 share)``, by least squares of its logarithm."""
    shares, costs = [], []
    while (
        step := cheapest(state, MOST, ahead=False, channels=channels, values=values)
    ) is not None and step.share <= MOST:
        state = step
        shares.append(state.share)
        costs.append(max(state.cost, 1e-30))
    if len(shares) < 2:
        raise WorkloadError("a layer has too few channels and singular values to be compressed; leave it whole")
    slope, start = np.polyfit(shares, np.log(costs), 1)
    return float(np.exp(start)), float(max(slope, 1e-6))


def global_shares(
    costs: Mapping[str, tuple[float, float]], macs: Mapping[str, int], reduction: float
) -> dict[str, float]:
    """The share that goes of each layer, for the least total cost.

    The sum of ``p1 exp(p2 share)`` is least, for a given sum of macs x share, where each layer's slope over its macs is
    one number: ``share = ln(number macs / (p1 p2)) / p2``, between 0 and `MOST`.

    Parameters
    ----------
    costs : mapping of path to (p1, p2)
    macs : mapping of path to int
    reduction : float
        Of the layers' multiply-accumulates together.

    Raises
    ------
    WorkloadError
        More is to go than may.
    """
    if not 0 <= reduction <= MOST:
        raise WorkloadError(f"a reduction by {reduction:g}: give 0 to {MOST:g}")

    def shares(logarithm: float) -> dict[str, float]:
        return {
            path: min(MOST, max(0.0, (logarithm + math.log(macs[path] / (first * slope))) / slope))
            for path, (first, slope) in costs.items()
        }

    low, high = -400.0, 400.0
    for _ in range(200):
        middle = (low + high) / 2
        gone = sum(macs[path] * share for path, share in shares(middle).items())
        low, high = (middle, high) if gone < reduction * sum(macs.values()) else (low, middle)
    return shares(high)


def state_of(weight: Tensor, gradient: Tensor, channels: int, rows: int) -> LayerState:
    """The whole layer.

    Parameters
    ----------
    weight, gradient : (out, in) or (out, in, kh, kw)
    channels : int
        That it reads; a linear layer behind a flattening has several inputs for each.
    rows : int
    """
    parts = [each.detach().double().reshape(len(weight), channels, -1).numpy() for each in (weight, gradient)]
    return LayerState(parts[0], parts[1], rows, torch.ones(channels, dtype=torch.bool).numpy())
