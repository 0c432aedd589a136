"""TensorDash processing element: 16 lanes that skip pairs with a zero by moving later pairs forward.

A staging buffer holds `depth` steps of the reduction, 16 pairs each.  In a cycle each of the 16 multipliers takes the
first effectual pair among its options, which are (step, lane) places near its own.  Lanes decide in six levels, so that
no pair is taken twice.  A lane's own pair of step 0 is its first option and nobody else's, so step 0 always drains and
the machine is never slower than the dense one.  Source: MICRO 2020; spec page tensordash.md, section 1.

How the kernels hold it.  A step of a row is a 16-bit mask of its effectual pairs.  WIDTH tiles stand side by side in a
vector, each at its own place of its stream of masks.  Every cycle reads the window there anew, and cuts it to what the
cycles before left of it.  A level's lanes decide together, an option at a time, with two rotations and two masks.
"""

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import EXPONENT_MASK, BF16Array
from simhw.jit import kernel
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.pe.vector import (
    WIDTH,
    any_lane,
    count_bits,
    four_words,
    load,
    nonzero_bits,
    positions,
    rotate_left,
    spread,
    store,
    unsigned_min,
    where_negative,
    where_zero,
    widen,
)

Masks = npt.NDArray[np.uint16]

LANES = 16
MAX_DEPTH = 3
AHEAD = 4
"""Empty steps at the end of a row of masks: a window is read as four steps, and stands behind the last one at most."""
EXPONENTS = np.array([EXPONENT_MASK] * WIDTH + [0] * LANES, np.uint16)
"""The exponent's bits of WIDTH values, two steps; from LANES on those of one step, followed by zeros."""
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


PAPER = np.array(OPTIONS["paper"], np.int64)


def options(pe: TensorDashPE) -> npt.NDArray[np.int64]:
    """The PE's options (n, 2) of (step, relative lane), in order of priority."""
    return np.array([option for option in OPTIONS[pe.order] if option[0] < pe.depth], dtype=np.int64)


