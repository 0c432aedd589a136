"""Measured kernels beside what a device's constants predict of them."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal

from simhw.errors import MachineError
from simhw.roofline.calibration.measurements import Measured, read_measurements
from simhw.roofline.calibration.pytorch.halves import Row, halves
from simhw.roofline.calibration.pytorch.kernels import Timed, read_kernels
from simhw.roofline.calibration.pytorch.streaming_rows import read_streaming, read_updates
from simhw.roofline.calibration.score import textbook_seconds
from simhw.roofline.device import Device
from simhw.roofline.operators import Convolution, Operator, Recurrent, Streaming
from simhw.roofline.predict import predict
from simhw.roofline.prediction import Prediction
from simhw.roofline.scoring.table import BOUNDS, LeftOut, Scored, ScoreTable, SizeUnit

Half = Literal["fitted", "scored", "all"]
Found = tuple[list[ScoreTable], list[LeftOut]]
"""What a file gives, and what of it was left out."""
MILLI = 1e3


def half_of(rows: Sequence[Row], half: Half) -> list[Row]:
    """The rows whose shapes a fit sees, those that it does not, or all."""
    if half == "all":
        return list(rows)
    fitted, scored = halves(rows)
    return fitted if half == "fitted" else scored


def library_calls(folder: Path, name: str, device: Device) -> Found:
    """A file of DeepBench, whose calls were timed on the device, or of NeuSight, which timed PyTorch."""
    in_framework = name.startswith("neusight")
    left: list[LeftOut] = []
    rows: list[Scored] = []
    unit: SizeUnit = "FLOP"
    for measured in read_measurements(folder, name):
        operator = measured.operator
        unit = size_unit(operator)
        place = f"{name}.csv:{measured.row + 1}"
        predictions = _predicted((operator,), device, place, left)
        if predictions:
            (prediction,) = predictions
            seconds = prediction.alone_s if in_framework else prediction.seconds
            rows.append(_scored((operator,), _library_kind(measured), measured.seconds, seconds, place, device))
    source = "NeuSight" if in_framework else "DeepBench"
    what = TITLES.get(name.split("_")[2], "functions")
    how = "in PyTorch" if in_framework else "library calls"
    return [ScoreTable(f"{what} ({source}, {how})", "ms", tuple(rows), unit, BOUNDS[unit])], left


TITLES = {"gemm": "products", "linear": "products", "bmm": "products", "conv": "convolutions", "rnn": "recurrent cells"}
"""What a file of DeepBench or NeuSight measured; others are functions."""


def _library_kind(measured: Measured) -> str:
    operator = measured.operator
    if isinstance(operator, Convolution):
        return operator.operation
    if isinstance(operator, Recurrent):
        return f"{operator.cell} {operator.operation}"
    if isinstance(operator, Streaming):
        return measured.file.rpartition("_")[2]
    return measured.file.rpartition("_")[2] if measured.file.startswith("neusight") else measured.group


def products(folder: Path, name: str, device: Device, half: Half) -> Found:
    """``NAME_gemm.csv``: products, and the time of calling them from Python."""
    rows = half_of(read_kernels(folder, name, "gemm"), half)
    return _joined(
        _table("products", rows, device, lambda row: row.kind), _called("products, called from Python", rows, device)
    )


def convolutions(folder: Path, name: str, device: Device, half: Half) -> Found:
    """``NAME_conv.csv``."""

    def kind(row: Timed) -> str:
        (convolution,) = row.operators
        assert isinstance(convolution, Convolution), "the file holds convolutions alone"
        return f"{row.kind} {convolution.layout}"

    return _table("convolutions", half_of(read_kernels(folder, name, "conv"), half), device, kind)


def functions(folder: Path, name: str, device: Device, half: Half) -> Found:
    """``NAME_streaming.csv``: functions that stream, and the time of calling them from Python."""
    rows = half_of(read_streaming(folder, name), half)
    return _joined(
        _table("functions", rows, device, lambda row: row.kind, streamed=True),
        _called("functions, called from Python", rows, device),
    )


def others(folder: Path, name: str, device: Device, half: Half) -> Found:
    """``NAME_other.csv``: attention, LSTM, optimizers and copies, each divided into halves by itself."""
    calls = read_kernels(folder, name, "other")
    attention, lstm = ([row for row in calls if row.kind == kind] for kind in ("sdpa", "lstm"))
    return _joined(
        _table("fused attention", half_of(attention, half), device, _direction),
        _table("LSTM", half_of(lstm, half), device, _direction),
        _table("optimizers and copies", half_of(read_updates(folder, name), half), device, lambda row: row.kind, True),
    )


def _direction(row: Timed) -> str:
    first = row.operators[0]
    return "forward" if getattr(first, "operation", "forward") == "forward" else "backward"


def _table(
    title: str, rows: Sequence[Timed], device: Device, kind: Callable[[Timed], str], streamed: bool = False
) -> Found:
    """Errors on calls that were measured in a graph, or `streamed`: launched one by one, queued behind another."""
    left: list[LeftOut] = []
    unit: SizeUnit = "FLOP"
    scored = []
    for row in rows:
        place = short_place(row.place)
        predictions = _predicted(row.operators, device, place, left)
        if predictions:
            unit = size_unit(row.operators[0])
            seconds = sum(each.seconds + (device.values.gap_s(each) if streamed else 0.0) for each in predictions)
            scored.append(_scored(row.operators, kind(row), row.seconds, seconds, place, device))
    return [ScoreTable(title, "ms", tuple(scored), unit, BOUNDS[unit])], left


def _called(title: str, rows: Sequence[Timed], device: Device) -> Found:
    """Calls in a loop: the framework runs ahead of the device, so that the slower of the two decides.  Kernels of which
    a device's file does not say what calling them takes are passed over.
    """
    unit: SizeUnit = "FLOP"
    scored = []
    for row in rows:
        predictions = _predicted(row.operators, device, "", []) if row.eager_s is not None else []
        if row.eager_s is not None and predictions and all(each.host_s > 0 for each in predictions):
            unit = size_unit(row.operators[0])
            seconds = max(sum(each.seconds for each in predictions), sum(each.host_s for each in predictions))
            place = short_place(row.place)
            scored.append(_scored(row.operators, row.kind, row.eager_s, seconds, place, device))
    return [ScoreTable(title, "ms", tuple(scored), unit, BOUNDS[unit])], []


def _joined(*found: Found) -> Found:
    return [table for tables, _ in found for table in tables], [each for _, left in found for each in left]


def _predicted(operators: Sequence[Operator], device: Device, place: str, left: list[LeftOut]) -> list[Prediction]:
    """Predictions of all operators of a row; none where the device cannot run one of them, which `left` then tells."""
    if not operators:
        left.append(LeftOut("a step has no kernel for it", place))
    try:
        return [predict(operator, device) for operator in operators]
    except MachineError as error:
        left.append(LeftOut(str(error), place))
        return []


def _scored(
    operators: Sequence[Operator], kind: str, measured_s: float, predicted_s: float, place: str, device: Device
) -> Scored:
    hardware = device.values.hardware
    moved = size_unit(operators[0]) == "bytes"
    return Scored(
        kind=kind,
        precision=operators[0].number,
        size=sum(each.dram_bytes if moved else each.flops for each in operators),
        measured=measured_s * MILLI,
        predicted=predicted_s * MILLI,
        textbook=sum(textbook_seconds(each, hardware) for each in operators) * MILLI,
        what=words(operators[0]),
        place=place,
    )


def size_unit(operator: Operator) -> SizeUnit:
    """In what a kernel's size is counted: bytes where it does nothing but move data."""
    return "bytes" if isinstance(operator, Streaming) else "FLOP"


def words(operator: Operator) -> str:
    """The sizes of an operator by name, those that are as usual left out."""
    told = []
    for field in fields(operator):
        value = getattr(operator, field.name)
        sizes = value if isinstance(value, tuple) else (value,)
        if value != field.default and all(type(each) is int for each in sizes) and field.name != "dilation":
            told.append(f"{field.name} {'x'.join(map(str, sizes))}")
    return ", ".join(told)


def short_place(place: str) -> str:
    """``FILE:ROW`` of a row's place."""
    path, _, row = place.rpartition(": row ")
    return f"{Path(path).name}:{row}"
