"""Fit of fused attention measured in PyTorch: each kernel to its rows of the fitted half.

A kernel has five rows or so, fewer than would tell its constants apart.  So the fit is held close to where it sets out.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.kernels import Timed, read_kernels
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.gpu.attention import AttentionKernel, AttentionParameters, predict_attention
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Attention
from simhw.trace.layer import Operation

Search = Mapping[str, tuple[float, float, float]]
"""Lowest, first and highest value, by a constant's name."""
HELD = 0.1
"""Weight of a deviation of a constant from its start, as a logarithm, in that of a row's time."""
OUTLIER = 0.1
"""Deviation beyond which a row counts less than by its square."""
_BF16: Search = {
    "matrix_share": (0.2, 0.7, 1.0),
    "block_cycles": (100.0, 2000.0, 60000.0),
    "launch_s": (1e-6, 4e-6, 4e-5),
    "scores_per_cycle": (1.0, 32.0, 512.0),
    "bytes_per_s": (8e11, 2.5e12, 4.2e12),
}
_FP32: Search = {**_BF16, "scores_per_cycle": (1.0, 8.0, 512.0)}
H200: Mapping[tuple[Number, Operation], Search] = {
    ("fp32", "forward"): _FP32,
    ("fp32", "input_grad"): _FP32,
    ("bf16", "forward"): _BF16,
    ("bf16", "input_grad"): _BF16,
}
"""An H200's.  An SM takes 16 exponentials a cycle (recalled); fp32's are within its arithmetic."""


def attention_of(row: Timed) -> Attention:
    """The call that a row measured."""
    (attention,) = row.operators
    assert isinstance(attention, Attention), "rows of the kind sdpa hold attention alone"
    return attention


def fit_kernel(
    rows: Sequence[Timed], parameters: AttentionParameters, search: Search, hardware: GpuHardware
) -> AttentionParameters:
    """One kernel by least squares on logarithms of time, outliers damped; deterministic.

    Parameters
    ----------
    rows : sequence of Timed
        Of one number and operation.
    parameters : AttentionParameters
        What is not searched, and all other kernels.

    Raises
    ------
    StatisticsError
        There are no rows.
    """
    fmean(row.seconds for row in rows)
    first = attention_of(rows[0])
    truth = np.log([row.seconds for row in rows])
    low, start, high = (np.log([search[name][place] for name in search]) for place in range(3))

    def tried(point: npt.NDArray[np.float64]) -> AttentionParameters:
        values = {name: math.exp(value) for name, value in zip(search, point, strict=True)}
        own = dict(parameters.kernels[first.number])
        own[first.operation] = own[first.operation].model_copy(update=values)
        return parameters.model_copy(update={"kernels": {**parameters.kernels, first.number: own}})

    def deviations(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found = tried(point)
        seconds = [predict_attention(attention_of(row), hardware, found).seconds for row in rows]
        return np.concatenate([np.log(seconds) - truth, HELD * (point - start)])

    result = least_squares(
        deviations, start, bounds=(low, high), diff_step=0.02, loss="soft_l1", f_scale=OUTLIER, max_nfev=100
    )
    return tried(result.x)


def calibrate(
    folder: Path, device: str, searches: Mapping[tuple[Number, Operation], Search]
) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to one half of the shapes, and the errors that these leave on the other; `device` is a name or
    the path of a file, whose `name` the files of measurements begin with.
    """
    values = load_device(device).values
    assert isinstance(values, GpuValues)
    assert values.attention is not None
    rows = [row for row in read_kernels(folder, values.name, "other") if row.kind == "sdpa"]
    fitted_rows, scored_rows = halves(rows)
    fitted = values.attention
    constants: dict[str, float] = {}
    for (number, operation), search in searches.items():
        fitted = fit_kernel(_own(fitted_rows, number, operation), fitted, search, values.hardware)
        kernel: AttentionKernel = fitted.kernels[number][operation]
        name = f"attention.kernels.{number}.{operation}"
        constants |= {f"{name}.{each}": float(getattr(kernel, each)) for each in search}
    found = [
        scored(_own(scored_rows, number, operation), fitted, values.hardware, f"{values.name}_other")
        for number, operation in searches
    ]
    return constants, found


def scored(rows: Sequence[Timed], parameters: AttentionParameters, hardware: GpuHardware, file: str) -> Score:
    """Errors of one kernel."""
    first = attention_of(rows[0])
    return score_of(
        f"attention {first.number} {first.operation}",
        f"even shapes of {file}",
        f"odd shapes of {file}",
        [predict_attention(attention_of(row), hardware, parameters).seconds for row in rows],
        [row.seconds for row in rows],
        [textbook_seconds(attention_of(row), hardware) for row in rows],
    )


def _own(rows: Sequence[Timed], number: Number, operation: Operation) -> list[Timed]:
    return [row for row in rows if row.number == number and attention_of(row).operation == operation]
