"""Fit of products: fp32 constants to DeepBench's fp32 rows, fp16 constants to its fp16 rows, the framework's times to
NeuSight.

The other way round is scored as well: fp32 constants fitted to even rows of NeuSight, scored on DeepBench.  Launching
on the device is as published in all fits, as a framework's own time hides it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from scipy.optimize import least_squares

from simhw.machine.dotted import assign, leaf
from simhw.roofline.calibration.measurements import Measured, read_measurements
from simhw.roofline.calibration.score import Score, score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.gpu.gemm import GemmParameters, predict_gemm
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.operators import Gemm, Operator

Search = Mapping[str, tuple[float, float, float]]

FP32: Search = {
    "kernels.fp32.matrix_share": (0.7, 0.95, 1.0),
    "kernels.fp32.staged_bytes_per_cycle": (10.0, 50.0, 128.0),
    "kernels.fp32.strided": (1.0, 1.2, 5.0),
    "wave_s": (5e-7, 1e-6, 1e-5),
    "reduce_s": (1e-6, 3e-6, 4.4e-6),
    "dram_bytes_per_s": (4e11, 7.9e11, 9e11),
    "latency_s": (4e-7, 8e-7, 5e-6),
    "overlap": (1.0, 4.0, 8.0),
}
"""Constants that fp32 products tell: lowest, first and highest value of the search.

Operands are staged no faster than shared memory takes them; data takes at least 0.4 us from memory (recalled) and a
wave not much less; a further kernel of a stream costs no more than launching the first.
"""
FP16: Search = {
    "kernels.fp16.matrix_share": (0.7, 0.95, 1.0),
    "kernels.fp16.staged_bytes_per_cycle": (10.0, 60.0, 128.0),
    "kernels.fp16.strided": (1.0, 1.2, 5.0),
}
"""Constants that are fp16's own.  DeepBench has too few sizes off multiples of 8 to tell what these cost."""
HOST = {
    "neusight_v100_linear": ("host_s", "start_s"),
    "neusight_v100_bmm": ("host_batched_s", "start_batched_s"),
}
"""The framework's constants by the file that tells them."""
OUTLIER = 0.1
"""Deviation of a prediction, as a logarithm, beyond which a row counts less than by its square."""
SHORT_S, LONG = 12e-6, 1.5
"""Device time below which a framework's time alone is measured, and the multiple of it above which the device decides.
"""
FOLDS = 5


def fit(
    rows: Sequence[Measured],
    parameters: GemmParameters,
    search: Search,
    seconds: Callable[[Operator, GemmParameters], float],
) -> GemmParameters:
    """Least squares on logarithms of time, outliers damped; deterministic.

    Parameters
    ----------
    rows : sequence of Measured
    parameters : GemmParameters
        Constants that are not searched.
    search : mapping of dotted name to (float, float, float)
        `FP32` or `FP16`.
    seconds : callable
        What the rows measured, of an operator with some constants.
    """
    names = list(search)
    low, first, high = ([math.log(search[name][place]) for name in names] for place in range(3))

    def deviations(point: Sequence[float]) -> list[float]:
        tried = replaced(parameters, {name: math.exp(value) for name, value in zip(names, point, strict=True)})
        return [math.log(seconds(row.operator, tried) / row.seconds) for row in rows]

    found = least_squares(
        deviations, first, bounds=(low, high), diff_step=0.02, loss="soft_l1", f_scale=OUTLIER, max_nfev=40
    )
    return replaced(parameters, {name: math.exp(value) for name, value in zip(names, found.x, strict=True)})


def fit_host(
    rows: Mapping[str, Sequence[Measured]], parameters: GemmParameters, hardware: GpuHardware
) -> GemmParameters:
    """The framework's times: medians of what short products take, of what long ones take beyond the device, and of
    splits.

    Parameters
    ----------
    rows : mapping of file to Measured
        Of the files in `HOST`.
    """
    found: dict[str, float] = {}
    for name, (host, start) in HOST.items():
        predicted = [(row, predict_gemm(_gemm(row.operator), hardware, parameters).seconds) for row in rows[name]]
        single = [(row, seconds) for row, seconds in predicted if row.grid[2] == _gemm(row.operator).batch]
        found[host] = median(row.seconds for row, seconds in single if seconds < SHORT_S)
        found[start] = median(
            row.seconds - seconds
            for row, seconds in single
            if LONG * found[host] < row.seconds < 2 * LONG * found[host]
        )
        split = [
            row.seconds
            for row, seconds in predicted
            if row.grid[2] > _gemm(row.operator).batch and seconds < 2 * SHORT_S
        ]
        if split:
            found["host_reduce_s"] = median(split) - found[host]
    return replaced(parameters, found)


