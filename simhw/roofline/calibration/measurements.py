"""Kernels that others measured, read from the files of the calibration folder (spec page roofline.md, section
3).

DeepBench ran on the SXM2 board and timed library calls on the device; NeuSight ran PyTorch on the PCIe board.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from simhw.errors import ShapeError, SimhwError, quoted
from simhw.roofline.calibration.measured_rows import MeasuredRow, measured_rows
from simhw.roofline.numbers import BYTES, Number
from simhw.roofline.operators import Cell, Convolution, Gemm, Operator, Recurrent, Streaming
from simhw.trace.layer import OPERATIONS

CELLS: dict[str, Cell] = {"Vanilla": "rnn", "LSTM": "lstm", "GRU": "gru"}
# Elementary operations per value, and the tensors read, of NeuSight's elementwise kernels.
ELEMENTWISE = {"add": (1, 2), "relu": (1, 1), "gelu": (8, 1)}


@dataclass(frozen=True)
class Measured:
    """One measured kernel.

    Attributes
    ----------
    operator : Operator
    seconds : float
    file, row : str, int
        Where it stands; the first row of data is 0.
    group : str
        The network or source that the file names for it; empty where it names none.
    kernel : str
        The kernel or algorithm that ran, where the file tells.
    grid : (int, int, int)
        Thread blocks, where the file tells; else zeros.
    """

    operator: Operator
    seconds: float
    file: str
    row: int
    group: str = ""
    kernel: str = ""
    grid: tuple[int, int, int] = (0, 0, 0)


def read_measurements(folder: Path, name: str) -> list[Measured]:
    """The kernels of one file of a folder, by its name without ``.csv``.

    Raises
    ------
    SimhwError
        The file is missing, not one of those known, or a row of it cannot be read.
    """
    source, _, rest = name.partition("_")
    read = READERS.get(f"{source}_{rest.partition('_')[2]}")
    if read is None:
        known = ", ".join(each.replace("_", "_CHIP_", 1) for each in READERS)
        raise SimhwError(f"no reader for measurements {quoted(name)}; there are {known}")
    measured: list[Measured] = []
    for index, row in enumerate(measured_rows(folder, name)):
        try:
            measured += read(row, name, index)
        except ShapeError as error:  # sizes that do not fit each other
            row.fail(str(error))
    return measured


def _number(name: str) -> Number:
    return "fp16" if name.endswith("fp16mix") else "fp32"


def _deepbench_gemm(row: MeasuredRow, name: str, index: int) -> Iterator[Measured]:
    """The library's matrices are column-major: its M is contiguous, and it computes our product transposed."""
    m, n, k = row.counts("M", "N", "K")
    transposed = _transposed(row, "tB"), _transposed(row, "tA")
    gemm = Gemm(m=n, n=m, k=k, number=_number(name), transposed=transposed)
    yield Measured(gemm, row.quantity("ms") * 1e-3, name, index, row.text("src"))


def _transposed(row: MeasuredRow, column: str) -> bool:
    if row.text(column) not in ("N", "T"):
        row.fail(f"column {quoted(column)} is {quoted(row.text(column))}; give N or T")
    return row.text(column) == "T"


def _deepbench_conv(row: MeasuredRow, name: str, index: int) -> Iterator[Measured]:
    width, height, channels, images, filters, kernel_w, kernel_h = row.counts("W", "H", "C", "N", "K", "S", "R")
    pad_w, pad_h = row.count("pad_w", least=0), row.count("pad_h", least=0)
    stride_w, stride_h = row.counts("sw", "sh")
    for operation, column in zip(OPERATIONS, ("fwd_ms", "dgrad_ms", "wgrad_ms"), strict=True):
        if not row.text(column).startswith("N/A"):
            convolution = Convolution(
                operation=operation,
                images=images,
                in_channels=channels,
                out_channels=filters,
                size=(height, width),
                kernel=(kernel_h, kernel_w),
                stride=(stride_h, stride_w),
                padding=(pad_h, pad_w),
                dilation=(1, 1),
                number=_number(name),
            )
            # The algorithm is that of the forward operation alone.
            algorithm = row.text("algo") if operation == "forward" else ""
            yield Measured(convolution, row.quantity(column) * 1e-3, name, index, row.text("src"), algorithm)


