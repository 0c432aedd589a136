"""Costs of a V100 from the watts of 26 measured kernels (AccelWattch): an active board's floor, arithmetic and off-chip
traffic.

The file names kernels and watts alone.  What a kernel executes is known only by its character, so that rates are
assumed where an energy follows from watts, and the rest of the kernels can only bound the result.
"""

from pathlib import Path

from simhw.errors import SimhwError, quoted
from simhw.roofline.calibration.measured_rows import measured_rows
from simhw.roofline.calibration.score import Score
from simhw.roofline.device import load_device
from simhw.roofline.gpu.values import GpuValues

FILE = "accelwattch_v100_power"
SGEMM, TENSOR, STREAM = "parboil_sgemm_k1", "cudaTensorCoreGemm_k1", "kmeans_k1"
ASSUMED_SHARES = {SGEMM: 0.6, TENSOR: 0.4, STREAM: 0.8}
"""Share of the peak at which a kernel is taken to run: tiled fp32 product, unoptimised tensor-core product, off-chip
streaming.
"""


def watts(folder: Path) -> dict[str, float]:
    """Mean measured power [W] by kernel.

    Raises
    ------
    SimhwError
        The file is missing or cannot be read, or lacks a kernel that is needed.
    """
    measured: dict[str, float] = {}
    for row in measured_rows(folder, FILE):
        kernel = row.text("")
        if kernel in measured:
            row.fail(f"kernel {quoted(kernel)} stands there a second time")
        measured[kernel] = row.quantity("mean HW_power")
    for kernel in ASSUMED_SHARES:
        if kernel not in measured:
            raise SimhwError(f"{folder / FILE}.csv: no row of {kernel}, from which a cost is taken")
    return measured


def calibrate(folder: Path) -> tuple[dict[str, float], list[Score]]:
    """Costs that the measured watts give; no score, as no kernel's rate of events is known."""
    gpu = load_device("v100").values
    assert isinstance(gpu, GpuValues)
    hardware, measured = gpu.hardware, watts(folder)
    active_w = min(measured.values())
    peaks = {
        SGEMM: hardware.matrix_flops_per_s("fp32"),
        TENSOR: hardware.matrix_flops_per_s("fp16"),
        STREAM: hardware.dram_bytes_per_s,
    }
    costs = {name: 1e12 * (measured[name] - active_w) / (share * peaks[name]) for name, share in ASSUMED_SHARES.items()}
    constants = {
        "power.active_w": active_w,
        "power.matrix_pj_per_flop.fp32": costs[SGEMM],
        "power.matrix_pj_per_flop.fp16": costs[TENSOR],
        "power.dram_pj_per_byte": costs[STREAM],
    }
    return constants, []
