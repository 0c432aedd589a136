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
within the value.  WIDTH PEs that share a serial operand stand side by side in a vector, in groups of one tile column
each.
"""

import itertools
import operator
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import significand_terms
from simhw.pe.accumulator import NO_EXPONENT
from simhw.pe.fpraker.parameters import FPRakerPE
from simhw.pe.stack import exchange_each, signed_max_each
from simhw.pe.vector import exchange, signed_max, spread, where_negative

LANES = 8
GAP_BITS = 4
"""Steps from a term to the next are 1 to 8 positions."""
BEYOND = (1 << GAP_BITS) - 1
"""A step out of bounds, which lie within the positions."""
POSITIONS = 9
"""Positions p from +1 to -7."""
ZERO_CODE = 256
"""Row of the recoding tables for a zero; the others are the sign bit above the seven fraction bits."""


class Recoding(NamedTuple):
    """Tables of the serial operand's recoding, indexed by sign and fraction, with a row of zeros for a zero.

    `positions`: a bit per term, position p = +1 lowest; `terms`: the same, so high in the word that a term out of
    bounds is shifted out of it by its lane's distance; `positive`, `negative`: the value's signed digits as two
    integers with T fraction bits; `counts`: the number of terms; `exponents`, indexed by the exponent field: the
    exponent, `NO_EXPONENT` for a zero.

    `first` and `gaps` walk along the terms: the first one's bit of `positions`, and the steps from each to the next.  A
    word of `gaps` has GAP_BITS a step, the first one lowest, that hold BEYOND minus the step, so that zeros follow the
    last and step out of any bounds.  Where a word is too short for that, `unary` is true: a bit per further term, and
    the distance of the lowest from the word's lower end is the step.

    All but `counts` are 32 bits, in which a word of 16 stands twice: see `simhw.pe.stack.spread_stack`.
    """

    positions: npt.NDArray[np.uint32]
    terms: npt.NDArray[np.uint32]
    positive: npt.NDArray[np.uint32]
    negative: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.int64]
    exponents: npt.NDArray[np.uint32]
    first: npt.NDArray[np.uint32]
    gaps: npt.NDArray[np.uint32]
    unary: bool


def word_of(pe: FPRakerPE) -> np.dtype[np.unsignedinteger]:
    """The words that kernels take for a PE."""
    return np.dtype(np.uint16 if pe.narrow else np.uint32)


def recoding(pe: FPRakerPE) -> Recoding:
    """The recoding tables of a PE."""
    word = word_of(pe)
    top = word.itemsize * 8 - 2 - pe.threshold
    positions, positive, negative = (np.zeros(ZERO_CODE + 1, dtype=np.uint64) for _ in range(3))
    counts = np.zeros(ZERO_CODE + 1, dtype=np.int64)
    for code in range(ZERO_CODE):
        for sign, position in significand_terms(code & 0x7F, pe.encoder):
            positions[code] |= np.uint64(1 << (1 - position))
            if pe.threshold + position >= 0:
                digits = positive if (sign > 0) == (code < 128) else negative
                digits[code] |= np.uint64(1 << (pe.threshold + position))
            counts[code] += 1
    first, gaps, unary = _walk(positions, int(counts.max()), word.itemsize * 8)
    exponents = np.arange(256)
    exponents[0] = NO_EXPONENT

    def repeated(words: npt.NDArray[np.integer]) -> npt.NDArray[np.uint32]:
        own = words.astype(word)
        return np.repeat(own, 4 // own.itemsize).view(np.uint32)

    return Recoding(
        positions=repeated(positions),
        terms=repeated(positions << np.uint64(top)),
        positive=repeated(positive),
        negative=repeated(negative),
        counts=counts,
        exponents=repeated(exponents),
        first=repeated(first),
        gaps=repeated(gaps),
        unary=unary,
    )


def _walk(
    positions: npt.NDArray[np.uint64], most: int, bits: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], bool]:
    """(`first`, `gaps`, `unary`) of a recoding with at most `most` terms, for words of so many bits."""
    unary = (most - 1) * GAP_BITS > bits
    first, gaps = np.zeros(ZERO_CODE + 1, dtype=np.int64), np.zeros(ZERO_CODE + 1, dtype=np.uint64)
    for code in range(ZERO_CODE):
        places = [place for place in range(POSITIONS) if int(positions[code]) >> place & 1]
        first[code] = places[0]
        for index, (place, following) in enumerate(itertools.pairwise(places)):
            bit = following - places[0] - 1
            step = BEYOND - (following - place)
            gaps[code] |= np.uint64(1 << bit if unary else step << (index * GAP_BITS))
    return first, gaps, unary


class Setup(NamedTuple):
    """A PE's and its column's switches as plain numbers, the form that kernels take.

    `on_position` is window_on: position; `product_unit` takes products, with 7 + T fraction bits, to the sum's F;
    `chunk_sets` is 0 where chunking is off; `column` is the PEs that share a serial operand; `floor` the least cycles
    of a set and `skip_empty` empty_sets: skip; `shared_pointers` is sync: term, `own_pace` sync: pe, `column_bounds`
    oob: column, `no_bounds` oob: off.

    `per_cycle` is None where `independent_sets` rounds by set, and `on_position` where `coupled_sets` has the window on
    offsets.  Numba compiles anew for that type and leaves the other code out, which would cost speed there.  `one` is
    1: a constant that LLVM must not know, since it makes three instructions of the lesser of a word and 1.
    """

    threshold: int
    window: int
    on_position: bool | None
    fraction_bits: int
    product_unit: float
    per_cycle: bool | None
    chunk_sets: int
    column: int
    floor: int
    skip_empty: bool
    shared_pointers: bool
    own_pace: bool
    column_bounds: bool
    no_bounds: bool
    one: int = 1


class Counts(NamedTuple):
    """Lane-cycles by class, over all PEs of the vector: what the PE does by itself, before it waits for others."""

    useful: int
    shift_range: int
    no_term: int
    exponent: int


@numba.njit(inline="always")
def serial_code(value):
    """Row of the recoding tables of a serial operand value."""
    bits = np.int64(value)
    return (bits & 0x7F) | ((bits >> 8) & 0x80) if bits & 0x7F80 else ZERO_CODE


@numba.njit(inline="always")
def least_cycles(largest, floor, setup):
    """`floor` where a set costs the floor: everywhere, or but for empty sets (`largest` negative, empty_sets: skip)."""
    if setup.skip_empty:
        return where_negative(largest, spread(0, floor), floor)
    return floor


def _over_columns(larger: Any, exchanged: Any) -> Any:
    """The maximum over columns, of the operations that vectors, or stacks of them, have."""

    @numba.njit(inline="always")
    def over(vector, column):
        if column >= 2:
            vector = larger(vector, exchanged(vector, 1))
        if column >= 4:
            vector = larger(vector, exchanged(vector, 2))
        if column >= 8:
            vector = larger(vector, exchanged(vector, 4))
        if column >= 16:
            vector = larger(vector, exchanged(vector, 8))
        if column >= 32:
            vector = larger(vector, exchanged(vector, 16))
        return vector

    return over


column_max = _over_columns(signed_max, exchange)
"""Each lane gets the maximum over its column, a group of `column` neighbours (a power of two)."""
column_all = _over_columns(operator.and_, exchange)
"""Each lane gets the bits that all lanes of its column have."""
column_max_each = _over_columns(signed_max_each, exchange_each)
"""`column_max` of every vector of a stack."""
