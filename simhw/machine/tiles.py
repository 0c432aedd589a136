"""The accelerator: tile passes spread over its tiles, and what that leaves idle.

Passes of one operation are independent and go to the tile that is free first, longest first; operations follow one
another.  Source: spec page lowering.md (decided).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from simhw.jit import inlined, kernel
from simhw.pointers import data


@inlined
def _place(free_at: npt.NDArray[np.int64], tiles: int, duration: int, number: int) -> None:
    """So many passes of one duration go one by one to the tile that is free first.

    `free_at` is a heap of when each tile is free and, where several are at once, its number: both in one integer.
    """
    step = duration * tiles
    while number > 0:
        if number >= tiles:
            last = 0
            for tile in range(tiles):
                last = max(last, free_at[tile])
            if last < free_at[0] + step:
                # Every tile is free before the first one is again: they take turns.
                for tile in range(tiles):
                    free_at[tile] += number // tiles * step
                number %= tiles
        for _ in range(min(number, tiles)):
            next_free, at = free_at[0] + step, 0
            while 2 * at + 1 < tiles:
                child = 2 * at + 1
                if child + 1 < tiles and free_at[child + 1] < free_at[child]:
                    child += 1
                if free_at[child] >= next_free:
                    break
                free_at[at] = free_at[child]
                at = child
            free_at[at] = next_free
        number -= tiles


@kernel
def place_longest_first(
    durations: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
    marks: npt.NDArray[np.int64],
    free_at: npt.NDArray[np.int64],
    busy: npt.NDArray[np.int64],
) -> None:
    """`longest_first` into `busy`; `marks`, one a part, and `free_at`, one a tile, are room."""
    parts, tiles = len(marks), len(free_at)
    durations, bounds, marks, free_at, busy = data(durations), data(bounds), data(marks), data(free_at), data(busy)
    for tile in range(tiles):
        free_at[tile] = tile
    # What is left of each part lies below its mark.
    for part in range(parts):
        marks[part] = bounds[part + 1]
    while True:
        longest, part = -1, 0
        for index in range(parts):
            mark = marks[index]
            if mark > bounds[index] and durations[mark - 1] > longest:
                longest, part = durations[mark - 1], index
        if longest < 0:
            break
        before = marks[part]
        while marks[part] > bounds[part] and durations[marks[part] - 1] == longest:
            marks[part] -= 1
        _place(free_at, tiles, longest, before - marks[part])
    for tile in range(tiles):
        busy[free_at[tile] % tiles] = free_at[tile] // tiles


def longest_first(durations: npt.NDArray[np.int64], bounds: npt.NDArray[np.int64], tiles: int) -> npt.NDArray[np.int64]:
    """Time that each tile is busy when passes, longest first, go one by one to the tile that is free first.

    Durations ascend from each bound to the next.
    """
    # A kernel that allocates arrays takes longer to compile.
    marks, free_at, busy = (np.empty(size, np.int64) for size in (len(bounds) - 1, tiles, tiles))
    place_longest_first(durations, bounds, marks, free_at, busy)
    return busy


def tile_loads(durations: npt.NDArray[np.int64], tiles: int) -> npt.NDArray[np.int64]:
    """Cycles that each tile is busy; no tile waits before it has run all its passes.

    Parameters
    ----------
    durations : (passes,) int64
        Cycles of each tile pass of an operation.
    tiles : int

    Returns
    -------
    (tiles,) int64
    """
    return longest_first(np.sort(durations), np.array([0, len(durations)]), tiles)


def repeated_loads(passes: Mapping[int, int], tiles: int) -> npt.NDArray[np.float64]:
    """`tile_loads` of so many passes of each duration, at a cost that does not depend on how many there are.

    Passes of one duration start at the times that a tile would be free at if it took one after another of them: the
    earliest of these times, of all tiles, as many as there are passes.

    Parameters
    ----------
    passes : mapping of int to int
        Number of passes by their cycles.
    tiles : int

    Returns
    -------
    (tiles,) float64
    """
    loads = [0] * tiles
    for duration, number in sorted(passes.items(), reverse=True):
        if not duration or not number:
            continue
        turns = sorted(range(tiles), key=lambda tile: (loads[tile], tile))
        if (loads[turns[-1]], turns[-1]) < (loads[turns[0]] + duration, turns[0]):
            # Every tile is free before the first one is again: they take turns.
            rounds, rest = divmod(number, tiles)
            for turn, tile in enumerate(turns):
                loads[tile] += duration * (rounds + (turn < rest))
            continue

        def started(before: int, loads: list[int] = loads, duration: int = duration) -> int:
            """Passes that could start before a time."""
            return sum(max(0, -(-(before - load) // duration)) for load in loads)

        low, high = min(loads), max(loads) + duration * (number // tiles + 1) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if started(middle) <= number else (low, middle)
        # All that can start before `low` do; of those that start then, the first tiles', as many as are left.
        rest = number - started(low)
        for tile, load in enumerate(loads):
            taken = max(0, -(-(low - load) // duration))
            loads[tile] = load + duration * taken
            if rest and loads[tile] == low:
                loads[tile] += duration
                rest -= 1
    return np.array(loads, np.float64)
