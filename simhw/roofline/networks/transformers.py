"""Transformers by shape, made cheaper: grouped queries, keys and values, and tokens that skip some blocks.

Grouping (arXiv 2311.03426): queries come in some groups, keys and values in others, and heads share them.  Only the
projection that makes them shrinks; heads still multiply as many queries by as many keys, of which the shared ones are
copied out.

Token skipping (arXiv 2401.15293): after some block the patches that the class token attends to least leave, pass by a
few blocks without any arithmetic, and join the others again.

Sample selection (arXiv 2311.15134): after warm-up epochs on all samples a fraction of them is kept, and every few
epochs all are scored anew by a forward pass.  Source of all three: spec page techniques.md, 5.2 to 5.4.
"""

from dataclasses import replace

from simhw.errors import ShapeError
from simhw.roofline.layers.network import (
    Attention,
    Linear,
    MatMul,
    Network,
    NetworkLayer,
    Normalization,
    Pointwise,
    Softmax,
)

PROJECTION = ".qkv"
"""What the name of the layer ends in that makes queries, keys and values."""


def grouped_attention(network: Network, query_groups: int, key_groups: int) -> Network:
    """A network whose attention has fewer groups of queries, or of keys and values, than heads.

    A projection d -> 3 h d_h becomes d -> (g_q + 2 g_kv) d_h.  Copies that lay heads out stay: where heads share a
    group, they write it once per head.

    Parameters
    ----------
    network : Network
        With a layer that ends in ``.qkv`` before the products of every block, as the shipped ViT-S has.
    query_groups, key_groups : int
        Each at most the heads.

    Raises
    ------
    ShapeError
        There is no such layer, or the groups cannot serve the heads: they must divide them, or be as many in all pairs.
    """
    heads = _heads(network)
    pairs = query_groups * key_groups == heads
    shared = (
        max(query_groups, key_groups) == heads
        and min(query_groups, key_groups) >= 1
        and heads % min(query_groups, key_groups) == 0
    )
    if not pairs and not shared:
        raise ShapeError(
            f"{network.name}: {query_groups} groups of queries and {key_groups} of keys cannot serve {heads} heads"
        )
    layers: list[NetworkLayer] = []
    for layer in network.layers:
        if isinstance(layer, Linear) and layer.name.endswith(PROJECTION):
            width = layer.out_features // (3 * heads)
            layer = replace(layer, out_features=(query_groups + 2 * key_groups) * width)
        layers.append(layer)
    return replace(network, name=f"{network.name}-q{query_groups}-kv{key_groups}", layers=tuple(layers))


def skipping_tokens(network: Network, dropped: float, first: int, last: int, prefix: str = "blocks") -> Network:
    """A network in some of whose blocks a share of the tokens is missing.

    Every size that is counted in tokens shrinks in blocks `first` to `last`.  Two copies are added: of the tokens that
    stay, before, and of all tokens, behind.  Scoring is left out: the scores are a row of attention that exists anyway.

    Parameters
    ----------
    network : Network
        Blocks' layers are called ``<prefix>.<number>. ...``.
    dropped : float
        Share of the tokens but the class token, 0 <= dropped < 1; what stays is rounded to whole tokens.
    first, last : int
        Numbers of the first and the last block that they skip.

    Raises
    ------
    ShapeError
        No such blocks, or the share is out of range.
    """
    if not 0 <= dropped < 1:
        raise ShapeError(f"{network.name}: share of dropped tokens is {dropped}; give 0 or more, below 1")
    names = {f"{prefix}.{number}." for number in range(first, last + 1)}
    inside = [index for index, layer in enumerate(network.layers) if any(layer.name.startswith(name) for name in names)]
    present = {f"{prefix}.{network.layers[index].name.split('.')[prefix.count('.') + 1]}." for index in inside}
    if not names or present != names:
        raise ShapeError(f"{network.name}: no blocks {first} to {last} called {prefix!r}")
    tokens, width = _tokens(network)
    kept = 1 + round((tokens - 1) * (1 - dropped))
    layers = list(network.layers)
    for index in inside:
        layers[index] = _with_tokens(layers[index], tokens, kept)
    # Class token and patches that stay are gathered into a new tensor; behind, they are scattered among the others.
    layers.insert(inside[-1] + 1, Pointwise(f"{prefix}.{last}.rejoin", "copy", tokens * width))
    layers.insert(inside[0], Pointwise(f"{prefix}.{first}.leave", "copy", kept * width))
    return replace(network, name=f"{network.name}-skip{first}-{last}", layers=tuple(layers))


def selection_speedup(
    epochs: int,
    warmup_epochs: int,
    kept: float,
    training_s: float,
    inference_s: float,
    rescore_every: int | None = None,
) -> float:
    """How much faster training is where a fraction of the samples is kept after a few epochs.

    Kept samples' scores come with their training step; a rescoring runs a forward pass over the others.

    Parameters
    ----------
    epochs, warmup_epochs : int
    kept : float
        Fraction of the samples, 0 < kept <= 1.
    training_s, inference_s : float
        Seconds of a training and of a forward step of one batch.
    rescore_every : int, optional
        Epochs from one scoring to the next, counted from the end of warm-up; never if not given.

    Raises
    ------
    ShapeError
        A number is out of range.
    """
    if (
        not 0 <= warmup_epochs <= epochs
        or epochs < 1
        or not 0 < kept <= 1
        or (rescore_every is not None and rescore_every < 1)
    ):
        raise ShapeError(
            f"{epochs} epochs, {warmup_epochs} of them warm-up, {kept} kept, rescored every {rescore_every}: out of "
            "range"
        )
    rest = epochs - warmup_epochs
    scorings = max(0, rest - 1) // rescore_every if rescore_every else 0
    whole = warmup_epochs + kept * rest
    return epochs / (whole + scorings * (1 - kept) * inference_s / training_s)


def _heads(network: Network) -> int:
    projections = sum(isinstance(layer, Linear) and layer.name.endswith(PROJECTION) for layer in network.layers)
    products = {layer.products for layer in network.layers if isinstance(layer, MatMul)}
    products |= {layer.heads for layer in network.layers if isinstance(layer, Attention)}
    if not projections or len(products) != 1:
        raise ShapeError(
            f"{network.name}: no linear layers that end in {PROJECTION!r} with products of one number of heads"
        )
    return products.pop()


def _tokens(network: Network) -> tuple[int, int]:
    """Tokens of a sample and their width."""
    for layer in network.layers:
        if isinstance(layer, Linear) and layer.rows > 1:
            return layer.rows, layer.in_features
    raise ShapeError(f"{network.name}: no linear layer over tokens")


def _with_tokens(layer: NetworkLayer, tokens: int, kept: int) -> NetworkLayer:
    match layer:
        case Linear():
            return replace(layer, rows=kept if layer.rows == tokens else layer.rows)
        case Attention():
            return replace(layer, queries=kept, keys=kept)
        case MatMul():
            m, n, k = (kept if size == tokens else size for size in (layer.m, layer.n, layer.k))
            return replace(layer, m=m, n=n, k=k)
        case Softmax():
            return replace(layer, rows=layer.rows // tokens * kept, columns=kept)
        case Normalization() | Pointwise():
            return replace(layer, elements=layer.elements // tokens * kept)
        case _:
            return layer
