"""The tensors that a layer's parameters lie in: a framework casts, and updates, each of them."""

from simhw.roofline.layers.network import (
    Conv,
    Embedding,
    Experts,
    Linear,
    NetworkLayer,
    Normalization,
    RecurrentLayer,
    Weight,
)
from simhw.roofline.operators import GATES


def multiplied_tensors(layer: NetworkLayer) -> tuple[int, ...]:
    """Values of each tensor that a layer multiplies by and adds, its own or an embedding's; none of other layers."""
    match layer:
        case Conv():
            bias = layer.out_channels * layer.bias
            return _present(layer.parameters - bias, bias)
        case Linear():
            return _present(layer.in_features * layer.out_features, layer.out_features * layer.bias)
        case Experts():
            return (layer.parameters,)
        case RecurrentLayer():
            biases = GATES[layer.cell] * layer.hidden
            return _present(biases * layer.inputs, biases * layer.hidden, biases, biases)
    return ()


def parameter_tensors(layer: NetworkLayer) -> tuple[int, ...]:
    """Values of each tensor of a layer's own parameters."""
    match layer:
        case Linear(tied=True):
            return _present(layer.out_features * layer.bias)
        case Normalization():
            tensors = layer.parameters // layer.channels
            return (layer.channels,) * tensors
        case Embedding() | Weight():
            return (layer.parameters,)
    return multiplied_tensors(layer)


def _present(*sizes: int) -> tuple[int, ...]:
    return tuple(size for size in sizes if size)
