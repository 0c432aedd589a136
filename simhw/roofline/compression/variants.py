"""What low-rank decomposition makes of a whole network: factors, some of them frozen, or folded into their neighbours.

Freezing leaves a factor's weights as they are: no weight gradient, no update, but the input gradient runs through it.
Merging decomposes a bottleneck's k x k convolution by Tucker-2 and multiplies the outer factors into the 1x1
convolutions before and behind it, so the block is as deep as it was and narrower.  Source: arXiv 2407.20266 (freezing,
merging) and 2309.03824 (sequential freezing); spec page techniques.md, 5.1.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from math import prod
from typing import Literal, TypeGuard

from simhw.errors import ShapeError
from simhw.roofline.compression.decompose import CORE, FIRST, LAST, compression_ranks, decomposable, decomposed
from simhw.roofline.layers.network import (
    Conv,
    Embedding,
    Linear,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    RecurrentLayer,
    Weight,
)

_LEARNING = Conv | Linear | RecurrentLayer | Normalization | Embedding | Weight
FactorPart = Literal["outer", "core"]
"""Which factors are frozen: the first of a pair and both 1x1 of a triple, or the others.  Sequential freezing takes
turns.
"""


def vanilla(network: Network, compression: float = 2.0) -> Network:
    """Every layer that the published tables decompose, at the rank of one compression."""
    return decomposed(network, compression_ranks(decomposable(network), compression), f"{network.name}-vanilla")


def frozen(network: Network, part: FactorPart = "outer") -> Network:
    """A decomposed network with the weights of one part of every layer's factors frozen.

    Raises
    ------
    ShapeError
        The network has no factors: freezing would change nothing.
    """
    names = {layer.name for layer in network.layers}
    cores = {name.removesuffix(CORE) for name in names if name.endswith(CORE)}
    layers = tuple(
        replace(layer, trainable=False)
        if isinstance(layer, Conv | Linear) and _part(layer.name, cores, names) == part
        else layer
        for layer in network.layers
    )
    if layers == network.layers:
        raise ShapeError(f"{network.name}: no factors of decomposed layers to freeze")
    return replace(network, name=f"{network.name}-frozen-{part}", layers=layers)


def frozen_but(network: Network, names: Collection[str]) -> Network:
    """A network in which nothing learns but the layers of those names."""
    layers = tuple(
        replace(layer, trainable=False) if isinstance(layer, _LEARNING) and layer.name not in names else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


def merged(network: Network, share: float = 0.5) -> Network:
    """A network of bottlenecks, each as narrow inside as a Tucker-2 rank of `share` of its channels.

    A bottleneck is 1x1, k x k, 1x1, each of the first two with elementwise layers behind it, which become as narrow.

    Raises
    ------
    ShapeError
        There is no bottleneck, or the share leaves no channel.
    """
    layers = list(network.layers)
    found = list(_bottlenecks(layers))
    if not found:
        raise ShapeError(f"{network.name}: no 1x1, k x k, 1x1 convolutions in a row to merge factors into")
    for first, middle, last in found:
        before, core, behind = layers[first], layers[middle], layers[last]
        assert isinstance(before, Conv)
        assert isinstance(core, Conv)
        assert isinstance(behind, Conv)
        inner, outer = int(core.in_channels * share), int(core.out_channels * share)
        if min(inner, outer) < 1:
            raise ShapeError(f"{core.name}: {share:g} of {core.in_channels} channels is less than one")
        layers[first] = replace(before, out_channels=inner)
        layers[middle] = replace(core, in_channels=inner, out_channels=outer)
        layers[last] = replace(behind, in_channels=outer)
        for index in range(first + 1, middle):
            layers[index] = _narrowed(layers[index], inner, prod(core.size))
        for index in range(middle + 1, last):
            layers[index] = _narrowed(layers[index], outer, prod(core.out_size))
    return replace(network, name=f"{network.name}-merged", layers=tuple(layers))


def _part(name: str, cores: set[str], names: set[str]) -> FactorPart | None:
    """The part of a factor; none for a layer that is whole."""
    for suffix in (FIRST, CORE, LAST):
        whole = name.removesuffix(suffix)
        if whole == name or not {whole + FIRST, whole + LAST} <= names:
            continue
        if whole in cores:
            return "core" if suffix == CORE else "outer"
        return "outer" if suffix == FIRST else "core"
    return None


def _bottlenecks(layers: list[NetworkLayer]) -> Iterator[tuple[int, int, int]]:
    """Indices of every 1x1, k x k, 1x1 in a row, with nothing but normalisation and elementwise functions of one input
    between.
    """
    chain: list[int] = []
    for index, layer in enumerate(layers):
        if isinstance(layer, Conv):
            chain = [*chain[-2:], index]
            if len(chain) == 3 and _is_bottleneck(*(layers[each] for each in chain)):
                yield chain[0], chain[1], chain[2]
                chain = []
        elif not isinstance(layer, Normalization) and not (isinstance(layer, Pointwise) and layer.inputs == 1):
            chain = []


def _is_bottleneck(before: NetworkLayer, core: NetworkLayer, behind: NetworkLayer) -> bool:
    return (
        _is_dense(before)
        and _is_dense(core)
        and _is_dense(behind)
        and prod(before.kernel) == prod(behind.kernel) == 1 < prod(core.kernel)
        and before.out_channels == core.in_channels
        and core.out_channels == behind.in_channels
    )


def _is_dense(layer: NetworkLayer) -> TypeGuard[Conv]:
    return isinstance(layer, Conv) and layer.groups == 1


def _narrowed(layer: NetworkLayer, channels: int, positions: int) -> NetworkLayer:
    if isinstance(layer, Normalization):
        return replace(layer, channels=channels, elements=channels * positions)
    assert isinstance(layer, Pointwise)
    return replace(layer, elements=channels * positions)
