"""Networks from CSV tables: a header with ``kind``, ``name`` and fields, and a row per layer."""

import re
from pathlib import Path
from typing import Any

from simhw.errors import ShapeError, quoted
from simhw.files.reading import check_header, csv_rows, parse_whole
from simhw.roofline.layers.blocks import MAX_LAYERS, Leaf, State, network_of
from simhw.roofline.layers.from_entries import entry_of
from simhw.roofline.layers.network import Network

DELIMITERS = "\t;,"
"""Of those that stand equally often in a header, the first: a comma may belong to its words."""
# A comment at a row's end: it begins a cell, or follows the number in it.
_COMMENT = re.compile(r"([\d.:\s]*)(?:#|//)")

Row = tuple[int, list[str]]
"""The number of a row's line in its file, and its cells."""


def is_table(header: list[str]) -> bool:
    """Whether a CSV file's header is that of a table of layers."""
    return "kind" in _fields(header)


def parse_table(rows: list[Row], where: str) -> Network:
    """The network of a CSV table: a header with ``kind``, ``name`` and fields of these kinds, and a row per layer.

    An empty cell is a field left out, ``7x7`` a number per spatial dimension, ``true`` and ``false`` say yes and no.

    Raises
    ------
    ShapeError
        As `parse_layer_list`; names the row.
    """
    header = _fields(rows[0][1])
    if len(rows) < 2:
        raise ShapeError(f"{where}: no layers; a table has a header and a row per layer")
    check_header(header, where, ShapeError)
    if "name" not in header:
        raise ShapeError(
            f"{where}: the header has no column 'name'; a table of layers has kind, name, and fields such as in, "
            "out, size, kernel"
        )
    items = []
    for number, row in rows[1:]:
        place = f"{where}: row {number}"
        if len(row) > len(header):
            raise ShapeError(f"{place}: {len(row)} cells under a header of {len(header)}")
        cells = {name: cell for name, cell in zip(header, row, strict=False) if cell}
        if "" in cells:
            raise ShapeError(f"{place}: a column without a name holds {quoted(cells[''])}; name it in the header")
        kind = cells.pop("kind", "")
        values = {name: cell if name in ("name", "from", "function") else _cell(cell) for name, cell in cells.items()}
        items.append(Leaf(kind, entry_of(kind, values, place), place))
    return network_of(Path(where).stem, where, tuple(items), State({}, None), where)


def table_rows(text: str, where: str) -> list[Row]:
    """Header and rows of a file of layers whose cells stand between commas, semicolons or tabs.

    Comments are left out, from ``#`` or ``//`` to the end of a row, and so are empty rows and the empty cells at a
    row's end.

    Raises
    ------
    ShapeError
        There is no row, or too many, or the file is no CSV; names the row.
    """
    rows: list[Row] = []
    for number, cells in csv_rows(text, where, ShapeError, _delimiter(text)):
        row = _uncommented(cells)
        while row and not row[-1]:
            row.pop()
        # A spreadsheet's word for what separates its cells.
        if row and not (not rows and row[0].startswith("sep=")):
            rows.append((number, row))
        if len(rows) > MAX_LAYERS + 1:
            raise ShapeError(f"{where}: over {MAX_LAYERS:,} layers; a list may have {MAX_LAYERS:,}")
    if not rows:
        raise ShapeError(f"{where}: no layers; a table has a header and a row per layer")
    return rows


def _fields(header: list[str]) -> list[str]:
    """The fields that a header names; spreadsheets begin words with capitals."""
    return [word.lower() for word in header]


def _delimiter(text: str) -> str:
    """What stands most often between the words of the first line that has any and is no comment; a comma where none
    has.
    """
    for match in re.finditer(r"[^\r\n]+", text):
        most = max(DELIMITERS, key=match[0].count)
        if most in match[0].strip() and not match[0].lstrip().startswith(("#", "//")):
            return most
    return ","


def _uncommented(cells: list[str]) -> list[str]:
    for index, cell in enumerate(cells):
        comment = _COMMENT.match(cell)
        # A layer's name may hold the sign: Conv#2.
        if comment and (index or cell.startswith(("#", "//"))):
            return [*cells[:index], comment[1].strip()]
    return cells


def _cell(text: str) -> Any:
    """A table's cell: yes or no, a number, or one per spatial dimension."""
    if text.lower() in ("true", "false"):  # a spreadsheet writes capitals
        return text.lower() == "true"
    numbers = [parse_whole(part) for part in text.lower().split("x")]
    if None in numbers:
        return text
    return numbers[0] if len(numbers) == 1 else numbers
