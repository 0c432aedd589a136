"""Offsets on a grid, made when they are asked for: a family costs nothing until its values are read, whatever sizes a
trace claims.
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """Equally spaced offsets ``start + i * step`` for i < `count`."""

    count: int
    step: int = 1
    start: int = 0

    @property
    def last(self) -> int:
        """The last offset."""
        return self.start + (self.count - 1) * self.step

    def times(self, factor: int) -> "Axis":
        """Every offset multiplied."""
        return Axis(self.count, self.step * factor, self.start * factor)

    def at(self, index: Offsets) -> Offsets:
        """The offsets at some indices."""
        return self.start + index * self.step

    def within(self, low: int, high: int) -> "Axis":
        """Those offsets of an axis of positive step that lie from `low` up to `high`."""
        first = min(self.count, max(0, -(-(low - self.start) // self.step)))
        end = min(self.count, max(first, -(-(high - self.start) // self.step)))
        return Axis(end - first, self.step, self.start + first * self.step)


@dataclass(frozen=True)
class Grid:
    """Sums of one offset of each axis, the first axis outermost."""

    axes: tuple[Axis, ...]

    @cached_property
    def size(self) -> int:
        """Number of sums."""
        return prod(axis.count for axis in self.axes)

    @property
    def distinct(self) -> int:
        """Number of different sums, where only axes that do not move repeat them."""
        return prod(axis.count for axis in self.axes if axis.step)

    @cached_property
    def offsets(self) -> Offsets:
        """All sums; (size,) int64."""
        sums = np.zeros(1, np.int64)
        for axis in self.axes:
            sums = np.add.outer(sums, axis.at(np.arange(axis.count, dtype=np.int64))).reshape(-1)
        return sums

    def offset(self, index: int) -> int:
        """One sum."""
        total = 0
        for axis in reversed(self.axes):
            index, place = divmod(index, axis.count)
            total += axis.start + place * axis.step
        return total

    def coordinates(self, start: int, stop: int) -> list[Offsets]:
        """Along each axis, the offset that the sums from `start` up to `stop` have there."""
        index = np.arange(start, min(stop, self.size), dtype=np.int64)
        found: list[Offsets] = []
        for axis in reversed(self.axes):
            index, place = np.divmod(index, axis.count)
            found.append(axis.at(place))
        return found[::-1]


def sums_within(x: Axis, y: Axis, low: int, high: int) -> int:
    """How many sums of an offset of each axis lie from `low` up to `high`; in closed form, whatever the
    axes' lengths.
    """
    x, y = _ascending(x), _ascending(y)
    return _sums_below(x, y, high) - _sums_below(x, y, low)


def _ascending(axis: Axis) -> Axis:
    return axis if axis.step > 0 else Axis(axis.count, -axis.step, axis.last)


def _sums_below(x: Axis, y: Axis, limit: int) -> int:
    """Sums below a limit: for the first offsets of y with every offset of x, for those after them with
    fewer and fewer.
    """
    room = limit - x.start - y.start
    some = min(y.count, max(0, -(-room // y.step)))
    every = min(some, max(0, -(-(room - (x.count - 1) * x.step) // y.step)))
    # Offset j of y leaves room for ceil((room - j * y.step) / x.step) offsets of x; summed from the last j to the
    # first.
    return every * x.count + _floor_sum(some - every, x.step, y.step, room - (some - 1) * y.step + x.step - 1)


def _floor_sum(count: int, divisor: int, step: int, start: int) -> int:
    """Sum of ``(start + i * step) // divisor`` for i < `count`, by Euclid's algorithm: points of a grid
    below a line.
    """
    total = 0
    while count:
        total += count * (count - 1) // 2 * (step // divisor) + count * (start // divisor)
        step, start = step % divisor, start % divisor
        count, start = divmod(step * count + start, divisor)
        divisor, step = step, divisor
    return total
