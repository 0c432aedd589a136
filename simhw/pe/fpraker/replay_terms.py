"""The signed powers of two of a significand, as the replay takes them, apart from the tables of the kernel."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.pe.fpraker.parameters import FPRakerPE

BIT_SLOTS = 8
"""Bits of a significand, and so the most terms that it has."""


class Terms(NamedTuple):
    """Signed powers of two of the 128 significands: how many, and the position and sign of each."""

    counts: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    signs: npt.NDArray[np.int64]


def recoded(significand: int, encoder: str) -> list[tuple[int, int]]:
    """(sign, position) of a significand's terms, most significant first; bit 7 is position 0.

    Read off from the right, as one does by hand.  Binary takes one bit at a time; NAF takes 1 or -1 where the number is
    odd, whichever leaves a multiple of 4; radix-4 Booth takes two bits at a time, and where the upper one is set 4
    less.
    """
    terms: list[tuple[int, int]] = []
    rest, place, owed = significand, -7, 0
    while rest or owed:
        if encoder == "booth4":
            digit = rest % 4 + owed - (4 if rest & 2 else 0)
            rest, owed, width = rest >> 2, (rest & 2) // 2, 2
        else:
            digit = 2 - rest % 4 if encoder == "naf" and rest % 2 else rest % 2
            rest, width = (rest - digit) >> 1, 1
        if digit:
            terms.insert(0, (1 if digit > 0 else -1, place + abs(digit) - 1))
        place += width
    return terms


def terms_of(pe: FPRakerPE) -> Terms:
    """The terms that the PE's encoder makes of every significand."""
    counts = np.zeros(128, np.int64)
    positions, signs = np.zeros((128, BIT_SLOTS), np.int64), np.zeros((128, BIT_SLOTS), np.int64)
    for fraction in range(128):
        for index, (sign, position) in enumerate(recoded(128 + fraction, pe.encoder)):
            positions[fraction, index], signs[fraction, index] = position, sign
            counts[fraction] += 1
    return Terms(counts, positions, signs)
