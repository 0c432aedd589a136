"""Stacks of vectors: every operation does to each vector, and over the vectors, what numpy does."""

import numba
import numpy as np
import pytest

from simhw.pe.stack import (
    align_frame,
    count_below,
    element,
    exchange_each,
    load_next,
    load_stack,
    max_over,
    min_over,
    or_over,
    popcount_each,
    reverse_bits_each,
    signed_max_each,
    spread_stack,
    stacked,
    store_next,
    sum_over,
    unsigned_min_each,
    where_below_each,
    where_negative_each,
    where_zero_each,
)
from simhw.pe.vector import WIDTH, load, store
from simhw.pointers import data
from tests.pe.test_vector import as_signed, as_unsigned, bits_of, lanes


@numba.njit
def _aligned(x):
    align_frame()
    return x


def test_a_kernel_s_memory_begins_at_a_cache_line():
    assert _aligned(1) == 1
    assert "alignstack(64)" in _aligned.inspect_llvm(_aligned.signatures[0])


def kernel_of(depth):
    """A kernel for one depth, which numba has to see as a literal."""

    @numba.njit
    def run(x, y, offsets, selectors, selector_offsets, scalars, out, over):
        a = load_stack(data(x), data(offsets), 1, depth)
        b = load_stack(data(y), data(offsets), 1, depth)
        v = load(y, 0)
        results = (
            a + b, a - b, a & b, a | b, a ^ b, v - a, a - v,
            a << (b & spread_stack(data(scalars), 0, v, depth)), a >> (b & spread_stack(data(scalars), 0, v, depth)),
            popcount_each(a), reverse_bits_each(a), unsigned_min_each(a, b), unsigned_min_each(a, v),
            spread_stack(data(scalars), depth, v, depth),
        )  # fmt: skip
        for operation in range(len(results)):
            for index in range(depth):
                only = load_stack(data(selectors), data(selector_offsets), index * depth, depth)
                store(out, (operation * depth + index) * WIDTH, or_over(results[operation] & only))
        store(over, 0, or_over(a))
        store(over, WIDTH, sum_over(a))
        store(over, 2 * WIDTH, max_over(a))
        return element(data(offsets), 1)

    return run


@pytest.mark.parametrize("depth", [2, 6])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_stacks_do_to_every_vector_what_numpy_does(dtype, depth):
    rng = np.random.default_rng([1, depth])
    width = np.dtype(dtype).itemsize * 8
    run = kernel_of(depth)
    # A selector for each vector of a stack: ones in it, zeros in all others.
    selectors = np.repeat(np.array([0, -1]).astype(dtype), WIDTH)
    selector_offsets = (np.eye(depth, dtype=np.uint32) * WIDTH).reshape(-1)
    for _ in range(10):
        x, y = lanes(rng, dtype, 16 * WIDTH), lanes(rng, dtype, 16 * WIDTH)
        offsets = rng.integers(0, 15 * WIDTH, depth + 1).astype(np.uint32)
        # Masks for the counts of shifts, then any words.
        words = np.concatenate([np.full(depth, width - 1), rng.integers(0, 1 << width, depth)]).astype(np.uint64)
        repeated = (words * (0x10001 if width == 16 else 1)).astype(np.uint32)
        out, over = np.zeros(14 * depth * WIDTH, dtype), np.zeros(3 * WIDTH, dtype)
        assert run(x, y, offsets, selectors, selector_offsets, repeated, out, over) == offsets[1]
        a, b = (np.stack([values[at : at + WIDTH] for at in offsets[1:]]) for values in (x, y))
        v = y[:WIDTH]
        with np.errstate(over="ignore"):
            expected = [
                a + b, a - b, a & b, a | b, a ^ b, v - a, a - v,
                a << (b & dtype(width - 1)), a >> (b & dtype(width - 1)),
                np.vectorize(lambda value: bits_of(value, width).count("1"))(a),
                np.vectorize(lambda value: int(bits_of(value, width)[::-1], 2))(a),
                np.minimum(a, b), np.minimum(a, v),
                np.broadcast_to(words[depth:, np.newaxis], a.shape),
            ]  # fmt: skip
            totals = [np.bitwise_or.reduce(a), a.sum(axis=0, dtype=dtype), as_unsigned(as_signed(a).max(axis=0))]
        for index, values in enumerate(expected):
            assert (out.reshape(14, depth, WIDTH)[index] == values.astype(dtype)).all(), index
        assert (over.reshape(3, WIDTH) == totals).all()


@numba.njit
def _of_pairs(x, y, out):
    """Operations on stacks of two, from `load_next` and to `store_next`."""
    a, b, v, room = load_next(data(x), 3, 2), load_next(data(y), 0, 2), load(y, 0), data(out)
    store_next(room, 0 * WIDTH, signed_max_each(a, b))
    store_next(room, 2 * WIDTH, signed_max_each(a, v))
    store_next(room, 4 * WIDTH, where_negative_each(a, b, v))
    store_next(room, 6 * WIDTH, where_below_each(a, b, v, a))
    store_next(room, 8 * WIDTH, where_below_each(a, v, a, b))
    store_next(room, 10 * WIDTH, exchange_each(a, 1))
    store_next(room, 12 * WIDTH, exchange_each(a, 16))
    store_next(room, 14 * WIDTH, where_zero_each(a & b, a, -v ^ b))
    store_next(room, 16 * WIDTH, ~a - -b)
    store_next(room, 18 * WIDTH, stacked(v, min_over(a)))
    return count_below(a, b)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_choices_and_exchanges_of_stacks_are_numpys(dtype):
    rng = np.random.default_rng(2)
    for _ in range(10):
        x, y = lanes(rng, dtype, 3 + 2 * WIDTH), lanes(rng, dtype, 2 * WIDTH)
        a, b, v = x[3:].reshape(2, WIDTH), y.reshape(2, WIDTH), y[:WIDTH]
        out = np.zeros(20 * WIDTH, dtype)
        a[:, ::4] &= ~b[:, ::4]
        b[:, ::5] = a[:, ::5]
        assert _of_pairs(x, y, out) == (a < b).sum()
        lane = np.arange(WIDTH)
        expected = [
            np.maximum(as_signed(a), as_signed(b)), np.maximum(as_signed(a), as_signed(v)),
            np.where(as_signed(a) < 0, b, v), np.where(a < b, v, a), np.where(a < v, a, b),
            a[:, lane ^ 1], a[:, lane ^ 16], np.where(a & b == 0, a, -v ^ b), ~a - -b, [v, a.min(axis=0)],
        ]  # fmt: skip
        for index, values in enumerate(expected):
            assert (out.reshape(10, 2, WIDTH)[index] == np.asarray(values, dtype)).all(), index
