"""FPRaker processing element: eight bfloat16 products a set, one signed power of two per lane and cycle.

The serial operand's significand is recoded into signed powers of two, most significant first.  A lane's next term has
an offset K, its distance below the largest exponent of the set (or of the accumulator, where that is larger).  In a
cycle every lane whose K lies within `shift_window` positions of the smallest pending K fires; the others wait.  A lane
ends at its first term with K beyond the out-of-bounds threshold, since what it adds would fall off the accumulator.
Source: MICRO 2021, sections 3 and 4; spec page fpraker.md, sections 1 to 3 and 6.

How the kernels hold it.  A lane is one word with a bit per pending term, at a place that grows with K; terms that are
out of bounds fall off the top by themselves.  Per cycle, the lanes OR-ed together show the smallest pending K as their
lowest set bit, and a lane fires by losing its own lowest bit where that lies within the window.  With the window on
positions (window_on: position) the word is moved back down after that, so that a bit's place is its term's position
within the value.  WIDTH PEs that share a
serial operand stand side by side in a vector, in groups of one tile column each.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import significand_terms
from simhw.jit import kernel
from simhw.pe.accumulator import NO_EXPONENT, add_rounded, align, normalise, round_addend
from simhw.pe.fpraker.parameters import FPRakerPE
from simhw.pe.vector import (
    WIDTH,
    any_lane,
    count_nonzero,
    exchange,
    lane_bits,
    load,
    popcount,
    reverse_bits,
    signed_max,
    spread,
    store,
    total,
    unsigned_min,
    where_negative,
    where_zero,
    widen,
)

LANES = 8
ZERO_CODE = 256
"""Row of the recoding tables for a zero; the others are the sign bit above the seven fraction bits."""


class Recoding(NamedTuple):
    """Tables of the serial operand's recoding, indexed by sign and fraction, with a row of zeros for a zero.

    `positions`: a bit per term, position p = +1 lowest; `terms`: the same, so high in the word that a term out of
    bounds is shifted out of it by its lane's distance; `positive`, `negative`: the value's signed digits as two
    integers with T fraction bits; `counts`: the number of terms.
    """

    positions: npt.NDArray[np.unsignedinteger]
    terms: npt.NDArray[np.unsignedinteger]
    positive: npt.NDArray[np.unsignedinteger]
    negative: npt.NDArray[np.unsignedinteger]
    counts: npt.NDArray[np.int64]


def recoding(pe: FPRakerPE) -> Recoding:
    """The recoding tables of a PE."""
    word = np.uint16 if pe.narrow else np.uint32
    top = np.dtype(word).itemsize * 8 - 2 - pe.threshold
    positions, positive, negative = (np.zeros(ZERO_CODE + 1, dtype=np.uint64) for _ in range(3))
    counts = np.zeros(ZERO_CODE + 1, dtype=np.int64)
    for code in range(ZERO_CODE):
        for sign, position in significand_terms(code & 0x7F, pe.encoder):
            positions[code] |= np.uint64(1 << (1 - position))
            if pe.threshold + position >= 0:
                digits = positive if (sign > 0) == (code < 128) else negative
                digits[code] |= np.uint64(1 << (pe.threshold + position))
            counts[code] += 1
    terms = positions << np.uint64(top)
    return Recoding(positions.astype(word), terms.astype(word), positive.astype(word), negative.astype(word), counts)


class Setup(NamedTuple):
    """A PE's and its column's switches as plain integers, the form that kernels take.

    `reach` is 2**(W + 1) - 1 cut to the word; `on_position` is window_on: position; `chunk_sets` is 0 where chunking is
    off; `column` is the PEs that share a serial operand; `floor` the least cycles of a set and `skip_empty` empty_sets:
    skip; `shared_pointers` is sync: term, `own_pace` sync: pe, `column_bounds` oob: column, `no_bounds` oob: off.

    `on_position` and `skip_empty` are None where both are off.  Numba compiles anew for that type and leaves their code
    out, which would cost 14% of the speed.
    """

    threshold: int
    window: int
    reach: int
    on_position: bool | None
    fraction_bits: int
    per_cycle: bool
    chunk_sets: int
    column: int
    floor: int
    skip_empty: bool | None
    shared_pointers: bool
    own_pace: bool
    column_bounds: bool
    no_bounds: bool


class Counts(NamedTuple):
    """Lane-cycles by class, over all PEs of the vector: what the PE does by itself, before it waits for others."""

    useful: int
    shift_range: int
    no_term: int
    exponent: int


@numba.njit(inline="always")
def serial_code(value):
    """(exponent, row of the recoding tables) of a serial operand value."""
    bits = np.int64(value)
    exponent = (bits >> 7) & 0xFF
    if exponent == 0:
        return NO_EXPONENT, ZERO_CODE
    return exponent, (bits & 0x7F) | ((bits >> 8) & 0x80)


@numba.njit(inline="always")
def largest_product(x, k, exponents, like):
    """The largest exponent of a set's products, lane by lane of the vector; negative in a PE whose lanes are all empty.

    emax is the larger of it and of the accumulator's exponent, which is never negative.
    """
    exponent, _ = serial_code(x[k])
    largest = load(exponents, k * WIDTH) + spread(exponent, like)
    for lane in range(1, LANES):
        exponent, _ = serial_code(x[k + lane])
        largest = signed_max(largest, load(exponents, (k + lane) * WIDTH) + spread(exponent, like))
    return largest


@numba.njit(inline="always")
def least_cycles(largest, floor, setup):
    """`floor` where a set costs the floor: everywhere, or but for empty sets (`largest` negative, empty_sets: skip)."""
    if setup.skip_empty:
        return where_negative(largest, spread(0, floor), floor)
    return floor


@numba.njit(inline="always")
def in_bounds_product(code, distance, significand, tables):
    """(negative digits, product) of one lane: its in-bounds terms times the parallel significand, 7 + T
    fraction bits.
    """
    negative = spread(tables.negative[code], distance) >> distance
    value = (spread(tables.positive[code], distance) >> distance) - negative
    return negative, widen(value) * widen(significand)


@numba.njit(inline="always")
def column_or(vector, column):
    """Each lane gets the OR over its column, a group of `column` neighbours (a power of two)."""
    if column >= 2:
        vector = vector | exchange(vector, 1)
    if column >= 4:
        vector = vector | exchange(vector, 2)
    if column >= 8:
        vector = vector | exchange(vector, 4)
    if column >= 16:
        vector = vector | exchange(vector, 8)
    if column >= 32:
        vector = vector | exchange(vector, 16)
    return vector


@numba.njit(inline="always")
def column_max(vector, column):
    """Each lane gets the maximum over its column, a group of `column` neighbours (a power of two)."""
    if column >= 2:
        vector = signed_max(vector, exchange(vector, 1))
    if column >= 4:
        vector = signed_max(vector, exchange(vector, 2))
    if column >= 8:
        vector = signed_max(vector, exchange(vector, 4))
    if column >= 16:
        vector = signed_max(vector, exchange(vector, 8))
    if column >= 32:
        vector = signed_max(vector, exchange(vector, 16))
    return vector


@numba.njit(inline="always")
def _aligned_lane(x, k, exponents, significands, emax, tables, on_position):
    """(pending terms, negative digits, product) of one lane, aligned to emax; `on_position` places terms by p."""
    exponent, code = serial_code(x[k])
    distance = emax - load(exponents, k * WIDTH) - spread(exponent, emax)
    distance = unsigned_min(distance, spread(lane_bits(distance) - 1, distance))
    negative, product = in_bounds_product(code, distance, load(significands, k * WIDTH), tables)
    terms = spread(tables.terms[code], distance) << distance
    if on_position:
        terms = terms >> distance
    return terms, negative, product


@numba.njit(inline="always")
def _fire(terms, beyond):
    """The lane's terms without the lowest one, unless that lies beyond the window."""
    return terms & ((terms - spread(1, terms)) | beyond)


