"""What commands print: tables and lines that fit a terminal, and stay whole and plain in a pipe or a file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from simhw.report.result_tables import Sheet

UNBOUNDED = 10_000
"""Columns of what has no width: no row of ours is longer."""


def show(*what: Any) -> None:
    """Print lines, sheets and rich renderables to standard output; a pipe or file gets every row and line whole."""
    from rich.console import Console
    from rich.text import Text

    from simhw.report.result_tables import Sheet

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=UNBOUNDED)
    for item in what:
        # Text, not markup: a name may hold brackets.
        console.print(Text(item) if isinstance(item, str) else as_table(item) if isinstance(item, Sheet) else item)


def as_table(sheet: "Sheet") -> "Table":
    """A sheet as a rich table; only columns of text give way where the terminal is narrow."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, title=Text(sheet.title) if sheet.title else None, title_justify="left")
    for heading, number in sheet.columns:
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold", min_width=len(heading))
    for index, row in enumerate(sheet.rows):
        last = index == len(sheet.rows) - 1
        table.add_row(*(Text(cell) for cell in row), style="bold" if sheet.total_last and last else "")
    return table


def facts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Names and values as aligned lines, without characters that could steer the terminal."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"{name:{width}}  {printable(value)}" for name, value in pairs]


def printable(value: object) -> str:
    """Free text without what could steer the terminal."""
    return "".join(character if character.isprintable() else "?" for character in str(value))
