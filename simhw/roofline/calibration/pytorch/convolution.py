"""Fit of convolutions measured in PyTorch: the engines of each kind of number to the rows of the fitted half.

Searches set out from what names and times of kernels in whole steps suggest.  What is a rule of the library (which tile
sizes there are, from how many channels it transforms, how far it splits) is not searched but stated in the device's
file.
"""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

from simhw.machine.dotted import assign, leaf
from simhw.roofline.calibration.benchmarks import Search
from simhw.roofline.calibration.pytorch.descent import descend, rounded
from simhw.roofline.calibration.pytorch.halves import halves
from simhw.roofline.calibration.pytorch.kernels import Timed, read_kernels
from simhw.roofline.calibration.score import Score, score_of, textbook_seconds
from simhw.roofline.device import load_device
from simhw.roofline.gpu.engines.convolution import predict_by_engines
from simhw.roofline.gpu.engines.parameters import EngineParameters
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Convolution
from simhw.trace.layer import OPERATIONS

ORDER: tuple[Number, ...] = ("fp32", "tf32", "bf16")
"""fp32 first: its multiply-add units run some of tf32's layers."""


def convolution_of(row: Timed) -> Convolution:
    """The convolution that a row measured."""
    (found,) = row.operators
    assert isinstance(found, Convolution), "the file holds convolutions alone"
    return found


def is_depthwise(convolution: Convolution) -> bool:
    """Whether it has one filter per channel."""
    return convolution.groups == convolution.in_channels > 1


def predicted_s(rows: Sequence[Timed], hardware: GpuHardware, parameters: EngineParameters) -> list[float]:
    """Times of the rows."""
    return [predict_by_engines(convolution_of(row), hardware, parameters).seconds for row in rows]


def fit(
    rows: Sequence[Timed], fixed: EngineParameters, hardware: GpuHardware, searched: Mapping[Number, Search]
) -> EngineParameters:
    """The constants that fit the rows best; those that are not searched as in `fixed`.

    Raises
    ------
    StatisticsError
        There is no depthwise row of some number, layout and operation that the file has.
    """
    values = fixed.model_dump()
    for number in ORDER:
        own = [row for row in rows if row.number == number]
        _fit_depthwise(own, values, number)
        dense = [row for row in own if not is_depthwise(convolution_of(row))]

        def guessed(tried: Mapping[str, Any], dense: Sequence[Timed] = dense) -> list[float]:
            return predicted_s(dense, hardware, EngineParameters(**tried))

        descend(values, searched[number], guessed, [row.seconds for row in dense])
    return EngineParameters(**values)


def _fit_depthwise(rows: Sequence[Timed], values: dict[str, Any], number: Number) -> None:
    """Rates at which depthwise layers multiply, launches taken away: medians.

    The one shape that a fit may see cannot tell a weight gradient's rate from what summing its parts costs.  It reads
    and multiplies what the input gradient does, at that one's rate; what remains is fixed.
    """
    for layout in {convolution_of(row).layout for row in rows}:
        place = f"kernels.{number}.depthwise.{layout}"
        own = [row for row in rows if is_depthwise(convolution_of(row)) and convolution_of(row).layout == layout]
        rate = 0.0
        for operation in ("forward", "input_grad"):
            launch_s = leaf(values, f"{place}.launch_s.{operation}")
            rate = median(_macs(row) / (row.seconds - launch_s) for row in own if row.kind == operation)
            assign(values, f"{place}.macs_per_s.{operation}", rounded(rate), "fit")
        fixed_s = median(row.seconds - _macs(row) / rate for row in own if row.kind == "weight_grad")
        assign(values, f"{place}.macs_per_s.weight_grad", rounded(rate), "fit")
        assign(values, f"{place}.launch_s.weight_grad", rounded(max(fixed_s, 0.0)), "fit")


def _macs(row: Timed) -> float:
    convolution = convolution_of(row)
    made = convolution.size if convolution.operation == "input_grad" else convolution.out_size
    return float(convolution.images) * convolution.in_channels * prod(made) * prod(convolution.kernel)


def calibrate(folder: Path, device: str, searched: Mapping[Number, Search]) -> tuple[dict[str, float], list[Score]]:
    """Constants fitted to one half of the shapes, and the errors that these leave on the other.

    Raises
    ------
    SimhwError
        The file is missing or cannot be read.
    """
    gpu = load_device(device).values
    assert isinstance(gpu, GpuValues)
    assert gpu.convolution_engines is not None, "the search is for constants of engines"
    fitted_rows, scored_rows = halves(read_kernels(folder, gpu.name, "conv"))
    fitted = fit(fitted_rows, gpu.convolution_engines, gpu.hardware, searched)
    values = fitted.model_dump()
    names = [name for search in searched.values() for name in search]
    names += [
        f"kernels.{number}.depthwise.{layout}.{name}"
        for number, layout in sorted({(row.number, convolution_of(row).layout) for row in fitted_rows})
        for name in ("launch_s.weight_grad", *(f"macs_per_s.{operation}" for operation in OPERATIONS))
    ]
    constants = {f"convolution_engines.{name}": float(leaf(values, name)) for name in names}
    return constants, scores(scored_rows, fitted, gpu.hardware, f"{gpu.name}_conv")


def scores(rows: Sequence[Timed], parameters: EngineParameters, hardware: GpuHardware, file: str) -> list[Score]:
    """Errors by number and layout, all operations and each."""
    found = []
    for number, layout in dict.fromkeys((row.number, convolution_of(row).layout) for row in rows):
        for operation in ("", *OPERATIONS):
            own = [
                row
                for row in rows
                if (row.number, convolution_of(row).layout) == (number, layout) and row.kind in (operation or row.kind,)
            ]
            found.append(
                score_of(
                    " ".join(filter(None, ("convolution", number, layout, operation))),
                    f"even shapes of {file}",
                    f"odd shapes of {file}",
                    predicted_s(own, hardware, parameters),
                    [row.seconds for row in own],
                    [textbook_seconds(convolution_of(row), hardware) for row in own],
                )
            )
    return found
