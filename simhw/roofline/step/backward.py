"""Kernels of a layer's backward pass, with their exact traffic: gradients of what flowed in, and of parameters."""

from dataclasses import replace
from math import ceil, prod

from simhw.roofline.functions import function_of
from simhw.roofline.layers import network as layers
from simhw.roofline.layers.network import (
    FORK,
    SLICE,
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
)
from simhw.roofline.numbers import BYTES, Number
from simhw.roofline.operators import Gemm, Operator, Streaming, StreamingKind
from simhw.roofline.step.forward import (
    INDEX_BYTES,
    attention,
    cast,
    convolution,
    normalized_shape,
    recurrent,
    relayout,
    rows_and_products,
    rows_of_experts,
)
from simhw.roofline.step.placed import Placed

SOFTMAX_GRADIENT_OPERATIONS = 4
"""Per value: y * g, its sum, difference, product."""
LAYERNORM_GRADIENT_OPERATIONS = 9
"""Per value: normalised input 2, two sums 3, the gradient 4."""
LAYERNORM_WEIGHT_OPERATIONS = 5
"""Per value: normalised input 2, times the gradient, two sums."""
BATCHNORM_GRADIENT_OPERATIONS = 9
"""Per value: two sums over input and gradient 4, the gradient 5."""


def input_gradient_operators(placed: Placed) -> list[Operator]:
    """Kernels of the gradient of what flowed into a layer; none where nothing trainable lies before it.

    - Convolution and recurrent: their input gradient; linear: output gradient (rows, out) by weights (out, in); matmul:
      a product for each of its two inputs; fused attention: one call for queries, keys and values.
    - Batch norm reads input and gradient twice (sums, then application) and writes once; the kernel gives the gradients
      of scale and shift with it, so it runs for them alone too.  Layer norm and softmax read the gradient and what they
      kept (input, output) once.
    - An elementwise function reads the gradient and what it kept: relu and tanh their output, gelu its input, dropout
      its mask; `mul` runs a kernel per input.  The gradient of an `add` is the one that came in.  Where a value was
      used n times, n - 1 kernels add gradients up: at a ``fork``, or, in a network without any, at each `add` of n
      tensors, taken to be branches that part from one value of its size.
    - Joined functions (fused) only read what they kept, on top of the kernel before them; a relu after a batch norm
      reads nothing, because that kernel has what it needs to compute it anew.
    - A max pool reads the gradient and the indices and writes every input's gradient.
    - Values that the forward pass cast are cast back.
    """
    # What changed layout on the way in changes it back on the way out, and the other way round.
    gradients = _input_gradients(placed)
    if not placed.input_grad:
        return gradients
    before, behind = (relayout(values, placed.works) for values in placed.relaid)
    return [*behind, *gradients, *before]


def _input_gradients(placed: Placed) -> list[Operator]:
    layer = placed.layer
    if isinstance(layer, RecurrentLayer):  # going back through time is needed for the weights too
        needed = placed.input_grad or (placed.training and layer.trainable)
        return [recurrent(layer, "input_grad", placed)] if needed else []
    if isinstance(layer, Normalization) and layer.kind == "batchnorm":
        return _batchnorm(layer, placed) if placed.input_grad or (placed.training and layer.trainable) else []
    if not placed.input_grad:
        return []
    gradients: list[Operator]
    match layer:
        case Conv():
            gradients = [convolution(layer, "input_grad", placed)]
        case Linear():
            rows = layer.rows * placed.batch
            gradients = [
                Gemm(rows, layer.in_features, layer.out_features, number=placed.works, transposed=(False, False))
            ]
        case Experts():
            used, rows = rows_of_experts(layer, placed)
            gradients = [Gemm(rows, layer.in_features, layer.out_features, used, placed.works, (False, False))]
        case MatMul():
            rows, products = rows_and_products(layer, placed)
            gradients = [Gemm(rows, layer.k, layer.n, products, placed.works, (False, True))]
            if not layer.fixed:
                gradients.append(Gemm(layer.k, layer.n, rows, products, placed.works, (True, False)))
        case layers.Attention():
            gradients = [attention(layer, "input_grad", placed)]
        case Normalization():
            rows, columns = normalized_shape(layer, placed.batch)
            operations = LAYERNORM_GRADIENT_OPERATIONS
            gradients = [
                _stream(
                    "layernorm", f"{layer.kind}_grad", rows, columns, placed, (placed.writes, placed.works), operations
                )
            ]
        case Softmax():
            rows = layer.rows * placed.batch
            numbers = (placed.writes, placed.writes)
            gradients = [
                _stream("softmax", "softmax_grad", rows, layer.columns, placed, numbers, SOFTMAX_GRADIENT_OPERATIONS)
            ]
        case Pointwise():
            gradients = _pointwise(layer, placed)
        case Pool():
            gradients = [_pool(layer, placed)]
        case Embedding() | Weight():
            gradients = []
    if placed.casts_input and placed.input_values:
        gradients.append(cast(placed.input_values, placed.works, placed.reads))
    return gradients


