"""Zeros and terms of a trace's tensors: as charts of the whole step and as a table of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass

from simhw.report.page.charts import Bar, Bars, Piece
from simhw.report.page.layers import Cell
from simhw.results.values import LayerValues, TensorValues
from simhw.trace.layer import TENSORS, TensorName

TENSOR_NAMES: dict[TensorName, str] = {"a": "A, activations", "w": "W, weights", "g": "G, gradients"}
ZERO_COLOR, VALUE_COLOR, TERM_COLOR = "#999999", "#0072B2", "#E69F00"


@dataclass(frozen=True)
class ValuesPart:
    """What the values of a trace are like.

    Attributes
    ----------
    trace : str
    zeros, terms : Bars
        Of each tensor, over all layers.
    columns : tuple of (heading, is a number)
    rows : tuple of tuple of Cell
        A row per layer.
    """

    trace: str
    zeros: Bars
    terms: Bars
    columns: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Cell, ...], ...]


def values_part(trace: str, layers: Sequence[LayerValues]) -> ValuesPart | None:
    """The part of a trace; None where nothing is known of its values."""
    found = {
        name: [each.tensors[name] for each in layers if name in each.tensors and each.tensors[name].size]
        for name in TENSORS
    }
    totals = {
        name: TensorValues(sum(t.size for t in each), sum(t.zeros for t in each), sum(t.terms for t in each))
        for name, each in found.items()
        if each
    }
    if not totals:
        return None
    columns = [("layer", False), ("kind", False)]
    for tensor in TENSORS:
        columns += [(f"{tensor.upper()} values", True), (f"{tensor.upper()} zeros", True)]
        columns += [(f"{tensor.upper()} terms a value", True)]
    return ValuesPart(trace, _zeros(totals), _terms(totals), tuple(columns), tuple(_row(each) for each in layers))


def _zeros(totals: dict[TensorName, TensorValues]) -> Bars:
    bars = []
    for name, total in totals.items():
        share = total.zeros / total.size
        pieces = (
            Piece("zero", share, ZERO_COLOR, f"{share:.1%}"),
            Piece("not zero", 1 - share, VALUE_COLOR, f"{1 - share:.1%}"),
        )
        bars.append(Bar(TENSOR_NAMES[name], TENSOR_NAMES[name], pieces, f"{total.size:,} values"))
    return Bars("Zeros", "Share of the values of all layers; a machine that skips zeros gains from them.", tuple(bars))


def _terms(totals: dict[TensorName, TensorValues]) -> Bars:
    bars = []
    for name, total in totals.items():
        mean = total.terms / total.size
        piece = Piece("terms a value", mean, TERM_COLOR, f"{mean:.3f}")
        bars.append(Bar(TENSOR_NAMES[name], TENSOR_NAMES[name], (piece,), f"{mean:.3f}"))
    caption = (
        "Signed powers of two of a value (non-adjacent form), on average, zeros included; a term-serial machine takes "
        "one at a time. At most 5."
    )
    return Bars("Terms", caption, tuple(bars))


def _row(layer: LayerValues) -> tuple[Cell, ...]:
    cells = [Cell(layer.layer), Cell(layer.kind)]
    for name in TENSORS:
        found = layer.tensors.get(name)
        if found is None or not found.size:
            cells += [Cell("-", float("nan"))] * 3
        else:
            zeros, terms = found.zeros / found.size, found.terms / found.size
            cells += [Cell(f"{found.size:,}", found.size), Cell(f"{zeros:.1%}", zeros), Cell(f"{terms:.3f}", terms)]
    return tuple(cells)
