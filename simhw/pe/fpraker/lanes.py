"""A set's lanes as kernels take them: the serial operand's values beside the parallel ones of WIDTH PEs."""

from typing import Any, NamedTuple

import numba

from simhw.pe.reals import products, real
from simhw.pe.stack import load_stack, spread_stack, where_zero_each
from simhw.pe.straight import straight


class Lanes(NamedTuple):
    """The arrays of `SerialRows` and the parallel operands, as pointers."""

    offsets: Any
    exponents: Any
    terms: Any
    positive: Any
    negative: Any
    parallel_exponents: Any
    significands: Any


@numba.njit(inline="always")
def lanes_of(rows, exponents, significands):
    """The lanes of serial rows and of parallel operands from `encode_parallel`, all pointers."""
    return Lanes(
        rows.offsets, rows.exponents, rows.terms, rows.positive, rows.negative, exponents, significands
    )  # fmt: skip


@numba.njit(inline="always")
def product_unit(setup, like):
    """From products to the accumulator's fraction bits, as a vector."""
    return real(setup.product_unit, like)


@straight
def added_products(depth, at, lanes, values, setup):
    """The sum of the products of `depth` lanes, with some values of the serial operand."""
    # They add up to less than 2**(T + 12): see `NARROW_LIMIT`.
    return products(values, load_stack(lanes.significands, lanes.offsets, at, depth), setup.threshold + 13)


@straight
def signed_weights(weights, negative):
    """The weights of terms, one a lane at the most, with the signs of their digits."""
    return where_zero_each(weights & negative, weights, -weights)


@straight
def exponent_sums(depth, at, lanes, like):
    """The exponents of the products of `depth` lanes, negative in a PE where the lane is empty."""
    return load_stack(lanes.parallel_exponents, lanes.offsets, at, depth) + spread_stack(
        lanes.exponents, at, like, depth
    )


@straight
def values_left(depth, at, lanes, distances, like):
    """(values, their negative digits) of `depth` lanes of the serial operand, of what is left at some distances."""
    negative = spread_stack(lanes.negative, at, like, depth) >> distances
    return (spread_stack(lanes.positive, at, like, depth) >> distances) - negative, negative
