"""What hardware has to compute that multiplies bfloat16 or float32 and adds in float32: exact fractions, and NumPy."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from tests.oracles.accumulator import decode, to_float32

SMALLEST = np.finfo(np.float32).tiny
"""The smallest normal float32."""
Number = Fraction | float


def product(width: int, x: int, y: int) -> Number:
    """The product of two patterns: that of bfloat16 exact, that of float32 rounded and without subnormals."""
    if width == 16:
        a, b = decode(x), decode(y)
        return Fraction(0) if a is None or b is None else a.value * b.value
    # Rounded as if the exponent had no end; 48 bits of it fit a double.
    fraction, exponent = np.frexp(np.float64(value_of(x)) * np.float64(value_of(y)))
    rounded = np.ldexp(np.float64(np.float32(fraction)), exponent)
    with np.errstate(over="ignore"):
        return float(np.float32(rounded)) if abs(rounded) >= SMALLEST else 0.0


def value_of(pattern: int) -> np.float32:
    """A float32, a subnormal one as zero."""
    value = np.uint32(pattern).view(np.float32)
    return value if abs(value) >= SMALLEST else np.float32(0)


def added(width: int, x: Number, y: Number) -> float:
    """A float32 sum; an infinity stays, the first one of two."""
    if math.isinf(x) or math.isinf(y):
        return float(x if math.isinf(x) else y)
    if width == 16:
        return to_float32(Fraction(x) + Fraction(y))
    with np.errstate(over="ignore"):
        return float(np.float32(x) + np.float32(y))


def dot_product(width: int, so_far: float, xs: Sequence[int], ys: Sequence[int]) -> float:
    """Products summed in pairs, level by level, and then joined to a sum."""
    level: list[Number] = [product(width, x, y) for x, y in zip(xs, ys, strict=True)]
    while len(level) > 1:
        level = [added(width, *level[i : i + 2]) for i in range(0, len(level), 2)]
    return added(width, so_far, level[0])


def as_float32(pattern: int) -> np.float32:
    return np.uint32(pattern).view(np.float32)
