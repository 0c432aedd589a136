"""Rows of the parallel operand laid side by side for the vector kernels, and outputs brought back in the
order of rows.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel
from simhw.pe.accumulator import EXPONENT_OFFSET, NO_EXPONENT
from simhw.pe.passes import ParallelRows
from simhw.pe.stack import store_signed, transpose_block
from simhw.pe.vector import (
    CACHE_LINE_BYTES,
    WIDTH,
    count_bits,
    load,
    nonzero_bits,
    spread,
    store,
    where_negative,
    where_zero,
)
from simhw.pointers import data, onward


@kernel
def encode_parallel(
    rows: BF16Array,
    exponents: npt.NDArray[np.generic],
    significands: npt.NDArray[np.generic],
    nonzero_rows: npt.NDArray[np.int64],
    block: BF16Array,
) -> None:
    """Lay rows (products, n, K) of the parallel operand side by side, WIDTH a group, those of each product in groups of
    their own.

    `exponents` and `significands`, unsigned (groups, K * WIDTH), are filled with two's complement values: the biased
    exponent with the accumulator's offset, and the signed 8-bit significand; lanes beyond the rows hold zeros.  To
    `nonzero_rows` (products, K) is added how many rows are not zero at each k.  `block` is room for WIDTH * WIDTH
    values.  All are contiguous.
    """
    (products, count, reduction), all_groups = rows.shape, exponents.shape[0]
    groups, square = all_groups // products, data(block)
    for group in range(all_groups):
        product, row = group // groups, group % groups * WIDTH
        used = min(WIDTH, count - row)
        values = onward(data(rows), (product * count + row) * reduction)
        own_exponents = onward(data(exponents), group * reduction * WIDTH)
        own_significands = onward(data(significands), group * reduction * WIDTH)
        own_nonzero = onward(data(nonzero_rows), product * reduction)
        for first in range(0, reduction, WIDTH):
            size = min(WIDTH, reduction - first)
            for lane in range(used):
                at = lane * reduction + first
                if size == WIDTH:
                    store(square, lane * WIDTH, load(values, at))
                else:
                    for k in range(size):
                        square[lane * WIDTH + k] = values[at + k]
            for at in range(used * WIDTH, WIDTH * WIDTH):
                square[at] = 0
            transpose_block(square)
            for k in range(size):
                exponent, significand = _encoded(load(square, k * WIDTH))
                store_signed(own_exponents, (first + k) * WIDTH, exponent)
                store_signed(own_significands, (first + k) * WIDTH, significand)
                own_nonzero[first + k] += count_bits(nonzero_bits(significand))


@numba.njit(inline="always")
def _encoded(values):  # type: ignore[no-untyped-def]
    """(exponent, significand) of a vector of bfloat16 values."""
    field = (values >> spread(7, values)) & spread(0xFF, values)
    size = (values & spread(0x7F, values)) | spread(0x80, values)
    signed = where_negative(values, -size, size)
    offset = field + spread(EXPONENT_OFFSET, values)
    return where_zero(field, spread(NO_EXPONENT, values), offset), where_zero(field, field, signed)


@dataclass(frozen=True)
class Prepared:
    """Rows of Y laid out for the kernels, of one product or of several of one shape.

    Attributes
    ----------
    exponents, significands : (products * groups, K * WIDTH) unsigned
        From `encode_parallel`, WIDTH rows a group.
    real : (rows,) bool
        Of each product: False for a row that only fills a tile; the last group's lanes beyond these rows belong to no
        tile.
    nonzero_rows : (products, K) int64
        How many rows have a non-zero value at each k.
    """

    exponents: npt.NDArray[np.unsignedinteger]
    significands: npt.NDArray[np.unsignedinteger]
    real: npt.NDArray[np.bool_]
    nonzero_rows: npt.NDArray[np.int64]

    @property
    def groups(self) -> int:
        """Vectors of PEs, those of all products."""
        return len(self.exponents)

    def real_outputs(self, read: BF16Array) -> BF16Array:
        """Outputs (groups, rows of X, WIDTH) of one product as (rows of X, real rows of Y)."""
        rows = read.transpose(1, 0, 2).reshape(read.shape[1], -1)
        return np.ascontiguousarray(rows[:, : len(self.real)][:, self.real])


def lay_out(parallel: ParallelRows, word: npt.DTypeLike) -> Prepared:
    """Lay out rows of Y, WIDTH side by side, as unsigned words of the given type."""
    return lay_out_stacked(parallel.rows[None], parallel.real, word)


def lay_out_stacked(rows: BF16Array, real: npt.NDArray[np.bool_], word: npt.DTypeLike) -> Prepared:
    """Lay out rows of Y (products, rows, K), those of each product in vectors of their own."""
    products, count, reduction = rows.shape
    shape = products * -(-count // WIDTH), reduction * WIDTH
    # In one piece: from 4 MiB on NumPy asks for huge pages, and most of the time goes into first touches of pages.
    exponents, significands = in_cache_lines((2, *shape), word)
    # Kernels that allocate arrays take longer to compile.
    block = np.empty(WIDTH * WIDTH, np.uint16)
    nonzero_rows = np.zeros((products, reduction), np.int64)
    encode_parallel(np.ascontiguousarray(rows), exponents, significands, nonzero_rows, block)
    return Prepared(exponents, significands, real, nonzero_rows)


def in_cache_lines(shape: tuple[int, ...], word: npt.DTypeLike) -> npt.NDArray[np.unsignedinteger]:
    """An array whose vectors each lie in one cache line, where they are as long as one: 4 to 8% of a kernel's time."""
    kind = np.dtype(word)
    size = math.prod(shape) * kind.itemsize
    room = np.empty(size + CACHE_LINE_BYTES, np.uint8)
    first = -room.ctypes.data % CACHE_LINE_BYTES
    return room[first : first + size].view(kind).reshape(shape)
