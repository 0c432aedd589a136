"""A section of the page: what a figure says, its tables, its picture, and its rows for others to read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Picture


@dataclass(frozen=True)
class Table:
    """A table: headings, and a row of texts per line."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """What a figure gives.

    Attributes
    ----------
    parts : list of str or Table
        Paragraphs and tables in their order, in Markdown.
    frame : DataFrame or None
        The numbers, each row with the command that prints it.
    picture : matplotlib Figure or None
    """

    parts: list[str | Table]
    frame: "pd.DataFrame | None" = field(default=None)
    picture: "Picture | None" = field(default=None)
