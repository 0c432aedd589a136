"""The batch of a trace: how many images were captured, and which axis of each layer carries them.

The trace records its batch.  Which axis of a layer carries it is told by the kind of layer and the sizes:
docs/memory.md has the rules.  Where sizes leave a doubt, `BatchAxes.doubt` says what was taken.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import prod

from simhw.errors import TraceError
from simhw.trace.geometry import CONVOLUTIONS, RECURRENT
from simhw.trace.layer import OPERATIONS, TENSORS, Layer, TensorName
from simhw.trace.trace import Trace

Axes = tuple[tuple[TensorName, int], ...]

MATRIX_AXES: dict[str, Axes] = {"M": (("a", 0), ("g", 0)), "K": (("a", 1), ("w", 0)), "N": (("w", 1), ("g", 1))}
"""Where the three extents of a product of two matrices, (M, K) by (K, N), stand in its tensors."""
NO_AXIS = "has no batch axis, so it does not grow"


@dataclass(frozen=True)
class BatchAxes:
    """The axes of a layer's tensors that are as long as there are images, or a multiple of that.

    Attributes
    ----------
    axes : tuple of (tensor name, axis)
        Empty for a product that has nothing to do with images, such as an optimizer's.
    doubt : str
        What was taken where shapes alone do not tell, or what is unlike the other layers; empty where there is no
        doubt.
    """

    axes: Axes
    doubt: str = ""


def captured_batch(trace: Trace) -> int:
    """Images (samples, sequences) of the captured step: as recorded, else the least batch axis that divides all others.

    Raises
    ------
    TraceError
        The trace records none and its layers disagree, or none of its layers has an axis of what it records.
    """
    where = trace.path or "the trace"
    recorded = trace.metadata.batch
    extents = [(layer, each) for layer in trace.layers if (each := _extents(layer))]
    if recorded is not None:
        if extents and not any(extent % max(1, recorded) == 0 for _, each in extents for extent in each):
            raise TraceError(
                f"{where}: it records a batch of {recorded}, but no layer has such an axis; record the batch that "
                "was captured"
            )
        return recorded
    if not extents:
        raise TraceError(
            f"{where}: it does not record its batch, and no layer has an axis that tells; record it as metadata's batch"
        )
    leading = [(each[0], layer.name) for layer, each in extents]
    least, first = min(leading)
    if odd := next((pair for pair in leading if pair[0] % least), None):
        told = f"{first!r} {least} and {odd[1]!r} {odd[0]}"
        raise TraceError(
            f"{where}: it does not record its batch, and its layers' batch axes differ ({told}); record it as "
            "metadata's batch"
        )
    return least


def batch_axes(trace: Trace) -> list[BatchAxes]:
    """Which axes of each layer carry the batch, in the order of the layers.

    Raises
    ------
    TraceError
        As of `captured_batch`.
    """
    batch = captured_batch(trace)
    parts = _parts(trace, batch)
    certain = [
        None if _two_matrices(layer) else BatchAxes(_on(layer, 0)) if layer.name in parts else _axes(layer, batch)
        for layer in trace.layers
    ]
    rows, features, weights = {batch}, set[int](), set[frozenset[int]]()
    for layer, found in zip(trace.layers, certain, strict=True):
        if found is not None and found.axes:
            rows |= _rows(layer)
        if found is not None:
            features |= _features(layer)
        if "w" in layer.shapes:
            weights.add(frozenset((layer.shapes["w"][0], prod(layer.shapes["w"][1:]))))
    step = _Step(batch, rows, features, weights, any(_differentiated(layer) for layer in trace.layers))
    return [
        _matrix_axes(layer, step)
        if found is None
        else BatchAxes((), NO_AXIS)
        if _of_weights_alone(layer, step)
        else found
        for layer, found in zip(trace.layers, certain, strict=True)
    ]


@dataclass(frozen=True)
class _Step:
    """What the other layers tell about a product of two matrices.

    Attributes
    ----------
    batch : int
    rows, features : set of int
        Extents that their samples have as a matrix, and that their weights have.
    weights : set of frozenset of int
        Shapes of weights as matrices, either way up.
    trained : bool
        Any of them has gradients.
    """

    batch: int
    rows: set[int]
    features: set[int]
    weights: set[frozenset[int]]
    trained: bool


def _samples(layer: Layer) -> tuple[int, ...]:
    """The shape of A or else G; empty where neither is known, so that no operation can be run."""
    return layer.shapes.get("a", layer.shapes.get("g", ()))


def _two_matrices(layer: Layer) -> bool:
    """A product of two matrices, which has no axes but M, K and N."""
    return layer.kind == "matmul" and len(_samples(layer)) == 2


def _extents(layer: Layer) -> tuple[int, ...]:
    """Extents of the axes that may carry the batch, the likeliest first; none of a product of two matrices."""
    samples = _samples(layer)
    if layer.kind in CONVOLUTIONS:
        return samples[:1]
    if layer.kind in RECURRENT:
        return samples[1:2]  # (time, batch, features)
    return samples[:-2] if layer.kind == "matmul" else samples[:-1]


def _parts(trace: Trace, batch: int) -> set[str]:
    """Layers that are passes of one module, each for a part of the images: their leading axes add up to the batch."""
    passes = defaultdict[str, list[Layer]](list)
    for layer in trace.layers:
        if layer.kind not in (*RECURRENT, "matmul") and _extents(layer):
            passes[layer.name.partition("#")[0]].append(layer)
    return {
        layer.name
        for module in passes.values()
        if len(module) > 1 and sum(_extents(layer)[0] for layer in module) == batch
        for layer in module
    }


def _axes(layer: Layer, batch: int) -> BatchAxes:
    """Of any layer but a product of two matrices."""
    extents = _extents(layer)
    if not extents:
        return BatchAxes(())
    if layer.kind in RECURRENT:
        return BatchAxes(_on(layer, 1), "" if extents[0] % batch == 0 else _no_multiple(extents[0], batch))
    whole = [axis for axis, extent in enumerate(extents) if extent == batch]
    multiple = [axis for axis, extent in enumerate(extents) if extent % batch == 0]
    if 0 in whole or (not whole and 0 in multiple):
        return BatchAxes(_on(layer, 0))
    if whole:
        return BatchAxes(
            _on(layer, whole[0]), f"its axis {whole[0]}, not the leading one, is taken for the batch of {batch}"
        )
    if extents[0] == 1 and (len(extents) > 1 or layer.kind in CONVOLUTIONS):
        return BatchAxes(
            (),
            f"its leading axis is 1 and not the batch of {batch}, so it is taken for the same whatever the images, "
            "and does not grow",
        )
    if multiple:
        return BatchAxes(
            _on(layer, multiple[0]), f"its axis {multiple[0]}, not the leading one, is taken for the batch of {batch}"
        )
    samples = _samples(layer)
    if layer.kind == "matmul" and samples[-2] % batch == 0:
        # A stack of weights, such as experts', against as many stacks of rows.
        return BatchAxes(
            (("a", len(samples) - 2), ("g", len(samples) - 2)),
            f"its {extents[0]} matrices are no multiple of the batch of {batch}, but their rows are, which grow",
        )
    return BatchAxes(_on(layer, 0), _no_multiple(extents[0], batch))


def _no_multiple(extent: int, batch: int) -> str:
    return (
        f"no multiple of the batch of {batch} ({extent}); taken for what its images choose (as an expert's "
        "tokens), which grows with them"
    )


def _on(layer: Layer, axis: int) -> Axes:
    """That axis of the tensors that have it: both operands of a batched matmul, A and G of anything else."""
    return tuple((tensor, axis) for tensor in TENSORS if tensor != "w" or layer.kind == "matmul")


def _rows(layer: Layer) -> set[int]:
    """Numbers of rows that a layer's images come to where they are written as a matrix."""
    samples = _samples(layer)
    if layer.kind in CONVOLUTIONS:
        return {samples[0], *(shape[0] * prod(shape[2:]) for name, shape in layer.shapes.items() if name != "w")}
    return {prod(samples[:-1])} if layer.kind != "matmul" else set()


