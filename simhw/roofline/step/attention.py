"""Attention in a step: one kernel, or products with a softmax between them.

Libraries compute either.  Layer lists and captured models have it as products, or as one `Attention`; both forms are
made of either here, so that a run can choose.

Products: copies of keys and values for each head that shares them, scores, scale, mask, softmax, context.  Backward
their gradients follow from these.  Fused, the kernel reads queries, keys and values where the linear layers wrote them
and writes what the next one reads, so that the copies around it, which lay heads out for batched products, are gone;
scale, mask and dropout are part of it.  Source: PyTorch's `scaled_dot_product_attention`.
"""

from dataclasses import replace
from typing import Literal

from simhw.roofline.layers.network import Attention, MatMul, Network, NetworkLayer, Pointwise, Softmax

Attend = Literal["products", "fused"]
"""Whether attention is two products and a softmax between them, or one kernel."""
INSIDE = {"scale", "mask", "dropout"}
"""Functions between the products that are part of the kernel."""
AROUND = {"copy", "scale"}
"""Functions on queries, keys and values before the products that are part of it."""
MOST_AROUND = 6
"""Of them: a copy and a scale for each of the three."""


def with_attention(network: Network, attend: Attend) -> Network:
    """The network with its attention in one form; the same network where it has none in the other."""
    if attend == "products":
        if not any(isinstance(layer, Attention) for layer in network.layers):
            return network
        layers = [each for layer in network.layers for each in _products(layer)]
    else:
        if not any(isinstance(layer, Softmax) for layer in network.layers):
            return network
        layers = _fused(network.layers)
    return replace(network, layers=tuple(layers))


def _products(layer: NetworkLayer) -> list[NetworkLayer]:
    if not isinstance(layer, Attention):
        return [layer]
    name, pairs = layer.name, layer.heads * layer.queries * layer.keys
    shared = [
        Pointwise(f"{name}.{tensor}_heads", "copy", layer.heads * layer.keys * layer.width)
        for tensor in ("key", "value")
        if layer.shared > 1
    ]
    mask = [Pointwise(f"{name}.mask", "mask", pairs)] if layer.causal else []
    return [
        *shared,
        MatMul(f"{name}.scores", layer.heads, layer.queries, layer.keys, layer.width),
        Pointwise(f"{name}.scale", "scale", pairs),
        *mask,
        Softmax(f"{name}.softmax", layer.heads * layer.queries, layer.keys),
        MatMul(f"{name}.context", layer.heads, layer.queries, layer.width, layer.keys),
    ]


def _fused(layers: tuple[NetworkLayer, ...]) -> list[NetworkLayer]:
    made: list[NetworkLayer] = []
    index = 0
    while index < len(layers):
        end = _end(layers, index)
        scores = layers[index]
        if end is None or not isinstance(scores, MatMul):
            made.append(scores)
            index += 1
            continue
        for _ in range(MOST_AROUND):
            if not made or not _is_function(made[-1], AROUND):
                break
            made.pop()
        made.append(Attention(scores.name.removesuffix(".scores"), scores.products, scores.m, scores.n, scores.k))
        index = end + 1
        values = scores.products * scores.m * scores.k
        after = layers[index] if index < len(layers) else None
        if isinstance(after, Pointwise) and after.function == "copy" and after.elements == values:
            index += 1
    return made


def _end(layers: tuple[NetworkLayer, ...], start: int) -> int | None:
    """Where the attention ends whose scores are computed at `start`; None where there is none."""
    scores = layers[start]
    if not isinstance(scores, MatMul):
        return None
    index = _after_functions(layers, start + 1)
    if index >= len(layers) or not isinstance(layers[index], Softmax):
        return None
    index = _after_functions(layers, index + 1)
    context = layers[index] if index < len(layers) else None
    turned = (scores.products, scores.m, scores.k, scores.n)
    if isinstance(context, MatMul) and (context.products, context.m, context.n, context.k) == turned:
        return index
    return None


def _after_functions(layers: tuple[NetworkLayer, ...], index: int) -> int:
    while index < len(layers) and _is_function(layers[index], INSIDE):
        index += 1
    return index


def _is_function(layer: NetworkLayer, names: set[str]) -> bool:
    return isinstance(layer, Pointwise) and layer.function in names
