"""Importing a training step from the public numpy layout of the group's simulator, DNNsim: a file per layer and tensor.

``trace_params.csv`` has a line per layer and no header: name, input layer (may be left out), output channels, kernel X,
kernel Y, stride, padding.  The arrays of a step lie in three folders, with the numbers of its epoch and batch in their
names::

    weights/LAYER-EPOCH-BATCH-w.npy       input/LAYER-EPOCH-BATCH-in.npy       outGrad/LAYER-EPOCH-BATCH-outGrad.npy

The table lies beside these folders, in ``model/`` there, or in ``models/NETWORK/`` with the arrays in
``net_traces/NETWORK/``.  A name with ``fc``, ``inner_prod`` or ``Linear`` is a fully connected layer's, one with
``lstm`` a recurrent one's; states of a decoder, ``decoder_0`` and on, share the weights of ``decoder``.  Source: the
README and the behaviour of github.com/isakedo/DNNsim (read).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np

from simhw.bfloat16 import BF16Array, as_bfloat16
from simhw.errors import ShapeError, TraceError, listed, quoted
from simhw.files.npy import NpyFile, npy_file
from simhw.files.reading import csv_rows, parse_whole, read_text
from simhw.trace.archive import Limits
from simhw.trace.layer import OPERATIONS, Layer
from simhw.trace.metadata import Metadata
from simhw.trace.nonfinite import NonFinite, finite
from simhw.trace.trace import Trace

TABLE = "trace_params.csv"
MAX_TABLE_BYTES = 1_000_000
FILES = {"w": ("weights", "w"), "a": ("input", "in"), "g": ("outGrad", "outGrad")}
"""Folder of each tensor, and what its files' names end in."""
NUMBERS = ("f2", "f4", "f8", "u2")
"""Floating-point numbers, and bit patterns of bfloat16, in any byte order."""
FULLY_CONNECTED = ("fc", "inner_prod", "Linear")
Rounding = Literal["rne", "truncate"]


@dataclass(frozen=True)
class StepNumbers:
    """Which training step of a folder: the numbers of its epoch and of its batch."""

    epoch: int
    batch: int


@dataclass(frozen=True)
class _Row:
    """A line of the table."""

    name: str
    outputs: int
    kernel: tuple[int, int]
    stride: int
    padding: int


class _Tensor:
    """A tensor in a file of its own, rounded to bfloat16 when it is read; see `simhw.trace.layer.TensorSource`."""

    def __init__(self, file: NpyFile, shape: tuple[int, ...], rounding: Rounding, nonfinite: NonFinite) -> None:
        self._file, self._shape, self._rounding, self._nonfinite = file, shape, rounding, nonfinite

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def read(self) -> BF16Array:
        """The values in the order of the axes.

        Raises
        ------
        TraceError
            NaN or infinity that was not to be zeroed.
        """
        values = self._file.values()
        bits = np.ascontiguousarray(as_bfloat16(values, str(self._file.path), self._rounding)).reshape(self._shape)
        return finite(bits, self._nonfinite, lambda told: TraceError(f"{self._file.path}: {told}"))


def import_folder(
    folder: Path,
    network: str | None = None,
    epoch: int | None = None,
    batch: int | None = None,
    rounding: Rounding = "rne",
    nonfinite: NonFinite = "error",
) -> Trace:
    """The trace of a training step that lies in a folder; tensors are read when the trace is saved.

    Parameters
    ----------
    folder : Path
    network : str, optional
        Which one, where the folder has several under ``models``.
    epoch, batch : int, optional
        Which step; may be left out where there is one.
    rounding : {"rne", "truncate"}
        To bfloat16: to the nearest, ties to even; or by dropping the low bits, as DNNsim does.
    nonfinite : {"error", "zero"}
        What reading does with NaN and infinity.

    Raises
    ------
    TraceError
        The folder, its table or a file cannot be used; names it.
    ShapeError
        Shapes of a layer do not fit each other.
    """
    table, arrays, name = _places(folder, network)
    rows = list(_rows(table))
    if not rows:
        raise TraceError(f"{table}: no layers; give a line per layer: name, output channels, kernel X, kernel Y, ...")
    step = _step(arrays, rows, epoch, batch)
    limit = Limits.from_environment().tensor_bytes
    layers = [_layer(row, arrays, step, row is rows[0], limit, rounding, nonfinite) for row in rows]
    images = {layer.shapes["a"][1 if layer.kind == "lstm" else 0] for layer in layers}
    extra = {"layout": "DNNsim arrays", "epoch": step.epoch, "batch": step.batch, "rounding": rounding}
    return Trace(layers, Metadata(name, batch=images.pop() if len(images) == 1 else None, extra=extra))


def _places(folder: Path, network: str | None) -> tuple[Path, Path, str]:
    """The table, the folder of the arrays, and the network's name."""
    if not folder.is_dir():
        raise TraceError(f"{quoted(str(folder))[1:-1]}: no such folder")
    if network is None:
        for table in (folder / TABLE, folder / "model" / TABLE):
            if table.is_file():
                return table, folder, folder.resolve().name
    found = sorted(path.parent.name for path in folder.glob(f"models/*/{TABLE}"))
    if network is None and len(found) == 1:
        network = found[0]
    if network not in found:
        wanted = f"network {quoted(network)}" if network is not None else f"{TABLE}, model/{TABLE} or one network"
        there = f"models/ has {listed(found)}; choose with --network" if found else f"models/ has no network's {TABLE}"
        raise TraceError(f"{folder}: has no {wanted}; {there}")
    assert network is not None
    return folder / "models" / network / TABLE, folder / "net_traces" / network, network


