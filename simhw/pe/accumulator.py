"""The PE's accumulator: an integer S at exponent E worth S * 2**(E - F), kept with F fraction bits.

S is normalised, so that 2**F <= |S| < 2**(F + 1), or zero.  Exponents are stored with `EXPONENT_OFFSET` added, which
keeps every exponent of a non-zero accumulator positive; a cleared accumulator has exponent 0.  The functions on
vectors are for kernels; `read_out` and `fold_chunk` see one PE at a time.  Source: spec page fpraker.md, section 2.
"""

import numba
import numpy as np

from simhw.jit import inlined, kernel, part
from simhw.pe.reals import (
    LongReals,
    bias_of,
    bits_of,
    fraction_bits_of,
    fused,
    negative_power,
    plus_scaled,
    real_of_bits,
    unit_rounder,
    words_of_bits,
)
from simhw.pe.straight import straight
from simhw.pe.vector import (
    lane_bits,
    leading_zeros,
    magnitude,
    narrow,
    signed_max,
    spread,
    unsigned_min,
    where_zero,
    widen,
)
from simhw.pointers import data

EXPONENT_OFFSET = 64
"""Added to the sum of two biased exponents, so that cancellation down to the last fraction bit stays above zero."""
NO_EXPONENT = -8192
"""Stands for the exponent of a zero operand: its lane never sets the maximum, and all its terms are out of bounds."""
_TRUE_EXPONENT = 2 * 127 + EXPONENT_OFFSET
_FLOAT64_BIAS, _FLOAT64_FRACTION_BITS = LongReals.bias, LongReals.fraction_bits


@numba.njit(inline="always")
def shift_right_rne(x, count):
    """X / 2**count, rounded to nearest even, lane by lane; counts from 0 up to less than the lane's width - 1."""
    one = spread(1, x)
    quotient = x >> count
    odd = quotient & one
    remainder = x - (quotient << count)
    # Round up where 2 * remainder + odd > 2**count: the difference is then negative, and its sign is -1.
    return quotient - (((one << count) - remainder - remainder - odd) >> spread(lane_bits(x) - 1, x))


@numba.njit(inline="always")
def align(s, exponent, emax):
    """S moved to exponent ``emax``; beyond F + 2 positions nothing is left, so the distance saturates."""
    distance = unsigned_min(emax - exponent, spread(lane_bits(emax) - 1, emax))
    return shift_right_rne(s, widen(distance))


@numba.njit(inline="always")
def add_rounded(s, addend, extra_bits):
    """S plus an exact sum that has ``extra_bits`` more fraction bits than S, rounded once to S's; negative: fewer."""
    more = spread(max(extra_bits, 0), s)
    return shift_right_rne((s << more) + (addend << spread(max(-extra_bits, 0), s)), more)


@numba.njit(inline="always")
def normalise(s, emax, fraction_bits):
    """Normalised (S, exponent) of S at exponent ``emax``: right shifts round to nearest even, left shifts are exact."""
    up = spread(lane_bits(s) - 1 - fraction_bits, s) - leading_zeros(magnitude(s))
    zero = spread(0, s)
    s = shift_right_rne(s, signed_max(up, zero)) << signed_max(-up, zero)
    carry = magnitude(s) >> spread(fraction_bits + 1, s)  # rounding up to the next power of two: one exact shift more
    s = s >> carry
    return s, narrow(where_zero(s, zero, widen(emax) + up + carry))


@straight
def aligned(s, exponent, emax):
    """`align` of S held in floating point, with `unit_rounder` added: what is added to it is rounded with it, once."""
    distance = unsigned_min(emax - exponent, spread(lane_bits(emax) - 1, emax))
    return fused(s, negative_power(distance), unit_rounder(emax))


