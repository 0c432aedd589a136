"""Cycles on all tiles where only some passes were simulated: a finish time, its bias taken off by a bootstrap.

The finish time is the sum over the passes, spread evenly, times an excess of at least 1: the ragged end of the last
round.  The sum is estimated without bias (`simhw.simulation.sampling`); the excess is no total.  It is that of a
stand-in population: the passes simulated, and between their durations as many more as are missing.  Samples drawn from
that population in its turn, cells without replacement, tell by how much the excess of a sample's stand-in is off, and
how much it varies.  Source: Booth, Butler and Hall, Bootstrap methods for finite populations, JASA 89 (1994).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simhw.jit import inlined, kernel
from simhw.machine.tiles import longest_first, tile_loads
from simhw.results.estimate import Estimate
from simhw.simulation.sampling import StratumTally, estimate_cycles

Durations = npt.NDArray[np.int64]

REPLICATES = (8, 32)
"""Bootstrap samples at the least and at the most."""
REPLICATED_PASSES = 1 << 15
"""Passes that all bootstrap samples together should have: some milliseconds for an operation."""
NEGLIGIBLE = 1e-3
"""Excess that no bootstrap is worth: far below the interval of any sample with passes enough to be bounded by it."""


def estimate_makespan(
    tallies: Sequence[StratumTally], tiles: int, key: Sequence[int]
) -> tuple[Estimate, npt.NDArray[np.float64]]:
    """Cycles until an operation's last pass ends on a machine's tiles; exact where every pass was simulated.

    Parameters
    ----------
    tallies : sequence of StratumTally
    tiles : int
    key : sequence of int
        Seed of the bootstrap.

    Returns
    -------
    cycles : Estimate
    loads : (tiles,) float64
        Cycles that each tile is busy: they add up to the estimated sum over the passes, and none exceeds `cycles`.
    """
    parts = [stand_in(np.concatenate(tally.durations), tally) for tally in tallies if tally.durations]
    durations = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    loads = tile_loads(durations, tiles)
    total = Estimate.total(estimate_cycles(tallies))
    if all(tally.complete for tally in tallies) or not durations.any():
        return Estimate(float(loads.max(initial=0))), loads.astype(np.float64)
    excess, variance = _excess(loads), 0.0
    # Longest first, the last pass to end starts while all tiles are busy.
    if int(durations.max()) * tiles > NEGLIGIBLE * int(durations.sum()):
        found = _replicates(tallies, tiles, np.random.default_rng([*key]))
        bias = float(found.mean()) - excess
        # The correction is as uncertain as it is large.
        excess, variance = excess - bias, float(found.var(ddof=1)) + bias**2
    mean = max(total.value, 0.0) / tiles
    longest = max(int(part.max()) for tally in tallies for part in tally.durations)
    value = max(mean * max(excess, 1.0), longest)
    relative = value / total.value if total.value > 0 else 1.0
    spread = total.variance * relative**2 + mean**2 * variance
    return Estimate(value, spread, total.degrees), _stretched(loads, mean, value)


def stand_in(drawn: Durations, tally: StratumTally) -> Durations:
    """As many durations as the stratum has passes: those drawn, and the missing ones evenly between them in size."""
    missing = tally.passes - len(drawn)
    if missing <= 0:
        return drawn if tally.complete else _between(drawn, tally.passes)
    return np.concatenate([drawn, _between(drawn, missing)])


def _between(drawn: Durations, number: int) -> Durations:
    """Quantiles of the durations drawn at `number` even steps, interpolated."""
    found = np.empty(number, np.int64)
    _write_quantiles(found, np.sort(drawn))
    return found


@kernel
def _write_quantiles(found: Durations, ascending: Durations) -> None:
    """As many quantiles of the values given as there is room for."""
    spacing, last = len(ascending) / len(found), len(ascending) - 1
    for index in range(len(found)):
        step = min(max((index + 0.5) * spacing - 0.5, 0.0), float(last))
        below = min(int(step), max(last - 1, 0))
        above = min(below + 1, last)
        found[index] = np.rint((ascending[above] - ascending[below]) * (step - below) + ascending[below])


def _excess(loads: Durations) -> float:
    """The largest load over the mean."""
    return float(loads.max() * len(loads) / loads.sum())


def _replicates(tallies: Sequence[StratumTally], tiles: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The excess of stand-ins of samples from a population in which each simulated cell stands for as many
    as another.
    """
    tallies = [tally for tally in tallies if tally.durations]
    cells, passes = [len(tally.durations) for tally in tallies], sum(tally.passes for tally in tallies)
    drawn = np.tile(np.arange(sum(cells)), (int(np.clip(REPLICATED_PASSES // passes, *REPLICATES)), 1))
    parts = [slice(end - number, end) for number, end in zip(cells, np.cumsum(cells), strict=True)]
    sampled = [
        (part, number, tally.cells)
        for part, number, tally in zip(parts, cells, tallies, strict=True)
        if not tally.complete
    ]
    for sample in drawn:
        for part, number, population in sampled:
            sample[part] = rng.choice(population, number, replace=False)
    for part, number, population in sampled:
        drawn[:, part] = drawn[:, part] * number // population + part.start
    durations = np.concatenate([one for tally in tallies for one in tally.durations])
    cell_of = np.repeat(np.arange(sum(cells)), [size for tally in tallies for size in tally.cell_passes])
    simulated = [tally.simulated_passes for tally in tallies]
    order = np.lexsort((durations, np.repeat(np.arange(len(tallies)), simulated)))
    # Nothing is put between the durations of a stratum that is complete.
    wanted = [max(tally.passes, tally.simulated_passes) if tally.complete else tally.passes for tally in tallies]
    room = np.empty(sum(wanted), np.int64)
    return _excesses(durations[order], cell_of[order], np.cumsum(simulated), np.array(wanted), drawn, room, tiles)


@kernel
def _excesses(
    durations: Durations,
    cell_of: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    passes: npt.NDArray[np.int64],
    samples: npt.NDArray[np.int64],
    stand_in: Durations,
    tiles: int,
) -> npt.NDArray[np.float64]:
    """The excess of the stand-in of each sample of cells.

    `durations` ascend within a stratum; each stratum's end at `ends`, and its stand-in has so many `passes`.
    `stand_in` is room for all of them.
    """
    found = np.empty(len(samples), np.float64)
    bounds = np.zeros(2 * len(passes) + 1, np.int64)
    times = np.empty(samples.shape[1], np.int64)
    for sample in range(len(samples)):
        for cell in range(len(times)):
            times[cell] = 0
        for cell in samples[sample]:
            times[cell] += 1
        begin = filled = 0
        for stratum in range(len(passes)):
            drawn = _repeated(durations[begin : ends[stratum]], cell_of[begin : ends[stratum]], times)
            kept = len(drawn) if len(drawn) <= passes[stratum] else 0
            for index in range(kept):
                stand_in[filled + index] = drawn[index]
            begin, full = ends[stratum], filled + passes[stratum]
            _write_quantiles(stand_in[filled + kept : full], drawn)
            bounds[2 * stratum + 1], bounds[2 * stratum + 2] = filled + kept, full
            filled = full
        longest = total = 0
        for load in longest_first(stand_in, bounds, tiles):
            longest, total = max(longest, load), total + load
        found[sample] = longest * tiles / total if longest > 0 else 1.0
    return found


@inlined
def _repeated(durations: Durations, cell_of: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> Durations:
    """Each duration as often as its cell was drawn."""
    size = 0
    for cell in cell_of:
        size += times[cell]
    found, filled = np.empty(size, np.int64), 0
    for index in range(len(durations)):
        for _ in range(times[cell_of[index]]):
            found[filled] = durations[index]
            filled += 1
    return found


def _stretched(loads: Durations, mean: float, longest: float) -> npt.NDArray[np.float64]:
    """Loads like these of another mean and maximum."""
    if not mean:
        return loads.astype(np.float64)
    shape: npt.NDArray[np.float64] = loads / loads.mean()
    peak, wanted, tiles = float(shape.max()), longest / mean, len(loads)
    if wanted <= peak:
        shape = 1 + (shape - 1) * ((wanted - 1) / (peak - 1) if peak > 1 else 0.0)
    elif tiles > peak:
        last = int(shape.argmax())
        shape *= max(tiles - wanted, 0.0) / (tiles - peak)
        shape[last] = wanted
    return np.multiply(shape, mean, dtype=np.float64)