def _features(layer: Layer) -> set[int]:
    """Extents that weights have, one by one and as a matrix."""
    if layer.kind == "matmul" or "w" not in layer.shapes:
        return set()
    outputs, *inputs = layer.shapes["w"]
    return {outputs, inputs[0], prod(inputs)}


def _differentiated(layer: Layer) -> bool:
    return layer.operations not in ((), OPERATIONS[:1])


def _beside(layer: Layer, step: _Step) -> bool:
    """True for a product outside of all modules, without gradients in a step that has them: what an optimizer does."""
    return layer.kind == "matmul" and step.trained and not _differentiated(layer) and "." not in layer.name


def _of_weights_alone(layer: Layer, step: _Step) -> bool:
    """True for a stack of an optimizer's products."""
    matrices = (shape[-2:] for shape in layer.shapes.values())
    return _beside(layer, step) and step.features.issuperset(extent for matrix in matrices for extent in matrix)


def _matrix_axes(layer: Layer, step: _Step) -> BatchAxes:
    """Of a product of two matrices: the extents that are a number of rows of other layers, and no number of features.

    An optimizer's products and those that make a weight have extents of weights alone.  A step without gradients makes
    no weights.
    """
    extents = {
        name: layer.shapes[tensor][axis]
        for name, places in MATRIX_AXES.items()
        for tensor, axis in places
        if tensor in layer.shapes
    }
    makes_weight = step.trained and frozenset((extents["M"], extents["N"])) in step.weights
    maybe = [name for name, extent in extents.items() if extent in step.rows]
    sure = [name for name in maybe if extents[name] not in step.features]
    if makes_weight and (_differentiated(layer) or sure != ["K"]):
        return BatchAxes((), NO_AXIS)
    if not sure and _differentiated(layer) and extents["M"] % step.batch == 0 and extents["M"] not in step.features:
        sure = ["M"]
    if sure:
        told = " and ".join(f"{name} = {extents[name]}" for name in sure)
        return BatchAxes(
            tuple(axis for name in sure for axis in MATRIX_AXES[name]),
            f"{told} taken for rows of the images, which grow",
        )
    if maybe and not _beside(layer, step):
        told = f"{maybe[0]} = {extents[maybe[0]]}"
        return BatchAxes(
            MATRIX_AXES[maybe[0]], f"{told}, of rows or of features, taken for rows of the images, which grow"
        )
    return BatchAxes((), NO_AXIS)
