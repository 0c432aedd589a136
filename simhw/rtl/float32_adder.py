"""A float32 adder: two exact addends, one rounding to nearest even.

Sums underflow gradually: a subnormal one has no leading bit, as in IEEE 754.  What is too large is infinite.
There is no NaN: of two infinities of opposite sign the first one stays.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from simhw.rtl.leading_one import leading_one
from simhw.rtl.rounding import RoundOff

FRACTION_BITS = 23
FIELD_BITS = 8
FIELD_OF_INFINITY = (1 << FIELD_BITS) - 1
BIAS = 127
GUARD_BITS = 3
"""Behind the last bit of the larger addend: guard, round, and a sticky one that stands for all others."""
TOP = FRACTION_BITS + GUARD_BITS
"""Where the larger addend has its first bit."""
WIDE_FIELD_BITS = 11

ADDEND = StructLayout(
    {
        "significand": unsigned(FRACTION_BITS + 1),
        "field": signed(WIDE_FIELD_BITS),
        "infinite": unsigned(1),
        "negative": unsigned(1),
    }
)
"""A number significand * 2**(field - 150), or an infinity; a wide one's field may lie outside of float32.

The significand has its leading bit where the field is not 1.  A zero has a field of at most 1.
"""


def unpacked(pattern: Value) -> Value:
    """A float32 pattern as an addend; a subnormal number has field 1 and no leading bit."""
    fraction, field, negative = pattern[:FRACTION_BITS], pattern[FRACTION_BITS:-1], pattern[-1]
    normal = field.any()
    return Cat(fraction, normal, Cat(field[0] | ~normal, field[1:], Const(0, 3)), field.all(), negative)


class Float32Adder(wiring.Component):
    """Combinational.

    Attributes
    ----------
    x, y : In
        Addends, of which y may be wide.
    sum : Out
        float32 pattern of x + y.
    """

    def __init__(self) -> None:
        super().__init__({"x": In(ADDEND), "y": In(ADDEND), "sum": Out(32)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        further = Signal(signed(WIDE_FIELD_BITS + 1))
        m.d.comb += further.eq(self.x.field - self.y.field)
        exchanged = further < 0
        larger, smaller = Signal(ADDEND), Signal(ADDEND)
        m.d.comb += [larger.eq(Mux(exchanged, self.y, self.x)), smaller.eq(Mux(exchanged, self.x, self.y))]
        placed = self._placed(m, smaller.significand, abs(further))

        # With equal fields the difference may be negative, and so it may where x is subnormal.
        subtracts = Signal()
        total = Signal(signed(TOP + 4))
        magnitude = Signal(TOP + 2)
        operand = Cat(placed, Const(0, 2)) ^ subtracts.replicate(TOP + 3)
        m.d.comb += [
            subtracts.eq(larger.negative ^ smaller.negative),
            # The bit below both brings the carry that makes an inverted addend a negative one.
            total.eq(Cat(1, Const(0, GUARD_BITS), larger.significand) + Cat(subtracts, operand)),
            magnitude.eq(abs(total[1:].as_signed())),
        ]
        negative = larger.negative ^ total[-1]
        rounded = self._rounded(m, magnitude, larger.field)
        with m.If(self.x.infinite | self.y.infinite):
            infinite = Mux(self.x.infinite, self.x.negative, self.y.negative)
            m.d.comb += self.sum.eq(Cat(Const(FIELD_OF_INFINITY << FRACTION_BITS, 31), infinite))
        with m.Elif(magnitude.any()):  # what cancels exactly is +0
            m.d.comb += self.sum.eq(Cat(rounded, negative))
        return m

    def _placed(self, m: Module, significand: Value, distance: Value) -> Value:
        """The smaller addend as it lies beside the larger one, what it loses or-ed into the sticky bit."""
        furthest = TOP + 1
        shift = Signal(range(furthest + 1))
        shifted = Signal(TOP + 1 + furthest)
        placed = Signal(TOP + 1)
        m.d.comb += [
            shift.eq(Mux(distance < furthest, distance, furthest)),
            shifted.eq(Cat(Const(0, furthest + GUARD_BITS), significand) >> shift),
            placed.eq(Cat(shifted[: furthest + 1].any(), shifted[furthest + 1 :])),
        ]
        return placed

    def _rounded(self, m: Module, magnitude: Value, base: Value) -> Value:
        """A sum, whose bit TOP has the exponent of field `base`, as a float32 without its sign."""
        # To the left only as far as the exponent allows: a subnormal sum keeps its leading zeros.
        left = Signal(range(TOP + 1))
        room = Signal(range(TOP + 1))
        carry = magnitude[TOP + 1]
        normalised = Signal(TOP + 1)
        zeros = TOP - leading_one(m, magnitude[: TOP + 1])
        m.d.comb += [room.eq(Mux(base <= TOP, base - 1, TOP)), left.eq(Mux(zeros < room, zeros, room))]
        with m.If(carry):
            m.d.comb += normalised.eq(Cat(magnitude[:2].any(), magnitude[2:]))
        with m.Else():
            m.d.comb += normalised.eq(magnitude << left)
        m.submodules.rounding = rounding = RoundOff(TOP + 2, GUARD_BITS)
        m.d.comb += rounding.value.eq(normalised)

        # Fraction and field as one number: a carry out of the fraction counts the field up, from 0 to 1 too.
        field = Signal(WIDE_FIELD_BITS)
        pattern = Signal(FRACTION_BITS + WIDE_FIELD_BITS)
        m.d.comb += [
            field.eq(Mux(carry, base, base - 1 - left)),
            pattern.eq((field << FRACTION_BITS) + rounding.rounded.as_unsigned()),
        ]
        infinite = pattern[FRACTION_BITS:] >= FIELD_OF_INFINITY
        return Mux(infinite, FIELD_OF_INFINITY << FRACTION_BITS, pattern)[:31]
