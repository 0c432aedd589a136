"""The clock of an FPRaker tile, compiled: when each column, or each PE, may take its next set.

A set of A stays in its column until all PEs of the column have it, and a set of B in its row.  Columns that move on
set by set (sync: set, term) wait for each other through B alone; PEs that go at their own pace (sync: pe) wait through
buffers of both.  Source: spec page fpraker.md, sections 3 and 6.
"""

from typing import NamedTuple

from simhw.jit import part
from simhw.pe.fpraker.kernel import column_max
from simhw.pe.vector import WIDTH, load, signed_max, spread, store, widen

SETS_PER_ROUND = 128
"""Sets that a column simulates before the tile's clock moves on over them: their times stay in the second-level cache.
"""


class Waiting(NamedTuple):
    """How PEs wait for each other.

    Attributes
    ----------
    columns : int
        Columns of a tile.
    a_depth, b_depth : int
        Sets that a PE may be ahead of the slowest of its column, and of its row: `buffers` with ``sync: pe``; else
        `a_depth` is 0, since a column moves as one, and `b_depth` is `run_ahead`.
    own_pace : bool
        ``sync: pe``.
    """

    columns: int
    a_depth: int
    b_depth: int
    own_pace: bool


@part
def advance(times, used, first, count, waiting, rows, clocks):
    """Move the clocks of the tile's first `used` columns over `count` sets from set number `first`.

    start[c][s] = max(finish[c][s - 1], max over columns k of finish[k][s - 1 - b_depth]); a set takes its column's
    time.  PEs at their own pace, `rows` of them in a column, are each a lane of a vector, and their start is also no
    sooner than the max over the column's rows q of finish[c][q][s - 1 - a_depth].

    `clocks` holds, as pointers, vectors of finish times: one per column; a ring of b_depth + 1, the maxima over the
    columns after each of the last sets; and a ring of a_depth + 1 per column, the maxima over its rows.
    """
    finished, slowest, slowest_of_column = clocks
    for index in range(count):
        # The ring's slot of this set still holds the maximum of set s - b_depth - 1: what the columns wait for.
        slot = (first + index) % (waiting.b_depth + 1) * WIDTH
        own_slot = (first + index) % (waiting.a_depth + 1) * WIDTH
        released = load(slowest, slot)
        latest = spread(0, released)
        for column in range(used):
            time = widen(load(times, (column * SETS_PER_ROUND + index) * WIDTH))
            start = signed_max(load(finished, column * WIDTH), released)
            at = column * (waiting.a_depth + 1) * WIDTH + own_slot
            if waiting.own_pace:
                start = signed_max(start, load(slowest_of_column, at))
            finish = start + time
            store(finished, column * WIDTH, finish)
            if waiting.own_pace:
                store(slowest_of_column, at, column_max(finish, rows))
            latest = signed_max(latest, finish)
        store(slowest, slot, latest)
