"""The float32 running sum that takes an accumulator after every chunk: one rounding to nearest even a chunk.

Sums underflow gradually, and an infinite one stays.  Source: spec page fpraker.md, section 2, "Arithmetic".
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from simhw.rtl.normaliser import EXPONENT_BITS
from simhw.rtl.read_out import EXPONENT_OF_FIELD_0, FIELD_OF_INFINITY
from simhw.rtl.rounding import RoundOff

FRACTION_BITS = 23
GUARD_BITS = 3
"""Behind the last bit of the larger addend: guard, round, and a sticky one that stands for all others."""
TOP = FRACTION_BITS + GUARD_BITS
"""Where the larger addend has its first bit."""


class RunningSum(wiring.Component):
    """Running sums of normalised accumulators with `fraction_bits`, at most 23.

    Attributes
    ----------
    s, exponent : In
        The accumulator.
    fold, onto : In
        In a cycle with `fold` it joins the sum, or with `onto` 0 begins one.
    sum : Out
        float32 pattern.
    value : Out
        Its bfloat16 pattern: rounded to nearest even, +0 where it is below the smallest normal number.
    """

    def __init__(self, fraction_bits: int) -> None:
        self.fraction_bits = fraction_bits
        super().__init__(
            {
                "s": In(signed(fraction_bits + 2)),
                "exponent": In(EXPONENT_BITS),
                "fold": In(1),
                "onto": In(1),
                "sum": Out(32),
                "value": Out(16),
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        so_far = Signal(32)
        m.d.comb += so_far.eq(Mux(self.onto, self.sum, 0))

        # Fields of float32; a subnormal sum has the exponent of field 1, without the leading bit.
        normal = so_far[23:31].any()
        sum_field, field, base = (
            Signal(signed(EXPONENT_BITS + 1), name=name) for name in ("sum_field", "field", "base")
        )
        m.d.comb += [
            sum_field.eq(Mux(normal, so_far[23:31], 1)),
            field.eq(self.exponent - EXPONENT_OF_FIELD_0),
            base.eq(Mux(self.s.any() & (field > sum_field), field, sum_field)),
        ]
        size = abs(self.s)[: self.fraction_bits + 1] << (FRACTION_BITS - self.fraction_bits)
        accumulator = self._placed(m, "accumulator", size, base - field)
        earlier = self._placed(m, "earlier", Cat(so_far[:23], normal), base - sum_field)
        total = Signal(signed(TOP + 3))
        m.d.comb += total.eq(Mux(self.s < 0, -accumulator, accumulator) + Mux(so_far[31], -earlier, earlier))
        rounded = self._rounded(m, total, base)

        with m.If(self.fold):
            with m.If(so_far[23:31] == FIELD_OF_INFINITY):
                m.d.sync += self.sum.eq(so_far)
            with m.Else():
                m.d.sync += self.sum.eq(rounded)
        self._read_out(m)
        return m

    def _placed(self, m: Module, name: str, size: Value, distance: Value) -> Value:
        """An addend as it lies beside the larger one, what it loses or-ed into the sticky bit."""
        furthest = TOP + 1
        shift = Signal(range(furthest + 1), name=f"{name}_shift")
        shifted = Signal(TOP + 1 + furthest, name=f"{name}_shifted")
        placed = Signal(TOP + 1, name=f"{name}_placed")
        m.d.comb += [
            shift.eq(Mux(distance < furthest, distance, furthest)),
            shifted.eq(Cat(Const(0, furthest + GUARD_BITS), size) >> shift),
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
        field = Signal(EXPONENT_BITS)
        pattern = Signal(FRACTION_BITS + EXPONENT_BITS + 1)
        with m.If(magnitude.any()):  # what cancels exactly is +0
            m.d.comb += field.eq(Mux(carry, base, base - 1 - left))
        m.d.comb += pattern.eq((field << FRACTION_BITS) + rounding.rounded.as_unsigned())
        infinite = pattern[FRACTION_BITS:] >= FIELD_OF_INFINITY
        return Cat(Mux(infinite, FIELD_OF_INFINITY << FRACTION_BITS, pattern[:31])[:31], total < 0)

    def _read_out(self, m: Module) -> None:
        upper = Signal(16)
        guard, sticky, odd = self.sum[15], self.sum[:15].any(), self.sum[16]
        m.d.comb += upper.eq(self.sum[16:] + (guard & (sticky | odd)))
        with m.If(self.sum[23:31].any()):
            m.d.comb += self.value.eq(upper)
        # Eight significant bits of a number just below the smallest normal one end half a place lower.
        with m.Elif(self.sum[14:23].all()):
            m.d.comb += self.value.eq(Cat(Const(1 << 7, 15), self.sum[31]))
