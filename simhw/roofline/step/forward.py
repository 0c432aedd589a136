"""Kernels of a layer's forward pass, with their exact traffic.

Left out everywhere: vectors of one value per channel (scales, shifts, statistics), which are under a thousandth of the
data.
"""

from math import ceil, prod

from simhw.roofline.functions import function_of
from simhw.roofline.layers import network as layers
from simhw.roofline.layers.network import (
    Conv,
    Embedding,
    Experts,
    Linear,
    MatMul,
    Normalization,
    Pointwise,
    Pool,
    RecurrentLayer,
    Softmax,
    Weight,
    is_free,
)
from simhw.roofline.numbers import BYTES, Number
from simhw.roofline.operators import Attention, Convolution, Gemm, Operator, Recurrent, Streaming
from simhw.roofline.step.placed import Placed
from simhw.trace.layer import Operation

RELAYOUT = "relayout"
"""What the kernel is called that a compiler puts between others to change the layout."""
INDEX_BYTES = 8
"""PyTorch keeps indices (of tokens, of a pool's maxima) as 64-bit integers."""
NORM_OPERATIONS = {"layernorm": 8, "rmsnorm": 4}
"""Per value: mean 1, variance 3, and (x - mean) * scale * weight + bias 4; without mean and bias, squares 2 and x *
scale * weight 2.
"""
SOFTMAX_OPERATIONS = 5
"""Per value: maximum, difference, exponential, sum, division."""
BATCHNORM_OPERATIONS = {"training": 7, "inference": 2}
"""Per value: statistics 3 and application 4; in inference one multiplication and one addition."""
_COUNT = Streaming("elementwise", "count", 1, 1, INDEX_BYTES, INDEX_BYTES, 1.0)
"""PyTorch's batch norm counts the batches that it has seen, in a kernel of one value."""


def forward_operators(placed: Placed) -> list[Operator]:
    """Kernels of the forward pass of one layer, casts before it and changes of layout around it included.

    Convolutions, linear layers, batched products and recurrent layers are products.  A linear layer's bias is added
    where its product writes; a convolution's is a kernel of its own that reads and writes the output (joined when
    fused).

    - Batch norm reads its input twice in training (statistics, then application), once in inference, and writes once.
    - Layer norm, RMS norm and softmax read once and write once.
    - Experts are a batched product, all of the same rows.
    - An elementwise function reads each of its inputs and writes once; dropout writes a mask of a byte per value
      besides, and is nothing in inference; what is kept for tokens to come (``cache``) is nothing in training.
    - A pool reads its input and writes its output; a max pool in training writes an index per output besides.
    - An embedding reads the rows of the table that are looked up, each once, and the indices.
    """
    before, behind = (relayout(values, placed.works) for values in placed.relaid)
    return [*before, *_operators(placed), *behind]


def _operators(placed: Placed) -> list[Operator]:
    casts = _casts(placed)
    layer = placed.layer
    match layer:
        case Conv():
            return [*casts, convolution(layer, "forward", placed), *_convolution_bias(layer, placed)]
        case Linear():
            rows = layer.rows * placed.batch
            return [
                *casts,
                Gemm(rows, layer.out_features, layer.in_features, number=placed.works, transposed=(False, True)),
            ]
        case Experts():
            return [*casts, expert_products(layer, placed)]
        case MatMul():
            rows, products = rows_and_products(layer, placed)
            return [*casts, Gemm(rows, layer.n, layer.k, products, placed.works, (False, False))]
        case layers.Attention():
            return [*casts, attention(layer, "forward", placed)]
        case RecurrentLayer():
            return [*casts, recurrent(layer, "forward", placed)]
        case Normalization():
            return [*casts, *_normalization(layer, placed)]
        case Pointwise():
            return _pointwise(layer, placed)
        case Softmax():
            rows = layer.rows * placed.batch
            values = rows * layer.columns
            return [_stream("softmax", "softmax", rows, layer.columns, values, placed, SOFTMAX_OPERATIONS)]
        case Pool():
            return [_pool(layer, placed)]
        case Embedding():
            return [_embedding(layer, placed)]
        case Weight():
            return []


