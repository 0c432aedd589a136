"""TensorDash processing element: 16 lanes that skip pairs with a zero by moving later pairs forward.

A staging buffer holds `depth` steps of the reduction, 16 pairs each.  In a cycle each of the 16 multipliers takes the
first effectual pair among its options, which are (step, lane) places near its own.  Lanes decide in six levels, so that
no pair is taken twice.  A lane's own pair of step 0 is its first option and nobody else's, so step 0 always drains and
the machine is never slower than the dense one.  Source: MICRO 2020; spec page tensordash.md, section 1.

How the kernels hold it.  A step of a row is a 16-bit mask of its effectual pairs.  WIDTH tiles stand side by side in a
vector; a level's lanes decide together, an option at a time, with a rotation and two masks.
"""

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.pe.vector import WIDTH, load, rotate_left, spread, store, unsigned_min, where_zero

LANES = 16
MAX_DEPTH = 3
LEVELS = np.array(
    [sum(1 << lane for lane in level) for level in ((0, 5, 10), (1, 6, 11), (2, 7, 12), (3, 8, 13), (4, 9, 14), (15,))]
)
"""The lanes that decide together, as masks, in the order in which they decide."""
OPTIONS: dict[str, tuple[tuple[int, int], ...]] = {
    "paper": ((0, 0), (1, 0), (2, 0), (1, -1), (1, 1), (2, -2), (2, 2), (1, -3)),
    "dnnsim": ((0, 0), (1, -1), (1, 0), (1, 1), (1, 3), (2, -2), (2, 0), (2, 2)),
    # Lanes of a level may want the same pair here, and are served one by one.  Which of them gets it does not matter:
    # as many pairs of the earliest steps are taken as multipliers are free, and any may take any pair that is left.
    "any": ((0, 0), *((step, lane) for step in range(1, MAX_DEPTH) for lane in range(LANES))),
}
"""(step, lane relative to the multiplier's own), first choice first."""


def options(pe: TensorDashPE) -> npt.NDArray[np.int64]:
    """The PE's options (n, 2) of (step, relative lane), in order of priority."""
    return np.array([option for option in OPTIONS[pe.order] if option[0] < pe.depth], dtype=np.int64)


@kernel
def effectual_masks(rows: BF16Array) -> npt.NDArray[np.uint16]:
    """Masks (n, T + MAX_DEPTH) of the non-zeros of rows (n, T * 16): bit i of a step is lane i; the last steps are
    empty.
    """
    count, reduction = rows.shape
    steps = reduction // LANES
    masks = np.zeros((count, steps + MAX_DEPTH), np.uint16)
    for row in range(count):
        for step in range(steps):
            mask = 0
            for lane in range(LANES):
                mask |= ((rows[row, step * LANES + lane] & 0x7F80) != 0) << lane
            masks[row, step] = mask
    return masks


@numba.njit(inline="always")
def _schedule(window1, window2, free, levels, choices):
    """One row's cycle beyond step 0: steps 1 and 2 without the pairs that the free multipliers take."""
    for level in range(levels.shape[0]):
        deciding = free & spread(levels[level], free)
        for choice in range(1, choices.shape[0]):
            offset = choices[choice, 1]
            wanted = rotate_left(deciding, offset)
            if choices[choice, 0] == 1:
                taken = wanted & window1
                window1 = window1 ^ taken
            else:
                taken = wanted & window2
                window2 = window2 ^ taken
            deciding = deciding & ~rotate_left(taken, -offset)
    return window1, window2


@kernel
def schedule_tiles(masks, rows, steps, choices, levels, depth, cycles, row_sync):
    """Schedule tiles whose rows share an advance: every cycle each drops as many steps as its slowest row has drained.

    Parameters
    ----------
    masks : (tiles * rows, steps + MAX_DEPTH) uint16
        Effectual pairs of each row; rows that do not exist are empty, and never hold anyone up.
    choices, levels : arrays
        From `options` and `LEVELS`.
    cycles : (tiles,) int64
        Filled with each tile's cycles.
    row_sync : (tiles, rows) int64
        Filled with the steps that a row had drained but kept for its neighbours, over all cycles.
    """
    tiles = cycles.shape[0]
    stride = masks.shape[1]
    flat = masks.reshape(masks.size)
    window = np.empty(rows * MAX_DEPTH * WIDTH, np.uint16)
    drained = np.empty(rows * WIDTH, np.uint16)
    advance = np.empty(WIDTH, np.uint16)
    position = np.empty(WIDTH, np.int64)
    for first in range(0, tiles, WIDTH):
        used = min(WIDTH, tiles - first)
        position[:] = 0
        window[:] = 0
        for lane in range(used):
            for row in range(rows):
                start = ((first + lane) * rows + row) * stride
                for step in range(MAX_DEPTH):
                    window[(row * MAX_DEPTH + step) * WIDTH + lane] = flat[start + step]
        running = used if steps > 0 else 0
        while running > 0:
            least = spread(depth, load(window, 0))
            one, zero = spread(1, least), spread(0, least)
            for row in range(rows):
                at = row * MAX_DEPTH * WIDTH
                window1, window2 = _schedule(
                    load(window, at + WIDTH), load(window, at + 2 * WIDTH), ~load(window, at), levels, choices
                )
                store(window, at + WIDTH, window1)
                store(window, at + 2 * WIDTH, window2)
                done = one
                if depth >= 2:
                    done = done + where_zero(window1, one, zero)
                if depth >= 3:
                    done = done + where_zero(window1 | window2, one, zero)
                store(drained, row * WIDTH, done)
                least = unsigned_min(least, done)
            store(advance, 0, least)
            for lane in range(used):
                if position[lane] >= steps:
                    continue
                drop = np.int64(advance[lane])
                position[lane] += drop
                cycles[first + lane] += 1
                if position[lane] >= steps:
                    running -= 1
                for row in range(rows):
                    row_sync[first + lane, row] += drained[row * WIDTH + lane] - drop
                    at = row * MAX_DEPTH * WIDTH + lane
                    # Steps already in the window move forward with what is left of them; the others come from the
                    # stream.
                    source = ((first + lane) * rows + row) * stride + min(position[lane], steps)
                    for step in range(MAX_DEPTH):
                        if step + drop < MAX_DEPTH:
                            window[at + step * WIDTH] = window[at + (step + drop) * WIDTH]
                        else:
                            window[at + step * WIDTH] = flat[source + step]
