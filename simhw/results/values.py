"""What the values of a step's tensors are like: zeros and terms, which decide how fast the machines are."""

from collections.abc import Mapping
from dataclasses import dataclass

from simhw.trace.layer import Layer, TensorName


@dataclass(frozen=True)
class TensorValues:
    """Counts over a whole tensor, also where a trace holds only a sample of it.

    Attributes
    ----------
    size : int
        Values.
    zeros : int
        Those of them that the machines see as zero.
    terms : int
        Signed powers of two of all values, in non-adjacent form.
    """

    size: int
    zeros: int
    terms: int


@dataclass(frozen=True)
class LayerValues:
    """The tensors of a layer.

    Attributes
    ----------
    layer, kind : str
    tensors : mapping of tensor name to TensorValues
        Those of which the trace has statistics, or of which the run needed them.
    """

    layer: str
    kind: str
    tensors: Mapping[TensorName, TensorValues]


def known_values(layer: Layer) -> LayerValues:
    """What is known of a layer's values without reading any tensor."""
    return LayerValues(
        layer.name,
        layer.kind,
        {
            name: TensorValues(found.size, found.zeros, int(found.terms_per_image.sum()))
            for name, found in layer.statistics.items()
        },
    )
