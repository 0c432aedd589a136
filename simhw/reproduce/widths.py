"""A network whose layers each have the accumulator that their sums need, against one width for all."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from simhw.reproduce.accumulators import least_width, reduction_length
from simhw.reproduce.bench import Bench
from simhw.reproduce.networks import Captured, Step
from simhw.reproduce.readings import Readings
from simhw.reproduce.simulations import Simulation
from simhw.trace.layer import OPERATIONS
from simhw.trace.reader import load_trace

Widths = dict[tuple[str, str], int]
"""Fraction bits by layer and operation."""


@lru_cache(maxsize=64)
def step_widths(step: Step, chunk: int, narrowest: int) -> Widths:
    """The accumulator that each operation of a captured step needs, at the batch that trained."""
    trace = load_trace(step.path)
    grown = step.batch / trace.metadata.batch if step.batch and trace.metadata.batch else 1.0
    return {
        (layer.name, operation): max(narrowest, least_width(reduction_length(layer, operation, grown), chunk))
        for layer in trace.layers
        for operation in layer.operations
    }


def widths_of(step: Step, table: Readings) -> Widths:
    """The same, by the table's chunk and narrowest accumulator."""
    return step_widths(step, int(table.widths.chunk.value), int(table.widths.narrowest.value))


def wanted(captured: Captured, table: Readings, overrides: Mapping[str, Any]) -> list[Simulation]:
    """Every width that a step needs, on that step; by the table's base with overrides."""
    return [
        Simulation(step, table.with_width(overrides, bits))
        for step in captured.steps
        for bits in sorted(set(widths_of(step, table).values()))
    ]


def speedups(bench: Bench, captured: Captured, table: Readings, overrides: Mapping[str, Any]) -> dict[str, float]:
    """Speed-up of every operation and in total, each layer with its own accumulator."""
    times: dict[str, list[float]] = {}
    for step in captured.steps:
        for (layer, operation), bits in widths_of(step, table).items():
            measured = bench.store[Simulation(step, table.with_width(overrides, bits))]
            own, baseline = measured.layers[layer][operation]
            for name in (operation, "total"):
                so_far = times.setdefault(name, [0.0, 0.0])
                times[name] = [so_far[0] + own, so_far[1] + baseline]
    return {name: times[name][1] / times[name][0] for name in (*OPERATIONS, "total") if name in times}
