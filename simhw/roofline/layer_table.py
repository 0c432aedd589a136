"""Networks from CSV tables: a header with ``kind``, ``name`` and fields, and a row per layer."""

import csv
import io
from pathlib import Path
from typing import Any

from simhw.errors import ShapeError
from simhw.roofline.entry_layers import entry_of
from simhw.roofline.layer_blocks import MAX_LAYERS, Leaf, State, network_of
from simhw.roofline.layers import Network


def parse_table(text: str, where: str) -> Network:
    """The network of a CSV table: a header with ``kind``, ``name`` and fields of these kinds, and a row per layer.

    An empty cell is a field left out, ``7x7`` a number per spatial dimension, ``true`` and ``false`` say yes and no.

    Raises
    ------
    ShapeError
        As `parse_layer_list`; names the row.
    """
    rows = table_rows(text, where)
    header = rows[0]
    for needed in ("kind", "name"):
        if needed not in header:
            raise ShapeError(
                f"{where}: the header has no column {needed!r}; a table of layers has kind, name, and fields such as in, out, size, kernel"
            )
    items = []
    for number, row in enumerate(rows[1:], start=2):
        place = f"{where}: row {number}"
        if len(row) > len(header):
            raise ShapeError(f"{place}: {len(row)} cells under a header of {len(header)}")
        cells = {name: cell for name, cell in zip(header, row, strict=False) if cell}
        kind = cells.pop("kind", "")
        values = {name: cell if name in ("name", "from", "function") else _cell(cell) for name, cell in cells.items()}
        items.append(Leaf(kind, entry_of(kind, values, place), place))
    return network_of(Path(where).stem, where, tuple(items), State({}, None), where)


def table_rows(text: str, where: str) -> list[list[str]]:
    """Header and rows of a CSV file, cells stripped, without empty rows and the empty cell after a trailing comma.

    Raises
    ------
    ShapeError
        There is no row under the header, or too many.
    """
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text))]
    except csv.Error as error:
        raise ShapeError(f"{where}: not a CSV file: {error}") from None
    rows = [row[:-1] if row[-1] == "" else row for row in rows if any(row)]
    if len(rows) < 2:
        raise ShapeError(f"{where}: no layers; a table has a header and a row per layer")
    if len(rows) - 1 > MAX_LAYERS:
        raise ShapeError(f"{where}: {len(rows) - 1:,} layers; there may be {MAX_LAYERS:,}")
    return rows


def _cell(text: str) -> Any:
    """A table's cell: yes or no, a number, or one per spatial dimension."""
    if text in ("true", "false"):
        return text == "true"
    parts = text.split("x")
    if all(part.isascii() and part.isdigit() and len(part) <= 13 for part in parts):
        return int(text) if len(parts) == 1 else [int(part) for part in parts]
    return text
