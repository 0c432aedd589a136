"""Tables and facts as text, before anything is known of where they will be shown."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sheet:
    """A table of text.

    Attributes
    ----------
    columns : list of (str, bool)
        Heading, and whether the column holds numbers.
    rows : list of list of str
        Cells; those that are `simhw.quantities.Shown` remember the number that they show.
    total_last : bool
        The last row sums up the others.
    name : str
        What the table is of, for those who read it as data; not printed.
    """

    columns: list[tuple[str, bool]]
    rows: list[list[str]]
    total_last: bool = False
    name: str = ""


class Fact(str):
    """A line that tells one thing by its name.

    Attributes
    ----------
    name, value : str
    indent : int
        Where the value begins in the line.
    """

    name: str
    value: str
    indent: int

    def __new__(cls, name: str, value: str, width: int) -> "Fact":
        fact = super().__new__(cls, f"{name:{width}}  {value}")
        fact.name, fact.value, fact.indent = name, value, width + 2
        return fact


Item = str | Sheet
"""What is shown: a line, or a table."""


def facts(pairs: Sequence[tuple[str, str]]) -> list[Fact]:
    """Names and values as aligned lines."""
    width = max((len(name) for name, _ in pairs), default=0)
    return [Fact(name, value, width) for name, value in pairs]
