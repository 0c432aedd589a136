"""What an operation costs on a machine: its time and power from its tile passes, then what memories make of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from simhw.machine.costs import Range
from simhw.machine.energy import energy_of
from simhw.machine.machine import Machine
from simhw.memory.model import memory_cost
from simhw.memory.onchip import PassShape
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost
from simhw.simulation.plan import LoweredOperation, PassPlan
from simhw.trace.layer import OPERANDS, Layer, Operation


@dataclass(frozen=True, eq=False)
class TileWork:
    """An operation's tile passes on a machine: what shapes alone tell."""

    lowered: LoweredOperation
    machine: Machine
    plans: Sequence[PassPlan]

    @property
    def passes(self) -> int:
        """Tile passes of all plans."""
        return sum(plan.passes for plan in self.plans)

    @cached_property
    def sets_by_plan(self) -> list[int]:
        """Sets that each plan's passes execute."""
        return [plan.sets for plan in self.plans]

    @property
    def sets(self) -> int:
        """Sets that all passes execute."""
        return sum(self.sets_by_plan)

    @property
    def filled_sets(self) -> int:
        """Sets that the PEs with both rows execute."""
        return sum(plan.filled_sets for plan in self.plans)

    @property
    def occupancy(self) -> float:
        """Share of the lane slots of dense passes that hold a multiply-accumulate."""
        tile = self.machine.tile
        slots = self.sets * tile.lanes * tile.tile_x * tile.tile_y
        return self.lowered.fed_macs / slots if slots else 0.0

    def pass_shapes(self) -> Iterator[PassShape]:
        """The passes, those of one cluster's shape together."""
        operands = OPERANDS[self.lowered.operation]
        for plan, sets in zip(self.plans, self.sets_by_plan, strict=True):
            x, y = operands[::-1] if plan.swapped else operands
            x_tiles, y_tiles = plan.tiles
            for (xs, ys), number in plan.cluster_sizes().items():
                yield PassShape(x, y, number, xs * x_tiles, ys * y_tiles, sets / max(1, plan.passes))


@dataclass(frozen=True)
class Timing:
    """How long an operation's passes take on a machine's tiles.

    Attributes
    ----------
    cycles : Estimate
        From the first pass's start to the last one's end, on all tiles [cycles].
    tile_cycles : Estimate
        Sum over the passes [tile cycles].
    loads : (tiles,) float64
        Cycles that each tile is busy.
    """

    cycles: Estimate
    tile_cycles: Estimate
    loads: npt.NDArray[np.float64]

    def times(self, factor: float) -> "Timing":
        """The timing of so many times the passes."""
        return Timing(self.cycles.times(factor), self.tile_cycles.times(factor), self.loads * factor)


@dataclass(frozen=True)
class PowerDrawn:
    """Power of one tile while it runs an operation.

    Attributes
    ----------
    drawn_mw, whole_mw : float
        What it draws, and what it would draw with no part gated, every lane useful and PEs that wait as much as the
        published ones [mW].
    by_waiting : Range
        What is drawn because PEs wait more or less than those, of what would be drawn; within `drawn_mw` already.
    """

    drawn_mw: float
    whole_mw: float
    by_waiting: Range

    @property
    def share(self) -> Range:
        """Of the whole power, what is drawn."""
        if not self.whole_mw:
            return Range(0.0, 0.0, 0.0)
        mid, spread = self.drawn_mw / self.whole_mw, self.by_waiting
        return Range(mid * (spread.low / spread.mid), mid, mid * (spread.high / spread.mid))

    @staticmethod
    def on(machine: Machine, bypassed: bool = False, useful: float = 1.0, waiting: float = 0.0) -> "PowerDrawn":
        """Of a machine's tile.

        Parameters
        ----------
        machine : Machine
        bypassed : bool
            Whether its gated parts are off.
        useful : float
            Share of its lane-cycles that are useful.
        waiting : float
            Share of its PE-cycles in which the PE waits.
        """
        values, parts = machine.values, machine.tile_powers_mw
        whole = sum(parts.values())
        drawn = sum(power for part, power in parts.items() if not (bypassed and part in values.gated_power))
        if charges_lanes(machine):
            assert values.energy is not None
            drawn *= useful + (1 - useful) * values.energy.idle_lane
        by_waiting = _by_waiting(machine, waiting)
        return PowerDrawn(drawn * by_waiting.mid, whole, by_waiting)


def _by_waiting(machine: Machine, waiting: float) -> Range:
    """Power of PEs that wait for a share of their cycles, over that of the machine's file; 1 but for `pe_cycle`."""
    energy = machine.values.energy
    if energy is None or energy.compute != "pe_cycle" or not any(each.waiting for each in machine.pe.lane_classes):
        return Range(1.0, 1.0, 1.0)
    of_waiting = machine.range("energy.waiting_pe")

    def power(waiting_pe: float) -> float:
        ours, published = (1 - share * (1 - waiting_pe) for share in (waiting, energy.published_waiting))
        return ours / published

    # Which end is the lower one hangs on whether the PEs wait more than the published ones did.
    low, high = sorted((power(of_waiting.low), power(of_waiting.high)))
    return Range(low, power(of_waiting.mid), high)


def charges_lanes(machine: Machine) -> bool:
    """True where a tile's power goes with what its lanes do, so that values must be known for it."""
    return machine.values.energy is not None and machine.values.energy.compute == "lane_cycle"


@dataclass(frozen=True)
class ComputeCost:
    """What an operation takes on a machine, memories aside, and what these have to know: see `memory_cost`.

    It keeps no values of the operation's tensors.
    """

    cost: OperationCost
    layer: Layer
    operation: Operation
    machine: Machine
    shapes: Sequence[PassShape]
    loads: npt.NDArray[np.float64]
    power_share: Range

    @staticmethod
    def of(work: TileWork, timing: Timing, power: PowerDrawn) -> "ComputeCost":
        """The cost of passes that take so long at such a power."""
        machine, tiles, cycles = work.machine, work.machine.values.tiles, timing.cycles.value
        cost = OperationCost(
            cycles=timing.cycles,
            tile_cycles=timing.tile_cycles,
            busy=timing.tile_cycles.value / (tiles * cycles) if cycles else 0.0,
            occupancy=work.occupancy,
            clock_hz=machine.values.clock_hz,
            power_w=tiles * power.drawn_mw / 1e3,
        )
        shapes = [] if machine.modelled_memory is None else list(work.pass_shapes())
        lowered = work.lowered
        return ComputeCost(cost, lowered.layer, lowered.operation, machine, shapes, timing.loads, power.share)

    def with_memories(self) -> OperationCost:
        """The cost with what memories make of it."""
        memory = None
        if self.machine.modelled_memory is not None:
            memory = memory_cost(self.layer, self.operation, self.machine, self.shapes, self.loads)
        energy = energy_of(self.machine, self.cost.time_s, self.power_share, memory)
        return replace(self.cost, memory=memory, energy=energy)
