"""Cycles on all tiles where only some passes were simulated: a finish time, its bias taken off by a bootstrap.

The finish time is the sum over the passes, spread evenly, times an excess of at least 1: the ragged end of the last
round.  The sum is estimated without bias (`simhw.sampling`); the excess is no total.  It is that of a stand-in
population: the passes simulated, and between their durations as many more as are missing.  Samples drawn from that
population in its turn, cells without replacement, tell by how much the excess of a sample's stand-in is off, and how
much it varies.  Source: Booth, Butler and Hall, Bootstrap methods for finite populations, JASA 89 (1994).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simhw.accelerator import tile_loads
from simhw.sampling import Estimate, StratumTally, estimate_cycles

Durations = npt.NDArray[np.int64]

REPLICATES = (8, 32)
"""Bootstrap samples at the least and at the most."""
REPLICATED_PASSES = 1 << 15
"""Passes that all bootstrap samples together should have: some milliseconds for an operation."""
NEGLIGIBLE = 1e-3
"""Excess that no bootstrap is worth: far below the interval of any sample with passes enough to be bounded by it."""


def estimate_makespan(tallies: Sequence[StratumTally], tiles: int, key: Sequence[int]) -> tuple[Estimate, npt.NDArray[np.float64]]:
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
    steps = (np.arange(number) + 0.5) * (len(drawn) / number) - 0.5
    values: Durations = np.rint(np.interp(steps, np.arange(len(drawn)), np.sort(drawn))).astype(np.int64)
    return values


def _excess(loads: Durations) -> float:
    """The largest load over the mean."""
    return float(loads.max() * len(loads) / loads.sum())


def _replicates(tallies: Sequence[StratumTally], tiles: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The excess of stand-ins of samples from a population in which each simulated cell stands for as many as another."""
    passes = sum(tally.passes for tally in tallies)
    found = np.ones(int(np.clip(REPLICATED_PASSES // passes, *REPLICATES)))
    for replicate in range(len(found)):
        parts = []
        for tally in tallies:
            cells = tally.durations
            if not tally.complete:
                drawn = rng.choice(tally.cells, len(cells), replace=False) * len(cells) // tally.cells
                cells = [cells[cell] for cell in drawn]
            parts.append(stand_in(np.concatenate(cells), tally))
        durations = np.concatenate(parts)
        if durations.any():
            found[replicate] = _excess(tile_loads(durations, tiles))
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
