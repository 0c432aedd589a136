"""Fits the constants of convolutions to DeepBench's, each operation, and to every fourth forward one of NeuSight's, run
by a later library in the framework; scores them by cross-validation, and on NeuSight's odd rows.

The fit minimises the mean absolute logarithm of predicted over measured time by moving one constant after another, with
steps that get finer: deterministic, and started from the middle of the ranges that physics allows, not from shipped
values. Errors beyond a factor of e count as that factor, as a few rows are ten times slower than their like.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log, sqrt
from pathlib import Path
from statistics import fmean, median
from typing import Any

from simhw.errors import SimhwError
from simhw.machine.dotted import assign, leaf
from simhw.roofline.calibration.benchmarks import Benchmarks, Ranges
from simhw.roofline.calibration.measurements import Measured, read_measurements
from simhw.roofline.calibration.score import Score, percentage_errors, score, textbook_seconds
from simhw.roofline.gpu.convolution import predict_convolution
from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Convolution, Operator
from simhw.trace.layer import OPERATIONS

FILES: dict[Number, str] = {"fp32": "deepbench_conv_fp32", "fp16": "deepbench_conv_fp16mix"}
FRAMEWORK = "neusight_conv"
STEPS = (1.5, 1.2, 1.1, 1.05, 1.02)
WORST_LOG_ERROR = 1.0
DIGITS = 3
FOLDS = 5
Seconds = Callable[[Convolution, ConvolutionParameters], float]
"""What was measured of a convolution, with some constants."""
Timed = tuple[Sequence[Measured], Seconds]
"""Rows, and what they measured."""


def fit(
    timed: Sequence[Timed], fixed: ConvolutionParameters, searched: Mapping[Number, Ranges]
) -> ConvolutionParameters:
    """The constants of `searched` that fit the rows best; all others as in `fixed`.

    Parameters
    ----------
    timed : sequence of (Measured, callable)
        Rows of one or several benchmarks.
    fixed : ConvolutionParameters
    searched : mapping of number to Ranges

    Raises
    ------
    SimhwError
        No row is a convolution in fp32 or fp16.
    """
    values = fixed.model_dump()
    fitted = False
    for number, ranges in searched.items():
        # The same kernel measured under two names counts once.
        rows = [
            (list({row.operator: row for row in measured if row.operator.number == number}.values()), seconds)
            for measured, seconds in timed
        ]
        if any(each for each, _ in rows):
            _search(rows, values, ranges)
            fitted = True
    if not fitted:
        raise SimhwError("no measured convolution to fit to")
    return ConvolutionParameters(**values)


def on_device(hardware: GpuHardware) -> Seconds:
    """What DeepBench measured."""
    return lambda convolution, parameters: predict_convolution(convolution, hardware, parameters).seconds


def in_framework(hardware: GpuHardware) -> Seconds:
    """What NeuSight measured."""
    return lambda convolution, parameters: predict_convolution(convolution, hardware, parameters).alone_s


def _search(timed: Sequence[Timed], values: dict[str, Any], ranges: Ranges) -> None:
    for name, (low, high) in ranges.items():
        assign(values, name, _rounded(sqrt(low * high)), "fit")
    best = _loss(timed, values)
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for name, (low, high) in ranges.items():
                for factor in (step, 1.0 / step):
                    while True:
                        before = leaf(values, name)
                        trial = _rounded(min(max(before * factor, low), high))
                        assign(values, name, trial, "fit")
                        loss = _loss(timed, values) if trial != before else best
                        if loss >= best - 1e-5:
                            assign(values, name, before, "fit")
                            break
                        best, improved = loss, True


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _loss(timed: Sequence[Timed], values: Mapping[str, Any]) -> float:
    parameters = ConvolutionParameters(**values)
    return fmean(
        min(abs(log(seconds(convolution_of(row), parameters) / row.seconds)), WORST_LOG_ERROR)
        for rows, seconds in timed
        for row in rows
    )


def convolution_of(row: Measured) -> Convolution:
    """The convolution that was measured.

    Raises
    ------
    SimhwError
        The row is of another operator.
    """
    if not isinstance(row.operator, Convolution):
        raise SimhwError(f"{row.file}, row {row.row + 1}: {type(row.operator).__name__} is no convolution")
    return row.operator


def by_layer(rows: Sequence[Measured]) -> Iterator[tuple[list[Measured], list[Measured]]]:
    """Fitted and held-out rows of each fold: a layer stays whole, its batches, operations and numbers together."""
    layers: dict[object, int] = {}
    for row in rows:
        layers.setdefault(_layer(row), len(layers))
    for fold in range(FOLDS):
        yield _parted(rows, lambda row, fold=fold: layers[_layer(row)] % FOLDS == fold)  # type: ignore[misc]  # bound at once


def by_network(rows: Sequence[Measured]) -> Iterator[tuple[list[Measured], list[Measured]]]:
    """Fitted and held-out rows of each fold: a network is held out, and layers that others have in common with it."""
    for group in sorted({row.group for row in rows}):
        shared = {_layer(row) for row in rows if row.group == group}
        fitted = [row for row in rows if _layer(row) not in shared]
        yield fitted, [row for row in rows if row.group == group]


def _layer(row: Measured) -> tuple[object, ...]:
    each = convolution_of(row)
    return each.in_channels, each.out_channels, each.size, each.kernel, each.stride, each.padding


def _parted(rows: Sequence[Measured], held: Callable[[Measured], bool]) -> tuple[list[Measured], list[Measured]]:
    return [row for row in rows if not held(row)], [row for row in rows if held(row)]


def calibrate(folder: Path, benchmarks: Benchmarks) -> tuple[dict[str, float], list[Score]]:
    """The constants that fit every row of DeepBench and a quarter of NeuSight's, and the errors on rows held out:
    whole layers and whole networks of DeepBench, and NeuSight's odd rows.

    Raises
    ------
    SimhwError
        A file is missing or cannot be read.
    """
    gpu, framework, searched = benchmarks.library, benchmarks.framework.hardware, benchmarks.convolution
    assert gpu.convolution is not None, "these benchmarks are of algorithms in one layout"
    rows = [row for file in FILES.values() for row in read_measurements(folder, benchmarks.file(file))]
    alone = read_measurements(folder, benchmarks.file(FRAMEWORK))
    # Every fourth row, as of products, so that DeepBench, which has the gradients, weighs more.
    quarter = alone[::4], in_framework(framework)
    parameters = fit([(rows, on_device(gpu.hardware)), quarter], gpu.convolution, searched)
    values = parameters.model_dump()
    constants = {f"convolution.{name}": leaf(values, name) for ranges in searched.values() for name in ranges}
    held_out = score(
        "convolution fp32 in the framework",
        f"{benchmarks.file(FILES['fp32'])} and every fourth row of {benchmarks.file(FRAMEWORK)}",
        f"{benchmarks.file(FRAMEWORK)}, odd rows",
        alone[1::2],
        lambda each: quarter[1](_convolution(each), parameters),
        framework,
    )
    folds = ((by_layer, "layers held out"), (by_network, "networks held out"))
    crossed = [each for parts, held in folds for each in _held_out(list(parts(rows)), held, quarter, benchmarks)]
    return constants, [held_out, *crossed]


def _held_out(
    folds: Sequence[tuple[list[Measured], list[Measured]]], what: str, quarter: Timed, benchmarks: Benchmarks
) -> Iterator[Score]:
    gpu = benchmarks.library
    assert gpu.convolution is not None, "these benchmarks are of algorithms in one layout"
    seconds = on_device(gpu.hardware)
    errors: dict[tuple[Number, str], list[tuple[float, float]]] = {}
    for fitted, held in folds:
        parameters = fit([(fitted, seconds), quarter], gpu.convolution, benchmarks.convolution)
        predicted = [seconds(convolution_of(row), parameters) for row in held]
        measured = [row.seconds for row in held]
        textbook = [textbook_seconds(row.operator, gpu.hardware) for row in held]
        pairs = zip(percentage_errors(predicted, measured), percentage_errors(textbook, measured), strict=True)
        for row, pair in zip(held, pairs, strict=True):
            for kind in ("convolution", convolution_of(row).operation):
                errors.setdefault((row.operator.number, kind), []).append(pair)
    beside = {"fp32": f" and every fourth row of {benchmarks.file(FRAMEWORK)}"}
    for number, file in FILES.items():
        for kind in ("convolution", *OPERATIONS):
            found = errors[number, kind]
            ours = [error for error, _ in found]
            yield Score(
                name=f"convolution {number}" if kind == "convolution" else f"convolution {number} {kind}",
                fitted_on=f"{benchmarks.file(file)}, other folds of {len(folds)}{beside.get(number, '')}",
                scored_on=f"{benchmarks.file(file)}, {what} ({len(folds)} folds)",
                rows=len(found),
                mape=fmean(ours),
                median_ape=median(ours),
                textbook_mape=fmean(error for _, error in found),
            )


def _convolution(operator: Operator) -> Convolution:
    assert isinstance(operator, Convolution)
    return operator
