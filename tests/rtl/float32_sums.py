"""What hardware has to compute that multiplies bfloat16 or float32 and adds in float32, by NumPy's float32."""

import math
from collections.abc import Sequence

import numpy as np

SMALLEST = np.finfo(np.float32).tiny
"""The smallest normal float32."""


def product(x: float, y: float) -> float:
    """Rounded to float32; without subnormals."""
    # Rounded as if the exponent had no end; 48 bits of it fit a double.
    fraction, exponent = np.frexp(np.float64(x) * np.float64(y))
    rounded = np.ldexp(np.float64(np.float32(fraction)), exponent)
    with np.errstate(over="ignore"):
        return float(np.float32(rounded)) if abs(rounded) >= SMALLEST else 0.0


def added(x: float, y: float) -> float:
    """A float32 sum; of two infinities the first one stays."""
    if math.isinf(x):
        return x
    with np.errstate(over="ignore"):
        return float(np.float32(x) + np.float32(y))


def dot_product(width: int, so_far: float, xs: Sequence[int], ys: Sequence[int]) -> float:
    """Products summed in pairs, level by level, and then joined to a sum."""
    level = [product(*(operand(width, each) for each in pair)) for pair in zip(xs, ys, strict=True)]
    while len(level) > 1:
        level = [added(*level[i : i + 2]) for i in range(0, len(level), 2)]
    return added(so_far, level[0])


def operand(width: int, pattern: int) -> float:
    """A bfloat16, the upper half of a float32, or a float32; a subnormal one as zero."""
    value = float(as_float32(pattern << 32 - width))
    return value if abs(value) >= SMALLEST else 0.0


def as_float32(pattern: int) -> np.float32:
    return np.uint32(pattern).view(np.float32)
