"""The vector accumulator does, lane by lane, what the oracle's register does in unbounded integers."""

from fractions import Fraction

import numba
import numpy as np
import pytest

from simhw.bfloat16 import to_float32
from simhw.pe import accumulator
from simhw.pe.chunks import check_chunk
from simhw.pe.vector import WIDTH, load, store
from tests.oracles.accumulator import Accumulator, power_of_two, to_bfloat16
from tests.oracles.accumulator import shift_right_rne as rounded_shift
from tests.oracles.accumulator import to_float32 as rounded_to_float32

KINDS = [(np.int32, np.uint16), (np.int64, np.uint32)]
"""Types of S and of exponents: narrow and wide."""
WIDEST = {np.int32: 13, np.int64: 29}


@numba.njit
def _shift(x, counts, out):
    for at in range(0, len(x), WIDTH):
        store(out, at, accumulator.shift_right_rne(load(x, at), load(counts, at)))


@numba.njit
def _align(s, exponent, emax, out):
    for at in range(0, len(s), WIDTH):
        store(out, at, accumulator.align(load(s, at), load(exponent, at), load(emax, at)))


@numba.njit
def _add(s, addend, extra_bits, out):
    for at in range(0, len(s), WIDTH):
        store(out, at, accumulator.add_rounded(load(s, at), load(addend, at), extra_bits))


@numba.njit
def _normalise(s, emax, fraction_bits, out, exponents):
    for at in range(0, len(s), WIDTH):
        value, exponent = accumulator.normalise(load(s, at), load(emax, at), fraction_bits)
        store(out, at, value)
        store(exponents, at, exponent)


def numbers(rng, bits, count, dtype):
    """Integers of up to `bits` bits and either sign, of every length alike; zero, powers of two and their
    neighbours.
    """
    values = rng.integers(0, 1 << bits, count) >> rng.integers(0, bits, count)
    edges = np.array([0] + [(1 << n) + step for n in range(bits) for step in (-1, 0, 1)])[:count]
    values[: len(edges)] = edges
    return np.where(rng.random(count) < 0.5, -values, values).astype(dtype)


@pytest.mark.parametrize(("sums", "bits"), [(np.int32, 31), (np.int64, 63)])
def test_right_shift_rounds_to_nearest_even_for_both_signs(sums, bits):
    rng = np.random.default_rng(1)
    # x - (x >> n << n) doubled must stay in the lane: n up to the width minus 2.
    small = np.repeat(np.arange(-130, 131), 9), np.tile(np.arange(9), 261)
    x = np.concatenate([numbers(rng, bits - 1, 64 * WIDTH, sums), np.resize(small[0], 128 * WIDTH).astype(sums)])
    counts = np.concatenate([rng.integers(0, bits - 1, 64 * WIDTH), np.resize(small[1], 128 * WIDTH)]).astype(sums)
    out = np.zeros_like(x)
    _shift(x, counts, out)
    assert out.tolist() == [rounded_shift(int(value), int(count)) for value, count in zip(x, counts, strict=True)]


@pytest.mark.parametrize(("sums", "words"), KINDS)
def test_alignment_is_a_rounded_shift_by_any_distance(sums, words):
    rng = np.random.default_rng(2)
    s = numbers(rng, WIDEST[sums] + 1, 64 * WIDTH, sums)
    distance = np.concatenate([np.repeat(np.arange(40), WIDTH), rng.integers(0, 600, 24 * WIDTH)])
    exponent = rng.integers(1, 500, 64 * WIDTH)
    out = np.zeros_like(s)
    _align(s, exponent.astype(words), (exponent + distance).astype(words), out)
    assert out.tolist() == [rounded_shift(int(value), int(count)) for value, count in zip(s, distance, strict=True)]


@pytest.mark.parametrize(("sums", "words"), KINDS)
def test_addends_are_rounded_once_together_with_the_register(sums, words):  # noqa: ARG001
    rng = np.random.default_rng(3)
    fraction_bits = WIDEST[sums]
    for extra_bits in range(-6, 17 if sums is np.int32 else 31):
        s = numbers(rng, min(fraction_bits + 1, 29 - max(extra_bits, 0) if sums is np.int32 else 30), 8 * WIDTH, sums)
        addend = numbers(rng, 22 if sums is np.int32 else 40, 8 * WIDTH, sums)
        out = np.zeros_like(s)
        _add(s, addend, extra_bits, out)
        with_register = [rounded_shift(int(a) * 2 ** max(extra_bits, 0) + int(b) * 2 ** max(-extra_bits, 0),
        max(extra_bits, 0))
                         for a, b in zip(s, addend, strict=True)]  # fmt: skip
        assert out.tolist() == with_register


def check_normalised(s, emax, fraction_bits, out, exponents):
    """S at exponent emax, normalised by a kernel, is what the oracle makes of it."""
    for value, exponent, got, got_exponent in zip(
        s.tolist(), emax.tolist(), out.tolist(), exponents.tolist(), strict=True
    ):
        register = Accumulator(fraction_bits)
        register.integer, register.exponent = value, exponent
        register.normalise()
        assert (got, got_exponent) == (register.integer, register.exponent), (value, exponent)


@pytest.mark.parametrize(("sums", "words"), KINDS)
def test_normalisation_is_the_oracles(sums, words):
    rng = np.random.default_rng(4)
    for fraction_bits in sorted({4, 7, 8, 12, WIDEST[sums]}):
        s = numbers(rng, min(fraction_bits + 12, 30 if sums is np.int32 else 45), 64 * WIDTH, sums)
        emax = rng.integers(100, 500, len(s)).astype(words)
        out, exponents = np.zeros_like(s), np.zeros_like(emax)
        _normalise(s, emax, fraction_bits, out, exponents)
        check_normalised(s, emax, fraction_bits, out, exponents)


