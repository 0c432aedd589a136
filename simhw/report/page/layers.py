"""The layer table: the total, below it the layers, below each its operations with every figure of theirs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

from simhw.machine.energy import COMPONENTS
from simhw.memory.model import SHARES
from simhw.quantities import count, percent, ratio
from simhw.report.memory_plots import SHARE_COLORS
from simhw.report.memory_tables import SHARE_NAMES, component_name, share
from simhw.report.page.charts import Piece
from simhw.report.result_tables import BOUND_NAMES, has_memories, operand_counts
from simhw.results.operation import OperationResult
from simhw.results.step import Results
from simhw.results.totals import Totals

SMALLEST_SHARE = 0.0005
"""Smaller ones would read 0.0%."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table that can be sorted.

    Attributes
    ----------
    text : str
    value : float or None
        What it is sorted by; NaN for a figure that there is not, None where the text is what counts.
    """

    text: str
    value: float | None = None


@dataclass(frozen=True)
class LayerRow:
    """The total, a layer or one of its operations.

    Attributes
    ----------
    name : str
    anchor : str
        By which the row is found on the page.
    cells : tuple of Cell
        Of the table's columns.
    lanes, time : tuple of Piece
        Lane-cycles by class and time by cause, as shares; `time` is empty where memories are ideal.
    bound_by : str
    details : tuple of (name, text)
        Whatever else is known of an operation; empty for a total and for a layer.
    operations : tuple of LayerRow
        Of a layer.
    """

    name: str
    anchor: str
    cells: tuple[Cell, ...]
    lanes: tuple[Piece, ...]
    time: tuple[Piece, ...]
    bound_by: str
    details: tuple[tuple[str, str], ...] = ()
    operations: tuple["LayerRow", ...] = ()


@dataclass(frozen=True)
class LayerTable:
    """The table of a machine.

    Attributes
    ----------
    columns : tuple of (heading, meaning)
        Those of the cells, all numbers.
    total : LayerRow
    layers : tuple of LayerRow
    bounds : tuple of str
        What binds any operation.
    operations : tuple of str
        Operations that any layer ran.
    with_memories : bool
    with_shares : bool
        Rows have lane-cycles and, with memories, time as small bars.
    """

    columns: tuple[tuple[str, str], ...]
    total: LayerRow
    layers: tuple[LayerRow, ...]
    bounds: tuple[str, ...]
    operations: tuple[str, ...]
    with_memories: bool
    with_shares: bool = True

    @property
    def width(self) -> int:
        """Columns of the table: names, figures, small bars and what binds."""
        return 1 + len(self.columns) + self.with_shares + self.with_memories * (1 + self.with_shares)


COMPUTE_COLUMNS = (
    ("MACs", "multiply-accumulates"),
    ("time", "share of the machine's time, memories included where they are modelled"),
    ("speed-up", "the baseline's time over the machine's, tiles alone"),
    ("energy eff.", "the baseline's energy over the machine's, tiles alone"),
    ("cycles/set", "tile cycles per set of dense work"),
    ("occupancy", "share of the lane slots that hold a product"),
)
MEMORY_COLUMNS = (
    ("overall speed-up", "speed-up with the memories of both machines"),
    ("overall eff.", "energy efficiency with the memories of both machines"),
    ("off-chip MB", "bytes between memory and chip, compressed"),
)


def layer_table(results: Results, prefix: str) -> LayerTable:
    """The layer table of a machine; `prefix` begins the anchors of its rows."""
    by_layer: dict[str, list[OperationResult]] = {}
    for item in results.operations:
        by_layer.setdefault(item.layer, []).append(item)
    table = _Rows(results)
    layers = tuple(
        table.row(
            name,
            f"{prefix}-{number}",
            items,
            operations=tuple(
                table.row(item.operation, f"{prefix}-{number}-{item.operation}", [item], details=_details(item))
                for item in items
            ),
        )
        for number, (name, items) in enumerate(by_layer.items())
    )
    return LayerTable(
        columns=(*COMPUTE_COLUMNS, *(MEMORY_COLUMNS if table.modelled else ())),
        total=table.row("total", f"{prefix}-total", results.operations),
        layers=layers,
        bounds=tuple(dict.fromkeys(BOUND_NAMES[item.cost.bound_by] for item in results.operations)),
        operations=tuple(results.by_operation()),
        with_memories=table.modelled,
    )


def anchors(table: LayerTable) -> dict[tuple[str, str], str]:
    """Where each layer's operation stands on the page."""
    return {(layer.name, row.name): row.anchor for layer in table.layers for row in layer.operations}


