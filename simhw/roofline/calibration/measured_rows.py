"""Rows of measurements, each cell checked as it is taken: one wrong number would spoil every constant that
is fitted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from simhw.errors import SimhwError, quoted
from simhw.files.reading import check_header, csv_rows, parse_whole, read_text

MAX_FILE_BYTES = 20_000_000
MAX_SIZE = 2**31 - 1
"""Of one extent of an operand: no library takes more."""
LEAST, MOST = 1e-9, 1e12
"""Of a measured quantity, whatever its unit: times in milliseconds, rates, watts."""
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class MeasuredRow:
    """A row of a file of measurements.

    Attributes
    ----------
    cells : mapping of str to str
        By column.
    place : str
        File and row, for errors; the first row under the header is row 1.
    """

    cells: Mapping[str, str]
    place: str

    def text(self, column: str) -> str:
        """A cell as it stands there."""
        if column not in self.cells:
            self.fail(f"there is no column {quoted(column)} under the header {quoted(','.join(self.cells))}")
        return self.cells[column]

    def count(self, column: str, least: int = 1) -> int:
        """A whole number."""
        cell = self.text(column)
        number = parse_whole(cell)
        if number is None or not least <= number <= MAX_SIZE:
            self.fail(f"column {quoted(column)} is {quoted(cell)}; give a whole number from {least} to {MAX_SIZE:,}")
        return number

    def counts(self, *columns: str) -> list[int]:
        """Whole numbers of at least 1."""
        return [self.count(column) for column in columns]

    def quantity(self, column: str) -> float:
        """A measured quantity: finite and above zero."""
        cell = self.text(column)
        if not (len(cell) <= 40 and _DECIMAL.fullmatch(cell) and LEAST <= float(cell) <= MOST):
            self.fail(f"column {quoted(column)} is {quoted(cell)}; give a measured number from {LEAST:g} to {MOST:g}")
        return float(cell)

    def fail(self, problem: str) -> NoReturn:
        """Say what is wrong with the row."""
        raise SimhwError(f"{self.place} cannot be read: {problem}")


def measured_rows(folder: Path, name: str) -> list[MeasuredRow]:
    """The rows of one file of a folder, by its name without ``.csv``.

    Raises
    ------
    SimhwError
        The file is missing, no CSV, has a column twice, no rows, or a row that is longer or shorter than its header.
    """
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise SimhwError(f"{path}: no such file; give the folder that holds the measurements")
    where = str(path)
    lines = csv_rows(read_text(path, MAX_FILE_BYTES, SimhwError, "a file of measurements"), where, SimhwError)
    header = next((cells for _, cells in lines), [])
    while header and not header[-1]:  # of a spreadsheet's trailing commas
        header.pop()
    check_header(header, where, SimhwError)
    rows = []
    for number, (_, cells) in enumerate(lines, start=1):
        place = f"{where}: row {number}"
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise SimhwError(f"{place} cannot be read: {len(cells)} cells under a header of {len(header)}")
        rows.append(MeasuredRow(dict(zip(header, cells, strict=False)), place))
    if not rows:
        raise SimhwError(f"{where}: no measurements; a file has a header and a row per measurement")
    return rows
