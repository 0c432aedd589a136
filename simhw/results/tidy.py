"""Results in long form: a row per figure, with its unit and its bounds, as a Parquet table that explains itself.

The wide table (`simhw.results.table`) has a column per figure, and each kind of machine has its own.  In long form
every machine has the same columns, so files of different runs can be laid one below the other.  What identifies a run
stands in the metadata of the file.  docs/results-schema.md describes it.
"""

import json
import os
from collections.abc import Iterator, Sequence
from math import isnan
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simhw.files.writing import replacing
from simhw.results.operation import OperationResult
from simhw.results.step import Results
from simhw.results.table import operation_row

VERSION = "1"
"""Of the schema; it changes when a column or the meaning of one does."""
_NAME = pa.dictionary(pa.int32(), pa.string())
COLUMNS: dict[str, tuple[pa.DataType, bool, str]] = {
    "trace": (_NAME, False, "file of the trace; empty for one made in memory"),
    "trace_hash": (_NAME, False, "hash of the trace's content"),
    "machine": (_NAME, False, "machine with its overrides, as --pe names it"),
    "machine_hash": (_NAME, False, "hash of all constants of the machine"),
    "layer": (_NAME, False, "name of the layer"),
    "kind": (_NAME, False, "kind of the layer, such as conv2d"),
    "operation": (_NAME, False, "forward, input_grad or weight_grad"),
    "quantity": (_NAME, False, "what the figure is of; the name of a column of --out"),
    "unit": (_NAME, True, "unit of value, low and high; 1 for a count or a ratio; null for a word"),
    "value": (pa.float64(), True, "the figure; null for a word"),
    "low": (pa.float64(), True, "lower bound of the figure; null where none is known"),
    "high": (pa.float64(), True, "upper bound of the figure; null where none is known"),
    "bounds": (_NAME, True, "what the bounds are: ci95 (sampling) or cost (uncertainty of the constants); else null"),
    "text": (pa.string(), True, "the word, of a quantity that is one; else null"),
}
"""Type, whether it may be null, and description of each column."""
UNITS = {"cycles_per_set": "cycles/set", "cycles": "cycles", "_s": "s", "_j": "J", "_bytes": "B", "macs": "MAC"}
"""Units by the end of a quantity's name; others are counts and ratios."""
LANE_CYCLES = "lane-cycles"
_OF_ROW = ("layer", "kind", "operation")
_BOUND = "overall_energy_low_j", "overall_energy_high_j"
"""Columns of the wide table that are bounds of another one."""


def schema(results: Sequence[Results] = ()) -> pa.Schema:
    """The schema, with a description of every column, and what identifies each of the runs."""
    fields = [
        pa.field(name, kind, nullable, {"description": description})
        for name, (kind, nullable, description) in COLUMNS.items()
    ]
    runs = [{name: value for name, value in each.provenance.items() if value != ""} for each in results]
    return pa.schema(fields, {"simhw_schema": VERSION, "simhw_runs": json.dumps(runs)})


def tidy_table(results: Sequence[Results]) -> pa.Table:
    """All figures of some results, in the order of machines, layers, operations and columns."""
    wanted = schema(results)
    rows = [row for each in results for item in each.operations for row in _rows(each, item)]
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    arrays = [
        pa.array(columns[field.name], pa.string()).dictionary_encode()
        if field.type == _NAME
        else pa.array(columns[field.name], field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def write_tidy(results: Sequence[Results], path: str | os.PathLike[str]) -> None:
    """Write the figures of some results as Parquet.

    Raises
    ------
    SimhwError
        The file cannot be written.
    """
    table = tidy_table(results)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def unit(quantity: str, classes: Sequence[str]) -> str:
    """The unit of a figure; `classes` are the lane-cycle classes of its machine."""
    if quantity in classes:
        return LANE_CYCLES
    return next((name for end, name in UNITS.items() if quantity.endswith(end)), "1")


def _rows(result: Results, item: OperationResult) -> Iterator[dict[str, Any]]:
    """The figures of an operation; one that the machine lacks has no row."""
    wide = operation_row(item)
    names = {name: result.provenance[name] for name in ("trace", "trace_hash", "machine", "machine_hash")}
    names |= {name: wide.pop(name) for name in _OF_ROW}
    ranges = {f"{name}_j": each for name, each in item.cost.energy.items()} | {
        "overall_energy_j": item.cost.overall_energy_j
    }
    for name, value in wide.items():
        row = names | {"quantity": name}
        if isinstance(value, str):
            yield row | {"text": value}
        elif not (name.endswith("_ci95") or name in _BOUND or isnan(value)):
            row |= {"unit": unit(name, item.classes), "value": float(value)}
            if name in ranges:
                row |= {"low": ranges[name].low, "high": ranges[name].high, "bounds": "cost"}
            elif (half := wide.get(f"{name}_ci95")) is not None:
                row |= {"low": value - half, "high": value + half, "bounds": "ci95"}
            yield row