def replaced(parameters: GemmParameters, values: Mapping[str, float]) -> GemmParameters:
    """Parameters with some values, by their dotted names, replaced."""
    tree = parameters.model_dump()
    for name, value in values.items():
        assign(tree, name, value, "fit")
    return GemmParameters.model_validate(tree)


def value_of(parameters: GemmParameters, name: str) -> float:
    """A constant by its dotted name."""
    return float(leaf(parameters.model_dump(), name))


def on_device(hardware: GpuHardware) -> Callable[[Operator, GemmParameters], float]:
    """What DeepBench measured."""
    return lambda operator, parameters: predict_gemm(_gemm(operator), hardware, parameters).seconds


def in_framework(hardware: GpuHardware) -> Callable[[Operator, GemmParameters], float]:
    """What NeuSight measured."""
    return lambda operator, parameters: predict_gemm(_gemm(operator), hardware, parameters).alone_s


def calibrate(folder: Path) -> tuple[dict[str, float], list[Score]]:
    """Constants of products by their dotted names, and scores on rows that the fits of these scores did not see."""
    sxm, pcie = _hardware("v100"), _hardware("v100-pcie")
    shipped = _parameters()
    fp32, fp16 = (read_measurements(folder, f"deepbench_v100_gemm_{number}") for number in ("fp32", "fp16mix"))
    neusight = {name: read_measurements(folder, name) for name in HOST}
    even = {name: rows[::2] for name, rows in neusight.items()}

    fitted = fit(fp32, shipped, FP32, on_device(sxm))
    fitted = fit_host(even, fitted, pcie)
    fitted = fit(fp16, fitted, FP16, on_device(sxm))
    names = [*FP32, *FP16, *(name for pair in HOST.values() for name in pair), "host_reduce_s"]
    return {f"gemm.{name}": value_of(fitted, name) for name in names}, scores(fitted, fp32, fp16, neusight, sxm, pcie)


def scores(
    fitted: GemmParameters,
    fp32: Sequence[Measured],
    fp16: Sequence[Measured],
    neusight: Mapping[str, Sequence[Measured]],
    sxm: GpuHardware,
    pcie: GpuHardware,
) -> list[Score]:
    """Across data sets where there are two, else by folds of rows and by leaving out a source."""
    device, framework = on_device(sxm), in_framework(pcie)
    fitted_on = "deepbench_v100_gemm_fp32; the framework's times on even rows"
    found = [
        score(
            name.rpartition("_")[2] + " fp32",
            fitted_on,
            f"{name}, odd rows",
            rows[1::2],
            lambda each: framework(each, fitted),
            pcie,
        )
        for name, rows in neusight.items()
    ]
    reverse_rows = [row for rows in neusight.values() for row in rows[::4]]
    reverse = fit(reverse_rows, fitted, FP32, framework)
    reverse_on = "every fourth row of neusight_v100_linear and neusight_v100_bmm"
    found.append(
        score("gemm fp32", reverse_on, "deepbench_v100_gemm_fp32", fp32, lambda each: device(each, reverse), sxm)
    )
    by_row = [(str(row.row % FOLDS), row) for row in fp32]
    found.append(_left_out("gemm fp32", "rows of deepbench_v100_gemm_fp32, fold by fold", by_row, fitted, FP32, sxm))
    by_row = [(str(row.row % FOLDS), row) for row in fp16]
    found.append(_left_out("gemm fp16", "rows of deepbench_v100_gemm_fp16mix, fold by fold", by_row, fitted, FP16, sxm))
    by_source = [(row.group, row) for row in fp16]
    found.append(
        _left_out("gemm fp16", "sources of deepbench_v100_gemm_fp16mix, one by one", by_source, fitted, FP16, sxm)
    )
    return found


def _left_out(
    name: str,
    what: str,
    rows: Sequence[tuple[str, Measured]],
    parameters: GemmParameters,
    search: Search,
    hardware: GpuHardware,
) -> Score:
    """Every class of rows scored with the constants that all others give."""
    seconds = on_device(hardware)
    predicted: list[float] = []
    measured: list[Measured] = []
    for each in sorted({label for label, _ in rows}):
        others = fit([row for label, row in rows if label != each], parameters, search, seconds)
        left = [row for label, row in rows if label == each]
        predicted += [seconds(row.operator, others) for row in left]
        measured += left
    truth = [row.seconds for row in measured]
    textbook = [textbook_seconds(row.operator, hardware) for row in measured]
    return score_of(name, f"all other {what}", what, predicted, truth, textbook)


def _gemm(operator: Operator) -> Gemm:
    assert isinstance(operator, Gemm)
    return operator


def _values(name: str) -> GpuValues:
    values = load_device(name).values
    assert isinstance(values, GpuValues)
    return values


def _hardware(name: str) -> GpuHardware:
    return _values(name).hardware


def _parameters() -> GemmParameters:
    return _values("v100").gemm
