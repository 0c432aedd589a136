"""TensorDash's schedule, recorded choice by choice; outputs are summed from the pairs it multiplied.

A schedule is right if every effectual pair of every row is multiplied exactly once.  Here that is looked at, not
assumed. Nothing but the PE's parameters comes from `simhw.pe`: the wires, the levels and the sums are written down here
anew. Source: spec page tensordash.md, sections 1 and 2.
"""

import math
from collections import Counter

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.errors import CheckError
from simhw.jit import kernel
from simhw.machine.values import TileParameters
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.pe.tensordash.record import TensorDashRecord

LANES = 16
WIRES = {
    "paper": ("...0...", "7.314..", ".5.2.6."),
    "dnnsim": ("...0...", "..123.4", ".5.6.7."),
}
"""What a multiplier can reach: a text a step, its own lane in the middle; the digits are priorities, 0 comes first."""
LEVEL_OF_LANE = np.array([lane % 5 for lane in range(15)] + [5])
"""Lanes whose wires cannot meet decide together: every fifth one, and the last lane alone."""
ONE_BY_ONE = np.arange(LANES)
"""Lanes with wires to everywhere decide one after another."""


def wired(order: str, depth: int) -> npt.NDArray[np.int64]:
    """A multiplier's options (n, 2) of (step, relative lane), in order of priority."""
    if order == "any":
        everywhere = [(step, lane) for step in range(1, depth) for lane in range(LANES)]
        return np.array([(0, 0), *everywhere], np.int64)
    places = [
        (digit, step, lane - 3)
        for step, row in enumerate(WIRES[order][:depth])
        for lane, digit in enumerate(row)
        if digit != "."
    ]
    return np.array([(step, lane) for _, step, lane in sorted(places)], np.int64)


def zeros_of(bits: BF16Array) -> npt.NDArray[np.bool_]:
    """True where the exponent field is 0: zeros, and the subnormals that the machine takes for them."""
    return np.asarray((bits >> 7) & 0xFF == 0)


def values_of(bits: BF16Array) -> npt.NDArray[np.float64]:
    """Values of bit patterns, all of them finite: the machine has no infinity, and subnormals are zeros."""
    field = (bits.astype(np.int64) >> 7) & 0xFF
    size = np.where(field == 0, 0, 128 + (bits & 0x7F)) * np.exp2(field - 134.0)
    return np.asarray(np.where(bits & 0x8000, -size, size))


def rounded_sum(products: list[float]) -> int:
    """The bfloat16 bit pattern of a sum of products, rounded once to nearest even: too large is infinite,
    too small +0.
    """
    total = math.fsum(products)
    # What the double leaves out decides where it lies half way between two results.
    rest = math.fsum([*products, -total])
    if total == 0:
        return 0
    fraction, exponent = math.frexp(abs(total))
    scaled = fraction * 256
    kept = math.floor(scaled)
    beyond = rest if total > 0 else -rest
    if scaled - kept > 0.5 or (scaled - kept == 0.5 and (beyond > 0 or (beyond == 0 and kept % 2 == 1))):
        kept += 1
    if kept == 256:
        kept, exponent = 128, exponent + 1
    field = exponent + 126
    if field <= 0:
        return 0
    return (0x8000 if total < 0 else 0) | (0x7F80 if field >= 255 else (field << 7) | (kept - 128))


@numba.njit
def _choose(pending, row, position, choices, levels, picks):
    """One row's cycle: fill `picks` (16,) with each lane's pair, as step * 16 + lane, or -1; takes them off
    `pending`.
    """
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


class TensorDashReplay:
    """Replays tile passes of a TensorDash tile."""

    def __init__(self, pe: TensorDashPE, tile: TileParameters) -> None:
        self.pe, self.tile = pe, tile
        self._options = wired(pe.order, pe.depth)
        self._levels = ONE_BY_ONE if pe.order == "any" else LEVEL_OF_LANE

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
            effectual = (~zeros_of(x)[:, None] & ~zeros_of(y)[None]).reshape(len(x) * columns, -1)
            real = np.tile(real_y, len(x))
        else:
            effectual, real = ~zeros_of(x), np.ones(len(x), np.bool_)
        multiplied, order = np.zeros(effectual.shape, np.int64), np.zeros(effectual.shape, np.int64)
        cycles, useful, row_sync = _schedule(
            effectual.reshape(len(effectual), steps, LANES),
            real,
            self.pe.depth,
            self._options,
            self._levels,
            multiplied,
            order,
            record,
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
        x_values, y_values = values_of(x), values_of(y)
        for row, column in np.ndindex(outputs.shape):
            if real_y[column]:
                chosen = order[row * columns + column] if self.pe.sides == "two" else order[row]
                pairs = chosen[chosen >= 0]
                outputs[row, column] = rounded_sum((x_values[row, pairs] * y_values[column, pairs]).tolist())
        counters: Counter[str] = Counter(
            useful=useful,
            idle=self.tile.rows * self.tile.cols * LANES * cycles - useful,
            row_sync_steps=row_sync,
            skipped_steps=(steps - cycles) * schedulers,
            overflows=int(np.count_nonzero((outputs & 0x7FFF) == 0x7F80)),
        )
        return cycles, counters, outputs
