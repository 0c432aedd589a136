"""Floating-point vectors: exact sums of products, rounding once, and the order of their elements kept to themselves."""

import numba
import numpy as np
import pytest

from simhw.pe import accumulator
from simhw.pe.reals import (
    from_whole_numbers,
    fused,
    load_singles,
    products,
    real,
    store_singles,
    unit_rounder,
    whole_numbers,
)
from simhw.pe.stack import load_stack
from simhw.pe.vector import WIDTH, load, store
from simhw.pointers import data
from tests.oracles.accumulator import shift_right_rne as rounded_shift
from tests.pe.test_accumulator import check_normalised, numbers, register_values

KINDS = [(np.int32, np.uint16, 12), (np.int64, np.uint32, 29)]
"""Types of S and of exponents, and the widest accumulator and threshold: narrow and wide."""


@numba.njit
def _align_and_add(s, exponent, emax, addend, to_unit, aligned, added):
    for at in range(0, len(s), WIDTH):
        own, largest = load(exponent, at), load(emax, at)
        moved = accumulator.aligned(from_whole_numbers(load(s, at)), own, largest)
        rounder = unit_rounder(own)
        store(aligned, at, whole_numbers(moved - rounder))
        total = fused(from_whole_numbers(load(addend, at)), real(to_unit, own), moved)
        store(added, at, whole_numbers(total - rounder))


@numba.njit
def _normalise(s, emax, fraction_bits, out, exponents):
    for at in range(0, len(s), WIDTH):
        value, exponent = accumulator.normalised(from_whole_numbers(load(s, at)), load(emax, at), fraction_bits)
        store(out, at, whole_numbers(value))
        store(exponents, at, exponent)


@numba.njit
def _fold(s, exponent, fraction_bits, sums):
    for at in range(0, len(s), WIDTH):
        own = load(exponent, at)
        running = load_singles(sums[at : at + WIDTH], own)
        value = accumulator.folded(from_whole_numbers(load(s, at)), own, fraction_bits, running)
        store_singles(sums[at : at + WIDTH], value)


@numba.njit
def _products(values, significands, offsets, bits, out):
    x, y = (
        load_stack(data(values), data(offsets), 0, 8),
        load_stack(data(significands), data(offsets), 0, 8),
    )
    store(out, 0, whole_numbers(products(x, y, bits)))


@pytest.mark.parametrize(("sums", "words", "widest"), KINDS)
def test_alignment_and_addition_round_once_each(sums, words, widest):
    rng = np.random.default_rng(1)
    narrow = sums is np.int32
    for threshold, fraction_bits in ((widest, widest), (widest, 4), (0, widest), (widest // 2, widest)):
        extra_bits = 7 + threshold - fraction_bits
        s = numbers(rng, fraction_bits + 1, 64 * WIDTH, sums)
        distance = np.concatenate([np.repeat(np.arange(40), WIDTH), rng.integers(0, 600, 24 * WIDTH)])
        exponent = rng.integers(1, 500, 64 * WIDTH)
        # A set adds up to less than 2**(T + 12), which float32 holds to the last place at T = 12.
        addend = numbers(rng, threshold + 12, 64 * WIDTH, sums)
        aligned, added = np.zeros_like(s), np.zeros_like(s)
        emax = (exponent + distance).astype(words)
        _align_and_add(s, exponent.astype(words), emax, addend, 2.0**-extra_bits, aligned, added)
        moved = [rounded_shift(int(value), int(count)) for value, count in zip(s, distance, strict=True)]
        assert aligned.tolist() == moved
        below = max(extra_bits, 0)
        assert added.tolist() == [
            rounded_shift((value << below) + (int(term) << max(-extra_bits, 0)), below)
            for value, term in zip(moved, addend, strict=True)
        ], (narrow, threshold, fraction_bits)


@pytest.mark.parametrize(("sums", "words", "widest"), KINDS)
def test_normalisation_is_the_oracles(sums, words, widest):
    rng = np.random.default_rng(2)
    for fraction_bits in sorted({4, 7, 8, 12, widest}):
        s = numbers(rng, fraction_bits + 9, 64 * WIDTH, sums)
        emax = rng.integers(100, 500, len(s)).astype(words)
        out, exponents = np.zeros_like(s), np.zeros_like(emax)
        _normalise(s, emax, fraction_bits, out, exponents)
        check_normalised(s, emax, fraction_bits, out, exponents)


@pytest.mark.parametrize(("sums", "words", "widest"), KINDS)
def test_folding_a_vector_is_folding_its_accumulators(sums, words, widest):
    rng = np.random.default_rng(3)
    for fraction_bits in (4, 12, min(widest, 23)):
        s, stored, true = register_values(rng, fraction_bits, 64 * WIDTH)
        s[:WIDTH], stored[:WIDTH] = 0, 0
        running = (
            rng.standard_normal(len(s)) * 2.0 ** np.clip(true + rng.integers(-26, 26, len(s)), -149, 126)
        ).astype(np.float32)
        expected = [
            accumulator.fold_chunk(int(a), int(b), fraction_bits, c) for a, b, c in zip(s, stored, running, strict=True)
        ]
        _fold(s.astype(sums), stored.astype(words), fraction_bits, running)
        assert running.view(np.uint32).tolist() == np.array(expected, np.float32).view(np.uint32).tolist()


@pytest.mark.parametrize(("sums", "words", "threshold"), [*KINDS, (np.int64, np.uint32, 19), (np.int64, np.uint32, 20)])
def test_products_of_eight_lanes_add_up_exactly(sums, words, threshold):
    # At T = 19 the largest sums just fit 32 bits.
    rng = np.random.default_rng(4)
    signed = np.dtype(words).str.replace("u", "i")
    most = 1 << (threshold + 1)
    for case in range(60):
        values, significands = rng.integers(-most, most + 1, (8, WIDTH)), rng.integers(-255, 256, (8, WIDTH))
        if case < 20:  # the largest sum of either sign in some PEs, and what is just below it
            values[:, case], significands[:, case] = most, 255 if case % 2 else -255
            values[case % 8, case + 1 :] = most - 1
        out = np.zeros(WIDTH, sums)
        offsets = np.arange(8, dtype=np.uint32) * WIDTH
        flat = [np.ascontiguousarray(x.astype(signed)).view(words).reshape(-1) for x in (values, significands)]
        _products(*flat, offsets, threshold + 13, out)
        assert out.tolist() == (values * significands).sum(axis=0).tolist()