def convolution(layer: Conv, operation: Operation, placed: Placed) -> Convolution:
    """One operation of a convolution layer on a batch."""
    return Convolution(
        operation=operation,
        images=placed.batch,
        in_channels=layer.in_channels,
        out_channels=layer.out_channels,
        size=layer.size,
        kernel=layer.kernel,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        number=placed.works,
        layout=placed.layout,
    )


def expert_products(layer: Experts, placed: Placed) -> Gemm:
    """The forward products of all experts at once; with fewer rows than experts, of those that get one."""
    used, rows = rows_of_experts(layer, placed)
    return Gemm(rows, layer.out_features, layer.in_features, used, placed.works, (False, True))


def rows_and_products(layer: MatMul, placed: Placed) -> tuple[int, int]:
    """Rows of the left operands of a batch, and how many products there are."""
    if layer.fixed:
        return layer.m * placed.batch, layer.products
    return layer.m, layer.products * placed.batch


def rows_of_experts(layer: Experts, placed: Placed) -> tuple[int, int]:
    """Experts that get rows, and rows of each, rounded up."""
    rows = layer.rows * placed.batch
    used = min(layer.experts, rows)
    return used, ceil(rows / used)


def attention(layer: layers.Attention, operation: Operation, placed: Placed) -> Attention:
    """One operation of fused attention on a batch."""
    return Attention(
        operation=operation,
        batch=placed.batch,
        heads=layer.heads,
        queries=layer.queries,
        keys=layer.keys,
        width=layer.width,
        shared=layer.shared,
        causal=layer.causal,
        number=placed.works,
    )


def recurrent(layer: RecurrentLayer, operation: Operation, placed: Placed) -> Recurrent:
    """One operation of a recurrent layer on a batch."""
    return Recurrent(layer.cell, operation, layer.inputs, layer.hidden, placed.batch, layer.steps, placed.works)


def cast(values: int, source: Number, target: Number) -> Streaming:
    """A kernel that reads values in one number and writes them in another: ``cast`` to a narrower one, ``widen``."""
    name = "widen" if BYTES[target] > BYTES[source] else "cast"
    return Streaming("copy", name, 1, values, float(BYTES[source]) * values, float(BYTES[target]) * values, 0.0, target)


def relayout(values: int, number: Number) -> list[Operator]:
    """The kernel that brings values to another layout, if there are any."""
    size = float(BYTES[number]) * values
    return [Streaming("copy", RELAYOUT, 1, values, size, size, 0.0, number)] if values else []


def is_relayout(operator: Operator) -> bool:
    """Whether an operator is a compiler's change of layout."""
    return isinstance(operator, Streaming) and operator.name == RELAYOUT


def _casts(placed: Placed) -> list[Operator]:
    """Casts of what flows in, and of weights that are kept in fp32."""
    casts: list[Operator] = []
    if placed.casts_input and placed.input_values:
        casts.append(cast(placed.input_values, placed.reads, placed.works))
    if placed.casts_weights:
        casts += [cast(values, placed.weights, placed.works) for values in placed.multiplied]
    return casts


def _stream(
    kind: str, name: str, rows: int, columns: int, values: int, placed: Placed, operations: float, reads: int = 1
) -> Streaming:
    """An operator that reads `values` so many times in the number that flows in, and writes them once."""
    read = float(BYTES[placed.reads if placed.casts_in_passing else placed.works]) * values * reads
    written = float(BYTES[placed.writes]) * values
    layout = placed.layout if kind == "batchnorm" else "nchw"
    # A channel's statistics go through a plane of every image, if planes lie one after another.
    pieces = placed.batch if name == "batchnorm" and layout == "nchw" else 1
    return Streaming(
        kind,  # type: ignore[arg-type]  # a literal
        name,
        rows,
        columns,
        read,
        written,
        operations * values,
        placed.works,
        layout=layout,
        pieces=pieces,
    )


