"""The leading-one detector in front of a normalising shifter: a tree, as deep as the logarithm of the bits."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from simhw.rtl.adders import tree


def leading_one(m: Module, value: Value) -> Value:
    """The position of the highest bit that is set, or 0."""
    width = 1 << (len(value) - 1).bit_length()
    # A part is its position's bits, and above them whether it has a one at all.
    found = tree(lambda low, high: _higher(m, low, high), [*value, *[Const(0, 1)] * (width - len(value))])
    return found[:-1]


def _higher(m: Module, low: Value, high: Value) -> Value:
    # A signal a part: the next one needs it twice.
    part = Signal(len(low) + 1)
    position = Mux(high[-1], high[:-1], low[:-1]) if len(low) > 1 else Cat()
    m.d.comb += part.eq(Cat(position, high[-1], low[-1] | high[-1]))
    return part
