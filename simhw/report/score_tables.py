"""Errors of a device's constants as tables: by kind, precision and size; gains; the rows that are farthest off."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Any

from simhw.quantities import Shown, figure, short
from simhw.report.sheet import Sheet
from simhw.roofline.scoring.files import Scores
from simhw.roofline.scoring.gains import CLEAR_PERCENT, Gain, gain_errors
from simhw.roofline.scoring.table import SIZES, Scored, ScoreTable, errors
from simhw.roofline.step.run import Launch

if TYPE_CHECKING:
    import pandas as pd

LONGEST_KIND = 44
LONGEST_WORDS = 84
HOW: dict[Launch, str] = {"eager": "issued from Python", "graph": "as one graph"}
GAIN_COLUMNS = [
    ("rows", True),
    ("measured %", True),
    ("predicted %", True),
    ("deviation, points", True),
    (f"wrong sign, of those over {CLEAR_PERCENT:g}%", True),
]
MOST_REASONS = 12
"""Lines that tell why rows were left out."""


def title_line(table: ScoreTable) -> str:
    """What a table is of, and what its sizes mean."""
    unit = "FLOP" if table.size_unit == "FLOP" else "B"
    medium, large = (_rounded(bound, unit) for bound in table.bounds)
    sizes = f"small: under {medium}, large: from {large}"
    return f"{table.title}: {len(table.rows):,} rows of {', '.join(table.files)}; {sizes}"


def summary_sheet(tables: Sequence[ScoreTable]) -> Sheet:
    """Errors of each table in all.  Columns of a precision or size hold the mean error of those rows alone."""
    precisions = list(dict.fromkeys(name for table in tables for name in table.precisions))
    rows = [_cells(table.title, table.rows, table, precisions) for table in tables]
    return Sheet([("measured", False), *_headings(precisions)], rows, name="totals")


def score_sheet(table: ScoreTable) -> Sheet:
    """Errors of a table by kind, then of all."""
    precisions = table.precisions if len(table.precisions) > 1 else []
    rows = [_cells(kind, own, table, precisions) for kind, own in table.kinds()]
    total = _cells("total", table.rows, table, precisions)
    return Sheet([("kind", False), *_headings(precisions)], [*rows, total], total_last=True, name=table.title)


def _headings(precisions: Sequence[str]) -> list[tuple[str, bool]]:
    figures = ("rows", "mean %", "median %", "bias %", "textbook %")
    return [(heading, True) for heading in (*figures, *precisions, *SIZES)]


def gain_summary_sheet(gains: Sequence[Gain]) -> Sheet:
    """Gains of all techniques together, by how the steps were launched."""
    rows = [
        _gain_cells(HOW[launch], own) for launch in HOW if (own := [each for each in gains if each.launch == launch])
    ]
    return Sheet([("gains, steps", False), *GAIN_COLUMNS], rows, name="gains")


def gain_sheet(gains: Sequence[Gain], launch: Launch) -> Sheet:
    """Gains of techniques by variant, then of all, as the steps were launched."""
    own = [gain for gain in gains if gain.launch == launch]
    kinds = dict.fromkeys(gain.name for gain in own)
    rows = [_gain_cells(kind, [gain for gain in own if gain.name == kind]) for kind in kinds]
    columns = [("variant", False), *GAIN_COLUMNS]
    return Sheet(columns, [*rows, _gain_cells("total", own)], total_last=True, name=f"gains, {HOW[launch]}")


def _gain_cells(kind: str, gains: Sequence[Gain]) -> list[str]:
    found = gain_errors(gains)
    means = [figure(value, "+.1f") for value in (found.measured, found.predicted)]
    signs = f"{found.wrong_signs} of {found.clear}"
    return [short(kind, LONGEST_KIND), f"{found.gains:,}", *means, figure(found.deviation, ".1f"), signs]


def worst_sheet(tables: Sequence[ScoreTable], most: int) -> Sheet:
    """The rows that are farthest off, as factors: half and twice are as far."""
    columns = [("row", False), ("kind", False), ("precision", False), ("size", False)]
    columns += [("unit", False), ("measured", True), ("predicted", True), ("error %", True)]
    found = [(table, row) for table in tables for row in table.rows]
    found.sort(key=lambda pair: max(pair[1].predicted / pair[1].measured, pair[1].measured / pair[1].predicted))
    rows = []
    for table, row in found[: -most - 1 : -1]:
        figures = [figure(value, ".4g") for value in (row.measured, row.predicted)]
        words = short(row.what, LONGEST_WORDS)
        kind = short(row.kind, LONGEST_KIND)
        rows.append([row.place, kind, row.precision, words, table.unit, *figures, figure(row.error_percent, "+.1f")])
    return Sheet(columns, rows, name="worst rows")


def left_out_lines(scores: Scores) -> list[str]:
    """Why rows were left out, how many, and the first of them."""
    first: dict[str, str] = {}
    for each in scores.left_out:
        first.setdefault(each.why, each.place)
    counted = Counter(each.why for each in scores.left_out)
    lines = [
        f"Left out: {first[why]}{f' and {many - 1} more' if many > 1 else ''}: {why}."
        for why, many in counted.most_common(MOST_REASONS)
    ]
    more = len(counted) - MOST_REASONS
    return [*lines, f"Left out, too: rows for {more} more reasons."] if more > 0 else lines


def score_frame(scores: Scores) -> "pd.DataFrame":
    """A row per figure that was scored; gains are in percent of throughput."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for table in scores.tables:
        for row in table.rows:
            rows.append(
                {
                    "table": table.title,
                    "file_row": row.place,
                    "kind": row.kind,
                    "precision": row.precision,
                    "what": row.what,
                    "size": row.size,
                    "size_unit": table.size_unit,
                    "size_class": table.size_class(row),
                    "unit": table.unit,
                    "measured": row.measured,
                    "predicted": row.predicted,
                    "textbook": row.textbook,
                    "error_percent": row.error_percent,
                    "textbook_error_percent": row.textbook_error_percent,
                }
            )
    for gain in scores.gains:
        run = gain.variant.measured.run
        rows.append(
            {
                "table": f"gains, {gain.launch}",
                "file_row": gain.place,
                "kind": gain.name,
                "precision": run.precision,
                "what": f"{run.mode}, batch {run.batch}, {run.layout}",
                "unit": "percent",
                "measured": gain.measured,
                "predicted": gain.predicted,
            }
        )
    return pd.DataFrame(rows)


def _cells(kind: str, rows: Sequence[Scored], table: ScoreTable, precisions: Sequence[str]) -> list[str]:
    found = errors(rows)
    by_precision = ([row for row in rows if row.precision == name] for name in precisions)
    by_size = ([row for row in rows if table.size_class(row) == name] for name in SIZES)
    means = [_mean(own) for own in chain(by_precision, by_size)]
    bias, textbook = figure(found.bias, "+.1f"), figure(found.textbook, ".1f")
    figures = [figure(found.mean, ".1f"), figure(found.median, ".1f"), bias, textbook]
    return [short(kind, LONGEST_KIND), f"{found.rows:,}", *figures, *means]


def _mean(rows: Sequence[Scored]) -> Shown:
    """Mean absolute error; a dash for none."""
    if not rows:
        return Shown("-", float("nan"))
    return figure(fmean(abs(row.error_percent) for row in rows), ".1f")


def _rounded(bound: float, unit: str) -> str:
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if bound >= factor:
            return f"{bound / factor:g} {letter}{unit}"
    return f"{bound:g} {unit}"