@dataclass(frozen=True)
class _Rows:
    """Makes rows of operations of one result."""

    results: Results

    @property
    def modelled(self) -> bool:
        return has_memories(self.results)

    def row(
        self,
        name: str,
        anchor: str,
        items: Sequence[OperationResult],
        details: tuple[tuple[str, str], ...] = (),
        operations: tuple[LayerRow, ...] = (),
    ) -> LayerRow:
        totals = Totals.of(items)
        overall, whole = totals.overall, self.results.total.overall.time_s
        part = share(overall.time_s, whole)
        cells = [
            Cell(count(totals.macs), totals.macs),
            Cell(percent(part), part),
            Cell(ratio(totals.speedup, totals.speedup_half_width), totals.speedup),
            Cell(ratio(totals.energy_efficiency), totals.energy_efficiency),
            Cell(ratio(totals.cycles_per_set), totals.cycles_per_set),
            Cell(percent(totals.occupancy), totals.occupancy),
        ]
        if self.modelled:
            cells += [
                Cell(ratio(totals.overall_speedup), totals.overall_speedup),
                Cell(ratio(totals.overall_energy_efficiency), totals.overall_energy_efficiency),
                Cell(f"{overall.off_chip_bytes / 1e6:.3g}", overall.off_chip_bytes),
            ]
        return LayerRow(
            name=name,
            anchor=anchor,
            cells=tuple(cells),
            lanes=lane_pieces(self.results, totals),
            time=time_shares(totals) if self.modelled else (),
            bound_by=BOUND_NAMES[overall.bound_by],
            details=details,
            operations=operations,
        )


def lane_pieces(results: Results, totals: Totals) -> tuple[Piece, ...]:
    """Lane-cycles by class, as shares; none where there are no lane-cycles."""
    colors = {lane.name: lane.color for lane in results.machine.pe.lane_classes}
    return tuple(
        Piece(name, part, colors[name], f"{part:.1%}")
        for name, part in totals.class_shares.items()
        if part >= SMALLEST_SHARE
    )


def time_shares(totals: Totals) -> tuple[Piece, ...]:
    """Time by cause, as shares."""
    overall = totals.overall
    parts = {name: share(overall.shares[name], overall.cycles) for name in SHARES}
    return tuple(
        Piece(SHARE_NAMES[name], part, SHARE_COLORS[name], f"{part:.1%}")
        for name, part in parts.items()
        if part >= SMALLEST_SHARE
    )


def _details(item: OperationResult) -> tuple[tuple[str, str], ...]:
    """What is known of an operation beside the table's columns."""
    cost, base, memory = item.cost, item.baseline, item.cost.memory
    found = [
        ("kind", item.kind),
        ("operand", operand_counts([item]).rpartition(" ")[0]),
        ("tile passes", f"{item.passes:,}, {item.simulated:.2%} of them simulated"),
        ("cycles, tiles alone", f"{_estimate(item.cycles, item.half_width)}{_against(item.baseline_cycles)}"),
        ("busy", f"{percent(cost.busy)}{f'; baseline {percent(base.busy)}' if base else ''}"),
        ("products fed", f"{item.fed_macs:,}, {item.padding_macs:,} of them with padding"),
    ]
    if memory is not None:
        overall = cost.overall_energy_j.times(1e6)
        found += [
            ("cycles with memories", f"{cost.overall_cycles:,.0f}{_against(base.overall_cycles if base else nan)}"),
            ("energy with memories", f"{overall.mid:.4g} uJ ({overall.low:.3g} to {overall.high:.3g})"),
            (
                "energy by component, uJ",
                ", ".join(
                    f"{component_name(name)} {cost.energy[name].mid * 1e6:.3g}"
                    for name in COMPONENTS
                    if cost.energy[name].mid
                ),
            ),
            ("blocking", str(memory.blocking)),
            (
                "bytes off chip",
                ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in memory.traffic_bytes.items()),
            ),
            ("DRAM rows", f"{memory.dram.row_hits:,} hits, {memory.dram.row_misses:,} misses"),
        ]
    others = {name: each for name, each in item.counters.items() if name not in item.classes and each.value}
    return (
        *found,
        *((name.replace("_", " "), _estimate(each.value, each.half_width)) for name, each in others.items()),
    )


def _estimate(value: float, half_width: float) -> str:
    return f"{value:,.0f} ± {half_width:,.0f}" if half_width else f"{value:,.0f}"


def _against(cycles: float) -> str:
    return "" if cycles != cycles else f"; baseline {cycles:,.0f}"
