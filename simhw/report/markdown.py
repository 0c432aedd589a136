"""Tables in Markdown, as pages of reports hold them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table: headings, a rule, and a line per row.

    A cell may hold anything: a bar in it does not end it, and a line break becomes a blank.
    """
    return [_line(headings), "|" + " --- |" * len(headings), *map(_line, rows)]


def frame_markdown(frame: "pd.DataFrame") -> str:
    """A frame as a table, its numbers with four digits and nothing where one is missing."""
    import pandas as pd

    def cell(value: object) -> str:
        return "" if pd.isna(value) else f"{value:,.4g}" if isinstance(value, float) else str(value)  # type: ignore[call-overload]  # any cell

    rows = [[cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(markdown_table(list(frame.columns), rows))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.splitlines()).replace("|", "\\|")
