"""A sweep as a table: its points with speed-up, energy and area, and the Pareto front among them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from simhw.quantities import ratio, short
from simhw.report.result_tables import BOUND_NAMES
from simhw.report.sheet import Sheet

MOST_ERRORS = 5
LONGEST_MACHINE = 60
SETTINGS = ("trace", "batch", "sample", "seed", "memory", "baseline_compression")
"""Columns that are shown where they differ; what a machine overrides is part of its name."""
OF_MACHINES = ("baseline", "memory", "baseline_compression")
"""What each machine's file has its own of, so that it says nothing that machines differ in it."""
FRONT_LINE = (
    "*: on the Pareto front: no other point of the same trace and batch is at least as good in speed-up, energy and "
    "area, and better in one."
)


def sweep_facts(frame: pd.DataFrame, store: str) -> list[tuple[str, str]]:
    """What a store holds."""
    counts = frame["status"].value_counts()
    points = f"{len(frame):,}: {counts.get('done', 0):,} done"
    for status, what in (("failed", "failed"), ("missing", "not run yet")):
        if counts.get(status, 0):
            points += f", {counts[status]:,} {what}"
    return [("store", store), ("points", points)]


def sweep_sheet(frame: pd.DataFrame, front: "pd.Series[bool]", only_front: bool = False) -> Sheet:
    """A row per point that has a result, those of the front marked; by speed-up with memories.

    Parameters
    ----------
    frame : DataFrame
        As `simhw.sweep` gives it.
    front : Series of bool
        As `simhw.sweeps.front.pareto_front` gives it.
    only_front : bool
        Leave out the points beside it.
    """
    done = frame[frame["status"] == "done"]
    settings = differing(done, SETTINGS)
    columns = [
        ("", False),
        ("point", True),
        ("machine", False),
        *((name.replace("_", " "), name in ("batch", "sample", "seed")) for name in settings),
        ("speed-up", True),
        ("overall speed-up", True),
        ("overall eff.", True),
        ("energy, mJ", True),
        ("area, mm^2", True),
        ("bound by", False),
    ]
    shown = done.assign(front=front[done.index]).sort_values("overall_speedup", ascending=False, kind="stable")
    rows = [
        [
            "*" if row["front"] else "",
            f"{row['number']}",
            short(str(row["machine"]), LONGEST_MACHINE),
            *(cell(row[name]) for name in settings),
            *(ratio(row[name]) for name in ("speedup", "overall_speedup", "overall_energy_efficiency")),
            f"{row['overall_energy_j'] * 1e3:,.4g}",
            f"{row['compute_area_mm2']:,.3f}",
            BOUND_NAMES.get(row["bound_by"], str(row["bound_by"])),
        ]
        for row in shown.to_dict("records")
        if row["front"] or not only_front
    ]
    return Sheet(columns, rows)


def differing(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of the columns in which points differ; of `OF_MACHINES` those in which points of one machine do."""
    groups = frame.groupby(machine_names(frame), dropna=False)
    return [
        name
        for name in names
        if (groups[name].nunique(dropna=False).max() if name in OF_MACHINES else frame[name].nunique(dropna=False)) > 1
    ]


def machine_names(frame: pd.DataFrame) -> "pd.Series[str]":
    """The machines of points, without what is overridden."""
    return frame["machine"].str.partition(":")[0]


def error_lines(frame: pd.DataFrame) -> list[str]:
    """What went wrong, a line each, equal ones together."""
    lost = frame[frame["status"] == "failed"]
    counts = lost["error"].value_counts()
    lines = [
        f"{number:,} points failed: {error}" if number > 1 else f"1 point failed: {error}"
        for error, number in list(counts.items())[:MOST_ERRORS]
    ]
    if len(counts) > MOST_ERRORS:
        lines.append(f"and {len(counts) - MOST_ERRORS:,} other errors; the column error has them all")
    return lines


def caution_lines(frame: pd.DataFrame) -> list[str]:
    """What must be known of the figures, each sentence once; with how many points it is of, where that is not all."""
    done = frame[frame["status"] == "done"]
    counts: dict[str, int] = {}
    for text in done["cautions"]:
        for line in str(text).splitlines():
            counts[line] = counts.get(line, 0) + 1
    several = done["baseline"].nunique(dropna=False) > 1
    lines = ["The points have different baselines: each speed-up is against its own."] if several else []
    return lines + [
        line if number == len(done) else f"{line} ({number:,} of {len(done):,} points)"
        for line, number in counts.items()
    ]


def cell(value: Any) -> str:
    """A setting; a dash for the default."""
    if value is None or value is pd.NA or value != value:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
