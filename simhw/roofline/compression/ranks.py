"""Ranks that suit a device: latency against rank is a staircase, and the cheap side of a step is a better rank.

Padding to a device's tiles makes ranks between two multiples cost as much as the higher one.  Rank optimisation
measures a layer's factors from the rank of the wanted compression downwards, cuts at the largest step, on its cheap
side, and keeps the whole layer where its factors are no faster.  Here the device's model is asked in place of the
device. Source: arXiv 2407.20266 and 2309.03824 (rank quantisation); spec page techniques.md, 5.1.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from simhw.errors import ShapeError
from simhw.roofline.compression.decompose import decomposable, decomposed, factors, highest_rank
from simhw.roofline.device import Device
from simhw.roofline.layers.network import Conv, Linear, Network, NetworkLayer
from simhw.roofline.operators import Operator
from simhw.roofline.predict import predict
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import step

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LayerTimer:
    """Seconds that a few layers take inside a step; layers of shapes that were timed before are remembered.

    Attributes
    ----------
    device : Device
    run : Run
    """

    device: Device
    run: Run
    _operators: dict[Operator, float] = field(default_factory=dict, repr=False, compare=False)
    _layers: dict[tuple[NetworkLayer, ...], float] = field(default_factory=dict, repr=False, compare=False)

    def seconds(self, layers: Sequence[NetworkLayer]) -> float:
        """Device time [s] of the layers' kernels, all gradients included in training.

        The update of all parameters at once is no layer's, and is left out.
        """
        shapes = tuple(replace(layer, name=str(place)) for place, layer in enumerate(layers))
        if shapes not in self._layers:
            # A trainable layer of the same numbers stands before them, so that they pass a gradient on as they would in
            # a network.
            names = {layer.name for layer in shapes}
            work = step(Network("layers", (Linear("", 1, 1), *shapes)), self.run, self.device.values.compiler)
            self._layers[shapes] = sum(self._operator_s(each.operator) for each in work if each.layer in names)
        return self._layers[shapes]

    def _operator_s(self, operator: Operator) -> float:
        if operator not in self._operators:
            self._operators[operator] = predict(operator, self.device).seconds
        return self._operators[operator]


@dataclass(frozen=True)
class RankChoice:
    """What rank optimisation found for one layer.

    Attributes
    ----------
    layer : Conv or Linear
        As it was.
    vanilla_rank : int or None
        Of the wanted compression; None where no rank compresses as much.
    rank : int or None
        On the cheap side of the largest step below it; None where the layer stays whole.
    seconds, vanilla_seconds, original_seconds : float
        At the rank found, whether it is taken or not, at the vanilla rank, and of the whole layer; all the whole
        layer's where there is no vanilla rank.
    """

    layer: Conv | Linear
    vanilla_rank: int | None
    rank: int | None
    seconds: float
    vanilla_seconds: float
    original_seconds: float


def rank_latency(layer: Conv | Linear, ranks: Iterable[int], device: Device, run: Run) -> "pd.DataFrame":
    """Latency of a layer's factors against their rank: the staircase.

    Returns
    -------
    DataFrame
        A row per rank: rank; seconds, original_seconds [s]; speedup_percent; parameters, macs of the factors;
        compression.
    """
    import pandas as pd

    timer = LayerTimer(device, run)
    original = timer.seconds([layer])
    rows = []
    for rank in ranks:
        parts = factors(layer, rank)
        parameters = sum(part.parameters for part in parts)
        seconds = timer.seconds(parts)
        rows.append(
            {
                "rank": rank,
                "seconds": seconds,
                "original_seconds": original,
                "speedup_percent": 100 * (original / seconds - 1),
                "parameters": parameters,
                "macs": sum(part.macs for part in parts),
                "compression": layer.parameters / parameters,
            }
        )
    return pd.DataFrame(rows)


def optimised_rank(
    layer: Conv | Linear, timer: LayerTimer, compression: float = 2.0, deepest: float | None = None
) -> RankChoice:
    """The rank optimisation of one layer.

    Parameters
    ----------
    layer : Conv or Linear
    timer : LayerTimer
    compression : float
        Of the highest rank that is looked at.
    deepest : float, optional
        Compression of the lowest rank; one more than `compression` if not given.

    Raises
    ------
    ShapeError
        `deepest` is below `compression`, or one of them no number above 0.
    """
    if deepest is not None and deepest < compression:
        raise ShapeError(f"{layer.name}: the deepest compression {deepest:g} is below the first, {compression:g}")
    highest = highest_rank(layer, compression)
    original = timer.seconds([layer])
    if highest is None:
        return RankChoice(layer, None, None, original, original, original)
    lowest = highest_rank(layer, deepest if deepest is not None else compression + 1) or 1
    times = {rank: timer.seconds(factors(layer, rank)) for rank in range(lowest, highest + 1)}
    # Of equal steps the highest: it keeps the most of the layer.  Where no lower rank is faster, the vanilla rank
    # stands.
    steps = {rank: times[rank + 1] - times[rank] for rank in range(lowest, highest)}
    best = max(steps, key=lambda rank: (steps[rank], rank), default=highest)
    if best != highest and steps[best] <= 0:
        best = highest
    return RankChoice(layer, highest, best if times[best] < original else None, times[best], times[highest], original)


def rank_choices(
    network: Network, timer: LayerTimer, compression: float = 2.0, deepest: float | None = None
) -> list[RankChoice]:
    """Rank optimisation of every layer that the published tables decompose."""
    return [optimised_rank(layer, timer, compression, deepest) for layer in decomposable(network)]


def optimised_ranks(
    network: Network, device: Device, run: Run, compression: float = 2.0, deepest: float | None = None
) -> "pd.DataFrame":
    """Rank optimisation of a network as a table; see `rank_frame`."""
    return rank_frame(rank_choices(network, LayerTimer(device, run), compression, deepest))


def rank_frame(choices: Iterable[RankChoice]) -> "pd.DataFrame":
    """What rank optimisation found, as a table.

    Returns
    -------
    DataFrame
        A row per layer: layer, vanilla_rank (missing where no rank compresses as much), rank (missing where the layer
        stays whole), kept_whole, vanilla_seconds, seconds (of what is kept), original_seconds [s].
    """
    import pandas as pd

    rows = [
        {
            "layer": each.layer.name,
            "vanilla_rank": each.vanilla_rank,
            "rank": each.rank,
            "kept_whole": each.rank is None,
            "vanilla_seconds": each.vanilla_seconds,
            "seconds": each.original_seconds if each.rank is None else each.seconds,
            "original_seconds": each.original_seconds,
        }
        for each in choices
    ]
    columns = ["layer", "vanilla_rank", "rank", "kept_whole", "vanilla_seconds", "seconds", "original_seconds"]
    return pd.DataFrame(rows, columns=columns).astype({"vanilla_rank": "Int64", "rank": "Int64"})


def optimised(
    network: Network, device: Device, run: Run, compression: float = 2.0, deepest: float | None = None
) -> Network:
    """A network decomposed at its optimised ranks."""
    found = rank_choices(network, LayerTimer(device, run), compression, deepest)
    return decomposed(
        network, {each.layer.name: each.rank for each in found if each.rank is not None}, f"{network.name}-optimised"
    )
