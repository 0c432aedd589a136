"""Tables in Markdown, as pages of reports hold them."""

from collections.abc import Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table: headings, a rule, and a line per row.

    A cell may hold anything: a bar in it does not end it, and a line break becomes a blank.
    """
    return [_line(headings), "|" + " --- |" * len(headings), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return " ".join(text.splitlines()).replace("|", "\\|")
