"""From an entry of a layer list to the layer that it means, given what flows out of the layer before it; and back."""

from dataclasses import fields
from math import prod
from typing import Any, get_args

from simhw.errors import ShapeError, quoted
from simhw.roofline.functions import FUNCTIONS
from simhw.roofline.layers import entries
from simhw.roofline.layers.entries import Entry, Extents, Flow, Image, Resolver, SizePart, Tokens
from simhw.roofline.layers.network import (
    FORK,
    SLICE,
    Attention,
    Conv,
    Embedding,
    Experts,
    Linear,
    MatMul,
    NetworkLayer,
    Normalization,
    NormKind,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
    Weight,
)
from simhw.roofline.operators import GATES, Cell, convolved

SHORT_FUNCTIONS = {**dict.fromkeys(FUNCTIONS, 1), "add": 2, "mul": 2, FORK: 2, SLICE: 2}
"""Elementwise functions that are kinds of their own, and how many tensors they read where the entry does not say."""
KINDS = (*entries.ENTRIES, *SHORT_FUNCTIONS)


def entry_of(kind: str, values: Any, where: str) -> Entry:
    """An entry of a list, checked.

    Raises
    ------
    ShapeError
        The kind is unknown, or a field of it wrong.
    """
    if kind not in KINDS:
        raise ShapeError(f"{where}: no layer is called {quoted(kind)}; there are {', '.join(KINDS)}")
    return entries.checked(kind, entries.ENTRIES.get(kind, entries.PointwiseEntry), values, where)


def layer_of(
    kind: str, entry: Entry, name: str, flow: Flow | None, sizes: Resolver
) -> tuple[NetworkLayer, Flow | None]:
    """The layer that an entry means, and what flows out of it.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    entry : Entry
    name : str
        With the names of the blocks around it.
    flow : Image, Tokens or None
        What flows in; None at the start of a list without `input`.
    sizes : Resolver

    Raises
    ------
    ShapeError
        A size is out of range, or missing where nothing flows in.
    """
    match entry:
        case entries.ConvEntry():
            return _conv(entry, name, flow, sizes)
        case entries.LinearEntry():
            tokens = _tokens(flow)
            inputs = sizes.number("in", _given(entry.inputs, tokens.features if tokens else None, "in", sizes))
            rows = (
                1
                if entry.rows is None and tokens is None
                else sizes.number("rows", _given(entry.rows, tokens.rows if tokens else None, "rows", sizes))
            )
            linear = Linear(name, inputs, sizes.number("out", entry.out), rows, entry.bias, entry.trainable, entry.tied)
            return linear, Tokens(rows, linear.out_features)
        case entries.ExpertsEntry():
            tokens = _tokens(flow)
            inputs = sizes.number("in", _given(entry.inputs, tokens.features if tokens else None, "in", sizes))
            rows, out = sizes.number("rows", entry.rows), sizes.number("out", entry.out)
            experts = Experts(name, sizes.number("experts", entry.experts), inputs, out, rows, entry.trainable)
            return experts, Tokens(rows, out)
        case entries.MatMulEntry():
            m, n, k = sizes.number("m", entry.m), sizes.number("n", entry.n), sizes.number("k", entry.k)
            products = sizes.number("products", entry.products)
            return MatMul(name, products, m, n, k, entry.fixed), Tokens(products * m, n)
        case entries.AttentionEntry():
            return _attention(entry, name, sizes)
        case entries.RecurrentEntry():
            return _recurrent(kind, entry, name, flow, sizes)
        case entries.NormalizationEntry():
            return _normalization(kind, entry, name, flow, sizes)
        case entries.PointwiseEntry():
            function = entry.function if isinstance(entry, entries.FunctionEntry) else kind
            after = flow if entry.elements is None else sizes.shape("elements", entry.elements)
            elements = sizes.number(
                "elements", _given(entry.elements, _values(after) if after else None, "elements", sizes)
            )
            count = sizes.number("inputs", SHORT_FUNCTIONS.get(function, 1) if entry.inputs is None else entry.inputs)
            part = sizes.number("part", entry.part)
            return Pointwise(name, function, elements, count, part), after
        case entries.SoftmaxEntry():
            tokens = flow if isinstance(flow, Tokens) else None
            rows = sizes.number("rows", _given(entry.rows, tokens.rows if tokens else None, "rows", sizes))
            columns = sizes.number(
                "columns", _given(entry.columns, tokens.features if tokens else None, "columns", sizes)
            )
            return Softmax(name, rows, columns), Tokens(rows, columns)
        case entries.PoolEntry():
            return _pool(kind, entry, name, flow, sizes)
        case entries.EmbeddingEntry():
            rows, width = sizes.number("rows", entry.rows), sizes.number("width", entry.width)
            vocabulary = sizes.number("vocabulary", entry.vocabulary)
            return Embedding(name, vocabulary, width, rows, entry.trainable, entry.tied), Tokens(rows, width)
        case entries.WeightEntry():
            return Weight(name, sizes.number("parameters", entry.parameters), entry.trainable), flow
    raise AssertionError(f"an entry of no known kind: {kind}")


