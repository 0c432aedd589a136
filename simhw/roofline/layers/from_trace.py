"""A network of the shapes in a trace: its product layers, one sample of each, without what a trace leaves out."""

from math import prod

from simhw.errors import ShapeError, listed, quoted
from simhw.roofline.layers.network import Conv, Linear, MatMul, Network, NetworkLayer, RecurrentLayer
from simhw.roofline.operators import GATES, Cell
from simhw.trace.batch import MATRIX_AXES, BatchAxes, batch_axes, captured_batch
from simhw.trace.geometry import CONVOLUTIONS, RECURRENT, TRANSPOSED_CONVOLUTIONS
from simhw.trace.layer import Layer
from simhw.trace.trace import Trace

CELLS: dict[str, Cell] = {"lstm": "lstm", "gru": "gru"}


def network_from_trace(trace: Trace) -> Network:
    """The product layers of a trace as a network; no values are read.

    A trace has no elementwise functions, normalisations or pooling, so a prediction of it is of the products alone.
    Where training skipped the weights' gradients the layer is frozen.  Products that have no batch axis are left out
    and named in the network's source: what an optimizer does is no part of a network.

    Raises
    ------
    ShapeError
        The trace has no layer, or one whose input or weights are missing or whose rows are no whole number of samples.
    TraceError
        As of `simhw.trace.batch.captured_batch`.
    """
    layers, batch = _layers(trace), captured_batch(trace)
    known = batch_axes(trace)
    found = tuple(_converted(layer, batch, axes) for layer, axes in zip(layers, known, strict=True) if axes.axes)
    source = f"{trace.path or 'a trace'}, captured with batch {batch}: products alone, as traces hold nothing else"
    if without := [quoted(layer.name) for layer, axes in zip(layers, known, strict=True) if not axes.axes]:
        source += f"; without {listed(without)}, which have no batch axis"
    doubts = tuple(
        f"{quoted(layer.name)}: {axes.doubt}"
        for layer, axes in zip(layers, known, strict=True)
        if axes.axes and axes.doubt
    )
    return Network(trace.metadata.model or "trace", found, source, cautions=doubts[:5], batch=batch)


def _layers(trace: Trace) -> list[Layer]:
    if not trace.layers:
        raise ShapeError(f"{trace.path or 'the trace'} has no layers")
    return trace.layers


def _converted(layer: Layer, batch: int, axes: BatchAxes) -> NetworkLayer:
    missing = [tensor.upper() for tensor in ("a", "w") if tensor not in layer.shapes]
    if missing:
        raise ShapeError(
            f"layer {quoted(layer.name)}: tensor {' and '.join(missing)} has no shape in the trace, so its size is "
            "not known"
        )
    a, w = layer.shapes["a"], layer.shapes["w"]
    trainable = "weight_grad" in layer.operations
    if layer.kind in TRANSPOSED_CONVOLUTIONS:
        # A product at every position of its input, whose columns are added up where they overlap.
        groups, positions = layer.geometry.groups, _whole(layer, a[0] * prod(a[2:]), batch)
        if groups > 1:
            return MatMul(layer.name, groups, positions, prod(w[1:]), a[1] // groups)
        return Linear(layer.name, a[1], prod(w[1:]), positions, bias=False, trainable=trainable)
    if layer.kind in CONVOLUTIONS:
        geometry = layer.geometry
        fields = (a[2:], w[2:], geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
        # A view that takes several slices of a sample at once, as a video's frames, has a larger leading axis than the
        # batch.
        repeats = _whole(layer, a[0], batch)
        if repeats > 1:
            raise ShapeError(
                f"layer {quoted(layer.name)}: {repeats} images a sample; give a trace of one image a sample"
            )
        return Conv(layer.name, a[1], w[0], *fields, trainable=trainable)
    if layer.kind == "matmul" and len(a) == 2:
        if axes.axes != MATRIX_AXES["M"]:
            raise ShapeError(
                f"layer {quoted(layer.name)}: a product across samples ({axes.doubt}) is no layer of a network of "
                "one sample"
            )
        return Linear(layer.name, a[-1], w[-1], _whole(layer, a[0], batch), bias=False, trainable=trainable)
    if layer.kind == "matmul":
        return MatMul(layer.name, _whole(layer, prod(a[:-2]), batch), m=a[-2], n=w[-1], k=a[-1])
    if layer.kind in RECURRENT and w[0] == GATES[CELLS[layer.kind]] * w[1] and "weight_hh" in layer.name:
        return RecurrentLayer(layer.name, CELLS[layer.kind], 0, w[1], a[0], trainable)
    return Linear(layer.name, w[1], w[0], _whole(layer, prod(a[:-1]), batch), bias=False, trainable=trainable)


def _whole(layer: Layer, rows: int, batch: int) -> int:
    """Rows of one sample."""
    if rows % batch:
        raise ShapeError(f"layer {quoted(layer.name)}: {rows} rows are no whole number for each of {batch} samples")
    return rows // batch
