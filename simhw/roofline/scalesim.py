"""Networks from SCALE-Sim topology files, the CSV tables of convolutions or products that many accelerator papers publish.

Convolutions: ``Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,``; padding is
part of the IFMAP's size already, one stride serves both dimensions (a ninth number is the stride along the width), a layer
with DP in its name is a depthwise convolution, and a window that sticks out of the IFMAP counts: the output is
ceil((size - filter) / stride) + 1.  Products: ``Layer, M, N, K,``, of (M, K) by (K, N).  A last column of sparsity (``1:1``) must be
dense.  Source: SCALE-Sim v2 and v3, scalesim/topology_utils.py.
"""

from typing import NoReturn

from simhw.errors import ShapeError
from simhw.roofline.layer_entries import MAX_SIZE
from simhw.roofline.layer_table import table_rows
from simhw.roofline.layers import Conv, Layer, Linear, Network

CONVOLUTION_HEADER = ("ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter")
GEMM_HEADER = ("m", "n", "k")


def is_topology(header: list[str]) -> bool:
    """Whether a CSV file's header is one of SCALE-Sim's two."""
    return _matches(header, CONVOLUTION_HEADER) or _matches(header, GEMM_HEADER)


def parse_topology(text: str, name: str, where: str) -> Network:
    """The network of a SCALE-Sim topology.

    Names that stand there more than once get ``#2``, ``#3`` ... after them.

    Parameters
    ----------
    text : str
    name : str
        Of the network.
    where : str
        File, for errors.

    Raises
    ------
    ShapeError
        The header is none of SCALE-Sim's, or a row is wrong; names row, layer and column.
    """
    rows = table_rows(text, where)
    if not is_topology(rows[0]):
        raise ShapeError(f"{where}: the header is not SCALE-Sim's: give Layer name, IFMAP Height, ..., Strides, or Layer, M, N, K")
    convolutions = _matches(rows[0], CONVOLUTION_HEADER)
    used: dict[str, int] = {}
    layers: list[Layer] = []
    for number, row in enumerate(rows[1:], start=2):
        place = f"{where}: row {number} {row[0]!r:.60}"
        if not row[0]:
            raise ShapeError(f"{where}: row {number} has no layer name")
        layer_name = _unused(row[0], used)
        layers.append(_convolution(row, layer_name, place) if convolutions else _product(row, layer_name, place))
    return Network(name, tuple(layers), f"SCALE-Sim topology {where}")


def _matches(header: list[str], columns: tuple[str, ...]) -> bool:
    return tuple(" ".join(cell.lower().split()) for cell in header[1 : len(columns) + 1]) == columns


def _unused(name: str, used: dict[str, int]) -> str:
    """The name, numbered if it was used before."""
    taken = name
    while taken in used:
        used[name] += 1
        taken = f"{name}#{used[name]}"
    used[taken] = 1
    return taken


def _numbers(row: list[str], names: tuple[str, ...], place: str, optional: int = 0) -> list[int]:
    cells = row[1:]
    if cells and ":" in cells[-1]:
        _check_dense(cells.pop(), place)
    if not len(names) - optional <= len(cells) <= len(names):
        raise ShapeError(f"{place}: {len(cells)} numbers after the name; there should be {len(names) - optional}: {', '.join(names)}")
    numbers = []
    for cell, name in zip(cells, names, strict=False):
        if not (cell.isascii() and cell.isdigit() and len(cell) <= 13 and 1 <= int(cell) <= MAX_SIZE):
            raise ShapeError(f"{place}: {name} is {cell!r:.40}; give a whole number of at least 1")
        numbers.append(int(cell))
    return numbers


def _check_dense(ratio: str, place: str) -> None:
    kept, _, of = ratio.partition(":")
    if kept.strip() != of.strip():
        _fail(place, f"sparsity {ratio}: sparse layers have no model here; write 1:1 for a dense one")


def _fail(place: str, problem: str) -> NoReturn:
    raise ShapeError(f"{place}: {problem}")


def _convolution(row: list[str], name: str, place: str) -> Conv:
    names = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter", "Strides", "stride along the width")
    height, width, *numbers = _numbers(row, names, place, optional=1)
    kernel, channels, filters = (numbers[0], numbers[1]), numbers[2], numbers[3]
    stride = (numbers[4], numbers[-1])
    size = tuple(_covered(*each, place) for each in zip((height, width), kernel, stride, ("height", "width"), strict=True))
    depthwise = "DP" in row[0]
    return Conv(
        name=name,
        in_channels=channels,
        out_channels=channels * filters if depthwise else filters,
        size=size,
        kernel=kernel,
        stride=stride,
        padding=(0, 0),
        dilation=(1, 1),
        groups=channels if depthwise else 1,
    )


def _covered(extent: int, kernel: int, stride: int, side: str, place: str) -> int:
    """What all windows cover: the extent, made larger where the last window sticks out of it."""
    if kernel > extent:
        _fail(place, f"a filter of {side} {kernel} is larger than the IFMAP's {extent}")
    return -(-(extent - kernel) // stride) * stride + kernel


def _product(row: list[str], name: str, place: str) -> Linear:
    m, n, k = _numbers(row, ("M", "N", "K"), place)
    return Linear(name, k, n, rows=m, bias=False)
