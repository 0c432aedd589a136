"""Estimates from random cells: stratified estimates without bias, with confidence intervals, and how many cells to
draw.

A stratum holds the cells of one plan (layer, operation, family, operand choice) that have the same number of passes.
Within it every cell is equally likely, so the mean over cells times their number is unbiased.  Older sampled traces mix
cells of several sizes in a stratum: there the estimate is Hartley and Ross's, which the sizes help and which is
unbiased too, as the ratio of cycles to passes is not.  It is linear in the cells' values, so lane-cycle classes still
add up. Totals add up over strata.  Source of the formulas: Cochran, Sampling Techniques, 3rd edition, sections 5.3 to
5.5, 5A.12 (collapsed strata) and 6.15; degrees of freedom by Satterthwaite.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from simhw.results.estimate import Estimate

Floats = npt.NDArray[np.float64]

LEAST_CELLS_DRAWN = 8
"""Cells to draw from a stratum at the least: with few, an interval is wide, and holds too seldom where cells differ
much.
"""


@dataclass
class StratumTally:
    """What was simulated of one stratum.

    Attributes
    ----------
    passes, cells : int
        Population: tile passes and cells.
    exact : bool
        True where every pass was simulated, cell by cell or not.
    cell_passes, cell_cycles : list of int
        Of each cell simulated; for an exact stratum, of each unit of work.
    counters : list of Counter
        Of each cell or unit.
    durations : list of (passes,) int64
        Cycles of the passes simulated.
    """

    passes: int
    cells: int
    exact: bool
    cell_passes: list[int] = field(default_factory=list)
    cell_cycles: list[int] = field(default_factory=list)
    counters: list[Counter[str]] = field(default_factory=list)
    durations: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def add(self, durations: npt.NDArray[np.int64], counters: Counter[str]) -> None:
        """Add a simulated cell or unit."""
        self.cell_passes.append(len(durations))
        self.cell_cycles.append(int(durations.sum()))
        self.counters.append(counters)
        self.durations.append(durations)

    @property
    def simulated_passes(self) -> int:
        return sum(self.cell_passes)

    @property
    def complete(self) -> bool:
        """True where nothing was left out."""
        return self.exact or self.simulated_passes >= self.passes


def _mean(values: Floats) -> Any:
    """As `np.mean` along the last axis, which for a few cells takes several times as long."""
    return np.add.reduce(values, axis=-1) / values.shape[-1]


def _variance(values: Floats) -> Any:
    """As `np.var` along the last axis with one degree of freedom less than there are values."""
    centred = values - _mean(values)[..., None]
    return np.add.reduce(centred * centred, axis=-1) / (values.shape[-1] - 1)


def _stratum_estimates(tally: StratumTally, values: Floats, pooled: Floats) -> list[Estimate]:
    """Totals of quantities over a stratum from their values in each simulated cell: (quantities, cells).

    `pooled` is the relative variance of each quantity's value of a cell about its stratum's mean elsewhere, which
    stands in where a stratum has a single cell: (quantities,).
    """
    if tally.complete:
        return [Estimate(total) for total in values.sum(axis=-1).tolist()]
    sizes = np.array(tally.cell_passes, dtype=np.float64)
    drawn, cells, rates = len(sizes), tally.cells, values / sizes
    totals = cells * _mean(values)
    if drawn > 1:
        # Hartley and Ross: r X + n (N - 1) / (n - 1) (y - r x), written so that nothing is added where cells are alike.
        rate, size = _mean(rates), _mean(sizes)
        totals += (cells - drawn) / (drawn - 1) * _mean(rates * (sizes - size))
        totals += rate * (tally.passes - cells * size)
        deviation, degrees = _variance(values - rate[:, None] * sizes), drawn - 1.0
    else:
        # Its size may be another than the mean by chance as well.
        deviation = pooled * values[:, 0] ** 2 + (rates[:, 0] * (sizes[0] - tally.passes / cells)) ** 2
        degrees = 1.0
    variances = cells**2 * (1 - drawn / cells) * deviation / drawn
    return [Estimate(*each, degrees) for each in zip(totals.tolist(), variances.tolist(), strict=True)]


def _pooled_variance(tallies: Sequence[StratumTally], values: Sequence[Floats]) -> float:
    """Mean relative variance of a cell about its stratum's rate, over the strata with at least two cells.

    Where there is none, the strata with a single cell are collapsed into one, so that what they differ by counts as
    well.
    """
    relative, single = [], []
    for tally, cells in zip(tallies, values, strict=True):
        sizes = np.array(tally.cell_passes, dtype=np.float64)
        if len(cells) > 1 and cells.sum() > 0:
            relative.append(_variance(cells - _mean(cells / sizes) * sizes) / _mean(cells) ** 2)
        elif len(cells) == 1:
            single.append(float(cells[0] / sizes[0]))
    if relative:
        return float(np.mean(relative))
    if len(single) > 1 and sum(single) > 0:
        return float(_variance(np.array(single)) / _mean(np.array(single)) ** 2)
    # Without any other cell to learn from, a cell may be off by all of its value.
    return 1.0


def estimate_cycles(tallies: Sequence[StratumTally]) -> list[Estimate]:
    """Tile cycles of each stratum."""
    values = [np.array([tally.cell_cycles], dtype=np.float64) for tally in tallies]
    return [cycles for (cycles,) in _estimates(tallies, values)]


def estimate_counters(tallies: Sequence[StratumTally], names: Sequence[str]) -> list[list[Estimate]]:
    """Counters' totals of each stratum."""
    return _estimates(
        tallies,
        [
            np.array([[counters[name] for counters in tally.counters] for name in names], dtype=np.float64)
            for tally in tallies
        ],
    )


