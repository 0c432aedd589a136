"""The accelerator: tile passes spread over its tiles, and what that leaves idle.

Passes of one operation are independent and go to the tile that is free first, longest first; operations follow one
another.  Source: spec page lowering.md (decided).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from simhw.jit import kernel


@kernel
def _longest_first(durations: npt.NDArray[np.int64], tiles: int) -> npt.NDArray[np.int64]:
    """Time that each tile is busy when passes, sorted longest first, go one by one to the tile that is free first."""
    # A heap of when each tile is free and, where several are at once, its number: both in one integer.
    free_at = np.arange(tiles)
    for duration in durations:
        next_free, place = free_at[0] + duration * tiles, 0
        while 2 * place + 1 < tiles:
            child = 2 * place + 1
            if child + 1 < tiles and free_at[child + 1] < free_at[child]:
                child += 1
            if free_at[child] >= next_free:
                break
            free_at[place] = free_at[child]
            place = child
        free_at[place] = next_free
    busy = np.zeros(tiles, np.int64)
    for free in free_at:
        busy[free % tiles] = free // tiles
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
    if not len(durations):
        return np.zeros(tiles, np.int64)
    if durations[0] == durations[-1] and (durations == durations[0]).all():
        rounds, rest = divmod(len(durations), tiles)
        return int(durations[0]) * (rounds + (np.arange(tiles) < rest).astype(np.int64))
    return _longest_first(np.sort(durations)[::-1].copy(), tiles)


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