def _convolution_bias(layer: Conv, placed: Placed) -> list[Operator]:
    if not layer.bias or placed.fused:
        return []
    values = layer.out_channels * prod(layer.out_size)
    return [_stream("elementwise", "bias", placed.batch, values, placed.batch * values, placed, 1)]


def _normalization(layer: Normalization, placed: Placed) -> list[Operator]:
    values = placed.batch * layer.elements
    rows, columns = normalized_shape(layer, placed.batch)
    if layer.kind != "batchnorm":
        operations = NORM_OPERATIONS[layer.kind]
        return [_stream("layernorm", layer.kind, rows, columns, values, placed, operations)]
    if placed.joins:
        return []
    if placed.training:
        operations = BATCHNORM_OPERATIONS["training"]
        applied = _stream("batchnorm", "batchnorm", rows, columns, values, placed, operations, reads=2)
        return [applied] if placed.fused else [_COUNT, applied]
    # Nothing is summed up: the kernel goes through every plane of every image.
    rows, columns = placed.batch * layer.channels, layer.elements // layer.channels
    operations = BATCHNORM_OPERATIONS["inference"]
    return [_stream("batchnorm", "batchnorm_inference", rows, columns, values, placed, operations)]


def normalized_shape(layer: Normalization, batch: int) -> tuple[int, int]:
    """Independent statistics, and values that share one."""
    if layer.kind != "batchnorm":
        return batch * layer.elements // layer.channels, layer.channels
    return layer.channels, batch * layer.elements // layer.channels


def _pointwise(layer: Pointwise, placed: Placed) -> list[Operator]:
    if is_free(layer) or layer.function == ("cache" if placed.training else "dropout"):
        return []
    function = function_of(layer.function)
    values = placed.batch * layer.elements
    others = float(BYTES[placed.other]) * values * (layer.inputs - 1)
    read = BYTES[placed.reads] * values + others
    written = float(BYTES[placed.writes]) * values
    kept = values if placed.training and function.keeps == "mask" else 0
    if placed.joins:
        read = others
        # What the gradient will need must reach memory, though the value that is used from here on is another.
        written = written if placed.training and function.keeps == "inputs" else 0.0
        if not read + written + kept:
            return []
    operations = function.operations * max(1, layer.inputs - 1) * values
    mixed = layer.inputs > 1 and placed.other != placed.reads
    return [
        Streaming(
            function.kind,
            f"{layer.function}_mixed" if mixed else layer.function,
            placed.batch,
            layer.elements,
            read,
            written + kept,
            operations,
            placed.writes,
            joined=placed.joins,
        )
    ]


def _pool(layer: Pool, placed: Placed) -> Operator:
    outputs = placed.batch * layer.channels * prod(layer.out_size)
    read = float(BYTES[placed.reads]) * placed.input_values
    indices = INDEX_BYTES * outputs if layer.kind == "max" and placed.training else 0
    written = float(BYTES[placed.writes]) * outputs + indices
    operations = float(prod(layer.kernel)) * outputs
    rows, columns = placed.batch * layer.channels, max(prod(layer.size), prod(layer.out_size))
    return Streaming(
        "pool", f"{layer.kind}_pool", rows, columns, read, written, operations, placed.works, layout=placed.layout
    )


def _embedding(layer: Embedding, placed: Placed) -> Operator:
    rows = placed.batch * layer.rows
    looked_up = float(BYTES[placed.weights]) * min(rows, layer.vocabulary) * layer.width
    written = float(BYTES[placed.writes]) * rows * layer.width
    return Streaming(
        "embedding", "embedding", rows, layer.width, looked_up + INDEX_BYTES * rows, written, 0.0, placed.works
    )
