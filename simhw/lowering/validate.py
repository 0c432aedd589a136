"""Reading a whole trace to see that it can be read, and that its statistics and samples are those of its tensors."""

from pathlib import Path

import numpy as np

from simhw.errors import TraceError
from simhw.lowering import check_runnable, lower
from simhw.progress import track
from simhw.trace.layer import TENSORS, Layer, TensorStatistics
from simhw.trace.statistics import layer_statistics
from simhw.trace.trace import Trace


def validate_trace(trace: Trace, check_statistics: bool = True) -> int:
    """Read every tensor and every block once.

    Parameters
    ----------
    trace : Trace
    check_statistics : bool
        Measure every whole tensor anew and compare with what the trace records.

    Returns
    -------
    int
        How many values were read.

    Raises
    ------
    TraceError
        The first tensor that cannot be read, holds NaN or infinity that the trace does not allow, or differs from its
        recorded statistics; the first operation that cannot be simulated from what the trace holds.
    """
    return sum(
        _validate_layer(trace, layer, check_statistics)
        for layer in track(trace.layers, "validating", len(trace.layers))
    )


def _validate_layer(trace: Trace, layer: Layer, check_statistics: bool) -> int:
    values = 0
    for tensor in TENSORS:
        if not layer.holds(tensor):
            continue
        bits = layer.source(tensor).read()
        values += bits.size
        if check_statistics and tensor in layer.statistics:
            wrong = _difference(layer.statistics[tensor], layer_statistics(layer, tensor, bits))
            if wrong:
                where = f"layer {layer.name!r}, tensor {tensor.upper()}"
                raise TraceError(f"{_name(trace)}: {where}: its recorded {wrong} differ from its values")
    for operation in layer.operations:
        try:
            # Shapes alone decide, whatever the size of a set.
            check_runnable(layer, operation, lower(layer, operation, lanes=8))
        except TraceError as error:
            raise TraceError(f"{_name(trace)}: {error}") from error
    for blocks in layer.blocks.values():
        for block in blocks:
            values += block.x.read().size + block.y.read().size
    return values


def _name(trace: Trace) -> str:
    return Path(trace.path).name or "trace"


def _difference(recorded: TensorStatistics, measured: TensorStatistics) -> str | None:
    """The first statistic that differs."""
    for name in ("exponents", "fractions", "zeros_per_image", "terms_per_image"):
        if not np.array_equal(getattr(recorded, name), getattr(measured, name)):
            return name
    # A trace may record fewer sizes, but none that differ.
    different = {
        key for key, size in recorded.compressed_bytes.items() if measured.compressed_bytes.get(key, size) != size
    }
    return f"compressed bytes ({', '.join(sorted(different))})" if different else None
