"""Fit of products measured in PyTorch: each family of kernels to its rows of the fitted half.

The fit is held close to where it sets out (`HELD`), as a family has 8 to 60 rows.  Which tiles a library has, how far
it splits, and which products it takes for small ones is not searched but stated: from the kernels' names and from what
agreed best within the fitted half.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.kernels import Timed, read_kernels
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.pipelined_gemm import (
    Family,
    PipelinedGemmParameters,
    PipelinedKernels,
    family_of,
    predict_pipelined_gemm,
    times_of,
)
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Gemm

RANGES: dict[str, tuple[float, float]] = {
    "launch_s": (1.5e-6, 4.5e-6),
    "matrix_share": (0.05, 1.0),
    "staged_bytes_per_cycle": (4.0, 128.0),
    "step_cycles": (10.0, 3000.0),
    "l2_bytes_per_s": (5e11, 5.5e12),
    "reduce_s": (1e-6, 8e-6),
    "stored_bytes_per_cycle": (2.0, 128.0),
    "overlap": (1.0, 8.0),
}
"""Lowest and highest value that the hardware allows: an SM's port to the L2 takes 64 to 128 bytes a cycle, the L2 5.5
TB/s, and a further kernel costs no more than two launches.
"""
HELD = 0.4
"""Weight of a deviation of a constant from its start, as a logarithm, in that of a row's time."""
OUTLIER = 0.1
"""Deviation beyond which a row counts less than by its square."""
KINDS = {"linear": "host_s", "bmm": "host_batched_s"}
"""The framework's constant that a kind of row tells."""

Starts = Mapping[tuple[Number, Family], Mapping[str, float]]
"""Where each family's search sets out, by the constants' names."""


def product(row: Timed) -> Gemm:
    """The product that a row measured."""
    (gemm,) = row.operators
    assert isinstance(gemm, Gemm), "the file holds products alone"
    return gemm


