"""Which layers to decompose, and at which rank, for a device: the layers where it gains, within a budget.

Every layer offers a few options: whole, or in factors at a rank from which a lower one would gain time.  An option
takes time on the device and costs something: parameters that stay, or a loss of accuracy that a proxy guesses.  The
choice takes the least time whose costs add up to no more than the budget: a multiple-choice knapsack, solved exactly on
a grid of costs. Source: arXiv 2309.12412 (compress the layers that the hardware gains from; its own choice is
unpublished); techniques.md, 5.1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simhw.errors import ShapeError, quoted
from simhw.roofline.compression.decompose import decomposable, decomposed, factors, highest_rank
from simhw.roofline.compression.ranks import LayerTimer
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Conv, Linear, Network

if TYPE_CHECKING:
    import pandas as pd

LayerCost = Callable[[Conv | Linear, int | None], float]
"""What an option costs: a layer, and its rank, or None where it stays whole.  Costs add up over layers and are not
negative.
"""
GRID = 10_000
"""Steps that a budget is divided into; costs are rounded up to them, so that no choice exceeds the budget."""


@dataclass(frozen=True)
class Option:
    """One way to run one layer: its rank (None: whole), its seconds and its cost."""

    rank: int | None
    seconds: float
    cost: float


@dataclass(frozen=True)
class Choice:
    """The layers chosen, and what the device's model says of the whole network.

    Attributes
    ----------
    original, network : Network
        Before and after.
    ranks : mapping of layer name to rank
        The layers in factors.
    cost : float
        Of all options taken.
    original_seconds, seconds : float
        Of a step.
    """

    original: Network
    network: Network
    ranks: Mapping[str, int]
    cost: float
    original_seconds: float
    seconds: float

    @property
    def gain_percent(self) -> float:
        """Throughput gained."""
        return 100 * (self.original_seconds / self.seconds - 1)


def parameters_left(layer: Conv | Linear, rank: int | None) -> float:
    """Cost of a budget of parameters: those of the option."""
    return float(layer.parameters if rank is None else sum(part.parameters for part in factors(layer, rank)))


def removed_share(network: Network) -> LayerCost:
    """The simplest proxy of lost accuracy: the parameters that an option removes, as a share of the network's."""

    def cost(layer: Conv | Linear, rank: int | None) -> float:
        return (layer.parameters - parameters_left(layer, rank)) / network.parameters

    return cost


def lost_energy(weights: Mapping[str, np.ndarray]) -> LayerCost:
    """A proxy that looks at weights: the share of a layer's squared singular values that its rank drops.

    A pair loses exactly that share of its squared Frobenius norm.  A triple loses at most the sum of what the input and
    the output channels' unfoldings drop (the bound of a truncated higher-order decomposition).  The cost of a network
    is the mean over the layers given, so 0.01 is a hundredth of the energy of every layer.

    Parameters
    ----------
    weights : mapping of layer name to (out, in, ...) array
        From a trace or a checkpoint.

    Raises
    ------
    ShapeError
        (when called) A layer has no weights in the mapping, or of another shape.
    """
    dropped: dict[str, list[np.ndarray]] = {}

    def curves(layer: Conv | Linear) -> list[np.ndarray]:
        if layer.name not in dropped:
            dropped[layer.name] = _dropped(layer, weights)
        return dropped[layer.name]

    def cost(layer: Conv | Linear, rank: int | None) -> float:
        if rank is None:
            return 0.0
        return sum(float(curve[rank]) for curve in curves(layer)) / len(weights)

    return cost


def options(
    layer: Conv | Linear, timer: LayerTimer, cost: LayerCost, shallowest: float = 4 / 3, deepest: float = 4.0
) -> tuple[Option, ...]:
    """The ways to run a layer that can be part of a best choice.

    Whole, and the cheap side of every step of the staircase between two compressions: a rank is left out if a higher
    one is as fast, or if the layer is as fast whole.  A layer that no rank compresses as much is offered whole alone.

    Raises
    ------
    ShapeError
        `deepest` is below `shallowest`.
    """
    if deepest < shallowest:
        raise ShapeError(f"{layer.name}: the deepest compression {deepest:g} is below the shallowest, {shallowest:g}")
    fastest = timer.seconds([layer])
    found = [Option(None, fastest, cost(layer, None))]
    for rank in range(highest_rank(layer, shallowest) or 0, (highest_rank(layer, deepest) or 1) - 1, -1):
        seconds = timer.seconds(factors(layer, rank))
        if seconds < fastest:
            fastest = seconds
            found.append(Option(rank, seconds, cost(layer, rank)))
    return tuple(found)


