"""Every cell of small traces, simulated once, from which samples are drawn again and again without
simulating anything.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from simhw import Layer, Trace
from simhw.bfloat16 import from_float32
from simhw.lowering import SampledBlock, lower
from simhw.machine.machine import Machine
from simhw.machine.tiles import tile_loads
from simhw.results.estimate import Estimate
from simhw.simulation.engine import run_unit
from simhw.simulation.makespan import estimate_makespan
from simhw.simulation.sampling import StratumTally, estimate_counters, estimate_cycles
from simhw.simulation.strata import plan_operation
from simhw.trace.layer import InMemory, ProductBlock

Cell = tuple[npt.NDArray[np.int64], Counter[str]]


@dataclass(frozen=True)
class Population:
    """An operation's strata, each all of its cells, and the machine's tiles."""

    strata: list[list[Cell]]
    tiles: int

    @cached_property
    def durations(self) -> npt.NDArray[np.int64]:
        return np.concatenate([durations for cells in self.strata for durations, _ in cells])

    @cached_property
    def counters(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for cells in self.strata:
            for _, counters in cells:
                total.update(counters)
        return total

    @property
    def exact(self) -> dict[str, float]:
        """What the estimates are of."""
        cycles = int(tile_loads(self.durations, self.tiles).max())
        return {"tile_cycles": int(self.durations.sum()), "cycles": cycles, "useful": self.counters["useful"]}

    def draw(self, number: int, rng: np.random.Generator) -> list[StratumTally]:
        """`number` cells of each stratum, or all."""
        tallies = []
        for cells in self.strata:
            tally = StratumTally(sum(len(durations) for durations, _ in cells), len(cells), exact=False)
            for cell in np.sort(rng.choice(len(cells), min(number, len(cells)), replace=False)):
                tally.add(*cells[cell])
            tallies.append(tally)
        return tallies

    def estimate(self, number: int, *seed: int) -> dict[str, Estimate]:
        """Estimates from a random sample, as a simulation makes them."""
        tallies = self.draw(number, np.random.default_rng(seed))
        return {
            "tile_cycles": Estimate.total(estimate_cycles(tallies)),
            "cycles": estimate_makespan(tallies, self.tiles, seed)[0],
            "useful": Estimate.total([useful for (useful,) in estimate_counters(tallies, ["useful"])]),
        }


def cells_of(trace: Trace, machine: Machine) -> list[Population]:
    """Populations of the cells that a simulation draws."""
    found = []
    for run in _runs(trace, machine, exact=False):
        strata = [stratum for stratum in run.candidates[0].strata if stratum.cells]
        units = [
            [run_unit(stratum.plan, stratum.cells.unit(cell)) for cell in range(stratum.cells.cells)]
            for stratum in strata
        ]
        found.append(Population(units, machine.values.tiles))
    return found


def blocks_of(trace: Trace, machine: Machine) -> list[Population]:
    """Populations of the blocks that a sampled trace draws where it mixes blocks of all sizes."""
    found = []
    for run in _runs(trace, machine, exact=True):
        plans = [stratum.plan for stratum in run.candidates[0].strata]
        strata = []
        for unpadded, family in zip(
            lower(run.lowered.layer, run.lowered.operation, 1), run.lowered.families, strict=True
        ):
            blocks = []
            for product in range(family.count):
                plan = next(each for each in plans if each.family is family and product in each.products)
                x, y = unpadded.product(product)
                for i in range(0, family.m, 16):
                    for j in range(0, family.n, 16):
                        source = ProductBlock(
                            family.number, product, i, j, InMemory(x.rows(i, i + 16)), InMemory(y.rows(j, j + 16))
                        )
                        blocks.append(run_unit(plan, SampledBlock(source, family.reduction, family.border)))
            strata.append(blocks)
        found.append(Population(strata, machine.values.tiles))
    return found


def _runs(trace: Trace, machine: Machine, exact: bool) -> Any:
    for index, layer in enumerate(trace.layers):
        for operation in layer.operations:
            yield plan_operation(layer, operation, machine, exact, index)


def attention(batch: int, rows: int, depth: int, seed: int) -> Layer:
    """Products of `rows` x `rows`, samples sparser and sparser."""
    rng = np.random.default_rng(seed)

    def tensor(*shape: int) -> npt.NDArray[np.uint16]:
        values = rng.standard_normal(shape)
        return from_float32(np.where(values > np.linspace(-1, 1.2, batch)[:, None, None], values, 0).astype(np.float32))

    return Layer(
        f"attention{rows}",
        "matmul",
        a=tensor(batch, rows, depth),
        w=tensor(batch, depth, rows),
        g=tensor(batch, rows, rows),
    )
