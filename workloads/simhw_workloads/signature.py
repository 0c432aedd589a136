"""What the captured step of a technique looks like: shares of zeros, terms, and which operations run."""

import math
from dataclasses import dataclass, fields

from simhw.report.trace_tables import trace_statistics
from simhw.trace.layer import Layer
from simhw.trace.trace import Trace


@dataclass(frozen=True)
class Bounds:
    """From `low` to `high`, both included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Signature:
    """What the captured step of a technique looks like, at either scale; None where nothing is said.

    Attributes
    ----------
    zeros_a, zeros_w, zeros_g : Bounds or None
        Share of exact zeros among the values of all layers' A, W and G.
    terms_a, terms_w, terms_g : Bounds or None
        Mean signed powers of two per value; a zero counts 0.
    macs : Bounds or None
        Multiply-accumulates of the step's three operations per sample, over those of the baseline's at the same scale.
    input_grad, weight_grad : Bounds or None
        Multiply-accumulates of that operation, over those of the forward pass.
    kinds : frozenset of str
        Kinds of layer that occur.
    absent : frozenset of str
        Kinds of layer that do not.
    """

    zeros_a: Bounds | None = None
    zeros_w: Bounds | None = None
    zeros_g: Bounds | None = None
    terms_a: Bounds | None = None
    terms_w: Bounds | None = None
    terms_g: Bounds | None = None
    macs: Bounds | None = None
    input_grad: Bounds | None = None
    weight_grad: Bounds | None = None
    kinds: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()

    @property
    def bounds(self) -> dict[str, Bounds]:
        """The bounds that are given, by name."""
        return {field.name: value for field in fields(self) if isinstance(value := getattr(self, field.name), Bounds)}


def forward_macs(layer: Layer) -> int:
    """Multiply-accumulates of a layer's forward pass, by its shapes; each gradient takes as many."""
    a, w = layer.shapes["a"], layer.shapes["w"]
    if layer.kind == "matmul":
        return math.prod(a) * w[-1]
    rows = a[0] * math.prod(layer.output_spatial) if layer.kind.startswith("conv") else math.prod(a[:-1])
    return rows * math.prod(w)


def measured(trace: Trace, baseline: Trace | None = None) -> dict[str, float]:
    """What `Signature` bounds, of a captured step.

    Parameters
    ----------
    trace : Trace
    baseline : Trace, optional
        The uncompressed model's step; without it nothing is said of ``macs``.

    Returns
    -------
    dict of name to float
        Nothing of G where no layer has one: a step without back-propagation.
    """
    sizes, zeros, terms = ({"a": 0.0, "w": 0.0, "g": 0.0} for _ in range(3))
    for _, tensor, statistics in trace_statistics(trace):
        sizes[tensor] += statistics.size
        zeros[tensor] += statistics.zeros
        terms[tensor] += statistics.terms_per_value() * statistics.size
    known = [tensor for tensor, size in sizes.items() if size]
    found = {f"zeros_{tensor}": zeros[tensor] / sizes[tensor] for tensor in known}
    found |= {f"terms_{tensor}": terms[tensor] / sizes[tensor] for tensor in known}
    macs = _operation_macs(trace)
    found |= {operation: macs[operation] / macs["forward"] for operation in ("input_grad", "weight_grad")}
    if baseline is not None:
        found["macs"] = _per_sample(trace) / _per_sample(baseline)
    return found


def _operation_macs(trace: Trace) -> dict[str, int]:
    return {
        operation: sum(forward_macs(layer) for layer in trace.layers if operation in layer.operations)
        for operation in ("forward", "input_grad", "weight_grad")
    }


def _per_sample(trace: Trace) -> float:
    assert trace.metadata.batch
    return sum(_operation_macs(trace).values()) / trace.metadata.batch