@straight
def normalised(s, emax, fraction_bits):
    """`normalise` of S held in floating point, whose own form says where its highest bit is."""
    bits, fraction = bits_of(s), fraction_bits_of(s)
    one = spread(1, bits)
    drop = spread(fraction - fraction_bits, bits)
    odd = (bits >> drop) & one
    # A carry out of the fraction ends in the exponent, as it should.
    kept = ((bits + spread((1 << (fraction - fraction_bits - 1)) - 1, bits) + odd) >> drop) << drop
    place = spread(fraction, bits)
    size = words_of_bits((kept >> place) & spread(2 * bias_of(s) + 1, bits))
    base = emax - spread(bias_of(s) + fraction_bits, emax)
    # The same significand, at 2**F; a zero has no bits at all and stays one.
    own = kept & ~(spread(2 * bias_of(s) + 1, bits) << place)
    unit = own | spread((bias_of(s) + fraction_bits) << fraction, bits)
    return real_of_bits(where_zero(kept, kept, unit)), where_zero(size, size, size + base)


@straight
def folded(s, exponent, fraction_bits, sums):
    """`fold_chunk` of S held in floating point."""
    return plus_scaled(sums, s, exponent, _TRUE_EXPONENT + fraction_bits)


@inlined
def read_out(s, exponent, fraction_bits):
    """One accumulator rounded to a bfloat16 bit pattern: overflow is an infinity, underflow +0."""
    if s == 0:
        return np.uint16(0)
    size = abs(s)
    if fraction_bits > 7:
        drop = fraction_bits - 7
        kept = size >> drop
        remainder = size - (kept << drop)
        half = 1 << (drop - 1)
        if remainder > half or (remainder == half and kept & 1):
            kept += 1
    else:
        kept = size << (7 - fraction_bits)
    field = exponent - _TRUE_EXPONENT + 127
    if kept == 256:
        kept = 128
        field += 1
    sign = 0x8000 if s < 0 else 0
    if field >= 255:
        return np.uint16(sign | 0x7F80)
    if field <= 0:
        return np.uint16(0)
    return np.uint16(sign | (field << 7) | (kept & 0x7F))


@numba.njit
def fold_chunk(s, exponent, fraction_bits, running_sum):
    """The float32 running sum plus the exact value of an accumulator, rounded once to nearest even.

    A float64 holds two float32 operands' sum closely enough that rounding it again to float32 is innocuous.
    """
    # The power of two from its bits: unlike a call of ldexp, LLVM makes vectors of it.  It is a normal number, as
    # exponents lie between 0 and 1,024.
    power = (np.int64(exponent) - _TRUE_EXPONENT - fraction_bits + _FLOAT64_BIAS) << _FLOAT64_FRACTION_BITS
    return np.float32(np.float64(running_sum) + np.float64(s) * np.int64(power).view(np.float64))


@inlined
def round_to_bfloat16(value):
    """A float32 rounded to a bfloat16 bit pattern: overflow is an infinity, underflow +0."""
    bits = np.int64(np.float32(value).view(np.uint32))
    if bits & 0x7FFFFFFF < 0x00800000:
        # Eight significant bits reach the smallest normal number from half their last bit below it, and not from less.
        return np.uint16((bits >> 16 & 0x8000) | 0x0080 if bits & 0x7FFFFFFF >= 0x007FC000 else 0)
    return np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


@part
def read_out_rows(s, exponent, sums, chunked, fraction_bits, outputs, count):
    """Read `count` accumulators (or running sums) out as bfloat16 bit patterns; gives the number of overflows.

    Arrays are pointers, as from `simhw.pointers.data`.
    """
    overflows = 0
    for at in range(count):
        if chunked:
            bits = round_to_bfloat16(sums[at])
        else:
            bits = read_out(s[at], np.int64(exponent[at]), fraction_bits)
        outputs[at] = bits
        overflows += (bits & 0x7FFF) == 0x7F80
    return overflows


@kernel
def read_out_all(s, exponent, sums, chunked, fraction_bits, outputs):
    """`read_out_rows` of contiguous arrays."""
    return read_out_rows(data(s), data(exponent), data(sums), chunked, fraction_bits, data(outputs), outputs.size)