def weight_gradient_operators(placed: Placed) -> list[Operator]:
    """Kernels of the gradients of a layer's own parameters; none in inference or where they are frozen.

    - Convolution and recurrent: their weight gradient; linear: (out, rows) by (rows, in).
    - A bias: a sum of the gradient over the batch and positions; likewise for an elementwise ``bias``, whose gradient
      is summed over the batch.
    - Layer norm reads input and gradient once more for its scale and shift.
    - An embedding writes zeros to the whole gradient table, and adds the rows that were looked up.
    - Gradients in fp16 of weights in fp32 are cast, a kernel per tensor; those of tied weights are added to the
      embedding's.
    """
    layer = placed.layer
    if not placed.training or isinstance(layer, MatMul | layers.Attention | Softmax | Pool | Weight):
        return []
    if isinstance(layer, Pointwise):
        return _summed_over_batch(layer, placed)
    if not layer.trainable:
        return []
    gradients: list[Operator] = []
    match layer:
        case Conv():
            gradients.append(convolution(layer, "weight_grad", placed))
            if layer.bias:
                gradients.append(_bias_sum(layer.out_channels, placed.batch * prod(layer.out_size), placed.works))
        case Linear():
            rows = layer.rows * placed.batch
            gradients.append(
                Gemm(layer.out_features, layer.in_features, rows, number=placed.works, transposed=(True, False))
            )
            if layer.bias:
                gradients.append(_bias_sum(layer.out_features, rows, placed.works))
        case Experts():
            used, rows = rows_of_experts(layer, placed)
            gradients.append(Gemm(layer.out_features, layer.in_features, rows, used, placed.works, (True, False)))
        case RecurrentLayer():
            gradients.append(recurrent(layer, "weight_grad", placed))
        case Normalization(kind="layernorm" | "rmsnorm"):
            rows, columns = normalized_shape(layer, placed.batch)
            read = float(BYTES[placed.writes] + BYTES[placed.works]) * rows * columns
            operations = float(LAYERNORM_WEIGHT_OPERATIONS) * rows * columns
            written = float(layer.parameters) * BYTES[placed.weights]
            gradients.append(
                Streaming(
                    "reduction", f"{layer.kind}_weight_grad", columns, rows, read, written, operations, placed.works
                )
            )
        case Embedding():
            gradients.append(_embedding(layer, placed))
    if placed.casts_weights and not placed.fused:
        gradients += [cast(values, placed.works, placed.weights) for values in placed.multiplied]
    if isinstance(layer, Linear) and layer.tied:
        gradients.append(_tied_sum(layer.in_features * layer.out_features, placed))
    if isinstance(layer, Embedding) and layer.tied:
        gradients.append(_tied_sum(layer.vocabulary * layer.width, placed))
    return gradients


def _stream(
    kind: StreamingKind,
    name: str,
    rows: int,
    columns: int,
    placed: Placed,
    numbers: tuple[Number, Number],
    operations: float,
    reads: int = 1,
) -> Streaming:
    """A kernel that reads the gradient and a kept tensor (their numbers given) so many times and writes what flows
    back.
    """
    values = rows * columns
    read = float(BYTES[numbers[0]] + BYTES[numbers[1]]) * values * reads
    # Where the layer itself casts as it reads, its gradient does as it writes; else a kernel of its own casts back.
    written = float(BYTES[placed.reads if placed.casts_in_passing else placed.works]) * values
    layout = placed.layout if kind == "batchnorm" else "nchw"
    pieces = placed.batch if kind == "batchnorm" and layout == "nchw" else 1
    return Streaming(
        kind,
        name,
        rows,
        columns,
        read,
        written,
        operations * values,
        placed.works,
        layout=layout,
        pieces=pieces,
        kept_bytes=float(BYTES[numbers[1]]) * values,
    )


def _batchnorm(layer: Normalization, placed: Placed) -> list[Operator]:
    rows, columns = normalized_shape(layer, placed.batch)
    numbers = (placed.writes, placed.works)
    return [
        _stream("batchnorm", "batchnorm_grad", rows, columns, placed, numbers, BATCHNORM_GRADIENT_OPERATIONS, reads=2)
    ]


