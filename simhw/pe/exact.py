"""Dot products of bfloat16 values summed exactly and rounded once: what a schedule must reproduce in whatever order it
adds.

The sum is kept as a fixed-point number of 32-bit limbs that spans every product of two bfloat16 values.
"""

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel

LIMBS = 18
"""32-bit limbs: products reach over 506 exponents and 16 bits, and sums of up to 2**31 of them need 31 bits more."""
ONE = 2 * 127 + 14
"""Bit of the fixed-point number that is worth 1: the product of two smallest significands' last bits is bit 2."""


@numba.njit
def add_product(limbs, a, b):
    """Add the product of two bfloat16 bit patterns to a sum; a zero or subnormal operand adds nothing."""
    x, y = np.int64(a), np.int64(b)
    place = ((x >> 7) & 0xFF) + ((y >> 7) & 0xFF)
    if (x & 0x7F80) == 0 or (y & 0x7F80) == 0:
        return
    product = ((x & 0x7F) | 0x80) * ((y & 0x7F) | 0x80)
    if (x ^ y) & 0x8000:
        product = -product
    # At most 2**47 a product: a limb has room for 2**16 of them before carries must be moved on.
    limbs[place >> 5] += product << (place & 31)


@numba.njit
def settle(limbs):
    """Move carries on, so that every limb but the last lies in 0..2**32 - 1."""
    for index in range(LIMBS - 1):
        limbs[index + 1] += limbs[index] >> 32
        limbs[index] &= 0xFFFFFFFF


@numba.njit
def rounded(limbs):
    """A sum rounded once to a bfloat16 bit pattern, nearest even; overflow is an infinity, underflow +0."""
    settle(limbs)
    negative = limbs[LIMBS - 1] < 0
    if negative:
        for index in range(LIMBS):
            limbs[index] = -limbs[index]
        settle(limbs)
    top = LIMBS - 1
    while top >= 0 and limbs[top] == 0:
        top -= 1
    if top < 0:
        return np.uint16(0)
    leading = 0
    while limbs[top] >> (leading + 1):
        leading += 1
    leading += 32 * top
    kept, half, rest = 0, 0, 0
    for bit in range(leading, -1, -1):
        value = (limbs[bit >> 5] >> (bit & 31)) & 1
        if bit > leading - 8:
            kept = 2 * kept + value
        elif bit == leading - 8:
            half = value
        else:
            rest |= value
    kept <<= max(7 - leading, 0)
    if half and (rest or kept & 1):
        kept += 1
    field = leading - ONE + 127
    if kept == 256:
        kept, field = 128, field + 1
    sign = 0x8000 if negative else 0
    if field >= 255:
        return np.uint16(sign | 0x7F80)
    if field <= 0:
        return np.uint16(0)
    return np.uint16(sign | (field << 7) | (kept & 0x7F))


@kernel
def exact_products(x: BF16Array, y: BF16Array) -> BF16Array:
    """Every product of rows of X (n, K) and Y (m, K), summed exactly and rounded once; (n, m) bfloat16 bit patterns."""
    outputs = np.empty((x.shape[0], y.shape[0]), np.uint16)
    limbs = np.zeros(LIMBS, np.int64)
    for row in range(x.shape[0]):
        for column in range(y.shape[0]):
            limbs[:] = 0
            for k in range(x.shape[1]):
                add_product(limbs, x[row, k], y[column, k])
                if k & 0x3FFF == 0x3FFF:
                    settle(limbs)
            outputs[row, column] = rounded(limbs)
    return outputs


def overflow_count(outputs: npt.NDArray[np.uint16]) -> int:
    """How many outputs read as an infinity."""
    return int(np.count_nonzero((outputs & 0x7FFF) == 0x7F80))
