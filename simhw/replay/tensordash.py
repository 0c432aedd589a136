"""TensorDash's schedule, recorded choice by choice; outputs are summed from the pairs it multiplied, in its order.

A schedule is right if every effectual pair of every row is multiplied exactly once.  Here that is looked at, not assumed.
Source: spec page tensordash.md, sections 1 and 2.
"""

from collections import Counter

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, is_zero
from simhw.errors import CheckError
from simhw.jit import kernel
from simhw.pe.exact import LIMBS, add_product, overflow_count, rounded, settle
from simhw.pe.tensordash import LANES, LEVELS, TensorDashPE, options
from simhw.replay.record import TensorDashRecord
from simhw.tile.passes import GridTileParameters

LEVEL_OF_LANE = np.array([next(level for level, lanes in enumerate(LEVELS) if lanes >> lane & 1) for lane in range(LANES)])


@numba.njit
def _choose(pending, row, position, choices, levels, picks):
    """One row's cycle: fill `picks` (16,) with each lane's pair, as step * 16 + lane, or -1; takes them off `pending`."""
    picks[:] = -1
    for level in range(levels.max() + 1):
        for lane in range(LANES):
            if levels[lane] != level:
                continue
            for option in range(choices.shape[0]):
                step = position + choices[option, 0]
                source = (lane + choices[option, 1]) % LANES
                if pending[row, step, source]:
                    picks[lane] = step * LANES + source
                    break
        # Only now: the lanes of a level decide at the same time.
        for lane in range(LANES):
            if levels[lane] == level and picks[lane] >= 0:
                pending[row, picks[lane] // LANES, picks[lane] % LANES] = False


@kernel
def _schedule(effectual, real, depth, choices, levels, multiplied, order, record):
    """Schedule rows that advance together.

    Parameters
    ----------
    effectual : (rows, T, 16) bool
    real : (rows,) bool
        Rows that exist; the others never hold anyone up.
    choices, levels : arrays
        Options (step, relative lane) by priority, and the level in which each lane decides.
    multiplied : (rows, T * 16) int64
        Filled with how often each pair was multiplied.
    order : (rows, T * 16) int64
        Filled with the pairs in the order in which they were multiplied, then -1.
    record : TensorDashRecord or None
        Filled as far as it has room.

    Returns
    -------
    (cycles, useful, row_sync_steps)
    """
    rows, steps = effectual.shape[0], effectual.shape[1]
    pending = np.zeros((rows, steps + depth, LANES), np.bool_)
    pending[:, :steps] = effectual
    picks = np.empty(LANES, np.int64)
    drained, done = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    order[:] = -1
    position, cycles, useful, row_sync = 0, 0, 0, 0
    while position < steps:
        advance = depth
        for row in range(rows):
            if not real[row]:
                continue
            if record is not None and cycles < len(record.position):
                for bit in range(depth * LANES):
                    if pending[row, position + bit // LANES, bit % LANES]:
                        record.window[cycles, row] |= np.uint64(1) << np.uint64(bit)
            _choose(pending, row, position, choices, levels, picks)
            for pair in picks:
                if pair >= 0:
                    multiplied[row, pair] += 1
                    if done[row] < order.shape[1]:
                        order[row, done[row]] = pair
                    done[row] += 1
                    useful += 1
            drained[row] = 0
            while drained[row] < depth and not pending[row, position + drained[row]].any():
                drained[row] += 1
            advance = min(advance, drained[row])
            if record is not None and cycles < len(record.position):
                record.drained[cycles, row] = drained[row]
                for lane in range(LANES):
                    if picks[lane] >= 0:
                        record.choice[cycles, row, lane] = picks[lane] - position * LANES
        if advance == 0:
            break  # a step 0 that does not drain: `multiplied` shows what is missing
        for row in range(rows):
            if real[row]:
                row_sync += drained[row] - advance
        if record is not None and cycles < len(record.position):
            record.position[cycles], record.advance[cycles] = position, advance
        position += advance
        cycles += 1
    return cycles, useful, row_sync


@kernel
def _sum_in_order(x, y, order):
    """The products of x and y (K,) at `order` (K,), summed exactly and rounded once; ends at the first -1."""
    limbs = np.zeros(LIMBS, np.int64)
    for index in range(order.shape[0]):
        if order[index] < 0:
            break
        add_product(limbs, x[order[index]], y[order[index]])
        if index & 0x3FFF == 0x3FFF:
            settle(limbs)
    return rounded(limbs)


class TensorDashReplay:
    """Replays tile passes of a TensorDash tile."""

    def __init__(self, pe: TensorDashPE, tile: GridTileParameters) -> None:
        self.pe, self.tile = pe, tile
        self._options = options(pe)

    def tile_pass(
        self, x: BF16Array, y: BF16Array, real_y: npt.NDArray[np.bool_], record: TensorDashRecord | None = None
    ) -> tuple[int, Counter[str], BF16Array]:
        """Cycles, counters and outputs (rows of x, rows of y) of one pass: x (at most rows, K), y (columns, K).

        A `record` is filled as far as it has room.

        Raises
        ------
        CheckError
            A pair that had to be multiplied was not, or not once.
        """
        steps = x.shape[1] // LANES
        columns = len(y)
        if self.pe.sides == "two":
            # A scheduler per PE, row by row.
            effectual = (~is_zero(x)[:, None] & ~is_zero(y)[None]).reshape(len(x) * columns, -1)
            real = np.tile(real_y, len(x))
        else:
            effectual, real = ~is_zero(x), np.ones(len(x), np.bool_)
        multiplied, order = np.zeros(effectual.shape, np.int64), np.zeros(effectual.shape, np.int64)
        cycles, useful, row_sync = _schedule(
            effectual.reshape(len(effectual), steps, LANES), real, self.pe.depth, self._options, LEVEL_OF_LANE, multiplied, order, record
        )
        wrong = np.argwhere(multiplied != effectual)
        if len(wrong):
            row, k = wrong[0]
            raise CheckError(
                f"TensorDash schedule: the pair at step {k // LANES}, lane {k % LANES} of row {row}"
                f" was multiplied {multiplied[row, k]} times instead of {int(effectual[row, k])}"
            )
        schedulers = int(real.sum())
        if self.pe.sides == "one":
            useful *= int(real_y.sum())  # every column multiplies what its rows' schedulers chose
        outputs = np.zeros((len(x), columns), np.uint16)
        for row, column in np.ndindex(outputs.shape):
            if real_y[column]:
                chosen = order[row * columns + column] if self.pe.sides == "two" else order[row]
                outputs[row, column] = _sum_in_order(x[row], y[column], chosen)
        counters: Counter[str] = Counter(
            useful=useful,
            idle=self.tile.rows * self.tile.cols * LANES * cycles - useful,
            row_sync_steps=row_sync,
            skipped_steps=(steps - cycles) * schedulers,
            overflows=overflow_count(outputs),
        )
        return cycles, counters, outputs
