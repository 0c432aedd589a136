"""Kernels that others measured on a V100, read from the files of the calibration folder (spec page roofline.md, section 3).

DeepBench ran on the SXM2 board and timed library calls on the device; NeuSight ran PyTorch on the PCIe board.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from simhw.errors import SimhwError
from simhw.roofline.operators import BYTES, Cell, Convolution, Gemm, Number, Operator, Recurrent, Streaming
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
    if name not in FILES:
        raise SimhwError(f"no reader for measurements {name!r}; there are {', '.join(FILES)}")
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise SimhwError(f"{path}: no such file; give the folder that holds the measurements")
    measured: list[Measured] = []
    with path.open(encoding="utf-8", newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            try:
                measured += FILES[name](row, name, index)
            except (KeyError, ValueError, TypeError) as error:
                raise SimhwError(f"{path}: row {index + 1} cannot be read: {error!r}") from None
    return measured


def _number(name: str) -> Number:
    return "fp16" if name.endswith("fp16mix") else "fp32"


def _ints(row: Mapping[str, str], *names: str) -> list[int]:
    return [int(row[name]) for name in names]


def _deepbench_gemm(row: Mapping[str, str], name: str, index: int) -> Iterator[Measured]:
    """The library's matrices are column-major: its M is contiguous, and it computes our product transposed."""
    m, n, k = _ints(row, "M", "N", "K")
    transposed = row["tB"] == "T", row["tA"] == "T"
    gemm = Gemm(m=n, n=m, k=k, number=_number(name), transposed=transposed)
    yield Measured(gemm, float(row["ms"]) * 1e-3, name, index, row["src"])


def _deepbench_conv(row: Mapping[str, str], name: str, index: int) -> Iterator[Measured]:
    width, height, channels, images, filters, kernel_w, kernel_h = _ints(row, "W", "H", "C", "N", "K", "S", "R")
    pad_w, pad_h, stride_w, stride_h = _ints(row, "pad_w", "pad_h", "sw", "sh")
    for operation, column in zip(OPERATIONS, ("fwd_ms", "dgrad_ms", "wgrad_ms"), strict=True):
        if not row[column].startswith("N/A"):
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
            algorithm = row["algo"] if operation == "forward" else ""
            yield Measured(convolution, float(row[column]) * 1e-3, name, index, row["src"], algorithm)


def _deepbench_rnn(row: Mapping[str, str], name: str, index: int) -> Iterator[Measured]:
    """The benchmark ran cuDNN in skip mode: with a product for the input its fastest cells would beat the board's peak."""
    cell = CELLS[row["kind"].rpartition(" ")[2]]
    hidden, batch, steps = _ints(row, "hidden", "batch", "timesteps")
    for operation, column in zip(OPERATIONS, ("fwd_ms", "bwd_data_ms", "bwd_weights_ms"), strict=True):
        recurrent = Recurrent(cell, operation, 0, hidden, batch, steps, _number(name))
        yield Measured(recurrent, float(row[column]) * 1e-3, name, index, f"{cell} {row['source']}")


def _neusight(row: Mapping[str, str], name: str, index: int, operator: Operator) -> Measured:
    grid = (int(row["grid_x"]), int(row["grid_y"]), int(row["grid_z"]))
    return Measured(operator, float(row["latency"]) * 1e-3, name, index, "", row["kernel_name"], grid)


def _neusight_gemm(row: Mapping[str, str], name: str, index: int) -> Iterator[Measured]:
    """Its columns are an (m, n) by an (n, k) matrix: their `n` is the reduction."""
    batch, rows, reduction, columns = _ints(row, "b", "m", "n", "k")
    gemm = Gemm(m=rows, n=columns, k=reduction, batch=batch, transposed=(False, name.endswith("linear")))
    yield _neusight(row, name, index, gemm)


def _neusight_streaming(row: Mapping[str, str], name: str, index: int) -> Iterator[Measured]:
    rows, columns = _ints(row, "b", "h")
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


FILES: dict[str, Callable[[Mapping[str, str], str, int], Iterator[Measured]]] = {
    "deepbench_v100_gemm_fp32": _deepbench_gemm,
    "deepbench_v100_gemm_fp16mix": _deepbench_gemm,
    "deepbench_v100_conv_fp32": _deepbench_conv,
    "deepbench_v100_conv_fp16mix": _deepbench_conv,
    "deepbench_v100_rnn_fp32": _deepbench_rnn,
    "deepbench_v100_rnn_fp16mix": _deepbench_rnn,
    **{f"neusight_v100_{name}": _neusight_gemm for name in ("linear", "bmm")},
    **{f"neusight_v100_{name}": _neusight_streaming for name in ("add", "relu", "gelu", "ln", "softmax")},
}
"""Readers by the name of the file."""
