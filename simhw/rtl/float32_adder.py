"""A float32 adder: two exact addends, one rounding to nearest even.

Sums underflow gradually: a subnormal one has no leading bit, as in IEEE 754.  What is too large is infinite.
There is no NaN: of two infinities of opposite sign the first one stays.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

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
"""A number significand * 2**(field - 150), or an infinity; its field may lie outside of float32.

The significand has its leading bit where the field is above 1.  A zero has a field of at most 1.
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
        Addends.
    sum : Out
        float32 pattern of x + y.
    """

    def __init__(self) -> None:
        super().__init__({"x": In(ADDEND), "y": In(ADDEND), "sum": Out(32)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        larger, base = Signal(signed(WIDE_FIELD_BITS)), Signal(unsigned(WIDE_FIELD_BITS - 1))
        m.d.comb += [
            larger.eq(Mux(self.x.field > self.y.field, self.x.field, self.y.field)),
            base.eq(Mux(larger > 0, larger, 1)),  # below field 1 float32 has no finer last place
        ]
        x = self._placed(m, "x", self.x.significand, self.x.field, base)
        y = self._placed(m, "y", self.y.significand, self.y.field, base)
        total = Signal(signed(TOP + 3))
        m.d.comb += total.eq(Mux(self.x.negative, -x, x) + Mux(self.y.negative, -y, y))
        rounded = self._rounded(m, total, base)
        with m.If(self.x.infinite | self.y.infinite):
            negative = Mux(self.x.infinite, self.x.negative, self.y.negative)
            m.d.comb += self.sum.eq(Cat(Const(FIELD_OF_INFINITY << FRACTION_BITS, 31), negative))
        with m.Else():
            m.d.comb += self.sum.eq(rounded)
        return m

    def _placed(self, m: Module, name: str, significand: Value, field: Value, base: Value) -> Value:
        """An addend as it lies beside the larger one, what it loses or-ed into the sticky bit."""
        furthest = TOP + 1
        distance = Signal(WIDE_FIELD_BITS, name=f"{name}_distance")
        shift = Signal(range(furthest + 1), name=f"{name}_shift")
        shifted = Signal(TOP + 1 + furthest, name=f"{name}_shifted")
        placed = Signal(TOP + 1, name=f"{name}_placed")
        m.d.comb += [
            distance.eq(base - field),
            shift.eq(Mux(distance < furthest, distance, furthest)),
            shifted.eq(Cat(Const(0, furthest + GUARD_BITS), significand) >> shift),
            placed.eq(Cat(shifted[: furthest + 1].any(), shifted[furthest + 1 :])),
        ]
        return placed

    def _rounded(self, m: Module, total: Value, base: Value) -> Value:
        """A sum, whose bit TOP has the exponent of field `base`, as float32."""
        magnitude = Signal(TOP + 2)
        leading_one = Signal(range(TOP + 2))
        m.d.comb += magnitude.eq(abs(total))
        for position in range(TOP + 2):
            with m.If(magnitude[position]):
                m.d.comb += leading_one.eq(position)

        # To the left only as far as the exponent allows: a subnormal sum keeps its leading zeros.
        left = Signal(range(TOP + 1))
        room = Signal(range(TOP + 1))
        carry = magnitude[TOP + 1]
        normalised = Signal(TOP + 1)
        m.d.comb += [
            room.eq(Mux(base <= TOP, base - 1, TOP)),
            left.eq(Mux(TOP - leading_one < room, TOP - leading_one, room)),
        ]
        with m.If(carry):
            m.d.comb += normalised.eq(Cat(magnitude[:2].any(), magnitude[2:]))
        with m.Else():
            m.d.comb += normalised.eq(magnitude << left)
        m.submodules.rounding = rounding = RoundOff(TOP + 2, GUARD_BITS)
        m.d.comb += rounding.value.eq(normalised)

        # Fraction and field as one number: a carry out of the fraction counts the field up, from 0 to 1 too.
        field = Signal(WIDE_FIELD_BITS)
        pattern = Signal(FRACTION_BITS + WIDE_FIELD_BITS)
        with m.If(magnitude.any()):  # what cancels exactly is +0
            m.d.comb += field.eq(Mux(carry, base, base - 1 - left))
        m.d.comb += pattern.eq((field << FRACTION_BITS) + rounding.rounded.as_unsigned())
        infinite = pattern[FRACTION_BITS:] >= FIELD_OF_INFINITY
        return Cat(Mux(infinite, FIELD_OF_INFINITY << FRACTION_BITS, pattern[:31])[:31], total < 0)
