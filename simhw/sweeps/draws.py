"""Drawn points: independent random ones, or a Latin hypercube, in which every axis is covered evenly."""

from collections.abc import Iterator
from math import exp, floor, log

import numpy as np

from simhw.sweeps.description import Draws, Range, Scalar, SweepDescription


def varied_points(description: SweepDescription) -> Iterator[dict[str, Scalar]]:
    """The points that a grid is combined with: those of the list, then drawn ones; one without axes where there are
    none.
    """
    if not description.listed and description.random is None and description.latin_hypercube is None:
        yield {}
        return
    yield from description.listed
    if (draws := description.random) is not None:
        units = np.random.default_rng(draws.seed).random((draws.points, len(draws.ranges)))
        yield from _placed(draws, units)
    if (draws := description.latin_hypercube) is not None:
        from scipy.stats.qmc import LatinHypercube

        units = LatinHypercube(len(draws.ranges), rng=np.random.default_rng(draws.seed)).random(draws.points)
        yield from _placed(draws, units)


def _placed(draws: Draws, units: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Iterator[dict[str, Scalar]]:
    """Points of the unit cube as values of the ranges."""
    for row in units:
        yield {name: placed(each, float(unit)) for (name, each), unit in zip(draws.ranges.items(), row, strict=True)}


def placed(axis: Range, unit: float) -> Scalar:
    """The value of a range at a place between its ends.

    Parameters
    ----------
    axis : Range
    unit : float
        At least 0 and below 1.  Choices and integers have equal shares of it; on a logarithmic scale those of their
        logarithms.
    """
    if axis.choices is not None:
        return axis.choices[floor(unit * len(axis.choices))]
    low, high = axis.bounds
    whole = isinstance(low, int) and isinstance(high, int)
    # An integer stands for all numbers up to the next one, so that the upper end gets its share.
    end = high + 1 if whole else high
    value = exp(log(low) + unit * (log(end) - log(low))) if axis.scale == "log" else low + unit * (end - low)
    return min(int(high), max(int(low), floor(value))) if whole else min(max(value, low), high)