def _rows(table: Path) -> Iterator[_Row]:
    """The lines of the table, checked."""
    seen: set[str] = set()
    for number, cells in csv_rows(read_text(table, MAX_TABLE_BYTES, TraceError, TABLE), str(table), TraceError):
        where = f"{table}: row {number}"
        if len(cells) not in (6, 7):
            raise TraceError(
                f"{where}: {len(cells)} cells; give 6 or 7: name, input layer (may be left out), output channels, "
                "kernel X, kernel Y, stride, padding"
            )
        name, sizes = cells[0], [parse_whole(cell) for cell in cells[-5:]]
        # A name becomes part of a file's name.
        if not name or name in seen or re.search(r"[/\\\0]", name) or not name.isprintable():
            raise TraceError(f"{where}: the name {quoted(name)}: give each layer its own, without strokes")
        seen.add(name)
        if None in sizes:
            raise TraceError(f"{where}: {quoted(cells[-5 + sizes.index(None)])}: give a whole number")
        outputs, kernel_x, kernel_y, stride, padding = (size or 0 for size in sizes)
        yield _Row(name, outputs, (kernel_x, kernel_y), stride, padding)


def _step(arrays: Path, rows: list[_Row], epoch: int | None, batch: int | None) -> StepNumbers:
    """The step that is meant: of those whose input of the first layer lies there."""
    name, (folder, ending) = rows[0].name, FILES["a"]
    pattern = re.compile(rf"{re.escape(name)}-(\d{{1,9}})-(\d{{1,9}})-{ending}\.npy")
    try:
        matches = [pattern.fullmatch(path.name) for path in (arrays / folder).iterdir()]
    except OSError:
        raise TraceError(f"{arrays}: has no folder {folder!r} that can be read; it holds the layers' inputs") from None
    steps = sorted({(int(match[1]), int(match[2])) for match in matches if match})
    fitting = [each for each in steps if epoch in (None, each[0]) and batch in (None, each[1])]
    if len(fitting) == 1:
        return StepNumbers(*fitting[0])
    told = listed([f"epoch {each[0]} batch {each[1]}" for each in fitting or steps])
    if not steps:
        raise TraceError(f"{arrays / folder}: has no file {name}-EPOCH-BATCH-{ending}.npy of the first layer")
    problem = "several steps" if fitting else "no such step"
    raise TraceError(f"{arrays / folder}: {problem}; there are {told}; choose with --epoch and --batch")


def _layer(
    row: _Row, arrays: Path, step: StepNumbers, first: bool, limit: int, rounding: Rounding, nonfinite: NonFinite
) -> Layer:
    """A layer with those of its tensors that lie there; A and W must."""
    files = {}
    for tensor, (folder, ending) in FILES.items():
        name = row.name
        if tensor == "w" and "decoder" in name:
            name = name.rpartition("_")[0] or name
        path = arrays / folder / f"{name}-{step.epoch}-{step.batch}-{ending}.npy"
        if tensor != "g" or path.is_file():
            files[tensor] = npy_file(path, limit, TraceError)
            if files[tensor].dtype.str[1:] not in NUMBERS:
                raise TraceError(
                    f"{path}: {files[tensor].dtype}: give floating-point values, or bfloat16 bits as uint16"
                )
    kind, shapes = _kind(row, {tensor: file.shape for tensor, file in files.items()})
    said = {"conv2d": (row.outputs, *row.kernel), "linear": (row.outputs,)}.get(kind, ())
    found = tuple(size for axis, size in enumerate(shapes["w"]) if axis != 1)
    if said and said != found:
        raise ShapeError(
            f"layer {row.name!r}: {TABLE} says output channels and kernel {said}, but W is {shapes['w']}: give arrays "
            "(outputs, inputs, kernel...)"
        )
    geometry = None
    if kind == "conv2d":
        # Channels of A that W does not have are those of other groups.
        groups = max(1, shapes["a"][1] // shapes["w"][1]) if len(shapes["a"]) == 4 else 1
        geometry = {"stride": row.stride, "padding": row.padding, "groups": groups}
    sources = {t: _Tensor(file, shapes[t], rounding, nonfinite) for t, file in files.items()}
    # The first layer has no gradient of its input: nothing before it learns.
    ran = [
        operation
        for operation in OPERATIONS
        if operation == "forward" or ("g" in sources and not (first and operation == "input_grad"))
    ]
    return Layer(row.name, kind, geometry, sources["a"], sources["w"], sources.get("g"), operations=ran)


def _kind(row: _Row, shapes: dict[str, tuple[int, ...]]) -> tuple[str, dict[str, tuple[int, ...]]]:
    """Kind of a layer by its name and axes, and the shapes that its tensors have in a trace."""
    connected = any(word in row.name for word in FULLY_CONNECTED)
    if "lstm" in row.name and len(shapes["a"]) == 3:
        return "lstm", shapes
    if len(shapes["w"]) == 4 and not connected:
        return "conv2d", shapes
    # A fully connected layer's input may still have a convolution's axes, and its weights those of a 1 x 1 kernel.
    flat = {t: (shape[0], prod(shape[1:])) if len(shape) == 4 else shape for t, shape in shapes.items()}
    return "linear", flat
