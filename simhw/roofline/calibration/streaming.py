"""Fit of the operators limited by data movement: a rate, a latency and the framework's floor for each kernel.

Even rows of NeuSight's files are fitted, odd rows scored.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from scipy.optimize import minimize

from simhw.roofline.calibration.measurements import Measured, read_measurements
from simhw.roofline.calibration.score import Score, score
from simhw.roofline.device import load_device
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.streaming import SecondReading, StreamingParameters
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.operators import Streaming, StreamingKind
from simhw.roofline.predict import predict

BOARD = "v100-pcie"
FILES: dict[StreamingKind, tuple[str, ...]] = {
    "elementwise": ("neusight_v100_add",),
    "activation": ("neusight_v100_relu", "neusight_v100_gelu"),
    "layernorm": ("neusight_v100_ln",),
    "softmax": ("neusight_v100_softmax",),
}
"""Files that tell of a kind."""
SMALL_BYTES = 2e6
"""Traffic below which nothing but the framework's time is measured: 3 us of off-chip traffic where the floors are above
30.
"""
START = 1e-5, 7e11, 0.5
"""Latency [s], bandwidth [bytes/s] and missing share of a second reading from which the fit sets out."""


def fit(
    rows: Sequence[Measured], launch_s: float, hardware: GpuHardware, again: SecondReading | None = None
) -> dict[str, float]:
    """Floor, latency and bandwidth of one kernel, and the missing share of one that reads its rows twice.

    Parameters
    ----------
    rows : sequence of Measured
    launch_s : float
        Part of the latency that a stream of kernels does not hide.
    hardware : GpuHardware
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
        latency_s, rate = point[0] * START[0], point[1] * START[1]
        share = abs(point[2]) * START[2] if again else 0.0
        moved = [first + share * second for first, second in zip(once, twice, strict=True)]
        return fmean(
            abs(max(host_s, latency_s + each / rate) / row.seconds - 1) for row, each in zip(rows, moved, strict=True)
        )

    start = [1.0] * (3 if again else 2)
    found = minimize(error, start, method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7}).x
    fitted = {
        "dram_bytes_per_s": float(found[1]) * START[1],
        "latency_s": float(found[0]) * START[0] - launch_s,
        "host_s": host_s,
    }
    return fitted | ({"missing_share": abs(float(found[2])) * START[2]} if again else {})


def _fitted(
    kind: StreamingKind, rows: Sequence[Measured], parameters: StreamingParameters, hardware: GpuHardware
) -> dict[str, float]:
    """Constants of a kind by dotted name: its usual kernel's, and that of long rows where it has one."""
    longest = parameters.long_rows[kind].columns if kind in parameters.long_rows else None
    usual = [
        row
        for row in rows
        if isinstance(row.operator, Streaming) and (longest is None or row.operator.columns <= longest)
    ]
    found = fit(usual, parameters.launch_s, hardware, parameters.second_reading.get(kind))
    share = found.pop("missing_share", None)
    constants = {f"streaming.kernels.{kind}.{name}": value for name, value in found.items()}
    if share is not None:
        constants[f"streaming.second_reading.{kind}.missing_share"] = share
    if longest is not None:
        other = fit([row for row in rows if row not in usual], parameters.launch_s, hardware)
        constants |= {f"streaming.long_rows.{kind}.kernel.{name}": value for name, value in other.items()}
    return constants


def calibrate(folder: Path) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to even rows, and the scores of the shipped ones on odd rows."""
    device = load_device(BOARD)
    assert isinstance(device.values, GpuValues)
    constants: dict[str, float] = {}
    scores = []
    for kind, files in FILES.items():
        rows = {name: read_measurements(folder, name) for name in files}
        even = [row for each in rows.values() for row in each[::2]]
        constants |= _fitted(kind, even, device.values.streaming, device.values.hardware)
        for name, each in rows.items():
            kernels = name.rpartition("_")[2]
            hardware = device.values.hardware
            scores.append(
                score(
                    f"{kernels} fp32",
                    "even rows of " + ", ".join(files),
                    f"odd rows of {name}",
                    each[1::2],
                    lambda operator: predict(operator, device).alone_s,
                    hardware,
                )
            )
    return constants, scores
