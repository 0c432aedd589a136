"""The accumulator register of one processing element, in plain integers: S at exponent E is worth S * 2**(E - BIAS -
F).

Exponents are sums of two biased ones, so BIAS is twice bfloat16's.  A zero register has no exponent that counts.
Source: spec page fpraker.md, section 2, "Arithmetic".
"""

import math

import numba
import numpy as np

from simhw.jit import kernel

BIAS = 2 * 127
NO_EXPONENT = -(1 << 20)
"""Below every exponent: stands for an empty lane's or a zero register's, which takes no part in the maximum."""


@numba.njit(inline="always")
def field_of(value):
    """The biased exponent of a bfloat16 bit pattern, 0 for all that the machines see as zero."""
    return (np.int64(value) >> 7) & 0xFF


@numba.njit(inline="always")
def signed_significand(value):
    """The significand of a non-zero bfloat16 bit pattern, 128 to 255, with its sign."""
    significand = (np.int64(value) & 0x7F) | 0x80
    return -significand if np.int64(value) & 0x8000 else significand


@kernel
def shift_right_rne(value, count):
    """Value / 2**count to the nearest integer, ties to even; a negative count shifts left."""
    if count <= 0:
        return value << -count
    if count > 62:  # every register and sum here is far below 2**61
        return 0
    quotient = value >> count
    rest = value - (quotient << count)
    half = 1 << (count - 1)
    if rest > half or (rest == half and quotient & 1):
        quotient += 1
    return quotient


@kernel
def normalised(s, exponent, fraction_bits):
    """(S, E) with 2**F <= |S| < 2**(F + 1): one rounded right shift and one more on its carry, or an exact
    left shift.
    """
    if s == 0:
        return 0, NO_EXPONENT
    excess = -fraction_bits - 1
    rest = abs(s)
    while rest:
        rest >>= 1
        excess += 1
    s = shift_right_rne(s, excess)
    exponent += excess
    if abs(s) == 1 << (fraction_bits + 1):
        s //= 2
        exponent += 1
    return s, exponent


@kernel
def value_of(s, exponent, fraction_bits):
    """The register's value, exact in float64: at most 30 bits, far from either end of its range."""
    if s == 0:
        return 0.0
    return math.ldexp(np.float64(s), exponent - BIAS - fraction_bits)


@kernel
def joined(running, value):
    """The float32 running sum plus a register's value, rounded once; a float64 between the two rounds innocuously."""
    return np.float32(np.float64(running) + value)


@kernel
def bfloat16_of(value):
    """A float64 that is exact, rounded to a bfloat16 bit pattern: overflow is an infinity, underflow +0."""
    if value == 0:
        return np.uint16(0)
    sign = 0x8000 if value < 0 else 0
    if math.isinf(value):
        return np.uint16(sign | 0x7F80)
    fraction, exponent = math.frexp(abs(value))
    significand = np.int64(np.rint(fraction * 256))
    field = (
        exponent - 1 + 127 + (significand >> 8)
    )  # 256 is the next power of two, whose fraction bits are zeros as well
    if field >= 255:
        return np.uint16(sign | 0x7F80)
    if field <= 0:
        return np.uint16(0)
    return np.uint16(sign | (field << 7) | (significand & 0x7F))
