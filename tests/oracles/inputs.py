"""Operand rows that try to break a kernel, as bfloat16 bit patterns, each named for the trap it sets.

Everything comes from the numpy Generator it is given, so a seed names a case.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, from_float32, to_float32

IntArray = npt.NDArray[np.int64]

SET = 8
BIAS = 127
LARGEST_FIELD = 254
ALTERNATING_FRACTION = 0b0101010  # 1.0101010 is its own signed-digit form: 4 terms at positions 0, -2, -4, -6
LONGEST_NAF_FRACTION = 0b1010101  # 1.1010101 = 2 - 1/2 + 1/8 + 1/32 + 1/128: 5 terms, no significand has more


def pack(sign: IntArray | int, field: IntArray | int, fraction: IntArray | int, shape: tuple[int, int]) -> BF16Array:
    """Bit patterns from sign (0 or 1), exponent field (0..254) and fraction (0..127), broadcast to `shape`."""
    bits = (
        np.asarray(sign, dtype=np.int64) << 15
        | np.asarray(field, dtype=np.int64) << 7
        | np.asarray(fraction, dtype=np.int64)
    )
    return np.broadcast_to(bits, shape).astype(np.uint16)


def exactly(*rows: Sequence[float]) -> BF16Array:
    """Rows of numbers as bit patterns; each must be a bfloat16, so that what a test says is what the machine sees."""
    values = np.array(rows, dtype=np.float32)
    patterns = from_float32(values)
    assert (to_float32(patterns) == values).all(), "not a bfloat16"
    return patterns


def _signs(rng: np.random.Generator, shape: tuple[int, int]) -> IntArray:
    return rng.integers(0, 2, shape)


def _fractions(rng: np.random.Generator, shape: tuple[int, int]) -> IntArray:
    return rng.integers(0, 128, shape)


def gaussian(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    return from_float32(rng.standard_normal((rows, k)).astype(np.float32))


def sparse(rng: np.random.Generator, rows: int, k: int, zeros: float) -> BF16Array:
    """Gaussian with a share of zeros, half of them -0."""
    values = gaussian(rng, rows, k)
    dropped = rng.random((rows, k)) < zeros
    return np.where(dropped, pack(_signs(rng, (rows, k)), 0, 0, (rows, k)), values)


def any_finite(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Every finite bit pattern is as likely as another: subnormals and -0 too."""
    shape = (rows, k)
    return pack(_signs(rng, shape), rng.integers(0, LARGEST_FIELD + 1, shape), _fractions(rng, shape), shape)


