"""Attention in a step: one kernel, or products with a softmax between them.

Libraries compute either.  Layer lists and captured models have it as products, or as one `Attention`; both forms are
made of either here, so that a run can choose.

Products: copies of keys and values for each head that shares them, scores, scale, mask, softmax, context.  Backward
their gradients follow from these.  Fused, the kernel reads queries, keys and values where the linear layers wrote them
and writes what the next one reads, so that the copies around it, which lay heads out for batched products, are gone;
scale, mask, bias and dropout are part of it.  What products do not tell is lost: that a mask is causal, that heads
share keys which were copied for each, the bytes of a bias.  A layer that reads the scores besides, such as their mean
over heads, stays.  Source: PyTorch's `scaled_dot_product_attention`.
"""

from dataclasses import replace
from typing import Literal

from simhw.roofline.layers.network import FORK, Attention, MatMul, Network, NetworkLayer, Pointwise, Softmax, Weight

Attend = Literal["products", "fused"]
"""Whether attention is two products and a softmax between them, or one kernel."""
INSIDE = {"scale", "mask", "dropout", "add", "bias", "copy", FORK}
"""Functions of the scores that are part of the kernel."""
AROUND = {"copy", "scale", FORK}
"""Functions on queries, keys and values before the products that are part of the kernel."""
MOST_AROUND = 8
"""Of them, in the networks that we know."""


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
        scores = layers[index]
        found = _found(layers, index, scores) if isinstance(scores, MatMul) else None
        if found is None or not isinstance(scores, MatMul):
            made.append(scores)
            index += 1
            continue
        queries, keys = (scores.products * rows * scores.k for rows in (scores.m, scores.n))
        around = {queries, keys, 2 * keys, queries + 2 * keys}
        for _ in range(MOST_AROUND):
            if not made or not _is_function(made[-1], AROUND, around):
                break
            made.pop()
        end, beside = found
        made += [*beside, Attention(_name(scores), scores.products, scores.m, scores.n, scores.k)]
        index = end + 1
        if index < len(layers) and _is_function(layers[index], {"copy"}, {queries}):
            index += 1
    return made


def _name(scores: MatMul) -> str:
    """Of the attention, by that of its scores."""
    return scores.name.removesuffix(".scores").replace("matmul", "attention")


def _found(layers: tuple[NetworkLayer, ...], start: int, scores: MatMul) -> tuple[int, list[NetworkLayer]] | None:
    """Where the attention ends whose scores are computed at `start`, and what stands in it that is no part of it; None
    where there is none.
    """
    beside: list[NetworkLayer] = []
    normalised = False
    for index in range(start + 1, len(layers)):
        layer = layers[index]
        if isinstance(layer, Softmax) and not normalised:
            normalised = True
        elif isinstance(layer, MatMul):
            turned = (scores.products, scores.m, scores.k, scores.n)
            return (index, beside) if normalised and (layer.products, layer.m, layer.n, layer.k) == turned else None
        elif isinstance(layer, Weight) or (isinstance(layer, Pointwise) and not _is_inside(layer, scores)):
            # A bias that is a parameter, and what makes a mask: smaller than the scores, which pass through all others.
            if isinstance(layer, Pointwise) and layer.elements >= scores.products * scores.m * scores.n:
                return None
            beside.append(layer)
        elif not isinstance(layer, Pointwise):
            return None
    return None


def _is_inside(layer: Pointwise, scores: MatMul) -> bool:
    """Whether a layer is a function of the scores that the kernel computes, or a copy of the values."""
    return _is_function(layer, INSIDE, {scores.products * scores.m * scores.n}) or _is_function(
        layer, {"copy"}, {scores.products * scores.n * scores.k}
    )


def _is_function(layer: NetworkLayer, names: set[str], elements: set[int]) -> bool:
    return isinstance(layer, Pointwise) and layer.function in names and layer.elements in elements