def effectual_masks(rows: BF16Array, tile_rows: int) -> tuple[Masks, int]:
    """Masks of the non-zeros of rows (n, T * 16), and how many there are.

    The masks (tiles * `tile_rows`, T + AHEAD) are those of whole tiles, the last ones of which may be empty; bit i of a
    step is lane i.
    """
    count, steps = len(rows), rows.shape[1] // LANES
    masks = np.zeros((-(-count // tile_rows) * tile_rows, steps + AHEAD), np.uint16)
    return masks, find_nonzeros(rows.reshape(-1), count, steps, masks.reshape(-1))


@kernel
def find_nonzeros(values: BF16Array, rows: int, steps: int, masks: Masks) -> int:
    """Fill the masks of rows of so many steps, all of them one behind the other; gives the number of non-zeros."""
    two_steps, one_step = load(EXPONENTS, 0), load(EXPONENTS, LANES)
    nonzeros = 0
    for row in range(rows):
        at, to = row * steps * LANES, row * (steps + AHEAD)
        for step in range(0, steps - 1, 2):
            pair = load(values, at + step * LANES) & two_steps
            bits = nonzero_bits(pair)
            nonzeros += count_bits(nonzero_bits(pair))
            # Unsigned indices: a signed one costs Numba's test for a negative index.
            masks[np.uint64(to + step)] = bits & 0xFFFF
            masks[np.uint64(to + step + 1)] = bits >> LANES
        if steps % 2:
            at, to = at + (steps - 1) * LANES, to + steps - 1
            if at + WIDTH <= values.size:
                last = load(values, at) & one_step
                masks[to] = nonzero_bits(last)
                nonzeros += count_bits(nonzero_bits(last))
            else:  # the last step of all: a vector would reach beyond it
                for lane in range(LANES):
                    nonzero = (values[at + lane] & EXPONENT_MASK) != 0
                    masks[to] |= nonzero << lane
                    nonzeros += nonzero
    return nonzeros


@numba.njit(inline="always")
def _take(window1, window2, free, choices):
    """One scheduler's cycle beyond step 0: steps 1 and 2 without the pairs that the free multipliers take."""
    for level in range(LEVELS.shape[0]):
        deciding = free & spread(LEVELS[level], free)
        for choice in range(1, choices.shape[0]):
            step, offset = choices[choice]
            wanted = rotate_left(deciding, offset)
            # Who gets a pair is told from what was offered, so that neither rotation waits for the other.
            if step == 1:
                deciding = deciding & ~rotate_left(window1, -offset)
                window1 = window1 & ~wanted
            else:
                deciding = deciding & ~rotate_left(window2, -offset)
                window2 = window2 & ~wanted
    return window1, window2


@kernel
def schedule_tiles(x_masks, y_masks, stride, rows, columns, depth, choices, paper, cycles, row_sync):
    """Schedule tiles whose schedulers share an advance: every cycle each drops as many steps as its slowest one has
    drained.

    Parameters
    ----------
    x_masks : (x tiles * rows * stride,) uint16
        From `effectual_masks`: `stride` words a row.  Rows that do not exist are empty, and never hold anyone up.
    y_masks : (y tiles * columns * stride,) uint16, or None
        Those of the other operand where a PE schedules the pairs that both have: every tile of X meets every one of Y.
        Without it a scheduler stands for a row, and `columns` is 1.
    choices : (n, 2) int64
        From `options`.
    paper : bool
        Whether they are `PAPER`, which the compiler knows: with it the kernel is twice as fast.
    cycles : (x tiles * y tiles,) int64
        Filled with each tile's cycles.
    row_sync : (x tiles * y tiles * rows * columns,) int64
        Filled with the steps that a scheduler had drained but kept for its neighbours, over all cycles.
    """
    steps = stride - AHEAD
    y_tiles = 1 if y_masks is None else y_masks.size // (columns * stride)
    schedulers = rows * columns
    starts, ends, y_distances = np.empty(WIDTH, np.int64), np.empty(WIDTH, np.int64), np.empty(WIDTH, np.int64)
    y_window = np.empty(columns * 3 * WIDTH, np.uint16)
    rest = np.empty(schedulers * 2 * WIDTH, np.uint16)
    window = np.empty(schedulers * 2 * WIDTH, np.uint16)
    drained = np.empty(schedulers * WIDTH, np.uint16)
    kept = np.empty(schedulers * WIDTH, np.int32)
    count = np.empty(WIDTH, np.int32)
    for first in range(0, cycles.size, WIDTH):
        used = min(WIDTH, cycles.size - first)
        for lane in range(WIDTH):
            tile = first + min(lane, used - 1)  # lanes without a tile repeat the last one
            starts[lane] = tile // y_tiles * rows * stride
            ends[lane] = starts[lane] + steps
            y_distances[lane] = tile % y_tiles * columns * stride - starts[lane]
            count[lane] = 0
        for index in range(rest.size):
            rest[index] = 0xFFFF
        for index in range(kept.size):
            kept[index] = 0
        at, end, to_y = load(starts, 0), load(ends, 0), load(y_distances, 0)
        all_bits = load(rest, 0)
        zero, one, two, deepest = spread(0, all_bits), spread(1, all_bits), spread(2, all_bits), spread(depth, all_bits)
        ran = load(count, 0)
        # A lane whose tile has come to its end stands there, where it sees empty steps: nobody waits, nothing is kept.
        while any_lane(at - end):
            if y_masks is not None:
                for column in range(columns):
                    y0, y1, y2, _ = four_words(y_masks, column * stride, at + to_y)
                    store(y_window, 3 * column * WIDTH, y0)
                    store(y_window, (3 * column + 1) * WIDTH, y1)
                    store(y_window, (3 * column + 2) * WIDTH, y2)
            least = deepest
            for row in range(rows):
                x0, x1, x2, _ = four_words(x_masks, row * stride, at)
                for column in range(columns):
                    mine = (row * columns + column) * WIDTH
                    z0, z1, z2 = x0 & load(rest, 2 * mine), x1 & load(rest, 2 * mine + WIDTH), x2
                    if y_masks is not None:
                        z0 = z0 & load(y_window, 3 * column * WIDTH)
                        z1 = z1 & load(y_window, (3 * column + 1) * WIDTH)
                        z2 = z2 & load(y_window, (3 * column + 2) * WIDTH)
                    free = ~z0
                    if any_lane(where_zero(free, zero, z1 | z2)):  # a tile with a free multiplier and a pair beyond
                        if paper:
                            z1, z2 = _take(z1, z2, free, PAPER)
                        else:
                            z1, z2 = _take(z1, z2, free, choices)
                    done = unsigned_min(one + where_zero(z1, where_zero(z2, two, one), zero), deepest)
                    least = unsigned_min(least, done)
                    store(window, 2 * mine, z1)
                    store(window, 2 * mine + WIDTH, z2)
                    store(drained, mine, done)
            # What was read of the stream is read anew where the window then stands, and cut to what is left of it.
            by_one, by_two = least - one, least - two
            for mine in range(0, schedulers * WIDTH, WIDTH):
                z1, z2 = load(window, 2 * mine), load(window, 2 * mine + WIDTH)
                store(rest, 2 * mine, where_zero(by_one, z1, where_zero(by_two, z2, all_bits)))
                store(rest, 2 * mine + WIDTH, where_zero(by_one, z2, all_bits))
                store(kept, mine, load(kept, mine) + widen(load(drained, mine) - least))
            ran = ran + where_negative(at - end, widen(one), widen(zero))
            at = at + positions(least)
            at = where_negative(at - end, at, end)
        store(count, 0, ran)
        for lane in range(used):
            cycles[first + lane] = count[lane]
            for scheduler in range(schedulers):
                row_sync[(first + lane) * schedulers + scheduler] = kept[scheduler * WIDTH + lane]