@numba.njit(inline="always")
def fired_product(reversed_term, negative, significand):
    """What a fired term adds: `reversed_term` is its weight with T fraction bits, or zero."""
    taken = reversed_term & negative
    return widen(reversed_term - taken - taken) * widen(significand)


@kernel
def independent_sets(x, first, last, exponents, significands, tables, setup, s, exponent, times, at):
    """Sets `first` to `last` of WIDTH PEs that wait for nobody inside a set (sync: set or pe, oob: pe).

    The window is on positions with rounding: set only; `coupled_sets` knows both together.

    Parameters
    ----------
    x : (K,) uint16
        The serial operand that the PEs share.
    exponents, significands : (K * WIDTH,)
        The parallel operands, from `encode_parallel`.
    s, exponent : vectors
        The accumulators.
    times : 1-D array of words
        From index `at`, a vector per set: the cycles that it costs each PE's column (sync: pe: each PE).

    Returns
    -------
    (s, exponent, Counts)
    """
    # The eight lanes are written out, so that they stay in registers over a set's cycles; an array would live in
    # memory.
    extra_bits = 7 + setup.threshold - setup.fraction_bits
    one, nothing = spread(1, exponent), spread(0, exponent)
    reach, on_position = spread(setup.reach, exponent), setup.on_position
    # The floor in unary, as cycles are counted: a bit per cycle.
    floor = spread((1 << setup.floor) - 1, exponent)
    sharing = 1 if setup.own_pace else setup.column
    useful, pending, cycles, short = 0, 0, 0, 0
    for index in range(first, last):
        k = index * LANES
        largest = largest_product(x, k, exponents, exponent)
        emax = signed_max(exponent, largest)
        m0, n0, p0 = _aligned_lane(x, k, exponents, significands, emax, tables, on_position)
        m1, n1, p1 = _aligned_lane(x, k + 1, exponents, significands, emax, tables, on_position)
        m2, n2, p2 = _aligned_lane(x, k + 2, exponents, significands, emax, tables, on_position)
        m3, n3, p3 = _aligned_lane(x, k + 3, exponents, significands, emax, tables, on_position)
        m4, n4, p4 = _aligned_lane(x, k + 4, exponents, significands, emax, tables, on_position)
        m5, n5, p5 = _aligned_lane(x, k + 5, exponents, significands, emax, tables, on_position)
        m6, n6, p6 = _aligned_lane(x, k + 6, exponents, significands, emax, tables, on_position)
        m7, n7, p7 = _aligned_lane(x, k + 7, exponents, significands, emax, tables, on_position)
        s = align(s, exponent, emax)
        if not setup.per_cycle:
            s = add_rounded(s, p0 + p1 + p2 + p3 + p4 + p5 + p6 + p7, extra_bits)
        useful += total(
            popcount(m0)
            + popcount(m1)
            + popcount(m2)
            + popcount(m3)
            + popcount(m4)
            + popcount(m5)
            + popcount(m6)
            + popcount(m7)
        )
        # One bit per cycle in which the PE still had a term pending: OR gives a column's maximum, the bit count the
        # number.
        unary, cycle = nothing, one
        waiting = m0 | m1 | m2 | m3 | m4 | m5 | m6 | m7
        while any_lane(waiting):
            unary = unary | where_zero(waiting, nothing, cycle)
            cycle = cycle + cycle
            pending += count_nonzero(m0) + count_nonzero(m1) + count_nonzero(m2) + count_nonzero(m3)
            pending += count_nonzero(m4) + count_nonzero(m5) + count_nonzero(m6) + count_nonzero(m7)
            beyond = ~((waiting & -waiting) * reach)
            l0, l1, l2, l3 = _fire(m0, beyond), _fire(m1, beyond), _fire(m2, beyond), _fire(m3, beyond)
            l4, l5, l6, l7 = _fire(m4, beyond), _fire(m5, beyond), _fire(m6, beyond), _fire(m7, beyond)
            if setup.per_cycle:
                # A term's place grows with K, its weight shrinks with K: reversing the word turns one into the other.
                added = fired_product(reverse_bits(m0 ^ l0), n0, load(significands, k * WIDTH))
                added = added + fired_product(reverse_bits(m1 ^ l1), n1, load(significands, (k + 1) * WIDTH))
                added = added + fired_product(reverse_bits(m2 ^ l2), n2, load(significands, (k + 2) * WIDTH))
                added = added + fired_product(reverse_bits(m3 ^ l3), n3, load(significands, (k + 3) * WIDTH))
                added = added + fired_product(reverse_bits(m4 ^ l4), n4, load(significands, (k + 4) * WIDTH))
                added = added + fired_product(reverse_bits(m5 ^ l5), n5, load(significands, (k + 5) * WIDTH))
                added = added + fired_product(reverse_bits(m6 ^ l6), n6, load(significands, (k + 6) * WIDTH))
                added = added + fired_product(reverse_bits(m7 ^ l7), n7, load(significands, (k + 7) * WIDTH))
                s = s + round_addend(added, extra_bits)
            m0, m1, m2, m3, m4, m5, m6, m7 = l0, l1, l2, l3, l4, l5, l6, l7
            waiting = m0 | m1 | m2 | m3 | m4 | m5 | m6 | m7
        s, exponent = normalise(s, emax, setup.fraction_bits)
        charged = unary | least_cycles(largest, floor, setup)
        cycles += total(popcount(unary))
        short += total(popcount(charged ^ unary))
        store(times, at, popcount(column_or(charged, sharing)))
        at += WIDTH
    return s, exponent, Counts(useful, pending - useful, LANES * cycles - pending, LANES * short)
