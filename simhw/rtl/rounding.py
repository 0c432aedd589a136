"""Rounding to nearest, ties to even, of two's complement numbers."""

from amaranth.hdl import Cat, Const, Module, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


def rounds_up(odd: Value, rest: Value) -> Value:
    """Whether a quotient goes up by one: `rest` are the bits below it, `odd` is its last bit."""
    return rest[-1] & (rest[:-1].any() | odd)


class RoundOff(wiring.Component):
    """A number without its lowest `dropped` bits, rounded once."""

    def __init__(self, width: int, dropped: int) -> None:
        self.dropped = dropped
        # Rounding up may carry into one bit more.
        super().__init__({"value": In(signed(width)), "rounded": Out(signed(width - dropped + 1))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        if self.dropped == 0:
            m.d.comb += self.rounded.eq(self.value)
        else:
            quotient = (self.value >> self.dropped).as_signed()
            m.d.comb += self.rounded.eq(quotient + rounds_up(quotient[0], self.value[: self.dropped]))
        return m


class RoundingShifter(wiring.Component):
    """A number shifted right by 0 to `most` positions, rounded once: no bit is lost before the rounding."""

    def __init__(self, width: int, most: int) -> None:
        self.most = most
        super().__init__({"value": In(signed(width)), "amount": In(range(most + 1)), "rounded": Out(signed(width + 1))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        shifted = Cat(Const(0, self.most), self.value).as_signed() >> self.amount
        quotient = shifted[self.most :].as_signed()
        m.d.comb += self.rounded.eq(quotient + rounds_up(quotient[0], shifted[: self.most]))
        return m