def _estimates(tallies: Sequence[StratumTally], values: Sequence[Floats]) -> list[list[Estimate]]:
    """Of each stratum those of some quantities, from their values (quantities, cells)."""
    lonely = any(len(tally.cell_passes) == 1 and not tally.complete for tally in tallies)
    quantities = list(zip(*values, strict=True)) if lonely else []
    pooled = np.array([_pooled_variance(tallies, cells) for cells in quantities])
    return [_stratum_estimates(tally, cells, pooled) for tally, cells in zip(tallies, values, strict=True)]


def cells_for_fraction(cells: int, fraction: float) -> int:
    """Cells to draw from a stratum for a fraction of its passes: at least `LEAST_CELLS_DRAWN`, or all there are."""
    return min(cells, max(LEAST_CELLS_DRAWN, int(np.ceil(fraction * cells))))


def cells_for_precision(tallies: Sequence[StratumTally], target: float) -> list[int]:
    """Cells of each stratum that bring the total's relative half-width down to `target`, from a pilot sample.

    Neyman allocation: cells in proportion to a stratum's size times its standard deviation, never fewer than the pilot.
    """
    values = [np.array(tally.cell_cycles, dtype=np.float64) for tally in tallies]
    pooled = _pooled_variance(tallies, values)
    pilot = np.array([len(cells) for cells in values], dtype=np.float64)
    population = np.array([tally.cells for tally in tallies], dtype=np.float64)
    estimates = [
        _stratum_estimates(tally, cells[None], np.array([pooled]))[0]
        for tally, cells in zip(tallies, values, strict=True)
    ]
    unseen = 1 - np.minimum(pilot / population, 1)
    one_cell = (
        np.array([part.variance for part in estimates]) * pilot / np.where(unseen > 0, unseen, 1)
    )  # N^2 S^2 of each
    weights = np.sqrt(one_cell)
    if weights.sum() == 0:
        return [int(cells) for cells in pilot]
    # A tenth tighter than asked, since the deviations are themselves estimates.
    wanted = (0.9 * target * sum(part.value for part in estimates) / 1.96) ** 2
    drawn = weights.sum() ** 2 / (wanted + (one_cell / population).sum())
    share = np.ceil(drawn * weights / weights.sum())
    return [int(cells) for cells in np.minimum(population, np.maximum(pilot, share))]
