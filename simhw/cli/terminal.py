"""What commands print: tables and lines that fit a terminal, and stay whole and plain in a pipe or a file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from simhw.report.sheet import Sheet

UNBOUNDED = 10_000
"""Columns of what has no width: no row of ours is longer."""
NARROWEST_TEXT = 24
"""Columns that a column of text keeps on a terminal that is too narrow."""


def show(*what: "str | Sheet") -> None:
    """Print lines and sheets to standard output.

    A pipe or file gets every row and line whole.  On a terminal text is folded to its width, numbers never: a sheet
    with many of them may be wider.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=UNBOUNDED)
    for item in what:
        if isinstance(item, str):
            # Text, not markup: a name may hold brackets.
            console.print(Text(printable(item)))
        else:
            table = _table(item)
            least = Console(width=UNBOUNDED).measure(table).minimum
            Console(highlight=False, width=max(console.width, least)).print(table)


def _table(sheet: "Sheet") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for index, (heading, number) in enumerate(sheet.columns):
        longest = max([len(heading), *(len(row[index]) for row in sheet.rows)])
        least = longest if number else min(longest, max(len(heading), NARROWEST_TEXT))
        table.add_column(
            heading, justify="right" if number else "left", no_wrap=number, overflow="fold", min_width=least
        )
    for index, row in enumerate(sheet.rows):
        last = index == len(sheet.rows) - 1
        table.add_row(*(Text(printable(cell)) for cell in row), style="bold" if sheet.total_last and last else "")
    return table


def facts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Names and values as aligned lines."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:{width}}  {value}" for name, value in pairs]


def printable(text: str) -> str:
    """Text without what could steer the terminal: names come from files."""
    return "".join(character if character.isprintable() else "?" for character in text)
