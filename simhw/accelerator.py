"""The accelerator: tile passes spread over its tiles, and what that leaves idle.

Passes of one operation are independent and go to the tile that is free first, longest first; operations follow one
another.  Source: spec page lowering.md (decided).
"""

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