def choose(
    network: Network,
    timer: LayerTimer,
    cost: LayerCost | None = None,
    budget: float = float("inf"),
    layers: Sequence[Conv | Linear] = (),
) -> Choice:
    """The layers and ranks with the least time on a device within a budget.

    Parameters
    ----------
    network : Network
    timer : LayerTimer
        Of a device and a run: training or inference, batch, precision; each has a choice of its own.  Asked again with
        another budget, it remembers the layers' times.
    cost : LayerCost, optional
        `parameters_left`, `removed_share(network)`, `lost_energy(weights)` or a function of the caller; `removed_share`
        if not given.
    budget : float
        Of all options' costs together.
    layers : sequence of Conv or Linear
        That may be decomposed; those of the published tables if empty.

    Raises
    ------
    ShapeError
        No choice fits into the budget.
    """
    charged = cost or removed_share(network)
    candidates = tuple(layers) or decomposable(network)
    offered = [options(layer, timer, charged) for layer in candidates]
    if not np.isfinite(budget):
        taken = [min(each, key=lambda option: option.seconds) for each in offered]
    else:
        taken = least_time(offered, budget)
    ranks = {
        layer.name: option.rank for layer, option in zip(candidates, taken, strict=True) if option.rank is not None
    }
    changed = decomposed(network, ranks, f"{network.name}-targeted")
    return Choice(
        original=network,
        network=changed,
        ranks=ranks,
        cost=sum(option.cost for option in taken),
        original_seconds=estimate(network, timer.device, timer.run).seconds,
        seconds=estimate(changed, timer.device, timer.run).seconds,
    )


def choice_frame(choice: Choice) -> "pd.DataFrame":
    """A row per layer that was decomposed: layer, rank, parameters before and after, compression."""
    import pandas as pd

    rows = []
    for layer in choice.original.layers:
        if layer.name in choice.ranks and isinstance(layer, Conv | Linear):
            left = parameters_left(layer, choice.ranks[layer.name])
            rows.append(
                {
                    "layer": layer.name,
                    "rank": choice.ranks[layer.name],
                    "parameters": layer.parameters,
                    "parameters_left": int(left),
                    "compression": layer.parameters / left,
                }
            )
    return pd.DataFrame(rows, columns=["layer", "rank", "parameters", "parameters_left", "compression"])


def least_time(offered: Sequence[Sequence[Option]], budget: float) -> list[Option]:
    """One option per layer: the least time of all whose costs, rounded up to the grid, stay within the budget.

    What every layer costs at least is paid before, and only what is left is divided into a grid.

    Raises
    ------
    ShapeError
        The cheapest options together cost more than the budget.
    """
    floors = [min(option.cost for option in each) for each in offered]
    spare = budget - sum(floors)
    if spare < 0:
        raise ShapeError(f"budget is {budget:g}; the least that can be had is {sum(floors):g}")
    # Dynamic programming: best[c] is the least time of the layers so far that cost at most c units.
    best = np.zeros(GRID + 1)
    taken = np.zeros((len(offered), GRID + 1), dtype=np.int16)
    units = [
        [_units(option.cost - floor, spare) for option in each] for each, floor in zip(offered, floors, strict=True)
    ]
    for row, (each, charges) in enumerate(zip(offered, units, strict=True)):
        times = np.full((len(each), GRID + 1), np.inf)
        for index, (option, charge) in enumerate(zip(each, charges, strict=True)):
            if charge <= GRID:
                times[index, charge:] = best[: GRID + 1 - charge] + option.seconds
        taken[row] = np.argmin(times, axis=0)
        best = np.min(times, axis=0)
    left, found = GRID, []
    for row in range(len(offered) - 1, -1, -1):
        index = int(taken[row, left])
        found.append(offered[row][index])
        left -= units[row][index]
    return found[::-1]


def _units(cost: float, spare: float) -> int:
    """Steps of the grid that a cost takes, rounded up but for noise of the last digits; too many where nothing is to
    spare.
    """
    if cost <= 0:
        return 0
    return int(np.ceil(cost * GRID / spare - 1e-9)) if cost <= spare else GRID + 1


def _dropped(layer: Conv | Linear, weights: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Share of the energy that each unfolding drops, by rank from 0."""
    if layer.name not in weights:
        raise ShapeError(f"no weights of layer {quoted(layer.name)}")
    values = np.asarray(weights[layer.name], dtype=np.float64)
    shape = (
        (layer.out_features, layer.in_features)
        if isinstance(layer, Linear)
        else (layer.out_channels, layer.in_channels, *layer.kernel)
    )
    if values.shape != shape:
        raise ShapeError(f"weights of layer {quoted(layer.name)} have shape {values.shape}; its geometry says {shape}")
    rows = values.reshape(shape[0], -1)
    unfoldings = (
        [rows] if values.size == shape[0] * shape[1] else [rows, np.moveaxis(values, 1, 0).reshape(shape[1], -1)]
    )
    curves = []
    for unfolding in unfoldings:
        energies = np.linalg.svd(unfolding, compute_uv=False) ** 2
        total = energies.sum()
        kept = np.concatenate([[0.0], np.cumsum(energies)])
        curves.append(1 - kept / total if total else np.zeros(len(kept)))
    return curves
