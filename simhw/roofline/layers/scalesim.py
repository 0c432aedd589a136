"""Networks from SCALE-Sim topology files, the CSV tables of convolutions or products that many accelerator papers
publish.

Convolutions: ``Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,``;
padding is part of the IFMAP's size already unless a column says it, one stride serves both dimensions unless there are
two, a layer with DP in its name is a depthwise convolution, and a window that sticks out of the IFMAP counts: the
output is ceil((size - filter) / stride) + 1.  Products: ``Layer, M, N, K,``, of (M, K) by (K, N); a batch makes as many
of them. A batch of convolutions is the samples of a step.  N:M sparsity keeps N of M weights; no device here has units
for that, so that it is counted dense.  Source: SCALE-Sim v1 to v3, scalesim/topology_utils.py.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NoReturn

from simhw.errors import ShapeError, quoted
from simhw.files.reading import parse_whole
from simhw.roofline.layers.entries import MAX_SIZE
from simhw.roofline.layers.network import Conv, Linear, MatMul, Network, NetworkLayer
from simhw.roofline.layers.scalesim_columns import (
    BATCH,
    CONVOLUTION,
    GEMM,
    NAME,
    PADDING,
    PADDING_WIDTH,
    SPARSITY,
    STRIDE_WIDTH,
    columns_of,
)
from simhw.roofline.layers.tables import Row


def parse_topology(rows: list[Row], name: str, where: str) -> Network:
    """The network of a SCALE-Sim topology.

    Names that stand there more than once get ``#2``, ``#3`` ... after them.  A row of a name alone is a heading.

    Parameters
    ----------
    rows : list of (int, list of str)
        As `simhw.roofline.layers.tables.table_rows` has them.
    name : str
        Of the network.
    where : str
        File, for errors.

    Raises
    ------
    ShapeError
        The file is no topology, or a row is wrong; names row, layer and column.
    """
    headings = [cells[0] for _, cells in rows if len(cells) == 1]
    tabled = [row for row in rows if len(row[1]) > 1]
    if not tabled:
        raise ShapeError(
            f"{where}: no layers: none of its {len(rows):,} rows has more than one cell; "
            "a table has a header and a row per layer, its cells between commas, semicolons or tabs"
        )
    columns, layer_rows = columns_of(tabled, where)
    used: dict[str, int] = {}
    layers: list[NetworkLayer] = []
    batches: Counter[int] = Counter()
    sparse: Counter[str] = Counter()
    words: list[str] = []
    for number, row in layer_rows:
        place = f"{where}: row {number} {quoted(row[0])}"
        cells = columns.cells(row, place)
        words += columns.words(row)
        if NAME not in cells:
            raise ShapeError(f"{where}: row {number} has no layer name")
        if (ratio := _sparsity(cells, place)) != "1:1":
            sparse[ratio] += 1
        layer_name = _unused(cells[NAME], used)
        if columns.convolutions:
            batches[_number(cells, BATCH, place, default=1)] += 1
            layers.append(_convolution(cells, layer_name, place))
        else:
            layers.append(_product(cells, layer_name, place))
    if not layers:
        raise ShapeError(f"{where}: no layers; a table has a header and a row per layer")
    if len(batches) > 1:
        told = ", ".join(f"{batch} in {count} layers" for batch, count in batches.most_common(3))
        raise ShapeError(f"{where}: layers of different batches ({told}): a step has one; give a file of one batch")
    batch = next(iter(batches), 1)
    cautions = tuple(_cautions(sparse, headings, words))
    return Network(
        name, tuple(layers), f"SCALE-Sim topology {where}", cautions=cautions, batch=batch if batch > 1 else None
    )


def _cautions(sparse: Counter[str], headings: list[str], words: list[str]) -> Iterable[str]:
    """What was read otherwise than it stands there."""
    if sparse:
        ratios = ", ".join(sorted(sparse)[:4])
        yield f"sparsity {ratios} of {sparse.total()} layers is counted dense: the device has no units for N:M sparsity"
    if headings:
        yield f"rows of a name alone are taken as headings: {', '.join(quoted(heading) for heading in headings[:3])}"
    if words:
        yield (
            "words in columns that are no sizes are left out: "
            f"{', '.join(quoted(word) for word in sorted(set(words))[:3])}"
        )


def _unused(name: str, used: dict[str, int]) -> str:
    """The name, numbered if it was used before."""
    taken = name
    while taken in used:
        used[name] += 1
        taken = f"{name}#{used[name]}"
    used[taken] = 1
    return taken


def _number(cells: Mapping[str, str], name: str, place: str, default: int | None = None, least: int = 1) -> int:
    cell = cells.get(name, "" if default is None else str(default))
    number = parse_whole(cell)
    if number is None or not least <= number <= MAX_SIZE:
        _fail(place, f"{name} is {quoted(cell)}; give a whole number of at least {least}")
    return number


def _sizes(cells: Mapping[str, str], names: tuple[str, ...], place: str) -> list[int]:
    missing = [name for name in names if name not in cells]
    if missing:
        _fail(
            place,
            f"{len(names) - len(missing)} numbers after the name; there should be {len(names)}: {', '.join(missing)} "
            "is missing",
        )
    return [_number(cells, name, place) for name in names]


def _sparsity(cells: Mapping[str, str], place: str) -> str:
    """The ratio N:M of weights kept, in lowest terms only where it is dense; SCALE-Sim's own lists write 1 for that."""
    text = cells.get(SPARSITY, "1:1")
    if text == "1":
        return "1:1"
    match [parse_whole(part.strip()) for part in text.split(":")]:
        case [int(kept), int(of)] if 1 <= kept <= of:
            pass
        case _:
            _fail(
                place,
                f"sparsity is {quoted(text)}; give N:M, of which N of every M weights are kept, or 1:1 for a dense "
                "layer",
            )
    return "1:1" if kept == of else f"{kept}:{of}"


def _fail(place: str, problem: str) -> NoReturn:
    raise ShapeError(f"{place}: {problem}")


def _convolution(cells: Mapping[str, str], name: str, place: str) -> Conv:
    height, width, *numbers = _sizes(cells, CONVOLUTION, place)
    kernel, channels, filters = (numbers[0], numbers[1]), numbers[2], numbers[3]
    stride = (numbers[4], _number(cells, STRIDE_WIDTH, place, default=numbers[4]))
    pad = _number(cells, PADDING, place, default=0, least=0)
    padding = (pad, _number(cells, PADDING_WIDTH, place, default=pad, least=0))
    sides = zip((height, width), padding, kernel, stride, ("height", "width"), strict=True)
    size = tuple(
        _covered(extent + 2 * pad, taps, step, side, place) - 2 * pad for extent, pad, taps, step, side in sides
    )
    depthwise = "DP" in cells[NAME]
    return Conv(
        name=name,
        in_channels=channels,
        out_channels=channels * filters if depthwise else filters,
        size=size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=(1, 1),
        groups=channels if depthwise else 1,
    )


def _covered(extent: int, kernel: int, stride: int, side: str, place: str) -> int:
    """What all windows cover: the padded extent, made larger where the last window sticks out of it."""
    if kernel > extent:
        _fail(place, f"a filter of {side} {kernel} is larger than the IFMAP's {extent}")
    return -(-(extent - kernel) // stride) * stride + kernel


def _product(cells: Mapping[str, str], name: str, place: str) -> Linear | MatMul:
    m, n, k = _sizes(cells, GEMM, place)
    batch = _number(cells, BATCH, place, default=1)
    return Linear(name, k, n, rows=m, bias=False) if batch == 1 else MatMul(name, batch, m, n, k)