def fit_family(
    rows: Sequence[Timed],
    start: Mapping[str, float],
    hardware: GpuHardware,
    parameters: PipelinedGemmParameters,
    family: Family,
) -> PipelinedKernels:
    """Least squares on logarithms of time, outliers damped, constants held close to their start; deterministic.

    Parameters
    ----------
    rows : sequence of Timed
        Products of one family.
    start : mapping of str to float
        By the names in `RANGES`.
    parameters : PipelinedGemmParameters
        What is not searched.
    """
    number = product(rows[0]).number
    kernels = parameters.kernels[number][family]
    sizes = np.array([(each.batch, each.m, each.n, each.k) for each in map(product, rows)], dtype=float)
    truth = np.log([row.seconds for row in rows])
    added = np.array([parameters.added_s(product(row), family) for row in rows])
    names = list(RANGES)
    low, high = (np.log([RANGES[name][place] for name in names]) for place in range(2))
    first = np.log([start[name] for name in names])

    def tried(point: Sequence[float]) -> PipelinedKernels:
        return kernels.model_copy(update={name: math.exp(value) for name, value in zip(names, point, strict=True)})

    def deviations(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        seconds = times_of(sizes, number, tried(list(point)), hardware, parameters.dram_bytes_per_s).seconds.min(axis=1)
        return np.concatenate([np.log(seconds + added) - truth, HELD * (point - first)])

    found = least_squares(
        deviations,
        np.clip(first, low + 1e-9, high - 1e-9),
        bounds=(low, high),
        diff_step=0.02,
        loss="soft_l1",
        f_scale=OUTLIER,
        max_nfev=40,
    )
    return tried(list(found.x))


def fit(
    rows: Sequence[Timed], parameters: PipelinedGemmParameters, starts: Starts, hardware: GpuHardware
) -> PipelinedGemmParameters:
    """All constants that are searched; `parameters` has those that are not.

    Raises
    ------
    StatisticsError
        No row tells of a family, or of the framework's time.
    """
    tables = {number: dict(families) for number, families in parameters.kernels.items()}
    for (number, family), start in starts.items():
        kernels = tables[number][family]
        own = [
            row for row in rows if product(row).number == number and family_of(product(row), tables[number]) == family
        ]
        small = [row for row in own if kernels.small is not None and kernels.small.take(product(row))]
        fmean(row.seconds for row in own)
        fitted = fit_family([row for row in own if row not in small], start, hardware, parameters, family)
        if kernels.small is not None:
            step_s = _slope(small)
            call_s = median(row.seconds - product(row).k * step_s for row in small)
            fitted = fitted.model_copy(
                update={"small": kernels.small.model_copy(update={"step_s": step_s, "call_s": call_s})}
            )
        tables[number][family] = fitted
    hosts = {
        name: median(row.eager_s for row in rows if row.kind == kind and row.eager_s) for kind, name in KINDS.items()
    }
    return parameters.model_copy(update={"kernels": tables, **hosts})


def _slope(rows: Sequence[Timed]) -> float:
    """Seconds for each value that is summed over, none below zero."""
    lengths, seconds = [product(row).k for row in rows], [row.seconds for row in rows]
    middle = fmean(lengths)
    spread = sum((length - middle) ** 2 for length in lengths)
    rise = sum((length - middle) * each for length, each in zip(lengths, seconds, strict=True))
    return max(0.0, rise / spread) if spread else 0.0


def calibrate(folder: Path, device: str, starts: Starts) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to one half of the shapes, and the errors that these leave on the other; `device` is a name or
    the path of a file, whose `name` the files of measurements begin with.
    """
    values = load_device(device).values
    assert isinstance(values, GpuValues)
    assert values.pipelined_gemm is not None
    fitted_rows, scored_rows = halves(read_kernels(folder, values.name, "gemm"))
    fitted = fit(fitted_rows, values.pipelined_gemm, starts, values.hardware)
    constants = {"pipelined_gemm.host_s": fitted.host_s, "pipelined_gemm.host_batched_s": fitted.host_batched_s}
    for number, family in starts:
        kernels = fitted.kernels[number][family]
        name = f"pipelined_gemm.kernels.{number}.{family}"
        constants |= {f"{name}.{each}": float(getattr(kernels, each)) for each in RANGES}
        if kernels.small is not None:
            constants |= {f"{name}.small.call_s": kernels.small.call_s, f"{name}.small.step_s": kernels.small.step_s}
    return constants, scores(scored_rows, fitted, values.hardware, f"{values.name}_gemm")


def scores(rows: Sequence[Timed], parameters: PipelinedGemmParameters, hardware: GpuHardware, file: str) -> list[Score]:
    """Errors by number, all products and each kind."""
    found = []
    for number in parameters.kernels:
        for kind in ("products", *KINDS):
            own = [row for row in rows if product(row).number == number and kind in ("products", row.kind)]
            found.append(
                score_of(
                    f"{kind} {number}",
                    f"even shapes of {file}",
                    f"odd shapes of {file}",
                    [predict_pipelined_gemm(product(row), hardware, parameters).seconds for row in own],
                    [row.seconds for row in own],
                    [textbook_seconds(product(row), hardware) for row in own],
                )
            )
    return found


_COPIED = {
    "launch_s": 2.5e-6,
    "matrix_share": 0.75,
    "staged_bytes_per_cycle": 60.0,
    "step_cycles": 150.0,
    "l2_bytes_per_s": 5e12,
    "reduce_s": 3.3e-6,
    "stored_bytes_per_cycle": 20.0,
    "overlap": 2.0,
}
"""Operands that the hardware copies, for instructions of a whole group of warps."""
_LOADED = _COPIED | {
    "staged_bytes_per_cycle": 15.0,
    "step_cycles": 250.0,
    "l2_bytes_per_s": 2.5e12,
    "reduce_s": 5e-6,
    "stored_bytes_per_cycle": 13.0,
    "overlap": 3.0,
}
"""Operands that threads load, for instructions of a warp or, in fp32, of a thread."""
H200: Starts = {
    ("fp32", "linear"): _LOADED | {"step_cycles": 180.0},
    ("fp32", "general"): _LOADED | {"step_cycles": 180.0},
    ("fp32", "thin"): _COPIED | {"step_cycles": 60.0, "reduce_s": 1e-6},
    ("tf32", "linear"): _COPIED | {"step_cycles": 200.0, "reduce_s": 5e-6},
    ("tf32", "general"): _LOADED | {"matrix_share": 0.57, "staged_bytes_per_cycle": 24.0, "l2_bytes_per_s": 4e12},
    ("tf32", "narrow"): _LOADED | {"matrix_share": 0.22},
    ("bf16", "linear"): _COPIED,
    ("bf16", "general"): _COPIED,
    ("bf16", "even"): _LOADED | {"matrix_share": 0.15, "step_cycles": 300.0, "l2_bytes_per_s": 1.5e12},
    ("bf16", "narrow"): _LOADED | {"matrix_share": 0.11, "step_cycles": 1200.0, "l2_bytes_per_s": 1.5e12},
}
"""Starts for an H200: near what the families of one kind fit to, once all of it had set out from the same."""
