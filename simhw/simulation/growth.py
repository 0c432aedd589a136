"""A step on more images than were captured: the same values again and again, the same weights.

A trace of a large batch is too large to keep, so a few images of it are captured.  Work on the tiles grows with the
images, weights do not; so how much of the time and energy goes to moving weights depends on the batch.  Which axes grow
is told by `simhw.trace.batch`.
"""

from dataclasses import dataclass

from simhw.errors import SimhwError, listed
from simhw.trace.batch import BatchAxes, batch_axes, captured_batch
from simhw.trace.layer import TENSORS, Layer
from simhw.trace.statistics import statistics_of
from simhw.trace.trace import Trace

MOST_IMAGES = 1 << 40
"""Images that a step is grown to at the most: counts of passes and bytes fit 64 bits."""


@dataclass(frozen=True)
class Growth:
    """How a captured step becomes one on more images.

    Attributes
    ----------
    factor : int
        Times the captured images.
    axes : list of BatchAxes
        Of each layer.
    doubts : tuple of str
        Sentences on the layers of which shapes alone do not tell, those of one reason together.
    """

    factor: int
    axes: list[BatchAxes]
    doubts: tuple[str, ...]


def growth(trace: Trace, batch: int) -> Growth:
    """How the step of a trace becomes one on `batch` images.

    Raises
    ------
    SimhwError
        The batch is not a multiple of the captured one.
    TraceError
        As of `captured_batch`.
    """
    captured = captured_batch(trace)
    if batch < captured or batch % captured:
        raise SimhwError(f"batch {batch}: give a multiple of the {captured} images that the trace holds")
    if batch > MOST_IMAGES:
        raise SimhwError(f"batch {batch}: give at most {MOST_IMAGES}")
    axes = batch_axes(trace)
    reasons: dict[str, list[str]] = {}
    for layer, each in zip(trace.layers, axes, strict=True):
        if each.doubt:
            reasons.setdefault(each.doubt, []).append(repr(layer.name))
    told = [f"{listed(names)}: {reason}" for reason, names in reasons.items()]
    if trace.metadata.batch is None:
        told.insert(
            0, f"the trace does not record its batch: {captured}, the least batch axis of its layers, is taken for it"
        )
    return Growth(batch // captured, axes, tuple(told))


def grow_layer(layer: Layer, axes: BatchAxes, factor: int) -> Layer:
    """A layer with the shapes that a step on `factor` times the images has, its statistics and no values."""
    shapes = dict(layer.shapes)
    for tensor, axis in axes.axes:
        if tensor in shapes:
            shape = list(shapes[tensor])
            shape[axis] *= factor
            shapes[tensor] = tuple(shape)
    for tensor in TENSORS:
        if layer.holds(tensor):
            statistics_of(layer, tensor)  # measured on the values, which the grown layer has not
    return Layer(
        layer.name,
        layer.kind,
        layer.geometry,
        operations=layer.operations,
        shapes=shapes,
        statistics=layer.statistics,
        scales=layer.scales,
    )
