"""Costs of a GPU from the watts of measured kernels (AccelWattch): an active board's floor, arithmetic and off-chip
traffic.

The file names kernels and watts alone.  What a kernel executes is known only by its character, so that rates are
assumed where an energy follows from watts, and the rest of the kernels can only bound the result.
"""

from pathlib import Path

from simhw.errors import SimhwError, quoted
from simhw.roofline.calibration.benchmarks import Benchmarks
from simhw.roofline.calibration.measured_rows import measured_rows
from simhw.roofline.calibration.score import Score

FILE = "accelwattch_power"


def watts(folder: Path, benchmarks: Benchmarks) -> dict[str, float]:
    """Mean measured power [W] by kernel.

    Raises
    ------
    SimhwError
        The file is missing or cannot be read, or lacks a kernel that is needed.
    """
    measured: dict[str, float] = {}
    for row in measured_rows(folder, benchmarks.file(FILE)):
        kernel = row.text("")
        if kernel in measured:
            row.fail(f"kernel {quoted(kernel)} stands there a second time")
        measured[kernel] = row.quantity("mean HW_power")
    for kernel in benchmarks.power_shares:
        if kernel not in measured:
            raise SimhwError(f"{folder / benchmarks.file(FILE)}.csv: no row of {kernel}, from which a cost is taken")
    return measured


def calibrate(folder: Path, benchmarks: Benchmarks) -> tuple[dict[str, float], list[Score]]:
    """Costs that the measured watts give; no score, as no kernel's rate of events is known."""
    hardware, measured = benchmarks.library.hardware, watts(folder, benchmarks)
    active_w = min(measured.values())
    peaks = {
        benchmarks.sgemm: hardware.matrix_flops_per_s("fp32"),
        benchmarks.tensor: hardware.matrix_flops_per_s("fp16"),
        benchmarks.stream: hardware.dram_bytes_per_s,
    }
    costs = {
        name: 1e12 * (measured[name] - active_w) / (share * peaks[name])
        for name, share in benchmarks.power_shares.items()
    }
    constants = {
        "power.active_w": active_w,
        "power.matrix_pj_per_flop.fp32": costs[benchmarks.sgemm],
        "power.matrix_pj_per_flop.fp16": costs[benchmarks.tensor],
        "power.dram_pj_per_byte": costs[benchmarks.stream],
    }
    return constants, []
