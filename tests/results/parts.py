"""Costs and results of an operation with round figures, which the tests of results put together."""

from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost, OperationResult


def cost(
    cycles: float | Estimate,
    clock_hz: float = 500e6,
    power_w: float = 2.0,
    busy: float = 0.5,
    occupancy: float = 0.25,
    tile_cycles: float = 100.0,
) -> OperationCost:
    estimate = cycles if isinstance(cycles, Estimate) else Estimate(cycles)
    return OperationCost(estimate, Estimate(tile_cycles), busy, occupancy, clock_hz, power_w)


def operation(
    machine: OperationCost,
    baseline: OperationCost | None = None,
    operation: str = "forward",
    dense_sets: int = 50,
    useful: float = 10.0,
    macs: int = 1000,
) -> OperationResult:
    counters = {"useful": Estimate(useful), "idle": Estimate(90.0)}
    return OperationResult(
        "l", "linear", operation, "a", macs, 4, 1.0, machine, baseline, counters, ("useful", "idle"), dense_sets
    )
