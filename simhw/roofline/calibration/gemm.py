"""Fit of products in three stages, and the framework's times to even rows of NeuSight.

1. All constants to DeepBench, in both kinds of numbers at once, as they share the times of launching and of memory.
2. Those of fp32 again, to DeepBench and every fourth row of NeuSight, without what only DeepBench tells.
3. Those of fp16 again, to DeepBench.

NeuSight's odd rows are seen by no fit.  DeepBench is scored with constants fitted to NeuSight alone, and by folds.
Launching on the device is as published in all fits, as a framework's own time hides it.
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
CLOSE = 1e-4
"""Change of the deviations' sum, and of the point, at which a search ends, as shares."""
OUTLIER = 0.1
"""Deviation of a prediction, as a logarithm, beyond which a row counts less than by its square."""
SHORT_S, LONG = 12e-6, 1.5
"""Device time below which a framework's time alone is measured, and the multiple of it above which the device decides.
"""
OF_DEEPBENCH = ("wave_s", "reduce_s", "dram_bytes_per_s")
"""What DeepBench alone tells: times of a microsecond, which a framework's own hide, and the memory's rate, which both
kinds of numbers share.
"""
FOLDS = 5
Seconds = Callable[[Operator, GemmParameters], float]
"""What was measured of an operator, with some constants."""
Timed = tuple[Sequence[Measured], Seconds]
"""Rows, and what they measured."""


def fit(timed: Sequence[Timed], parameters: GemmParameters, search: Search) -> GemmParameters:
    """Least squares on logarithms of time, outliers damped; deterministic.

    Parameters
    ----------
    timed : sequence of (Measured, callable)
        Rows of one or several benchmarks.
    parameters : GemmParameters
        Constants that are not searched.
    search : mapping of dotted name to (float, float, float)
        Of `Benchmarks.gemm`.
    """
    names = list(search)
    low, first, high = ([math.log(search[name][place]) for name in names] for place in range(3))

    def deviations(point: Sequence[float]) -> list[float]:
        tried = replaced(parameters, {name: math.exp(value) for name, value in zip(names, point, strict=True)})
        return [math.log(seconds(row.operator, tried) / row.seconds) for rows, seconds in timed for row in rows]

    found = least_squares(
        deviations,
        first,
        bounds=(low, high),
        diff_step=0.02,
        loss="soft_l1",
        f_scale=OUTLIER,
        ftol=CLOSE,
        xtol=CLOSE,
        max_nfev=40,
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


def on_device(hardware: GpuHardware) -> Seconds:
    """What DeepBench measured."""
    return lambda operator, parameters: predict_gemm(_gemm(operator), hardware, parameters).seconds


def in_framework(hardware: GpuHardware) -> Seconds:
    """What NeuSight measured."""
    return lambda operator, parameters: predict_gemm(_gemm(operator), hardware, parameters).alone_s


def calibrate(folder: Path, benchmarks: Benchmarks) -> tuple[dict[str, float], list[Score]]:
    """Constants of products by their dotted names, and scores on rows that the fits of these scores did not see."""
    deepbench = {number: read_measurements(folder, benchmarks.file(file)) for number, file in DEEPBENCH.items()}
    neusight = {name: read_measurements(folder, benchmarks.file(name)) for name in HOST}

    fitted = _in_stages(deepbench, neusight, benchmarks)
    searched = [name for search in benchmarks.gemm.values() for name in search]
    names = [*searched, *(name for pair in HOST.values() for name in pair), "host_reduce_s"]
    constants = {f"gemm.{name}": value_of(fitted, name) for name in names}
    return constants, scores(fitted, deepbench, neusight, benchmarks)


def _in_stages(
    deepbench: Mapping[Number, Sequence[Measured]], neusight: Mapping[str, Sequence[Measured]], benchmarks: Benchmarks
) -> GemmParameters:
    """The three stages, and the framework's times before the second and after it: those need the device's, and the
    other way round.
    """
    library, framework = benchmarks.library, benchmarks.framework.hardware
    timed = {number: (rows, on_device(library.hardware)) for number, rows in deepbench.items()}
    even = {name: rows[::2] for name, rows in neusight.items()}
    fp32, fp16 = benchmarks.gemm["fp32"], benchmarks.gemm["fp16"]
    assert library.gemm is not None, "these fits are of operands that threads stage"
    fitted = fit(list(timed.values()), library.gemm, {**fp32, **fp16})
    fitted = fit_host(even, fitted, framework)
    told = {name: span for name, span in fp32.items() if name not in OF_DEEPBENCH}
    fitted = fit([timed["fp32"], _quarter(neusight, framework)], fitted, told)
    fitted = fit_host(even, fitted, framework)
    return fit([timed["fp16"]], fitted, fp16)


def _quarter(neusight: Mapping[str, Sequence[Measured]], hardware: GpuHardware) -> Timed:
    """Every fourth row: as many as a fit of minutes can take, and even ones."""
    return [row for rows in neusight.values() for row in rows[::4]], in_framework(hardware)


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
    quarters = f"every fourth row of {' and '.join(benchmarks.file(name) for name in neusight)}"
    found = [
        score(
            name.rpartition("_")[2] + " fp32",
            f"{fp32}, {fp16} and {quarters}; the framework's times on even rows",
            f"{benchmarks.file(name)}, odd rows",
            rows[1::2],
            lambda each: framework(each, fitted),
            framework_board,
        )
        for name, rows in neusight.items()
    ]
    reverse = fit([_quarter(neusight, framework_board)], fitted, benchmarks.gemm["fp32"])
    found.append(score("gemm fp32", quarters, fp32, deepbench["fp32"], lambda each: device(each, reverse), library))

    held: tuple[tuple[Sequence[Number], Callable[[Measured], str], str], ...] = (
        (("fp32", "fp16"), lambda row: str(row.row % FOLDS), "rows of {}, fold by fold"),
        (("fp16",), lambda row: row.group, "sources of {}, one by one"),
    )
    for numbers, of, what in held:
        predicted = _left_out(numbers, of, deepbench, neusight, benchmarks)
        for number in numbers:
            scored_on = what.format(benchmarks.file(DEEPBENCH[number]))
            rows = deepbench[number]
            truth, textbook = [row.seconds for row in rows], [textbook_seconds(row.operator, library) for row in rows]
            name, fitted_on = f"gemm {number}", f"all other {scored_on}, and {quarters}"
            found.append(score_of(name, fitted_on, scored_on, predicted[number], truth, textbook))
    return found


def _left_out(
    numbers: Sequence[Number],
    of: Callable[[Measured], str],
    deepbench: Mapping[Number, Sequence[Measured]],
    neusight: Mapping[str, Sequence[Measured]],
    benchmarks: Benchmarks,
) -> dict[Number, list[float]]:
    """Seconds of every row in some numbers, each by the constants that the rows of all other classes give."""
    seconds = on_device(benchmarks.library.hardware)
    fitted = {}
    for each in {of(row) for number in numbers for row in deepbench[number]}:
        others = {
            number: [row for row in rows if number not in numbers or of(row) != each]
            for number, rows in deepbench.items()
        }
        fitted[each] = _in_stages(others, neusight, benchmarks)
    return {number: [seconds(row.operator, fitted[of(row)]) for row in deepbench[number]] for number in numbers}


def _gemm(operator: Operator) -> Gemm:
    assert isinstance(operator, Gemm)
    return operator
