"""Rows of FPRaker's serial operand, laid out for the kernel: of each set the lanes that have work.

A zero of the serial operand gives no PE anything to do, and neither the cycles nor the counters of a set depend on the
order of its lanes.  So a set's non-zero lanes stand first, filled up to an even number by one without work.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from simhw.jit import part
from simhw.pe.fpraker.kernel import LANES, ZERO_CODE, serial_code
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
def lay_out_serial(x, count, reduction, nonzero_rows, tables, rows):
    """Fill `rows` from x, `count` rows of so many values, which are whole sets; gives their terms, each for every
    parallel row that is not zero at its k.

    All arrays are pointers (`simhw.pointers`).
    """
    terms = 0
    for row in range(count):
        for first in range(0, reduction, LANES):
            begin = row * reduction + first
            slot, zero = begin, 0
            for k in range(first, first + LANES):
                value = np.int64(x[row * reduction + k])
                code = serial_code(value)
                if code == ZERO_CODE:
                    zero = k
                else:
                    terms += tables.counts[code] * nonzero_rows[k]
                    _fill(rows, slot, k, (value >> 7) & 0xFF, code, tables)
                    slot += 1
            if (slot - begin) % 2:
                _fill(rows, slot, zero, 0, ZERO_CODE, tables)
                slot += 1
            rows.depths[begin // LANES] = slot - begin
    return terms


@numba.njit(inline="always")
def _fill(rows, slot, k, exponent, code, tables):
    rows.offsets[slot] = k * WIDTH
    rows.exponents[slot] = tables.exponents[exponent]
    rows.terms[slot] = tables.terms[code]
    rows.positive[slot] = tables.positive[code]
    rows.negative[slot] = tables.negative[code]
