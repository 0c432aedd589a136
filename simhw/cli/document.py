"""What a command prints, as data: the JSON document of ``--json``."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from simhw.quantities import Shown
from simhw.report.sheet import Fact, Item, Sheet
from simhw.version import __version__

NUMBER = re.compile(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?%?")
"""A number as tables print it: with separators, and shares in percent."""


@dataclass
class Document:
    """Facts, tables and lines, in the order in which they were shown.

    A table is its name, its columns and its rows.  Numbers are numbers, of full precision where the table knows it; a
    share is a fraction, and what has no value is null.  A column whose figures are estimates is followed by one with
    the half-widths of their 95% confidence intervals, ``NAME ci95``.
    """

    command_line: str
    facts: list[dict[str, str]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, items: Iterable[Item]) -> None:
        """Take what a command shows."""
        for item in items:
            if isinstance(item, Sheet):
                self.tables.append(_table(item))
            elif isinstance(item, Fact):
                self.facts.append({"name": item.name, "value": item.value})
            elif item:
                self.lines.append(item)

    def text(self) -> str:
        """The document; whatever could steer a terminal is escaped in it."""
        told = {"command": self.command_line, "simhw": __version__}
        return json.dumps(
            told | {"facts": self.facts, "tables": self.tables, "lines": self.lines}, indent=1, allow_nan=False
        )


def _table(sheet: Sheet) -> dict[str, Any]:
    columns: list[str] = []
    cells: list[list[Any]] = []
    for index, (heading, number) in enumerate(sheet.columns):
        texts = [row[index] for row in sheet.rows]
        columns.append(heading)
        cells.append([_value(text, number) for text in texts])
        widths = [text.half_width if isinstance(text, Shown) else 0.0 for text in texts]
        if any(widths):
            columns.append(f"{heading} ci95")
            cells.append([_finite(width) for width in widths])
    return {"name": sheet.name, "columns": columns, "rows": [list(row) for row in zip(*cells, strict=True)]}


def _value(text: str, number: bool) -> Any:
    if isinstance(text, Shown):
        return _finite(text.value)
    if not number:
        return text
    if text in ("", "-"):
        return None
    if not NUMBER.fullmatch(text):
        return text
    plain = text.rstrip("%").replace(",", "")
    value = float(plain) if re.search(r"[.e%]", text) else int(plain)
    return value / 100 if text.endswith("%") else value


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if isfinite(value) else None
