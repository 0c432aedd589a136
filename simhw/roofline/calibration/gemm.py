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
from simhw.roofline.calibration.benchmarks import Benchmarks, Search
from simhw.roofline.calibration.measurements import Measured, read_measurements
from simhw.roofline.calibration.score import Score, score, score_of, textbook_seconds
from simhw.roofline.gpu.gemm import GemmParameters, predict_gemm
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Gemm, Operator

DEEPBENCH: dict[Number, str] = {"fp32": "deepbench_gemm_fp32", "fp16": "deepbench_gemm_fp16mix"}
HOST = {
    "neusight_linear": ("host_s", "start_s"),
    "neusight_bmm": ("host_batched_s", "start_batched_s"),
}
"""The framework's constants by what the file that tells them measures."""
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
        Of `Benchmarks.gemm`.
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
    rows : mapping of str to Measured
        By the names in `HOST`.
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


def calibrate(folder: Path, benchmarks: Benchmarks) -> tuple[dict[str, float], list[Score]]:
    """Constants of products by their dotted names, and scores on rows that the fits of these scores did not see."""
    library, framework = benchmarks.library, benchmarks.framework.hardware
    deepbench = {number: read_measurements(folder, benchmarks.file(file)) for number, file in DEEPBENCH.items()}
    neusight = {name: read_measurements(folder, benchmarks.file(name)) for name in HOST}
    even = {name: rows[::2] for name, rows in neusight.items()}

    on_board = on_device(library.hardware)
    assert library.gemm is not None, "these fits are of operands that threads stage"
    fitted = fit(deepbench["fp32"], library.gemm, benchmarks.gemm["fp32"], on_board)
    fitted = fit_host(even, fitted, framework)
    fitted = fit(deepbench["fp16"], fitted, benchmarks.gemm["fp16"], on_board)
    searched = [name for search in benchmarks.gemm.values() for name in search]
    names = [*searched, *(name for pair in HOST.values() for name in pair), "host_reduce_s"]
    constants = {f"gemm.{name}": value_of(fitted, name) for name in names}
    return constants, scores(fitted, deepbench, neusight, benchmarks)


def scores(
    fitted: GemmParameters,
    deepbench: Mapping[Number, Sequence[Measured]],
    neusight: Mapping[str, Sequence[Measured]],
    benchmarks: Benchmarks,
) -> list[Score]:
    """Across data sets where there are two, else by folds of rows and by leaving out a source."""
    library, framework_board = benchmarks.library.hardware, benchmarks.framework.hardware
    device, framework = on_device(library), in_framework(framework_board)
    fp32, fp16 = (benchmarks.file(DEEPBENCH[number]) for number in ("fp32", "fp16"))
    found = [
        score(
            name.rpartition("_")[2] + " fp32",
            f"{fp32}; the framework's times on even rows",
            f"{benchmarks.file(name)}, odd rows",
            rows[1::2],
            lambda each: framework(each, fitted),
            framework_board,
        )
        for name, rows in neusight.items()
    ]
    reverse_rows = [row for rows in neusight.values() for row in rows[::4]]
    reverse = fit(reverse_rows, fitted, benchmarks.gemm["fp32"], framework)
    reverse_on = f"every fourth row of {' and '.join(benchmarks.file(name) for name in neusight)}"
    found.append(score("gemm fp32", reverse_on, fp32, deepbench["fp32"], lambda each: device(each, reverse), library))
    by_row: dict[Number, list[tuple[str, Measured]]] = {
        number: [(str(row.row % FOLDS), row) for row in rows] for number, rows in deepbench.items()
    }
    by_source = [(row.group, row) for row in deepbench["fp16"]]
    left_out: tuple[tuple[Number, str, list[tuple[str, Measured]]], ...] = (
        ("fp32", f"rows of {fp32}, fold by fold", by_row["fp32"]),
        ("fp16", f"rows of {fp16}, fold by fold", by_row["fp16"]),
        ("fp16", f"sources of {fp16}, one by one", by_source),
    )
    for number, what, rows in left_out:
        found.append(_left_out(f"gemm {number}", what, rows, fitted, benchmarks.gemm[number], library))
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
