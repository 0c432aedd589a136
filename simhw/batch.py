"""A step on more images than were captured: the same values again and again, the same weights.

A trace of a large batch is too large to keep, so a few images of it are captured.  Work on the tiles grows with the
images, weights do not; so how much of the time and energy goes to moving weights depends on the batch.
"""

from math import gcd

from simhw.errors import SimhwError
from simhw.operands import statistics_of
from simhw.trace.layer import RECURRENT, TENSORS, Layer, TensorName


def captured_batch(layers: list[Layer]) -> int:
    """Images (samples, sequences) of a step: the largest number that divides every layer's batch axis."""
    return gcd(*(_batch(layer) for layer in layers))


def grow_layer(layer: Layer, captured: int, batch: int) -> Layer:
    """A layer with the shapes that a step on `batch` images has in place of `captured` ones, their statistics and no values.

    Raises
    ------
    SimhwError
        The batch is not a multiple of the captured one.
    """
    check_batch(captured, batch)
    factor = batch // captured
    shapes = dict(layer.shapes)
    for tensor in _batched(layer):
        if tensor in shapes:
            shape = list(shapes[tensor])
            shape[_axis(layer)] *= factor
            shapes[tensor] = tuple(shape)
    for tensor in TENSORS:
        if layer.holds(tensor):
            statistics_of(layer, tensor)  # measured on the values, which the grown layer has not
    return Layer(layer.name, layer.kind, layer.geometry, operations=layer.operations, shapes=shapes, statistics=layer.statistics)


def check_batch(captured: int, batch: int) -> None:
    """Raise SimhwError where the batch is not a multiple of the captured one."""
    if batch < captured or batch % captured:
        raise SimhwError(f"batch {batch}: give a multiple of the {captured} images that the trace holds")


def _axis(layer: Layer) -> int:
    """Recurrent gate products are (time, batch, features); all others lead with the batch."""
    return 1 if layer.kind in RECURRENT else 0


def _batch(layer: Layer) -> int:
    shape = layer.shapes["a"] if "a" in layer.shapes else layer.shapes["g"]
    return shape[_axis(layer)]


def _batched(layer: Layer) -> tuple[TensorName, ...]:
    """Tensors that have the batch axis: both operands of a batched matmul, A and G of anything else."""
    rank = max(len(shape) for shape in layer.shapes.values())
    return ("a", "w", "g") if layer.kind == "matmul" and rank > 2 else ("a", "g")
