"""The statistics of a trace as one tidy table: a row per layer and tensor."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from simhw.progress import track
from simhw.trace.layer import TENSORS, Layer, TensorName, TensorStatistics
from simhw.trace.statistics import layer_statistics, statistics_of
from simhw.trace.trace import Trace

EXPONENT_BIAS = 127
NONFINITE_EXPONENT = 255
PERCENTILES = (1, 50, 99)


def trace_statistics(trace: Trace) -> Iterator[tuple[Layer, TensorName, TensorStatistics]]:
    """Each layer's tensors with their statistics, as recorded at capture, else measured now; tensors with neither are
    left out.

    Shows a progress bar on a terminal, since measuring reads the tensors.
    """
    for layer in track(trace.layers, "statistics", len(trace.layers)):
        for tensor in TENSORS:
            if tensor in layer.statistics:
                yield layer, tensor, statistics_of(layer, tensor)
            elif layer.holds(tensor):
                yield layer, tensor, layer_statistics(layer, tensor)


def exponent_percentile(exponents: npt.NDArray[np.int64], percentile: float) -> int | None:
    """The smallest unbiased exponent that at least this share of the finite non-zero values does not exceed; None
    without any.
    """
    finite = exponents[1:NONFINITE_EXPONENT]
    total = int(finite.sum())
    if not total:
        return None
    # At least one value, so that the percentile 0 is the smallest exponent that occurs.
    wanted = max(1, int(np.ceil(total * percentile / 100)))
    return int(np.searchsorted(np.cumsum(finite), wanted)) + 1 - EXPONENT_BIAS


def statistics_frame(trace: Trace) -> pd.DataFrame:
    """Statistics per layer and tensor.

    Returns
    -------
    DataFrame
        ``layer``, ``kind``, ``tensor``, ``shape`` (as "2x3x4"), ``values``, ``zero_fraction``, ``terms_per_value``
        (NAF, a zero counts 0), ``bytes`` (uncompressed), ``bdc_bytes``, ``zero_bytes`` (compressed; missing where
        capture did not record them), ``exponent_min``, ``exponent_p01``, ``exponent_p50``, ``exponent_p99``,
        ``exponent_max`` (of the finite non-zero values, unbiased), ``nonfinite`` (values that are NaN or infinite).
    """
    rows: list[dict[str, Any]] = []
    for layer, tensor, statistics in trace_statistics(trace):
        rows.append(
            {
                "layer": layer.name,
                "kind": layer.kind,
                "tensor": tensor.upper(),
                "shape": "x".join(map(str, layer.shapes[tensor])),
                "values": statistics.size,
                "zero_fraction": statistics.zero_fraction,
                "terms_per_value": statistics.terms_per_value(),
                "bytes": 2 * statistics.size,
                "bdc_bytes": statistics.compressed_bytes.get("bdc"),
                "zero_bytes": statistics.compressed_bytes.get("zero"),
                "exponent_min": exponent_percentile(statistics.exponents, 0),
                **{f"exponent_p{p:02d}": exponent_percentile(statistics.exponents, p) for p in PERCENTILES},
                "exponent_max": exponent_percentile(statistics.exponents, 100),
                "nonfinite": int(statistics.exponents[NONFINITE_EXPONENT]),
            }
        )
    frame = pd.DataFrame(rows)
    nullable = [column for column in frame.columns if column.startswith("exponent_") or column.endswith("_bytes")]
    return frame.astype(dict.fromkeys(nullable, "Int64"))
