"""Bit-parallel processing element: the baseline that multiplies a whole set of bfloat16 pairs every cycle.

Its accumulator is FPRaker's: the exact products of a set are aligned to the largest exponent, summed exactly with the
aligned accumulator, and rounded once.  The shifter is finite: a product more than `align_range` positions down is lost.
Source: spec page fpraker.md, section 4 (one set per PE per cycle); the arithmetic is decided here.
"""

import numba
import numpy as np

from simhw.jit import kernel
from simhw.pe.accumulator import NO_EXPONENT, add_rounded, align, fold_chunk, normalise
from simhw.pe.vector import WIDTH, load, signed_max, spread, store, unsigned_min, where_negative, widen


@numba.njit(inline="always")
def _exponents(value, exponents, k):
    """Sums of the serial value's exponent and the parallel ones."""
    exponent = (np.int64(value) >> 7) & 0xFF
    parallel = load(exponents, k * WIDTH)
    return parallel + spread(exponent if exponent else NO_EXPONENT, parallel)


@kernel
def multiply_rows(x, exponents, significands, lanes, fraction_bits, align_range, chunk_sets, s, exponent, sums):
    """Every row of `x` (n, K) against WIDTH parallel rows from `layout.encode_parallel` (32-bit words).

    Fills `s` and `exponent` (n, WIDTH), the accumulators, or `sums` (n, WIDTH), the float32 running sums, where
    `chunk_sets` is not 0.
    """
    product_bits = 14 + align_range
    for row in range(x.shape[0]):
        acc, acc_exponent = load(s[row], 0), load(exponent[row], 0)
        for index in range(x.shape[1] // lanes):
            emax = acc_exponent
            for k in range(index * lanes, (index + 1) * lanes):
                emax = signed_max(emax, _exponents(x[row, k], exponents, k))
            added = spread(0, acc)
            reach = spread(align_range, emax)
            for k in range(index * lanes, (index + 1) * lanes):
                value = np.int64(x[row, k])
                significand = (value & 0x7F) | 0x80
                distance = emax - _exponents(value, exponents, k)
                product = widen(load(significands, k * WIDTH)) * spread(
                    -significand if value >> 15 else significand, added
                )
                aligned = product << widen(reach - unsigned_min(distance, reach))
                added = added + where_negative(widen(reach - distance), spread(0, added), aligned)
            acc = add_rounded(align(acc, acc_exponent, emax), added, product_bits - fraction_bits)
            acc, acc_exponent = normalise(acc, emax, fraction_bits)
            if chunk_sets and ((index + 1) % chunk_sets == 0 or index + 1 == x.shape[1] // lanes):
                store(s[row], 0, acc)
                store(exponent[row], 0, acc_exponent)
                for lane in range(WIDTH):
                    sums[row, lane] = fold_chunk(
                        s[row, lane], np.int64(exponent[row, lane]), fraction_bits, sums[row, lane]
                    )
                acc, acc_exponent = spread(0, acc), spread(0, acc_exponent)
        store(s[row], 0, acc)
        store(exponent[row], 0, acc_exponent)
