"""When each PE of a tile takes its sets, as the replay has it: set by set, PE by PE, straight from the recurrence.

Source: spec page fpraker.md, sections 3 and 6.
"""

import numba
import numpy as np


@numba.njit(inline="always")
def _latest(finish, index):
    """The largest of some PEs' finish times of set `index`; 0 before the first."""
    return finish[..., index].max() if index >= 0 else 0


@numba.njit(inline="always")
def tile_schedule(times, a_depth, b_depth):
    """(start, finish) of every set in cycles of the tile, as (columns, rows, sets), from the cycles that each takes.

    A PE may be `a_depth` sets ahead of the slowest of its column and `b_depth` sets ahead of the slowest of its row.
    """
    columns, rows, sets = times.shape
    start, finish = np.zeros_like(times), np.zeros_like(times)
    for index in range(sets):
        for column in range(columns):
            for row in range(rows):
                free = finish[column, row, index - 1] if index else 0
                has_a = _latest(finish[column], index - 1 - a_depth)
                has_b = _latest(finish[:, row], index - 1 - b_depth)
                start[column, row, index] = max(free, has_a, has_b)
                finish[column, row, index] = start[column, row, index] + times[column, row, index]
    return start, finish
