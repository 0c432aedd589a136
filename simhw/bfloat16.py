"""bfloat16 numbers: rounding to them, splitting them, and the signed powers of two that a significand is made of.

A bfloat16 value is a uint16 bit pattern: sign, 8-bit exponent (bias 127), 7 fraction bits with a hidden one.  The
machines flush subnormals to zero, so a value counts as zero when its exponent field is 0.  Source: spec page
fpraker.md, section 1.
"""

import sys
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simhw.errors import ShapeError

BF16Array = npt.NDArray[np.uint16]
Encoder = Literal["naf", "booth4", "binary"]
ENCODERS: tuple[Encoder, ...] = ("naf", "booth4", "binary")

EXPONENT_MASK = np.uint16(0x7F80)
NEGATIVE_INFINITY = 0xFF80
FRACTION_BITS = 7
PIECE_VALUES = 1 << 18
"""Values that are worked on together: half a MiB, so that a second look, or a step's result, is in a core's cache."""


def from_float32(values: npt.NDArray[np.float32], rounding: Literal["rne", "truncate"] = "rne") -> BF16Array:
    """Round float32 values to bfloat16 bit patterns.

    Parameters
    ----------
    values : float32 array of any shape
    rounding : {"rne", "truncate"}
        Round to nearest even (default), or drop the low 16 bits as the FPRaker authors' own code does.

    Returns
    -------
    uint16 array of the same shape
        A NaN stays a NaN; a finite value beyond the largest bfloat16 rounds to infinity under ``rne``.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = np.empty(bits.shape, np.uint16)
    source, result = bits.reshape(-1), rounded.reshape(-1)
    for start in range(0, source.size, PIECE_VALUES):
        piece = slice(start, start + PIECE_VALUES)
        result[piece] = _rounded(source[piece], rounding)
    return rounded


def _rounded(bits: npt.NDArray[np.uint32], rounding: Literal["rne", "truncate"]) -> npt.NDArray[np.uint32]:
    if rounding == "truncate":
        kept = bits >> 16
    else:
        kept = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    # A NaN whose payload sits in the dropped half must not turn into an infinity, nor overflow into a zero.
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return np.where(nan, (bits >> 16) | 0x40, kept)


def to_float32(bits: BF16Array) -> npt.NDArray[np.float32]:
    """The exact float32 values of bfloat16 bit patterns, same shape."""
    return (np.asarray(bits, dtype=np.uint16).astype(np.uint32) << 16).view(np.float32)


def as_bfloat16(
    values: npt.ArrayLike, what: str = "operand", rounding: Literal["rne", "truncate"] = "rne"
) -> BF16Array:
    """Accept bfloat16 bit patterns (uint16) or floating-point values, and give bit patterns.

    Parameters
    ----------
    values : array of any shape
        Of NumPy (also of ml_dtypes' bfloat16) or PyTorch, whose bfloat16 tensors are taken as they are.
    what : str
        Names the array in errors.
    rounding : {"rne", "truncate"}
        As in `from_float32`.

    Raises
    ------
    ShapeError
        The array is neither uint16 nor floating point, or is none.
    """
    try:
        array = _array(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"{what} is no plain array: {error}") from error
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return array.astype(np.uint16, copy=False)  # whatever its byte order
    if array.dtype.kind == "f":
        # What float32 does not hold is an infinity, which is refused where it matters.
        with np.errstate(over="ignore"):
            return from_float32(array.astype(np.float32, copy=False), rounding)
    raise ShapeError(f"{what} is {array.dtype}: give uint16 bfloat16 bit patterns or floating-point values")


def _array(values: Any) -> npt.NDArray[Any]:
    dtype = str(getattr(values, "dtype", ""))
    if dtype.startswith("torch."):
        # Whoever gives a tensor has imported PyTorch; simhw does not need it here.
        tensor = values.detach().cpu()
        bits = tensor.view(sys.modules["torch"].int16) if dtype == "torch.bfloat16" else tensor
        array: npt.NDArray[Any] = bits.numpy()
        return array.view(np.uint16) if dtype == "torch.bfloat16" else array
    if isinstance(values, np.ma.MaskedArray) and values.mask.any():
        raise ValueError(f"{int(values.mask.sum())} of its values are masked; fill them")
    array = np.asarray(values)
    # NumPy has no bfloat16 of its own: that of ml_dtypes, which JAX gives, is two bytes as well.
    return array.view(np.uint16) if dtype == "bfloat16" else array


def is_zero(bits: BF16Array) -> npt.NDArray[np.bool_]:
    """True where the machines see a zero: +0, -0 and subnormals."""
    return np.asarray((bits & EXPONENT_MASK) == 0)


def is_nonfinite(bits: BF16Array) -> npt.NDArray[np.bool_]:
    """True for NaN and infinity."""
    return np.asarray((bits & EXPONENT_MASK) == EXPONENT_MASK)


def has_nonfinite(bits: BF16Array) -> bool:
    """True where any value is NaN or infinity; takes no memory to speak of.

    They are the largest patterns of their sign: the negative ones as unsigned numbers, the positive ones as signed.
    """
    flat = bits.ravel(order="K")
    pieces = (flat[start : start + PIECE_VALUES] for start in range(0, flat.size, PIECE_VALUES))
    return any(
        int(piece.max()) >= NEGATIVE_INFINITY or int(piece.view(np.int16).max()) >= EXPONENT_MASK for piece in pieces
    )


def nonfinite_values(bits: BF16Array) -> str | None:
    """How many values are NaN or infinite and where the first one is, in words; None where there are none."""
    if not has_nonfinite(bits):
        return None
    bad = is_nonfinite(bits)
    first = tuple(int(index) for index in np.unravel_index(int(bad.argmax()), bad.shape))
    return f"{int(bad.sum())} NaN or infinite values (first at index {first})"


def significand_terms(fraction: int, encoder: Encoder = "naf") -> list[tuple[int, int]]:
    """Signed powers of two of the significand 1.fraction, most significant first.

    Parameters
    ----------
    fraction : int in 0..127
        The seven stored bits.
    encoder : {"naf", "booth4", "binary"}
        Canonical signed digits (non-adjacent form), radix-4 Booth digits, or the plain set bits.

    Returns
    -------
    list of (sign, position)
        ``sum(sign * 2**position) == 1 + fraction / 128``; position runs from +1 down to -7.
        Mean lengths over the 128 significands are 3.4453, 4.000 and 4.500 (spec page fpraker.md, section 1).
    """
    value = 128 + fraction
    if encoder == "binary":
        return [(1, bit - FRACTION_BITS) for bit in range(7, -1, -1) if value >> bit & 1]
    terms: list[tuple[int, int]] = []
    if encoder == "naf":
        # The non-zero positions of the non-adjacent form of x are ((3x) xor x) >> 1; a digit is negative where 3x has a
        # 0.
        triple = 3 * value
        for bit in range(9, 0, -1):
            if (triple ^ value) >> bit & 1:
                terms.append((1 if triple >> bit & 1 else -1, bit - 1 - FRACTION_BITS))
        return terms
    for digit_index in range(4, -1, -1):
        low = 2 * digit_index
        # Booth digit: -2 b(2i+1) + b(2i) + b(2i-1), one of -2..2, hence at most one signed power of two.
        below = value >> (low - 1) & 1 if low else 0
        digit = -2 * (value >> (low + 1) & 1) + (value >> low & 1) + below
        if digit:
            terms.append((1 if digit > 0 else -1, low + (abs(digit) == 2) - FRACTION_BITS))
    return terms


@cache
def term_counts(encoder: Encoder = "naf") -> npt.NDArray[np.int64]:
    """Number of terms of each of the 128 significands, indexed by fraction; shape (128,)."""
    return np.array([len(significand_terms(fraction, encoder)) for fraction in range(128)], dtype=np.int64)
