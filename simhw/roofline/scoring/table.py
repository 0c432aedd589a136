"""Measured figures beside predicted ones, and what their errors come to by kind, precision and size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

SIZES = ("small", "medium", "large")
SizeUnit = Literal["FLOP", "bytes"]
BOUNDS: dict[SizeUnit, tuple[float, float]] = {"FLOP": (1e8, 1e10), "bytes": (1e6, 1e8)}
"""From where a kernel is medium, and from where it is large: a GPU that reaches its peak takes a microsecond and a
tenth of a millisecond for them.
"""
STEP_BOUNDS = (1e11, 1e13)
"""As `BOUNDS`, of whole steps [FLOP]."""


@dataclass(frozen=True)
class Scored:
    """One figure, measured and predicted.

    Attributes
    ----------
    kind, precision : str
        By which errors are averaged.
    size : float
        In the unit of its table.
    measured, predicted, textbook : float
        In the unit of its table.
    what : str
        The shape, in words.
    place : str
        ``FILE:ROW``; the first row under the header is row 1.
    """

    kind: str
    precision: str
    size: float
    measured: float
    predicted: float
    textbook: float
    what: str
    place: str

    @property
    def error_percent(self) -> float:
        """Of the prediction, above zero where it is too high."""
        return 100.0 * (self.predicted / self.measured - 1.0)

    @property
    def textbook_error_percent(self) -> float:
        """Of the textbook roofline."""
        return 100.0 * (self.textbook / self.measured - 1.0)


@dataclass(frozen=True)
class LeftOut:
    """A row that could not be scored.

    Attributes
    ----------
    why : str
    place : str
        ``FILE:ROW``, or a file.
    """

    why: str
    place: str


@dataclass(frozen=True)
class ScoreTable:
    """What was measured of one kind of thing.

    Attributes
    ----------
    title : str
        What was measured, and how.
    unit : str
        Of what was measured: ms, J, images/s.
    rows : tuple of Scored
    size_unit : str
    bounds : (float, float)
        From which size a row is medium, and from which large.
    """

    title: str
    unit: str
    rows: tuple[Scored, ...]
    size_unit: SizeUnit
    bounds: tuple[float, float]

    def size_class(self, row: Scored) -> str:
        """One of `SIZES`."""
        return SIZES[sum(row.size >= bound for bound in self.bounds)]

    @property
    def files(self) -> list[str]:
        """Names of the files that the rows are from."""
        return list(dict.fromkeys(row.place.rpartition(":")[0] for row in self.rows))

    @property
    def precisions(self) -> list[str]:
        """Those that were measured, in the order of the rows."""
        return list(dict.fromkeys(row.precision for row in self.rows))

    def kinds(self) -> Iterator[tuple[str, list[Scored]]]:
        """The rows of each kind."""
        for kind in dict.fromkeys(row.kind for row in self.rows):
            yield kind, [row for row in self.rows if row.kind == kind]


@dataclass(frozen=True)
class Errors:
    """Percentage errors of some rows.

    Attributes
    ----------
    rows : int
    mean, median : float
        Of the absolute error.
    bias : float
        Mean of the error with its sign.
    textbook : float
        Mean absolute error of the textbook roofline.
    """

    rows: int
    mean: float
    median: float
    bias: float
    textbook: float


def errors(rows: Sequence[Scored]) -> Errors:
    """Errors of some rows.

    Raises
    ------
    StatisticsError
        There are none.
    """
    signed = [row.error_percent for row in rows]
    size = [abs(error) for error in signed]
    return Errors(
        len(rows), fmean(size), median(size), fmean(signed), fmean(abs(row.textbook_error_percent) for row in rows)
    )


def joined(tables: Sequence[ScoreTable]) -> list[ScoreTable]:
    """Tables of one title as one; what is empty goes."""
    found: dict[str, ScoreTable] = {}
    for table in tables:
        before = found.get(table.title)
        rows = (*(before.rows if before else ()), *table.rows)
        if rows:
            found[table.title] = ScoreTable(table.title, table.unit, rows, table.size_unit, table.bounds)
    return list(found.values())
