"""Fit of the operators limited by data movement: a rate, a latency and the framework's floor for each kernel.

Even rows of NeuSight's files are fitted, odd rows scored.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from scipy.optimize import minimize

from simhw.roofline.calibration.benchmarks import Benchmarks
from simhw.roofline.calibration.measurements import Measured, read_measurements
from simhw.roofline.calibration.score import Score, score
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.streaming import SecondReading
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.operators import Streaming, StreamingKind

FILES: dict[StreamingKind, tuple[str, ...]] = {
    "elementwise": ("neusight_add",),
    "activation": ("neusight_relu", "neusight_gelu"),
    "layernorm": ("neusight_ln",),
    "softmax": ("neusight_softmax",),
}
"""What is measured in the files that tell of a kind."""
SMALL_BYTES = 2e6
"""Traffic below which nothing but the framework's time is measured: 3 us of off-chip traffic where the floors are above
30.
"""


def fit(
    rows: Sequence[Measured],
    launch_s: float,
    hardware: GpuHardware,
    start: tuple[float, float, float],
    again: SecondReading | None = None,
) -> dict[str, float]:
    """Floor, latency and bandwidth of one kernel, and the missing share of one that reads its rows twice.

    Parameters
    ----------
    rows : sequence of Measured
    launch_s : float
        Part of the latency that a stream of kernels does not hide.
    hardware : GpuHardware
    start : (float, float, float)
        `Benchmarks.streaming_start`.
    again : SecondReading, optional
        Its `missing_share` is what the fit looks for.
    """
    host_s = median(row.seconds for row in rows if row.operator.dram_bytes < SMALL_BYTES)
    once = [row.operator.dram_bytes for row in rows]
    # Bytes read again for a share of 1, to which they are proportional.
    whole = again.model_copy(update={"missing_share": 1.0}) if again else None
    twice = [
        whole.bytes_again(row.operator, hardware) if whole and isinstance(row.operator, Streaming) else 0.0
        for row in rows
    ]

    def error(point: Sequence[float]) -> float:
        latency_s, rate = point[0] * start[0], point[1] * start[1]
        share = abs(point[2]) * start[2] if again else 0.0
        moved = [first + share * second for first, second in zip(once, twice, strict=True)]
        return fmean(
            abs(max(host_s, latency_s + each / rate) / row.seconds - 1) for row, each in zip(rows, moved, strict=True)
        )

    found = minimize(error, [1.0] * (3 if again else 2), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7}).x
    fitted = {
        "dram_bytes_per_s": float(found[1]) * start[1],
        "latency_s": float(found[0]) * start[0] - launch_s,
        "host_s": host_s,
    }
    return fitted | ({"missing_share": abs(float(found[2])) * start[2]} if again else {})


def _fitted(
    kind: StreamingKind, rows: Sequence[Measured], board: GpuValues, start: tuple[float, float, float]
) -> dict[str, float]:
    """Constants of a kind by dotted name: its usual kernel's, and that of long rows where it has one."""
    parameters, hardware = board.streaming, board.hardware
    longest = parameters.long_rows[kind].columns if kind in parameters.long_rows else None
    usual = [
        row
        for row in rows
        if isinstance(row.operator, Streaming) and (longest is None or row.operator.columns <= longest)
    ]
    found = fit(usual, parameters.launch_s, hardware, start, parameters.second_reading.get(kind))
    share = found.pop("missing_share", None)
    constants = {f"streaming.kernels.{kind}.{name}": value for name, value in found.items()}
    if share is not None:
        constants[f"streaming.second_reading.{kind}.missing_share"] = share
    if longest is not None:
        other = fit([row for row in rows if row not in usual], parameters.launch_s, hardware, start)
        constants |= {f"streaming.long_rows.{kind}.kernel.{name}": value for name, value in other.items()}
    return constants


def calibrate(folder: Path, benchmarks: Benchmarks) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to even rows, and the scores of the shipped ones on odd rows."""
    board = benchmarks.framework
    constants: dict[str, float] = {}
    scores = []
    for kind, kernels in FILES.items():
        files = [benchmarks.file(each) for each in kernels]
        rows = {name: read_measurements(folder, name) for name in files}
        even = [row for each in rows.values() for row in each[::2]]
        constants |= _fitted(kind, even, board, benchmarks.streaming_start)
        for name, each in rows.items():
            scores.append(
                score(
                    f"{name.rpartition('_')[2]} fp32",
                    "even rows of " + ", ".join(files),
                    f"odd rows of {name}",
                    each[1::2],
                    lambda operator: board.predict(operator).alone_s,
                    board.hardware,
                )
            )
    return constants, scores
