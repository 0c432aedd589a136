"""Lines and tables on a console: folded to its width on a terminal, whole in a pipe or a file.

A table that is too wide is cut into several, one below the other, which all begin with the columns that name its rows.
"""

import os
from collections.abc import Iterable
from io import StringIO
from textwrap import wrap

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simhw.quantities import printable
from simhw.report.sheet import Fact, Item, Sheet

UNBOUNDED = 10_000
"""Columns of what has no width: no row of ours is longer."""
NARROWEST_TEXT = 24
"""Columns that a column of text keeps where there is little room."""


def standard_output() -> Console:
    """The console that a command prints to; ``NO_COLOR`` takes bold letters away too."""
    return Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def print_items(console: Console, items: Iterable[Item], widest: int = UNBOUNDED) -> None:
    """Print lines and tables.

    Parameters
    ----------
    console : Console
    items : iterable of str and Sheet
    widest : int
        Columns that even a pipe does not exceed; by default rows and lines are whole there.
    """
    width = min(widest, console.width if console.is_terminal else UNBOUNDED)
    for item in items:
        if isinstance(item, Sheet):
            for piece in pieces(item, width):
                # Numbers are never folded: a terminal that is too narrow for one column gets it all the same.
                console.width = max(width, least_width(piece))
                console.print(_table(piece))
        else:
            for line in _lines(printable(item), width, item.indent if isinstance(item, Fact) else 0):
                # Text, not markup: a name may hold brackets.
                console.print(Text(line), soft_wrap=True)


def plain_text(items: Iterable[Item], widest: int = UNBOUNDED) -> str:
    """What `print_items` writes to a file, as a text without a line break at its end."""
    written = StringIO()
    print_items(Console(file=written, highlight=False, width=UNBOUNDED, color_system=None), items, widest)
    return "\n".join(line.rstrip() for line in written.getvalue().rstrip("\n").split("\n"))


def pieces(sheet: Sheet, width: int) -> list[Sheet]:
    """A sheet as one or more that are no wider, where their columns allow it."""
    if least_width(sheet) <= width:
        return [sheet]
    # The columns of text that come first name the rows, but for the last column of all: that one is what is told.
    names = next((index for index, (_, number) in enumerate(sheet.columns) if number), 1) or 1
    names = min(names, len(sheet.columns) - 1)
    found: list[list[int]] = []
    for index in range(names, len(sheet.columns)):
        wider = [*(found[-1] if found else range(names)), index]
        if found and least_width(_columns(sheet, wider)) <= width:
            found[-1] = wider
        else:
            found.append([*range(names), index])
    return [_columns(sheet, piece) for piece in found]


def _columns(sheet: Sheet, indices: list[int]) -> Sheet:
    rows = [[row[index] for index in indices] for row in sheet.rows]
    return Sheet([sheet.columns[index] for index in indices], rows, sheet.total_last, sheet.name)


def least_width(sheet: Sheet) -> int:
    """Columns of the terminal that a sheet takes at the least: numbers are never folded, text may be."""
    # A blank between columns, and one on each side.
    return sum(map(_least, *_transposed(sheet))) + len(sheet.columns) + 1


def _transposed(sheet: Sheet) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    return sheet.columns, [[row[index] for row in sheet.rows] for index in range(len(sheet.columns))]


def _least(column: tuple[str, bool], cells: list[str]) -> int:
    heading, number = column
    longest = max(cell_len(printable(text)) for text in [heading, *cells])
    return longest if number else min(longest, max(cell_len(heading), NARROWEST_TEXT))


def _table(sheet: Sheet) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for column, cells in zip(*_transposed(sheet), strict=True):
        heading, number = column
        table.add_column(
            Text(printable(heading)),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            min_width=_least(column, cells),
        )
    for index, row in enumerate(sheet.rows):
        last = index == len(sheet.rows) - 1
        table.add_row(*(Text(printable(cell)) for cell in row), style="bold" if sheet.total_last and last else "")
    return table


def _lines(text: str, width: int, indent: int) -> list[str]:
    """A line, folded between words; what follows the first one is indented where there is room."""
    if cell_len(text) <= width:
        return [text]
    return wrap(text, width, subsequent_indent=" " * indent if indent < width // 2 else "", break_on_hyphens=False)