def _deepbench_rnn(row: MeasuredRow, name: str, index: int) -> Iterator[Measured]:
    """The benchmark ran cuDNN in skip mode: with a product for the input its fastest cells would beat the
    board's peak.
    """
    kind = row.text("kind").rpartition(" ")[2]
    if kind not in CELLS:
        row.fail(f"column 'kind' is {quoted(row.text('kind'))}; give one that ends in {', '.join(CELLS)}")
    cell = CELLS[kind]
    hidden, batch, steps = row.counts("hidden", "batch", "timesteps")
    for operation, column in zip(OPERATIONS, ("fwd_ms", "bwd_data_ms", "bwd_weights_ms"), strict=True):
        recurrent = Recurrent(cell, operation, 0, hidden, batch, steps, _number(name))
        yield Measured(recurrent, row.quantity(column) * 1e-3, name, index, f"{cell} {row.text('source')}")


def _neusight(row: MeasuredRow, name: str, index: int, operator: Operator) -> Measured:
    grid = (row.count("grid_x"), row.count("grid_y"), row.count("grid_z"))
    return Measured(operator, row.quantity("latency") * 1e-3, name, index, "", row.text("kernel_name"), grid)


def _neusight_gemm(row: MeasuredRow, name: str, index: int) -> Iterator[Measured]:
    """Its columns are an (m, n) by an (n, k) matrix: their `n` is the reduction."""
    batch, rows, reduction, columns = row.counts("b", "m", "n", "k")
    gemm = Gemm(m=rows, n=columns, k=reduction, batch=batch, transposed=(False, name.endswith("linear")))
    yield _neusight(row, name, index, gemm)


def _neusight_conv(row: MeasuredRow, name: str, index: int) -> Iterator[Measured]:
    """Forward, of square images by square kernels; one column's name is misspelt."""
    images, channels, filters, kernel, size, stride = row.counts(
        "B", "Input_Channel", "Output_Channel", "Kernel_Szie", "Input_Size", "Stride"
    )
    padding = row.count("Padding", least=0)
    convolution = Convolution(
        operation="forward",
        images=images,
        in_channels=channels,
        out_channels=filters,
        size=(size, size),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(padding, padding),
        dilation=(1, 1),
    )
    grid = (row.count("Grid x"), row.count("Grid y"), row.count("Grid z"))
    yield Measured(convolution, row.quantity("Latency") * 1e-3, name, index, "", row.text("Kernel Name"), grid)


def _neusight_streaming(row: MeasuredRow, name: str, index: int) -> Iterator[Measured]:
    rows, columns = row.counts("b", "h")
    function = name.rpartition("_")[2]
    size = float(rows * columns)
    data = size * BYTES["fp32"]
    if function in ELEMENTWISE:
        operations, reads = ELEMENTWISE[function]
        kind = "elementwise" if reads > 1 else "activation"
        operator = Streaming(kind, function, rows, columns, reads * data, data, operations * size)  # type: ignore[arg-type]  # a literal
    elif function == "ln":
        operator = Streaming("layernorm", "layernorm", rows, columns, data, data, 8 * size)
    else:
        operator = Streaming("softmax", "softmax", rows, columns, data, data, 5 * size)
    yield _neusight(row, name, index, operator)


READERS: dict[str, Callable[[MeasuredRow, str, int], Iterator[Measured]]] = {
    "deepbench_gemm_fp32": _deepbench_gemm,
    "deepbench_gemm_fp16mix": _deepbench_gemm,
    "deepbench_conv_fp32": _deepbench_conv,
    "deepbench_conv_fp16mix": _deepbench_conv,
    "deepbench_rnn_fp32": _deepbench_rnn,
    "deepbench_rnn_fp16mix": _deepbench_rnn,
    **{f"neusight_{name}": _neusight_gemm for name in ("linear", "bmm")},
    "neusight_conv": _neusight_conv,
    **{f"neusight_{name}": _neusight_streaming for name in ("add", "relu", "gelu", "ln", "softmax")},
}
"""Readers by the name of the file, without the chip in it."""
