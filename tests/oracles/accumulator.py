"""The floating-point accumulator register of one processing element, in Python's unbounded integers.

Source: spec page fpraker.md, section 2, "Arithmetic"; the bit-parallel baseline has the same register (decided).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from simhw.bfloat16 import BF16Array

BIAS = 127


@dataclass(frozen=True)
class Number:
    """A non-zero bfloat16: (-1)^negative * significand * 2^(exponent - 7), 128 <= significand <= 255."""

    negative: bool
    exponent: int
    fraction: int

    @property
    def significand(self) -> int:
        return 128 + self.fraction

    @property
    def value(self) -> Fraction:
        magnitude = self.significand * power_of_two(self.exponent - 7)
        return -magnitude if self.negative else magnitude


def decode(bits: int) -> Number | None:
    """A bfloat16 bit pattern as a Number, None for what the machines see as zero (+0, -0, subnormals)."""
    field = bits >> 7 & 0xFF
    if field == 0xFF:
        raise ValueError(f"0x{bits:04x} is not finite")
    if field == 0:
        return None
    return Number(bool(bits >> 15), field - BIAS, bits & 0x7F)


def decode_rows(bits: BF16Array, set_size: int) -> list[list[list[Number | None]]]:
    """(rows, K) bit patterns as [row][set][lane], K padded with zeros to whole sets."""
    rows = []
    for row in np.asarray(bits, dtype=np.uint16).tolist():
        padded = row + [0] * (-len(row) % set_size)
        numbers = [decode(pattern) for pattern in padded]
        rows.append([numbers[first : first + set_size] for first in range(0, len(numbers), set_size)])
    return rows


def power_of_two(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def shift_right_rne(value: int, positions: int) -> int:
    """value / 2^positions to the nearest integer, ties to even; the same for value and -value."""
    if positions <= 0:
        return value << -positions
    if positions > value.bit_length() + 1:  # below a quarter of the last place, and a huge shift would only be slow
        return 0
    floor = value >> positions
    rest = value - (floor << positions)
    half = 1 << (positions - 1)
    return floor + (rest > half or (rest == half and floor & 1))


def round_to_format(
    value: Fraction, significand_bits: int, min_exponent: int, max_exponent: int, subnormals: bool
) -> float:
    """RNE of an exact value to a binary format; too large gives +-inf, and without `subnormals` too small gives +0.

    The result is a Python float, which holds every value of the formats used here exactly.
    """
    if value == 0:
        return 0.0
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < power_of_two(exponent):
        exponent -= 1  # now 2^exponent <= magnitude < 2^(exponent + 1)
    if subnormals:
        exponent = max(exponent, min_exponent)
    last_place = power_of_two(exponent - significand_bits + 1)
    rounded = round(magnitude / last_place) * last_place  # round() of a Fraction is to nearest even
    sign = -1.0 if value < 0 else 1.0
    if rounded >= power_of_two(max_exponent + 1):
        return sign * math.inf
    if not subnormals and rounded < power_of_two(min_exponent):
        return 0.0
    return sign * float(rounded)


def to_bfloat16(value: Fraction) -> float:
    """Read-out: RNE to 8 significant bits; at or above 2^128 it is +-inf, rounded magnitudes below 2^-126 are +0."""
    return round_to_format(value, 8, -126, 127, subnormals=False)


def to_float32(value: Fraction) -> float:
    """RNE to IEEE float32 with gradual underflow."""
    return round_to_format(value, 24, -126, 127, subnormals=True)


class Accumulator:
    """S at exponent E: value S * 2^(E - F), 2^F <= |S| < 2^(F + 1), or S == 0, when E means nothing.

    An addend is a pair (integer, weight), worth integer * 2^weight in units of 2^emax.
    """

    def __init__(self, fraction_bits: int = 12, chunk: int | None = None) -> None:
        """`chunk`: MACs after which the register moves into a float32 running sum; None is off."""
        self.fraction_bits = fraction_bits
        self.chunk = chunk
        self.integer = 0
        self.exponent = 0
        self.running = 0.0
        self.macs = 0

    def value(self) -> Fraction:
        return self.integer * power_of_two(self.exponent - self.fraction_bits)

    def latch(self, product_exponents: Iterable[int]) -> int:
        """emax over the non-empty lanes' exponents (at least one) and the register; S is aligned to it, RNE."""
        candidates = list(product_exponents)
        if self.integer:
            candidates.append(self.exponent)
        emax = max(candidates)
        if self.integer:
            self.integer = shift_right_rne(self.integer, emax - self.exponent)
        self.exponent = emax
        return emax

    def add(self, addends: list[tuple[int, int]]) -> None:
        """S plus the exact sum of the addends, then one RNE to F fraction bits (rounding: set)."""
        self.integer = self._rounded(self.integer, addends)

    def add_rounded(self, addends: list[tuple[int, int]]) -> None:
        """The addends' exact sum, RNE to F fraction bits, is added to S (rounding: cycle, once per cycle)."""
        self.integer += self._rounded(0, addends)

    def _rounded(self, start: int, addends: list[tuple[int, int]]) -> int:
        scale = max(
            [self.fraction_bits] + [-weight for _, weight in addends]
        )  # every addend is whole in units of 2^-scale
        total = start << (scale - self.fraction_bits)
        for integer, weight in addends:
            total += integer << (weight + scale)
        return shift_right_rne(total, scale - self.fraction_bits)

    def normalise(self) -> None:
        """One RNE right shift by the whole distance (and one more on a carry out of it), or an exact left shift."""
        if self.integer == 0:
            self.exponent = 0
            return
        excess = abs(self.integer).bit_length() - (self.fraction_bits + 1)
        self.integer = shift_right_rne(self.integer, excess)
        self.exponent += excess
        if abs(self.integer) == 1 << (self.fraction_bits + 1):
            self.integer //= 2
            self.exponent += 1

    def end_set(self, macs: int) -> None:
        """Count the set's MACs (empty lanes too); a full chunk moves into the float32 running sum."""
        self.macs += macs
        if self.chunk is not None and self.macs >= self.chunk:
            self._flush()
            self.macs = 0

    def _flush(self) -> None:
        if math.isfinite(self.running):  # an infinite sum stays: the register is always finite
            self.running = to_float32(Fraction(self.running) + self.value())
        self.integer = 0
        self.exponent = 0

    def read_out(self) -> float:
        """The bfloat16 result; with chunks, what is left in the register joins the running sum first."""
        if self.chunk is None:
            return to_bfloat16(self.value())
        self._flush()
        return to_bfloat16(Fraction(self.running)) if math.isfinite(self.running) else self.running
