"""The bit-parallel PE, one set at a time: products aligned to emax, summed exactly with the register, rounded once.

Source: spec page fpraker.md, section 4; the arithmetic is decided in simhw.pe.bitparallel.kernel.
"""

from collections import Counter

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel
from simhw.machine.values import TileParameters
from simhw.pe.bitparallel.parameters import BitParallelPE
from simhw.pe.register import (
    NO_EXPONENT,
    bfloat16_of,
    field_of,
    joined,
    normalised,
    shift_right_rne,
    signed_significand,
    value_of,
)

NO_RECORD = np.empty((0, 3), np.int64)


@kernel
def _dot(x, y, lanes, fraction_bits, align_range, chunk_sets, record):
    """One PE over a whole reduction of x and y (K,): (bfloat16 bit pattern, pairs without a zero).

    `record` (sets, 3) is filled as far as it has room: S and its exponent as each set leaves them, before a chunk's end
    moves them away, and what would be read out of them.
    """
    s, exponent, running, useful = 0, NO_EXPONENT, np.float32(0), 0
    # Products have 14 fraction bits and lie at most align_range below emax, where nothing is lost at this many bits.
    bits = 14 + align_range
    scale = max(bits, fraction_bits)
    for index in range(x.shape[0] // lanes):
        first, last = index * lanes, (index + 1) * lanes
        emax = exponent
        for k in range(first, last):
            if field_of(x[k]) and field_of(y[k]):
                emax = max(emax, field_of(x[k]) + field_of(y[k]))
                useful += 1
        total = shift_right_rne(s, emax - exponent) << (scale - fraction_bits)
        for k in range(first, last):
            if field_of(x[k]) and field_of(y[k]):
                distance = emax - field_of(x[k]) - field_of(y[k])
                if distance <= align_range:
                    total += signed_significand(x[k]) * signed_significand(y[k]) << (scale - 14 - distance)
        s, exponent = normalised(shift_right_rne(total, scale - fraction_bits), emax, fraction_bits)
        if index < len(record):
            record[index, 0], record[index, 1] = s, exponent
            record[index, 2] = bfloat16_of(value_of(s, exponent, fraction_bits))
        if chunk_sets and ((index + 1) % chunk_sets == 0 or last == x.shape[0]):
            running = joined(running, value_of(s, exponent, fraction_bits))
            s, exponent = 0, NO_EXPONENT
    value = np.float64(running) if chunk_sets else value_of(s, exponent, fraction_bits)
    return bfloat16_of(value), useful


class BitParallelReplay:
    """Replays tile passes of a bit-parallel tile."""

    def __init__(self, pe: BitParallelPE, tile: TileParameters) -> None:
        self.pe, self.tile = pe, tile

    def tile_pass(
        self, x: BF16Array, y: BF16Array, real_y: npt.NDArray[np.bool_]
    ) -> tuple[int, Counter[str], BF16Array]:
        """Cycles, counters and outputs (rows of x, rows of y) of one pass: x (at most columns, K), y (rows, K)."""
        pe = self.pe
        outputs = np.zeros((len(x), len(y)), np.uint16)
        useful = 0
        for column, row in np.ndindex(outputs.shape):
            outputs[column, row], pairs = self._dot(x[column], y[row], NO_RECORD)
            useful += pairs
        cycles = x.shape[1] // pe.lanes
        overflows = int(np.count_nonzero(outputs[:, real_y] & 0x7FFF == 0x7F80))
        idle = self.tile.rows * self.tile.cols * pe.lanes * cycles - useful
        return cycles, Counter(useful=useful, idle=idle, overflows=overflows), outputs

    def registers(self, x: BF16Array, y: BF16Array) -> tuple[npt.NDArray[np.int64], int]:
        """The register of a PE over a reduction of x and y (K,), and its output.

        Gives (sets, 3) of S and its exponent, a sum of two biased ones, as each set leaves them, before a chunk's end
        moves them away, and of the bfloat16 pattern that would be read out; NO_EXPONENT is that of a zero.
        """
        record = np.zeros((x.shape[0] // self.pe.lanes, 3), np.int64)
        output, _ = self._dot(x, y, record)
        return record, output

    def _dot(self, x: BF16Array, y: BF16Array, record: npt.NDArray[np.int64]) -> tuple[int, int]:
        pe = self.pe
        chunk_sets = 0 if pe.chunk == "off" else pe.chunk // pe.lanes
        output, useful = _dot(x, y, pe.lanes, pe.accumulator_fraction_bits, pe.align_range, chunk_sets, record)
        return int(output), int(useful)
