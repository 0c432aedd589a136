"""Fit of the operators limited by data movement: a rate, a latency and the framework's floor for each kind of kernel.

Even rows of NeuSight's files are fitted, odd rows scored.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from scipy.optimize import minimize

from simhw.roofline.calibration.score import Score, score
from simhw.roofline.device import load_device
from simhw.roofline.gpu.parameters import GpuValues
from simhw.roofline.measurements import Measured, read_measurements
from simhw.roofline.operators import StreamingKind
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
"""Traffic below which nothing but the framework's time is measured: 3 us of off-chip traffic where the floors are above 30."""
START = 1e-5, 7e11
"""Latency [s] and bandwidth [bytes/s] from which the fit sets out."""


def fit(rows: Sequence[Measured], launch_s: float) -> dict[str, float]:
    """Floor, latency and bandwidth of one kind of kernel.

    Parameters
    ----------
    rows : sequence of Measured
    launch_s : float
        Part of the latency that a stream of kernels does not hide.
    """
    host_s = median(row.seconds for row in rows if row.operator.dram_bytes < SMALL_BYTES)

    def error(point: Sequence[float]) -> float:
        latency_s, rate = point[0] * START[0], point[1] * START[1]
        return fmean(abs(max(host_s, latency_s + row.operator.dram_bytes / rate) / row.seconds - 1) for row in rows)

    found = minimize(error, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7})
    return {"dram_bytes_per_s": float(found.x[1]) * START[1], "latency_s": float(found.x[0]) * START[0] - launch_s, "host_s": host_s}


def calibrate(folder: Path) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to even rows, and the scores of the shipped ones on odd rows."""
    device = load_device(BOARD)
    assert isinstance(device.values, GpuValues)
    constants: dict[str, float] = {}
    scores = []
    for kind, files in FILES.items():
        rows = {name: read_measurements(folder, name) for name in files}
        fitted = fit([row for each in rows.values() for row in each[::2]], device.values.streaming.launch_s)
        constants |= {f"streaming.kernels.{kind}.{name}": value for name, value in fitted.items()}
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