def _pointwise(layer: Pointwise, placed: Placed) -> list[Operator]:
    if layer.function == SLICE and placed.fused:
        return []  # a compiler moves the parts of a gradient as it moved those of the value
    function = function_of(layer.function)
    values = placed.batch * layer.elements
    size = float(BYTES[placed.reads])
    branches = layer.function == FORK or (layer.function == "add" and not placed.explicit_forks)
    if branches:
        sums = layer.inputs - 1
        added: list[Operator] = []
        if placed.fused:
            if sums:
                added.append(_elementwise("gradient_sum", layer, placed, sums * size * values, 0.0, sums, joined=True))
        else:
            added += [_elementwise("gradient_sum", layer, placed, 2 * size * values, size * values, 1)] * sums
    else:
        added = []
    if layer.function == FORK:
        return added
    if layer.function == SLICE:
        return _slices(layer, placed)
    if function.passes:
        return [*added, *_narrowed(values, placed)]
    kept = {"mask": 1.0, "nothing": 0.0}.get(function.keeps, size) * values
    name = f"{layer.function}_grad"
    if not placed.joins:
        read = BYTES[placed.writes] * values + kept * max(1, layer.inputs - 1)
        return (
            added
            + [_elementwise(name, layer, placed, read, size * values, function.gradient_operations, kept=kept)]
            * layer.inputs
        )
    if placed.after_batchnorm and function.keeps != "mask":
        return added
    return [
        *added,
        *([_elementwise(name, layer, placed, kept, 0.0, function.gradient_operations, joined=True)] if kept else []),
    ]


def _slices(layer: Pointwise, placed: Placed) -> list[Operator]:
    """Zeros of the whole and a copy into them for each part, and sums of the wholes."""
    values, parts = placed.batch * layer.elements, layer.inputs
    size = float(BYTES[placed.reads]) * values
    part = replace(layer, elements=ceil(layer.elements / parts))
    one: list[Operator] = [
        _elementwise("zeros", layer, placed, 0.0, size, 0),
        _elementwise("slice_grad", part, placed, size / parts, size / parts, 0),
    ]
    return one * parts + [_elementwise("gradient_sum", layer, placed, 2 * size, size, 1)] * (parts - 1)


def _narrowed(values: int, placed: Placed) -> list[Operator]:
    """The cast of a gradient in fp32 to what flowed into an addition in fp16."""
    return [cast(values, placed.writes, placed.reads)] if placed.writes != placed.reads else []


def _elementwise(
    name: str,
    layer: Pointwise,
    placed: Placed,
    read: float,
    written: float,
    operations: float,
    joined: bool = False,
    kept: float = 0.0,
) -> Streaming:
    values = placed.batch * layer.elements
    kind = "elementwise" if name in ("gradient_sum", "zeros") else function_of(layer.function).kind
    return Streaming(
        kind,
        name,
        placed.batch,
        layer.elements,
        read,
        written,
        float(operations) * values,
        placed.reads,
        joined,
        kept_bytes=kept,
    )


def _pool(layer: Pool, placed: Placed) -> Operator:
    outputs = placed.batch * layer.channels * prod(layer.out_size)
    indices = INDEX_BYTES * outputs if layer.kind == "max" else 0
    read = float(BYTES[placed.writes]) * outputs + indices
    written = float(BYTES[placed.reads]) * placed.input_values
    rows, columns = placed.batch * layer.channels, max(prod(layer.size), prod(layer.out_size))
    operations = 1.0 if layer.kind == "max" else float(prod(layer.kernel))
    return Streaming(
        "pool",
        f"{layer.kind}_pool_grad",
        rows,
        columns,
        read,
        written,
        operations * outputs,
        placed.works,
        layout=placed.layout,
    )


def _bias_sum(channels: int, positions: int, number: Number) -> Operator:
    values = channels * positions
    return Streaming(
        "reduction",
        "bias_grad",
        channels,
        positions,
        float(BYTES[number]) * values,
        float(BYTES[number]) * channels,
        values,
        number,
    )


def _tied_sum(values: int, placed: Placed) -> Operator:
    """The gradient of tied weights is added to the embedding's."""
    size = float(BYTES[placed.weights]) * values
    return Streaming("elementwise", "tied_sum", 1, values, 2 * size, size, float(values), placed.weights)


def _summed_over_batch(layer: Pointwise, placed: Placed) -> list[Operator]:
    return [_bias_sum(layer.elements, placed.batch, placed.writes)] if layer.function == "bias" else []


def _embedding(layer: Embedding, placed: Placed) -> Operator:
    rows = placed.batch * layer.rows
    size = BYTES[placed.weights]
    read = float(BYTES[placed.writes]) * rows * layer.width + INDEX_BYTES * rows
    written = float(size) * layer.width * (layer.vocabulary + min(rows, layer.vocabulary))
    return Streaming(
        "embedding", "embedding_grad", rows, layer.width, read, written, float(rows) * layer.width, placed.writes
    )
