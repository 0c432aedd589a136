"""Rows of FPRaker's serial operand, laid out for the kernel: of each set the lanes that have work.

A zero of the serial operand gives no PE anything to do, and neither the cycles nor the counters of a set depend on the
order of its lanes.  So a set's non-zero lanes stand first, filled up to an even number by one without work.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from simhw.jit import part
from simhw.pe.fpraker.kernel import LANES, serial_code
from simhw.pe.vector import WIDTH

ROUND_VALUES = 65_536
"""Values of the serial operand that are laid out at a time: 1.3 MB, which the second-level cache passes on."""


class SerialRows(NamedTuple):
    """Sets of rows, one after another.

    Attributes
    ----------
    depths : (sets,) uint8
        Lanes to run: 0, 2, 4, 6 or 8.
    offsets, exponents, terms, positive, negative : (sets * 8,) uint32
        Of each of these lanes the index of its vector of parallel operands, its exponent, and what the recoding tables
        say of its value; 16-bit words twice each, as `spread_stack` takes them.
    """

    depths: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint32]
    exponents: npt.NDArray[np.uint32]
    terms: npt.NDArray[np.uint32]
    positive: npt.NDArray[np.uint32]
    negative: npt.NDArray[np.uint32]


def serial_rows(values: int) -> SerialRows:
    """Room for that many values."""
    # Python allocates it, since a kernel that does so takes 0.2 s more to compile.
    return SerialRows(
        np.empty(values // LANES, np.uint8),
        np.empty(values, np.uint32),
        np.empty(values, np.uint32),
        np.empty(values, np.uint32),
        np.empty(values, np.uint32),
        np.empty(values, np.uint32),
    )


@part
def lay_out_serial(x, tables, rows):
    """Fill `rows` from x (n, K)."""
    narrow = tables.terms.itemsize == 2
    for row in range(x.shape[0]):
        for index in range(x.shape[1] // LANES):
            at = row * x.shape[1] + index * LANES
            slot, zero = at, -1
            for lane in range(LANES):
                k = index * LANES + lane
                if x[row, k] & 0x7F80:
                    _fill(rows, slot, k, x[row, k], tables, narrow)
                    slot += 1
                else:
                    zero = k
            if (slot - at) % 2:
                _fill(rows, slot, zero, x[row, zero], tables, narrow)
                slot += 1
            rows.depths[at // LANES] = slot - at


@numba.njit(inline="always")
def _fill(rows, slot, k, value, tables, narrow):
    exponent, code = serial_code(value)
    rows.offsets[slot] = k * WIDTH
    rows.exponents[slot] = repeated(exponent, narrow)
    rows.terms[slot] = repeated(tables.terms[code], narrow)
    rows.positive[slot] = repeated(tables.positive[code], narrow)
    rows.negative[slot] = repeated(tables.negative[code], narrow)


@numba.njit(inline="always")
def repeated(word, narrow):
    """A word as 32 bits: a 16-bit one twice."""
    return np.uint32((np.int64(word) & 0xFFFF) * 0x10001 if narrow else np.int64(word) & 0xFFFFFFFF)