def _given(
    written: SizePart | list[SizePart] | None, flowing: int | None, field: str, sizes: Resolver
) -> SizePart | list[SizePart]:
    """What the entry says, or else what flows in."""
    if written is not None:
        return written
    if flowing is None:
        sizes.fail(field, "missing, and the layer before does not say it; write it here")
    return flowing


def _tokens(flow: Flow | None) -> Tokens | None:
    """What flows in as rows of features; an image as one row."""
    return Tokens(1, _values(flow)) if isinstance(flow, Image) else flow


def _image(flow: Flow | None) -> Image | None:
    """What flows in as channels over positions; rows of features as one spatial dimension."""
    return Image(flow.features, (flow.rows,)) if isinstance(flow, Tokens) else flow


def _values(flow: Flow) -> int:
    return flow.channels * prod(flow.size) if isinstance(flow, Image) else flow.rows * flow.features


def _size(written: Extents | None, image: Image | None, kernel: Extents | None, sizes: Resolver) -> tuple[int, ...]:
    """Spatial size: as written, one number meaning as many dimensions as the kernel has, or else two; or
    what flows in.
    """
    if written is None:
        if image is None:
            sizes.fail("size", "missing, and the layer before does not say it; write it here")
        return image.size
    dims = len(written) if isinstance(written, list) else len(kernel) if isinstance(kernel, list) else 2
    if dims > 3:
        sizes.fail("size", f"{dims} spatial dimensions; there are at most 3")
    return sizes.extents("size", written, dims)


def _conv(entry: entries.ConvEntry, name: str, flow: Flow | None, sizes: Resolver) -> tuple[NetworkLayer, Flow]:
    image = _image(flow)
    size = _size(entry.size, image, entry.kernel, sizes)
    dims = len(size)
    conv = Conv(
        name=name,
        in_channels=sizes.number("in", _given(entry.inputs, image.channels if image else None, "in", sizes)),
        out_channels=sizes.number("out", entry.out),
        size=size,
        kernel=sizes.extents("kernel", entry.kernel, dims),
        stride=sizes.extents("stride", entry.stride, dims),
        padding=sizes.extents("padding", entry.padding, dims, least=0),
        dilation=sizes.extents("dilation", entry.dilation, dims),
        groups=sizes.number("groups", entry.groups),
        bias=entry.bias,
        trainable=entry.trainable,
    )
    if conv.in_channels % conv.groups or conv.out_channels % conv.groups:
        sizes.fail("groups", f"{conv.groups} do not divide {conv.in_channels} and {conv.out_channels} channels")
    if min(conv.out_size) < 1:
        sizes.fail("kernel", f"{conv.kernel} does not fit into size {conv.size} with padding {conv.padding}")
    return conv, Image(conv.out_channels, conv.out_size)


def _attention(entry: entries.AttentionEntry, name: str, sizes: Resolver) -> tuple[NetworkLayer, Flow]:
    heads, queries = sizes.number("heads", entry.heads), sizes.number("queries", entry.queries)
    keys = queries if entry.keys is None else sizes.number("keys", entry.keys)
    width, shared = sizes.number("width", entry.width), sizes.number("shared", entry.shared)
    if heads % shared:
        sizes.fail("shared", f"{shared} heads that share keys do not divide {heads}")
    return Attention(name, heads, queries, keys, width, shared, entry.causal), Tokens(queries, heads * width)


