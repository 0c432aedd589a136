"""The accelerator: tile passes spread over its tiles, and what that leaves idle.

Passes of one operation are independent and go to the tile that is free first, longest first; operations follow one
another.  Source: spec page lowering.md (decided).
"""

import heapq

import numpy as np
import numpy.typing as npt

from simhw.jit import kernel


@kernel
def _longest_first(durations: npt.NDArray[np.int64], tiles: int) -> int:
    """Finish time of the last tile when passes, sorted longest first, go one by one to the tile that is free first."""
    free_at = [np.int64(0) for _ in range(tiles)]
    last = np.int64(0)
    for duration in durations:
        finish = heapq.heappop(free_at) + duration
        heapq.heappush(free_at, finish)
        last = max(last, finish)
    return int(last)


def makespan(durations: npt.NDArray[np.int64], tiles: int) -> int:
    """Cycles from the first pass's start to the last one's end.

    Parameters
    ----------
    durations : (passes,) int64
        Cycles of each tile pass of an operation.
    tiles : int
    """
    if not len(durations):
        return 0
    if durations[0] == durations[-1] and (durations == durations[0]).all():
        return int(durations[0]) * -(-len(durations) // tiles)
    return int(_longest_first(np.sort(durations)[::-1].copy(), tiles))
