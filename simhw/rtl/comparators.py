"""Trees of comparators."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value

from simhw.rtl.adders import tree


def largest(m: Module, values: Sequence[Value]) -> Value:
    """The largest of some numbers without sign."""
    return tree(lambda first, second: _chosen(m, first > second, first, second), values)


def smallest(m: Module, values: Sequence[Value]) -> Value:
    """The smallest of some numbers without sign."""
    return tree(lambda first, second: _chosen(m, first < second, first, second), values)


def _chosen(m: Module, is_first: Value, first: Value, second: Value) -> Value:
    # A signal a node: the next one needs it twice, and an expression would grow threefold a level.
    chosen = Signal(max(len(first), len(second)))
    m.d.comb += chosen.eq(Mux(is_first, first, second))
    return chosen