def _recurrent(
    kind: str, entry: entries.RecurrentEntry, name: str, flow: Flow | None, sizes: Resolver
) -> tuple[NetworkLayer, Flow]:
    tokens = _tokens(flow)
    cell: Cell = next(each for each in GATES if each == kind)
    inputs = sizes.number("in", _given(entry.inputs, tokens.features if tokens else None, "in", sizes), least=0)
    steps = sizes.number("steps", _given(entry.steps, tokens.rows if tokens else None, "steps", sizes))
    layer = RecurrentLayer(name, cell, inputs, sizes.number("hidden", entry.hidden), steps, entry.trainable)
    return layer, Tokens(steps, layer.hidden)


def _normalization(
    kind: str, entry: entries.NormalizationEntry, name: str, flow: Flow | None, sizes: Resolver
) -> tuple[NetworkLayer, Flow | None]:
    norm: NormKind = next(each for each in get_args(NormKind) if each == kind)
    width = None if flow is None else flow.channels if isinstance(flow, Image) else flow.features
    channels = sizes.number("channels", _given(entry.channels, width, "channels", sizes))
    elements = sizes.number("elements", _given(entry.elements, _values(flow) if flow else None, "elements", sizes))
    if elements % channels:
        sizes.fail("channels", f"{channels} do not divide {elements} elements")
    return Normalization(name, norm, channels, elements, entry.trainable), flow


def _pool(
    kind: str, entry: entries.PoolEntry, name: str, flow: Flow | None, sizes: Resolver
) -> tuple[NetworkLayer, Flow]:
    image = _image(flow)
    size = _size(entry.size, image, entry.kernel, sizes)
    dims = len(size)
    kernel = size if entry.kernel is None else sizes.extents("kernel", entry.kernel, dims)
    stride = kernel if entry.stride is None else sizes.extents("stride", entry.stride, dims)
    padding = sizes.extents("padding", entry.padding, dims, least=0)
    if any(2 * beside > extent for beside, extent in zip(padding, kernel, strict=True)):
        sizes.fail("padding", f"{padding} is more than half of the kernel {kernel}: whole windows would lie outside")
    out = convolved(size, kernel, stride, padding, (1,) * dims)
    if entry.out_size is not None:
        out = sizes.extents("out_size", entry.out_size, dims)
    if min(out) < 1:
        sizes.fail("kernel", f"{kernel} does not fit into size {size} with padding {padding}")
    channels = sizes.number("channels", _given(entry.channels, image.channels if image else None, "channels", sizes))
    return Pool(name, "max" if kind == "maxpool" else "average", channels, size, out, kernel), Image(channels, out)


# Fields of a layer whose names differ in a list, and kinds that a layer's own field tells.
WRITTEN = {"in_channels": "in", "out_channels": "out", "in_features": "in", "out_features": "out"}


def written(layer: NetworkLayer) -> tuple[str, dict[str, Any]]:
    """The kind and the fields of a layer's entry, all sizes stated, so that it reads back as the same layer."""
    values: dict[str, Any] = {}
    for field in fields(layer):
        value = getattr(layer, field.name)
        values[WRITTEN.get(field.name, field.name)] = list(value) if isinstance(value, tuple) else value
    match layer:
        case Conv():
            kind = "conv"
        case Linear():
            kind = "linear"
        case Experts():
            kind = "experts"
        case MatMul():
            kind = "matmul"
        case Attention():
            kind = "attention"
        case RecurrentLayer():
            kind, values["in"] = values.pop("cell"), values.pop("inputs")
        case Normalization():
            kind = values.pop("kind")
        case Pointwise():
            kind = "pointwise" if layer.function not in SHORT_FUNCTIONS else values.pop("function")
            if layer.part == 1:  # which says nothing
                del values["part"]
        case Softmax():
            kind = "softmax"
        case Pool():
            kind = {"max": "maxpool", "average": "avgpool"}[values.pop("kind")]
        case Embedding():
            kind = "embedding"
        case Weight():
            kind = "weight"
    return kind, values
