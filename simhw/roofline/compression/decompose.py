"""Low-rank decomposition by shape: one layer becomes two or three thin ones, with no normalisation or activation
between.

A linear layer or a 1x1 convolution becomes two by singular values: C -> r -> S.  A wider kernel becomes three by
Tucker-2 over its channels: 1x1 C -> r, k x k r -> r, 1x1 r -> S.  Source: arXiv 2407.20266 and 2309.03824; spec page
techniques.md, 5.1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf, prod, sqrt

from simhw.errors import ShapeError
from simhw.roofline.layers.network import Conv, Linear, Network, NetworkLayer

FIRST, CORE, LAST = ".first", ".core", ".last"
"""What the names of a layer's factors end in, in the order of the forward pass; a pair has a first and a last."""


def rank_for(layer: Conv | Linear, compression: float = 2.0) -> int:
    """The largest rank that divides a layer's weights by at least `compression`.

    A pair has r (C + S) weights.  A triple has r (C + S) + r^2 k^2: the positive root of a quadratic.  Both are rounded
    down.

    Parameters
    ----------
    layer : Conv or Linear
    compression : float
        Weights before over weights after; 2 gives the published ranks.

    Raises
    ------
    ShapeError
        As of `highest_rank`, or no rank of at least 1 compresses as much.
    """
    rank = highest_rank(layer, compression)
    if rank is None:
        inputs, outputs, _ = _sizes(layer)
        raise ShapeError(f"{layer.name}: no rank compresses {inputs} to {outputs} channels {compression:g} times")
    return rank


def highest_rank(layer: Conv | Linear, compression: float = 2.0) -> int | None:
    """As `rank_for`, but None where no rank compresses as much: such a layer stays whole.

    Raises
    ------
    ShapeError
        The layer has groups, or compression is no finite number above 0.
    """
    if not 0 < compression < inf:
        raise ShapeError(f"compression is {compression:g}; give a number of more than 0")
    _refuse_groups(layer)
    inputs, outputs, taps = _sizes(layer)
    if taps == 1:
        rank = inputs * outputs / (compression * (inputs + outputs))
    else:
        half = (inputs + outputs) / (2 * taps)
        rank = sqrt(half * half + inputs * outputs / compression) - half
    return int(min(rank, inputs, outputs)) or None


def full_rank(layer: Conv | Linear) -> int:
    """The rank at which a layer's factors can hold any weights."""
    inputs, outputs, _ = _sizes(layer)
    return min(inputs, outputs)


def factors(layer: Conv | Linear, rank: int) -> tuple[Conv, ...] | tuple[Linear, ...]:
    """The layers that take one layer's place.

    The last factor has the bias.  A pair strides in its first factor, a triple in its core: the fewest products
    that give the same result.

    Raises
    ------
    ShapeError
        The layer has groups, or the rank is not within 1 ... its channels.
    """
    _refuse_groups(layer)
    if not 1 <= rank <= full_rank(layer):
        raise ShapeError(f"{layer.name}: rank is {rank}; give 1 to {full_rank(layer)}")
    if isinstance(layer, Linear):
        return (
            replace(layer, name=layer.name + FIRST, out_features=rank, bias=False),
            replace(layer, name=layer.name + LAST, in_features=rank),
        )
    if prod(layer.kernel) == 1:
        last = replace(_pointwise(layer, LAST, layer.out_size, rank, layer.out_channels), bias=layer.bias)
        return replace(layer, name=layer.name + FIRST, out_channels=rank, bias=False), last
    return (
        _pointwise(layer, FIRST, layer.size, layer.in_channels, rank),
        replace(layer, name=layer.name + CORE, in_channels=rank, out_channels=rank, bias=False),
        replace(_pointwise(layer, LAST, layer.out_size, rank, layer.out_channels), bias=layer.bias),
    )


def decomposable(network: Network) -> tuple[Conv | Linear, ...]:
    """The layers that the published tables decompose: all but the first, those on shortcuts, those with groups, and
    those whose weights are an embedding's.

    Without the shortcuts' convolutions, with strides in the 3x3 (v1.5), and with the classifier, ranks for a
    compression of 2 take 42.9, 46.4 and 47.7% of the multiply-accumulates of ResNet-50, 101 and 152.
    """
    products = [layer for layer in network.layers if isinstance(layer, Conv | Linear)]
    return tuple(layer for layer in products[1:] if not is_shortcut(layer) and _is_whole(layer))


def _is_whole(layer: Conv | Linear) -> bool:
    """Whether a layer is one product with weights of its own."""
    return layer.groups == 1 if isinstance(layer, Conv) else not layer.tied


def is_shortcut(layer: NetworkLayer) -> bool:
    """Whether a layer's name says that it stands beside a residual block, not in it."""
    return any(part in ("downsample", "shortcut") for part in layer.name.split("."))


def decomposed(network: Network, ranks: Mapping[str, int], name: str | None = None) -> Network:
    """A network with some layers in factors.

    Parameters
    ----------
    network : Network
    ranks : mapping of layer name to rank
        Layers that are not named stay as they are.
    name : str, optional
        Of the new network.

    Raises
    ------
    ShapeError
        A name is no convolution or linear layer of the network, or a rank does not fit.
    """
    known = {layer.name for layer in network.layers if isinstance(layer, Conv | Linear)}
    missing = sorted(ranks.keys() - known)
    if missing:
        raise ShapeError(f"{network.name}: no convolution or linear layer {missing[0]!r}")
    layers: list[NetworkLayer] = []
    for layer in network.layers:
        if layer.name in ranks and isinstance(layer, Conv | Linear):
            layers.extend(factors(layer, ranks[layer.name]))
        else:
            layers.append(layer)
    return replace(network, name=name or f"{network.name}-lrd", layers=tuple(layers))


def compression_ranks(layers: Iterable[Conv | Linear], compression: float = 2.0) -> dict[str, int]:
    """The highest rank of every layer that some rank compresses as much, by name."""
    ranks = {layer.name: highest_rank(layer, compression) for layer in layers}
    return {name: rank for name, rank in ranks.items() if rank is not None}


def _pointwise(layer: Conv, suffix: str, size: tuple[int, ...], inputs: int, outputs: int) -> Conv:
    ones, zeros = (1,) * len(size), (0,) * len(size)
    return Conv(layer.name + suffix, inputs, outputs, size, ones, ones, zeros, ones, trainable=layer.trainable)


def _sizes(layer: Conv | Linear) -> tuple[int, int, int]:
    """Input and output channels, and taps of the kernel."""
    if isinstance(layer, Linear):
        return layer.in_features, layer.out_features, 1
    return layer.in_channels, layer.out_channels, prod(layer.kernel)


def _refuse_groups(layer: Conv | Linear) -> None:
    if isinstance(layer, Conv) and layer.groups > 1:
        raise ShapeError(f"{layer.name}: {layer.groups} groups; only convolutions without groups are decomposed")
