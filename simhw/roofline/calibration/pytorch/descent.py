"""A search for constants, one after the other, with steps that get finer: deterministic, held close to its start."""

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any

from simhw.machine.dotted import assign, leaf
from simhw.roofline.calibration.benchmarks import Search

STEPS = (1.5, 1.2, 1.08, 1.03)
ROUNDS = 6
DIGITS = 3
HELD = 0.02
"""Weight of a constant's squared distance from its start, as a logarithm, in a mean relative error."""
WORST_ERROR = 1.0
"""Relative error beyond which a row counts no more: now and then a library takes a kernel that is several times slower.
"""


def descend(
    values: dict[str, Any],
    searched: Search,
    predicted_s: Callable[[Mapping[str, Any]], Sequence[float]],
    measured_s: Sequence[float],
) -> None:
    """Set the constants of `searched` in nested `values` so that the mean relative error is least.

    Parameters
    ----------
    values : nested dict
        Changed in place.
    searched : mapping of dotted name to (lowest, first, highest)
    predicted_s : callable
        The rows' times by such values.
    measured_s : sequence of float
        The rows' measured times, in the same order.
    """

    def loss() -> float:
        errors = [
            min(abs(guess / truth - 1.0), WORST_ERROR)
            for guess, truth in zip(predicted_s(values), measured_s, strict=True)
        ]
        away = [log(leaf(values, name) / first) ** 2 for name, (_, first, _) in searched.items()]
        return sum(errors) / len(errors) + HELD * sum(away) / len(away)

    for name, (_, first, _) in searched.items():
        assign(values, name, rounded(first), "fit")
    best = loss()
    for step in STEPS:
        for _ in range(ROUNDS):
            before = best
            for name, (low, _, high) in searched.items():
                for factor in (step, 1.0 / step):
                    best = _walked(values, name, factor, low, high, loss, best)
            if best == before:
                break


def _walked(
    values: dict[str, Any],
    name: str,
    factor: float,
    low: float,
    high: float,
    loss: Callable[[], float],
    best: float,
) -> float:
    """Go on in one direction while it helps."""
    while True:
        here = leaf(values, name)
        trial = rounded(min(max(here * factor, low), high))
        if trial == here:
            return best
        assign(values, name, trial, "fit")
        found = loss()
        if found >= best - 1e-5:
            assign(values, name, here, "fit")
            return best
        best = found


def rounded(value: float) -> float:
    """To as many digits as a device's file states."""
    return float(f"{value:.{DIGITS}g}")
