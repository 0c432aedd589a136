"""Markdown table of cycles per set and speed-up per operation, from the tables that `simhw compare --out` wrote.

python reports/cycles_per_set.py reports/resnet50_fpraker.csv reports/resnet50_tensordash.csv >
reports/resnet50_cycles_per_set.md
"""

import sys

import pandas as pd

from simhw.report.markdown import markdown_table
from simhw.trace.layer import OPERATIONS

PARTS = (*OPERATIONS, "total")


def main(paths: list[str]) -> None:
    """Print one table of all files."""
    frame = pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)
    frame["sets"] = frame["tile_cycles"] / frame["cycles_per_set"]
    headings = [f"{name}: cycles/set" for name in PARTS] + [f"{name}: speed-up" for name in PARTS]
    table = []
    for machine, rows in frame.groupby("machine", sort=False):
        parts = [rows if name == "total" else rows[rows["operation"] == name] for name in PARTS]
        cells = [f"{part['tile_cycles'].sum() / part['sets'].sum():.3f}" for part in parts]
        cells += [f"{part['baseline_time_s'].sum() / part['time_s'].sum():.3f}" for part in parts]
        table.append([f"`{machine}`", *cells])
    print("\n".join(markdown_table(["machine", *headings], table)))


main(sys.argv[1:])
