"""The machine that others are compared with: what its operations cost, simulated or told by shapes alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from simhw.machine.machine import Machine
from simhw.machine.tiles import repeated_loads
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost
from simhw.simulation.cost import ComputeCost, PowerDrawn, TileWork, Timing
from simhw.simulation.plan import PassPlan, lower_for
from simhw.simulation.strata import Place


class Baseline(Protocol):
    """What is asked of a baseline, whatever it is."""

    def cost_of(self, place: Place, work: TileWork) -> OperationCost | ComputeCost:
        """What an operation that is such work to a machine takes on the baseline: complete, or before memories."""


@dataclass(frozen=True)
class SimulatedBaseline:
    """A baseline whose time depends on values, so that it was simulated as any machine is."""

    costs: Mapping[Place, OperationCost]

    def cost_of(self, place: Place, work: TileWork) -> OperationCost:  # noqa: ARG002 - the work is told by its place
        """What the operation took."""
        return self.costs[place]


@dataclass(frozen=True)
class FixedBaseline:
    """A baseline whose passes take one cycle a set.

    Attributes
    ----------
    machine : Machine
    useful : mapping of place to float
        Share of its lanes that works, where its power goes with what they do; all do in places that are not there.
    """

    machine: Machine
    useful: Mapping[Place, float] = field(default_factory=dict)

    def cost_of(self, place: Place, work: TileWork) -> ComputeCost:
        """What the operation takes, before memories."""
        lowered, other = work.lowered, work.machine
        same = (
            self.machine.tile.lanes == other.tile.lanes
            and self.machine.values.lowering.streams == other.values.lowering.streams
        )
        own = lowered if same else lower_for(lowered.layer, lowered.operation, self.machine)
        plans = [PassPlan(family, False, range(family.count), self.machine.tile) for family in own.families]
        # Occupancy counts the products that the compared machine is fed, so that lane slots of both compare.
        mine = TileWork(lowered, self.machine, plans)
        passes = sum((plan.passes_by_sets for plan in plans), Counter[int]())
        loads = repeated_loads(passes, self.machine.values.tiles)
        timing = Timing(Estimate(float(loads.max(initial=0))), Estimate(float(mine.sets)), loads)
        return ComputeCost.of(mine, timing, PowerDrawn.on(self.machine, useful=self.useful.get(place, 1.0)))
