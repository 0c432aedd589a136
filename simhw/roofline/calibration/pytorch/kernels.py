"""Kernels measured in PyTorch, read from ``DEVICE_gemm.csv`` and its like; docs/calibration.md has their columns."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from simhw.errors import ShapeError
from simhw.files.reading import parse_whole
from simhw.roofline.calibration.measured_rows import MeasuredRow, measured_rows
from simhw.roofline.numbers import Number
from simhw.roofline.operators import Attention, Convolution, Gemm, Layout, Operator, Recurrent
from simhw.trace.layer import OPERATIONS, Operation


@dataclass(frozen=True)
class Timed:
    """A measured call.

    Attributes
    ----------
    operators : tuple of Operator
        Kernels that it stands for: one, or several of a backward pass.
    seconds : float
        On the device, launching hidden.
    eager_s : float or None
        In a loop of calls from Python, where that was measured.
    kind : str
        As the file calls it.
    shape : hashable
        What all measurements of one kernel share, whatever their operation, numbers and layout.
    place : str
        File and row.
    """

    operators: tuple[Operator, ...]
    seconds: float
    eager_s: float | None
    kind: str
    shape: Hashable
    place: str

    @property
    def number(self) -> Number:
        """Of the first kernel."""
        return self.operators[0].number


def number_of(row: MeasuredRow) -> Number:
    """Column ``precision`` of a kernel."""
    text = row.text("precision")
    for number in get_args(Number):
        if text == number:
            return number  # type: ignore[no-any-return]  # a name of the literal
    return row.fail(f"column 'precision' is {text!r}; give one of {', '.join(get_args(Number))}")


def _gemm(row: MeasuredRow) -> Timed:
    """A linear layer's weights are (n, k); a batched product's second operand is (k, n)."""
    kind = row.text("kind")
    if kind not in ("linear", "bmm"):
        row.fail(f"column 'kind' is {kind!r}; give linear or bmm")
    batch, m, n, k = row.counts("b", "m", "n", "k")
    gemm = Gemm(m, n, k, batch, number_of(row), transposed=(False, kind == "linear"))
    return Timed((gemm,), _seconds(row), _eager_s(row), kind, (kind, batch, m, n, k), row.place)


def _conv(row: MeasuredRow) -> Timed:
    images, channels, height, width, outputs, kernel_h, kernel_w, stride, groups = row.counts(
        "n", "c", "h", "w", "k", "r", "s", "stride", "groups"
    )
    pad = row.count("pad", least=0)
    operation = next((each for each in OPERATIONS if each == row.text("operation")), None)
    if operation is None:
        row.fail(f"column 'operation' is {row.text('operation')!r}; give one of {', '.join(OPERATIONS)}")
    layout = next((each for each in get_args(Layout) if each == row.text("layout")), None)
    if layout is None:
        row.fail(f"column 'layout' is {row.text('layout')!r}; give one of {', '.join(get_args(Layout))}")
    convolution = Convolution(
        operation=operation,
        images=images,
        in_channels=channels,
        out_channels=outputs,
        size=(height, width),
        kernel=(kernel_h, kernel_w),
        stride=(stride, stride),
        padding=(pad, pad),
        dilation=(1, 1),
        groups=groups,
        number=number_of(row),
        layout=layout,
    )
    shape = (images, channels, height, width, outputs, kernel_h, kernel_w, stride, pad, groups)
    return Timed((convolution,), _seconds(row), None, operation, shape, row.place)


def _other(row: MeasuredRow) -> Timed | None:
    """Attention (heads x tokens x width) and LSTM; other kinds of the file are others' to read."""
    kind = row.text("kind")
    if kind not in ("sdpa", "lstm"):
        return None
    batch, steps = row.counts("batch", "steps")
    operation = row.text("operation")
    if operation not in ("forward", "backward"):
        row.fail(f"column 'operation' is {operation!r}; give forward or backward")
    forward = operation == "forward"
    operators = _attention(row, batch, forward) if kind == "sdpa" else _lstm(row, batch, steps, forward)
    return Timed(operators, _seconds(row), None, kind, (kind, batch, row.text("size"), steps), row.place)


def _attention(row: MeasuredRow, batch: int, forward: bool) -> tuple[Operator, ...]:
    sizes = [parse_whole(each) for each in row.text("size").split("x")]
    if len(sizes) != 3 or None in sizes:
        row.fail(f"column 'size' is {row.text('size')!r}; give heads x tokens x width, such as 12x128x64")
    heads, tokens, width = (each or 0 for each in sizes)
    operation: Operation = "forward" if forward else "input_grad"
    return (Attention(operation, batch, heads, tokens, tokens, width, number=number_of(row)),)


def _lstm(row: MeasuredRow, batch: int, steps: int, forward: bool) -> tuple[Operator, ...]:
    """A layer whose inputs are as wide as its state; backward measures both gradients."""
    width = row.count("size")
    operations: tuple[Operation, ...] = ("forward",) if forward else ("input_grad", "weight_grad")
    return tuple(Recurrent("lstm", each, width, width, batch, steps, number_of(row)) for each in operations)


def _seconds(row: MeasuredRow) -> float:
    return row.quantity("ms") * 1e-3


def _eager_s(row: MeasuredRow) -> float | None:
    return row.quantity("eager_us") * 1e-6 if row.text("eager_us") else None


READERS: dict[str, Callable[[MeasuredRow], Timed | None]] = {"gemm": _gemm, "conv": _conv, "other": _other}
"""Readers by the end of the file's name; none of a row is passed over."""


def read_kernels(folder: Path, device: str, what: str) -> list[Timed]:
    """The calls of ``DEVICE_WHAT.csv``.

    Raises
    ------
    SimhwError
        The file is missing, or a row of it cannot be read.
    """
    return list(_read(measured_rows(folder, f"{device}_{what}"), READERS[what]))


def _read(rows: list[MeasuredRow], read: Callable[[MeasuredRow], Timed | None]) -> Iterator[Timed]:
    for row in rows:
        try:
            if (timed := read(row)) is not None:
                yield timed
        except ShapeError as error:  # sizes that do not fit each other
            row.fail(str(error))
