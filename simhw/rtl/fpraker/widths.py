"""How wide the wires of an FPRaker PE are: all of it follows from the PE's parameters.

An offset K = d - p is carried as K + 1, which is never negative: a digit at 2**1 in the lane with the largest exponent
has 0.
"""

from dataclasses import dataclass

from simhw.errors import MachineError
from simhw.pe.fpraker.parameters import FPRakerPE
from simhw.rtl.encoder import POSITIONS
from simhw.rtl.normaliser import EXPONENT_BITS


@dataclass(frozen=True)
class Widths:
    """Sizes and places derived from the parameters of a PE."""

    pe: FPRakerPE

    def __post_init__(self) -> None:
        if self.pe.oob == "off":
            raise MachineError("pe.oob=off has no hardware: it is a machine that leaves no term out, as a bound")

    @property
    def largest_offset(self) -> int:
        """The largest K + 1 that is in bounds."""
        return self.pe.threshold + 1

    @property
    def distance_limit(self) -> int:
        """Where d saturates: all terms of such a lane are out of bounds.

        It does not where they may take a cycle nevertheless, whose place in the window counts.
        """
        if self.pe.oob == "column" and self.pe.window_on == "offset":
            return (1 << EXPONENT_BITS) - 1
        return self.largest_offset + 1

    @property
    def offset_limit(self) -> int:
        """The largest K + 1 there can be, out of bounds or not."""
        return self.distance_limit + POSITIONS - 1

    @property
    def window(self) -> int:
        """Positions of the window; what is wider than the places of terms is no different from them."""
        if self.pe.window_on == "position":
            widest = POSITIONS - 1
        else:
            widest = self.largest_offset if self.pe.oob == "pe" else self.offset_limit
        return min(self.pe.shift_window, widest)

    @property
    def reach(self) -> int:
        """How far apart the offsets of lanes may lie that fire in one cycle, and so how far a lane's shifter reaches.

        A window on positions says nothing of the offsets.
        """
        return min(self.window, self.largest_offset) if self.pe.window_on == "offset" else self.largest_offset

    @property
    def fraction_bits(self) -> int:
        """F."""
        return self.pe.accumulator_fraction_bits

    @property
    def addend_fraction_bits(self) -> int:
        """Fraction bits of a cycle's sum: its last place is B's last at the threshold."""
        return 7 + self.pe.threshold

    @property
    def addend_bits(self) -> int:
        """Of a cycle's sum: a signed significand a lane, shifted by as much as `largest_offset`."""
        return 8 + self.largest_offset + 1 + (self.pe.lanes - 1).bit_length()

    @property
    def sum_fraction_bits(self) -> int:
        """Fraction bits that the accumulator has within a set: under ``rounding: set`` none is dropped before its
        end.
        """
        return self.fraction_bits if self.pe.rounding == "cycle" else max(self.fraction_bits, self.addend_fraction_bits)

    @property
    def sum_bits(self) -> int:
        """Of the accumulator within a set, with its sign.

        Each lane adds less than 4 * 2**F to the |S| < 2 * 2**F that a set begins with, however far it has got: a
        product is below 4, and so is the sum of its first digits times B.
        """
        return self.sum_fraction_bits + (4 * self.pe.lanes + 1).bit_length() + 1

    @property
    def integer_bits(self) -> int:
        """Of S, normalised: sign, the bit before the point, and F."""
        return self.fraction_bits + 2