def test_carry_out_of_normalisation_shifts_once_more():
    # 14 bits of ones are half a last place above 2^13 - 1 of 13 bits; the tie goes to 2^13, which has 14 bits again.
    s, emax = np.full(WIDTH, (1 << 14) - 1, np.int32), np.full(WIDTH, 100, np.uint16)
    out, exponents = np.zeros_like(s), np.zeros_like(emax)
    _normalise(s, emax, 12, out, exponents)
    assert set(out.tolist()) == {1 << 12}
    assert set(exponents.tolist()) == {102}


def register_values(rng, fraction_bits, count):
    """(S, stored exponent): normalised, over every exponent that a register can have and dense at both ends of
    bfloat16.
    """
    s = rng.integers(1 << fraction_bits, 1 << (fraction_bits + 1), count) * rng.choice([-1, 1], count)
    s[: count // 4] = ((1 << (fraction_bits + 1)) - 1 - rng.integers(0, 3, count // 4)) * rng.choice(
        [-1, 1], count // 4
    )
    true = np.concatenate(
        [rng.integers(-280, 280, count // 2), rng.choice([-135, -128, -127, -126, -125, 126, 127, 128], count // 2)]
    )
    return s, true + 2 * 127 + accumulator.EXPONENT_OFFSET, true


@pytest.mark.parametrize("fraction_bits", [4, 6, 7, 8, 12, 13, 23, 29])
def test_read_out_rounds_once_to_bfloat16(fraction_bits):
    rng = np.random.default_rng(5)
    for s, stored, true in zip(*register_values(rng, fraction_bits, 2000), strict=True):
        expected = to_bfloat16(int(s) * power_of_two(int(true) - fraction_bits))
        bits = accumulator.read_out(int(s), int(stored), fraction_bits)
        assert float(to_float32(np.uint16(bits))) == expected
        assert (bits & 0x7FFF) != 0 or bits == 0  # underflow is +0
    assert accumulator.read_out(0, 0, fraction_bits) == 0


@pytest.mark.parametrize("fraction_bits", [4, 8, 12, 23])
def test_chunk_joins_a_float32_sum_with_one_rounding(fraction_bits):
    rng = np.random.default_rng(6)
    for s, stored, true in zip(*register_values(rng, fraction_bits, 2000), strict=True):
        value = int(s) * power_of_two(int(true) - fraction_bits)
        if abs(value) >= power_of_two(127):
            continue
        # A sum near the register's size, where rounding happens, or a subnormal one.
        scale = min(max(int(true) + int(rng.integers(-26, 26)), -149), 126)
        running = np.float32(rng.standard_normal() * 2.0**scale)
        expected = rounded_to_float32(Fraction(float(running)) + value)
        assert float(accumulator.fold_chunk(int(s), int(stored), fraction_bits, running)) == expected


def test_float32_sum_is_read_out_as_bfloat16():
    rng = np.random.default_rng(7)
    patterns = np.concatenate([
        rng.integers(0, 1 << 32, 3000, dtype=np.uint32),
        (np.uint32(0x007F0000) + rng.integers(0, 1 << 17, 3000, dtype=np.uint32)) | (rng.integers(0, 2, 3000,
        dtype=np.uint32) << 31),
        (rng.integers(0, 1 << 16, 3000, dtype=np.uint32) << 16) | rng.choice(np.array([0x7FFF, 0x8000, 0x8001],
        np.uint32), 3000),
        np.array([0, 1 << 31, 0x007FBFFF, 0x007FC000, 0x7F7F7FFF, 0x7F7F8000, 0x7F800000, 0xFF800000], np.uint32),
    ])  # fmt: skip
    for value in patterns.view(np.float32):
        if np.isnan(value):
            continue
        got = float(to_float32(np.uint16(accumulator.round_to_bfloat16(value))))
        assert got == (float(value) if np.isinf(value) else to_bfloat16(Fraction(float(value)))), value


def test_reading_out_all_counts_overflows():
    fraction_bits = 12
    top = 127 + 2 * 127 + accumulator.EXPONENT_OFFSET
    s, exponent = np.full((2, WIDTH), 1 << fraction_bits, np.int32), np.full((2, WIDTH), top, np.uint16)
    s[1, 3], s[0, 0], exponent[1, 7] = (
        (1 << 13) - 1,
        -(1 << 13) + 1,
        top + 1,
    )  # 2^128 after rounding, twice, and 2^128 itself
    outputs, sums = np.zeros((2, WIDTH), np.uint16), np.zeros((2, WIDTH), np.float32)
    assert accumulator.read_out_all(s, exponent, sums, False, fraction_bits, outputs) == 3
    assert (outputs[1, 3], outputs[0, 0], outputs[1, 7], outputs[0, 5]) == (0x7F80, 0xFF80, 0x7F80, 254 << 7)
    sums[:] = 1.5
    sums[0, 1] = np.inf
    assert accumulator.read_out_all(s, exponent, sums, True, fraction_bits, outputs) == 1
    assert outputs[1, 1] == 0x3FC0


@pytest.mark.parametrize(("chunk", "fraction_bits", "fits"), [("off", 29, True), (64, 23, True), (64, 24, False)])
def test_chunked_register_must_fit_float32(chunk, fraction_bits, fits):
    if fits:
        check_chunk(chunk, fraction_bits)
    else:
        with pytest.raises(ValueError, match="at most 23"):
            check_chunk(chunk, fraction_bits)
