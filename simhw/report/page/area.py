"""The area of the chip: machine and baseline as bars, the machine's parts as a table."""

from simhw.errors import MachineError
from simhw.machine.area import ChipArea, chip_area, compute_area
from simhw.machine.machine import Machine, load_machine
from simhw.report.area_tables import chip_fact, chip_sheet
from simhw.report.page.charts import Bar, Bars, Piece
from simhw.report.sheet import Sheet
from simhw.results.step import Results

COLORS = {"tiles": "#009E73", "scratchpads": "#F0E442", "buffers": "#E69F00", "transposers": "#D55E00"}
"""As the energies of the same parts have them."""
CAPTION = "Tiles and memories."


def area_part(results: Results) -> tuple[Bars | None, Sheet | None, str]:
    """Chart, table and sentence on the area of a machine; of what is not known only the sentence, which says why."""
    machine, baseline = results.machine, results.baseline
    try:
        area = _area(machine)
    except MachineError as error:
        return None, None, f"Area of the chip: unknown: {error}."
    cells = machine.values.energy.cells if machine.values.energy else ""
    bars = [_bar(machine.label, area)]
    if baseline is not None:
        try:
            bars.append(_bar(f"baseline {baseline.label}", _area(baseline)))
        except MachineError as error:
            note = f" Area of the baseline's chip: unknown: {error}."
            return Bars("Area", CAPTION, tuple(bars)), chip_sheet(area, cells), f"{chip_fact(area)}.{note}"
    return Bars("Area", CAPTION, tuple(bars)), chip_sheet(area, cells), f"{chip_fact(area)}."


def _area(machine: Machine) -> ChipArea:
    """Of tiles and memories, or of the tiles alone where the machine has no memories."""
    return compute_area(machine) if machine.values.memory is None else chip_area(machine, _filed(machine))


def _filed(machine: Machine) -> Machine | None:
    """The machine without its overrides; None where no machine of its name becomes it by them."""
    if not machine.overrides:
        return machine
    try:
        same = load_machine(machine.name, **machine.overrides).content_hash == machine.content_hash
        return load_machine(machine.name) if same else None
    except MachineError:
        return None


def _bar(label: str, area: ChipArea) -> Bar:
    parts = {"tiles": area.compute_mm2, "scratchpads": 0.0, "buffers": 0.0, "transposers": 0.0}
    for memory in area.memories:
        name = "buffers" if memory.name.startswith("buffer") else f"{memory.name}s"
        parts[name] += memory.area_mm2
    pieces = tuple(Piece(name, mm2, COLORS[name], f"{mm2:,.4g} mm^2") for name, mm2 in parts.items() if mm2)
    return Bar(label, label, pieces, f"{area.total_mm2:,.4g} mm^2")
