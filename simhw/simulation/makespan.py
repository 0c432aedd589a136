"""Cycles on all tiles where only some passes were simulated: a finish time, its bias taken off by a bootstrap.

The finish time is the sum over the passes, spread evenly, times an excess of at least 1: the ragged end of the last
round.  The sum is estimated without bias (`simhw.simulation.sampling`); the excess is no total.  It is that of a
stand-in population: the passes simulated, and between their durations as many more as are missing.  Samples drawn from
that population in its turn, cells without replacement, tell by how much the excess of a sample's stand-in is off, and
how much it varies.  Source: Booth, Butler and Hall, Bootstrap methods for finite populations, JASA 89 (1994).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.jit import inlined, kernel
from simhw.machine.tiles import place_longest_first, tile_loads
from simhw.pointers import data, onward
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
    total = Estimate.total(estimate_cycles(tallies))
    simulated = [tally for tally in tallies if tally.durations]
    durations = [one for tally in simulated for one in tally.durations]
    if all(tally.complete for tally in tallies) or not any(one.any() for one in durations):
        loads = tile_loads(np.concatenate(durations) if durations else np.zeros(0, np.int64), tiles)
        return Estimate(float(loads.max(initial=0))), loads.astype(np.float64)
    sample = _Sample.of(simulated)
    (loads,) = sample.loads(sample.cells[None], tiles)
    longest, excess, variance = int(sample.durations.max()), float(_excesses(loads)), 0.0
    # Longest first, the last pass to end starts while all tiles are busy.
    if longest * tiles > NEGLIGIBLE * int(loads.sum()):
        found = _replicates(sample, tiles, np.random.default_rng([*key]))
        bias = float(found.mean()) - excess
        # The correction is as uncertain as it is large.
        excess, variance = excess - bias, float(found.var(ddof=1)) + bias**2
    mean = max(total.value, 0.0) / tiles
    value = max(mean * max(excess, 1.0), longest)
    relative = value / total.value if total.value > 0 else 1.0
    spread = total.variance * relative**2 + mean**2 * variance
    return Estimate(value, spread, total.degrees), _stretched(loads, mean, value)


@dataclass(frozen=True, eq=False)
class _Sample:
    """The cells simulated of some strata.

    Attributes
    ----------
    tallies : sequence of StratumTally
        With at least a cell each.
    durations, cell_of : (passes,) int64
        Of the passes simulated, ascending within each stratum, and the cell that each is of.
    ends : (strata,) int64
        Where each stratum's end.
    passes : (strata,) int64
        Those of the stand-in.
    """

    tallies: Sequence[StratumTally]
    durations: Durations
    cell_of: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    passes: npt.NDArray[np.int64]

    @staticmethod
    def of(tallies: Sequence[StratumTally]) -> "_Sample":
        durations = np.concatenate([one for tally in tallies for one in tally.durations])
        sizes = [size for tally in tallies for size in tally.cell_passes]
        simulated = [tally.simulated_passes for tally in tallies]
        order = np.lexsort((durations, np.repeat(np.arange(len(tallies)), simulated)))
        # Nothing is put between the durations of a stratum that is complete.
        wanted = [max(tally.passes, tally.simulated_passes) if tally.complete else tally.passes for tally in tallies]
        cell_of = np.repeat(np.arange(len(sizes)), sizes)
        return _Sample(tallies, durations[order], cell_of[order], np.cumsum(simulated), np.array(wanted))

    @property
    def cells(self) -> npt.NDArray[np.int64]:
        """All cells, numbered from stratum to stratum."""
        return np.arange(sum(len(tally.durations) for tally in self.tallies))

    def loads(self, samples: npt.NDArray[np.int64], tiles: int) -> Durations:
        """(samples, tiles): cycles that each tile is busy with the stand-in of each of some samples of cells."""
        parts, sizes = 2 * len(self.tallies), [len(tally.durations) * max(tally.cell_passes) for tally in self.tallies]
        room = (int(self.passes.sum()), parts + 1, max(sizes), samples.shape[1], parts, tiles)
        loads = np.empty((len(samples), tiles), np.int64)
        _stand_in_loads(
            self.durations, self.cell_of, self.ends, self.passes, samples,
            _Room(*(np.empty(size, np.int64) for size in room)), loads,
        )  # fmt: skip
        return loads


def _excesses(loads: Durations) -> npt.NDArray[np.float64]:
    """The largest load over the mean, along the last axis; 1 where there is none."""
    total = loads.sum(axis=-1)
    return np.where(total > 0, loads.max(axis=-1) * loads.shape[-1] / np.maximum(total, 1), 1.0)


def _replicates(sample: _Sample, tiles: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The excess of stand-ins of samples from a population in which each simulated cell stands for as many
    as another.
    """
    cells, passes = sample.cells, sum(tally.passes for tally in sample.tallies)
    least, most = REPLICATES
    drawn = np.tile(cells, (min(max(REPLICATED_PASSES // passes, least), most), 1))
    ends = accumulate(len(tally.durations) for tally in sample.tallies)
    # A stratum that is complete has one sample alone.
    parts = [
        (end - len(tally.durations), end, tally.cells)
        for end, tally in zip(ends, sample.tallies, strict=True)
        if not tally.complete
    ]
    for one in drawn:
        for begin, end, population in parts:
            one[begin:end] = rng.choice(population, end - begin, replace=False)
    for begin, end, population in parts:
        drawn[:, begin:end] = drawn[:, begin:end] * (end - begin) // population + begin
    return _excesses(sample.loads(drawn, tiles))


class _Room(NamedTuple):
    """What a kernel works in, which takes longer to compile where it allocates arrays.

    `stand_in` holds as many durations as the strata have passes, `drawn` as many as can be drawn of a stratum; `times`
    is how often each cell was drawn; `marks` and `free_at` are as `place_longest_first` takes them.
    """

    stand_in: Durations
    bounds: npt.NDArray[np.int64]
    drawn: Durations
    times: npt.NDArray[np.int64]
    marks: npt.NDArray[np.int64]
    free_at: npt.NDArray[np.int64]


@kernel
def _stand_in_loads(
    durations: Durations,
    cell_of: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    passes: npt.NDArray[np.int64],
    samples: npt.NDArray[np.int64],
    room: _Room,
    loads: Durations,
) -> None:
    """Cycles that each tile is busy with the stand-in of each sample of cells: (samples, tiles).

    A stratum's stand-in has as many passes as it: those of the sample, and the missing ones evenly between them in
    size.  What else is given is as of `_Sample`.
    """
    strata, (number, cells) = len(passes), samples.shape
    durations, cell_of, ends, passes = data(durations), data(cell_of), data(ends), data(passes)
    stand_in, drawn, times, bounds = data(room.stand_in), data(room.drawn), data(room.times), data(room.bounds)
    for sample in range(number):
        for cell in range(cells):
            times[cell] = 0
        own = onward(data(samples), sample * cells)
        for cell in range(cells):
            times[own[cell]] += 1
        begin = filled = 0
        for stratum in range(strata):
            # Each duration as often as its cell was drawn.
            size = 0
            for index in range(begin, ends[stratum]):
                for _ in range(times[cell_of[index]]):
                    drawn[size] = durations[index]
                    size += 1
            begin, full = ends[stratum], filled + passes[stratum]
            kept = filled
            if size <= passes[stratum]:
                for index in range(size):
                    stand_in[filled + index] = drawn[index]
                kept += size
            _write_quantiles(stand_in, kept, full - kept, drawn, size)
            bounds[2 * stratum], bounds[2 * stratum + 1], bounds[2 * stratum + 2] = filled, kept, full
            filled = full
        place_longest_first(room.stand_in, room.bounds, room.marks, room.free_at, loads[sample])


@inlined
def _write_quantiles(found: Durations, first: int, number: int, ascending: Durations, size: int) -> None:
    """So many quantiles of the first values given, at even steps, interpolated; from index `first` of `found`."""
    if number == 0:
        return
    spacing, last, begin = size / number, size - 1, 0
    for below in range(max(last, 1)):
        low, rise, end = ascending[below], ascending[min(below + 1, last)] - ascending[below], number
        if below + 1 < last:
            # Those before the next value, sought from one that surely is.
            end = max(begin, int((below + 1.5) / spacing - 0.5) - 1)
            while end < number and (end + 0.5) * spacing - 0.5 < below + 1:
                end += 1
        for index in range(begin, end):
            step = min(max((index + 0.5) * spacing - 0.5, 0.0), float(last))
            found[first + index] = np.rint(rise * (step - below) + low)
        begin = end


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