def zeros_and_subnormals(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Nothing that the machines see as non-zero: +0, -0 and subnormals with any fraction."""
    shape = (rows, k)
    return pack(_signs(rng, shape), 0, _fractions(rng, shape) * rng.integers(0, 2, shape), shape)


def all_zero(_: np.random.Generator, rows: int, k: int) -> BF16Array:
    return np.zeros((rows, k), dtype=np.uint16)


def largest_exponents(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """One sign per row, so that products of two such rows overflow the read-out."""
    shape = (rows, k)
    return pack(
        rng.integers(0, 2, (rows, 1)), rng.integers(250, LARGEST_FIELD + 1, shape), _fractions(rng, shape), shape
    )


def smallest_exponents(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Products of two such rows underflow the read-out."""
    shape = (rows, k)
    return pack(_signs(rng, shape), rng.integers(1, 5, shape), _fractions(rng, shape), shape)


def read_out_edge(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Exponents whose products lie around 2^-126 or, for other rows, around 2^128."""
    shape = (rows, k)
    centre = rng.choice([(BIAS - 63), (BIAS + 63)], (rows, 1))
    return pack(_signs(rng, shape), centre + rng.integers(-2, 3, shape), _fractions(rng, shape), shape)


def both_extremes(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Exponent fields 1 and 254 mixed: offsets of up to 506 within a set."""
    shape = (rows, k)
    return pack(_signs(rng, shape), rng.choice([1, LARGEST_FIELD], shape), _fractions(rng, shape), shape)


def powers_of_two(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """One term a value, near each other: ties of shifts and of roundings."""
    shape = (rows, k)
    return pack(_signs(rng, shape), rng.integers(BIAS - 9, BIAS + 10, shape), 0, shape)


def all_ones(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Significand 1.1111111: two NAF terms at +1 and -7, eight plain bits, rounding carries."""
    shape = (rows, k)
    return pack(_signs(rng, shape), rng.integers(BIAS - 2, BIAS + 3, shape), 127, shape)


def worst_naf(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Significands with the most terms: 1.0101010 and 1.1010101."""
    shape = (rows, k)
    fraction = rng.choice([ALTERNATING_FRACTION, LONGEST_NAF_FRACTION], shape)
    return pack(_signs(rng, shape), rng.integers(BIAS - 3, BIAS + 4, shape), fraction, shape)


def repeated(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """One value all along a row: the accumulator grows past its addends until they are out of bounds."""
    shape = (rows, k)
    return pack(
        rng.integers(0, 2, (rows, 1)),
        rng.integers(BIAS - 20, BIAS + 21, (rows, 1)),
        rng.integers(0, 128, (rows, 1)),
        shape,
    )


def tiny_after_huge(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Exponents that fall by 0 to 6 from one set to the next: every distance from the accumulator, and long
    out-of-bounds tails.
    """
    shape = (rows, k)
    fall = np.cumsum(rng.integers(0, 7, (rows, -(-k // SET))), axis=1)
    field = np.clip(200 - np.repeat(fall, SET, axis=1)[:, :k], 1, LARGEST_FIELD)
    return pack(_signs(rng, shape), field, _fractions(rng, shape), shape)


def huge_after_tiny(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Exponents that rise by 0 to 6 from one set to the next: the accumulator is shifted right, or out, at
    every start.
    """
    return np.ascontiguousarray(tiny_after_huge(rng, rows, k)[:, ::-1])


def threshold_spread(rng: np.random.Generator, rows: int, k: int, threshold: int) -> BF16Array:
    """In every set one lane on top and the others `threshold` - 8 to + 9 positions below it, against a flat other
    operand.
    """
    shape = (rows, k)
    below = rng.integers(max(0, threshold - 8), threshold + 10, shape)
    top = rng.integers(0, SET, (rows, -(-k // SET)))
    below[np.arange(k) % SET == np.repeat(top, SET, axis=1)[:, :k]] = 0
    field = np.clip(150 + rng.integers(-3, 4, (rows, 1)) - below, 1, LARGEST_FIELD)
    return pack(_signs(rng, shape), field, _fractions(rng, shape), shape)


def single_lane(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """One non-zero lane in every set."""
    lane = np.repeat(rng.integers(0, SET, (rows, -(-k // SET))), SET, axis=1)[:, :k]
    return np.where(np.arange(k) % SET == lane, any_finite(rng, rows, k), np.uint16(0)).astype(np.uint16)


def cancelling(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Against a row of repeated values: x and -x side by side in a set, or x in one set and -x in the next, by row."""
    shape = (rows, k)
    values = pack(_signs(rng, shape), rng.integers(BIAS - 14, BIAS + 15, shape), _fractions(rng, shape), shape).copy()
    for row in range(rows):
        step = 1 if row % 2 else SET
        position = np.arange(k)
        second = (position // step) % 2 == 1
        values[row, second] = values[row, position[second] - step] ^ 0x8000
    return values


def mixed(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Every set from another generator: transitions that none of them has alone."""
    choices = np.stack([make(rng, rows, k) for make in GENERATORS.values()])
    pick = np.repeat(rng.integers(0, len(choices), (rows, -(-k // SET))), SET, axis=1)[:, :k]
    values: BF16Array = np.take_along_axis(choices, pick[np.newaxis], axis=0)[0]
    return values


Generator = Callable[[np.random.Generator, int, int], BF16Array]


def _sparse(zeros: float) -> Generator:
    return lambda rng, rows, k: sparse(rng, rows, k, zeros)


def _spread(threshold: int) -> Generator:
    return lambda rng, rows, k: threshold_spread(rng, rows, k, threshold)


GENERATORS: dict[str, Generator] = {
    "gaussian": gaussian,
    "sparse_10": _sparse(0.10),
    "sparse_50": _sparse(0.50),
    "sparse_90": _sparse(0.90),
    "sparse_99": _sparse(0.99),
    "any_finite": any_finite,
    "zeros_and_subnormals": zeros_and_subnormals,
    "all_zero": all_zero,
    "largest_exponents": largest_exponents,
    "smallest_exponents": smallest_exponents,
    "read_out_edge": read_out_edge,
    "both_extremes": both_extremes,
    "powers_of_two": powers_of_two,
    "all_ones": all_ones,
    "worst_naf": worst_naf,
    "repeated": repeated,
    "tiny_after_huge": tiny_after_huge,
    "huge_after_tiny": huge_after_tiny,
    "threshold_6": _spread(6),
    "threshold_12": _spread(12),
    "single_lane": single_lane,
    "cancelling": cancelling,
}


def adversarial(rng: np.random.Generator, rows: int, k: int) -> list[tuple[str, BF16Array]]:
    """Every generator once, and a mixture set by set: (name, (rows, k) bit patterns)."""
    return [(name, make(rng, rows, k)) for name, make in GENERATORS.items()] + [("mixed", mixed(rng, rows, k))]


def adversarial_pairs(
    rng: np.random.Generator, a_rows: int, b_rows: int, k: int
) -> list[tuple[str, BF16Array, BF16Array]]:
    """(name, a, b): every generator against Gaussian values, either way round, and against itself.

    The last few meet repeated values, because a flat operand keeps the offsets and the cancellations of the other.
    """
    pairs = []
    for name, a in adversarial(rng, a_rows, k):
        pairs.append((f"{name}_by_gaussian", a, gaussian(rng, b_rows, k)))
    for name, b in adversarial(rng, b_rows, k):
        pairs.append((f"gaussian_by_{name}", gaussian(rng, a_rows, k), b))
    for (name, a), (_, b) in zip(adversarial(rng, a_rows, k), adversarial(rng, b_rows, k), strict=True):
        pairs.append((f"{name}_by_itself", a, b))
    against_flat = ("threshold_6", "threshold_12", "cancelling", "powers_of_two", "read_out_edge")
    return pairs + [
        (f"{name}_by_repeated", GENERATORS[name](rng, a_rows, k), repeated(rng, b_rows, k)) for name in against_flat
    ]
