"""Areas as tables and lines: what a chip consists of, and how the tile count of equal area comes about."""

from collections.abc import Mapping

from simhw.machine.area import ChipArea, Counted, IsoArea
from simhw.machine.machine import Machine
from simhw.report.result_reasons import lanes_per_tile
from simhw.report.sheet import Sheet

COUNTED_MEANINGS: dict[Counted, str] = {
    "compute": "compute: the tiles without memories, as in the papers",
    "chip": "chip: the tiles with their scratchpads, and all buffers and transposers",
}


def parts_sum(parts: Mapping[str, float]) -> str:
    """Parts added up, or the only one."""
    terms = " + ".join(f"{name} {_amount(value)}" for name, value in parts.items())
    return f"({terms} = {_amount(sum(parts.values()))})" if len(parts) > 1 else f"({terms})"


def _amount(value: float) -> str:
    """With all of its digits where a file gave them, else with six."""
    return f"{value:,.10g}" if value == round(value, 3) else f"{value:,.6g}"


def chip_sheet(area: ChipArea, cells: str) -> Sheet:
    """A row per part of the chip; `cells` are the transistors that CACTI's areas are for."""
    rows = [
        _chip_row(name, area.tiles, each / 1e6, area.total_mm2, "tile_area_um2") for name, each in area.tile_um2.items()
    ]
    for memory in area.memories:
        source = "memory_area_mm2, published" if memory.published else f"sram, CACTI, {cells}"
        rows.append(_chip_row(memory.name, memory.instances, memory.instance_mm2, area.total_mm2, source))
    rows.append(["total", "", "", f"{area.total_mm2:,.3f}", "", ""])
    columns = [
        ("area of the chip", False),
        ("number", True),
        ("mm^2 each", True),
        ("mm^2", True),
        ("share", True),
        ("from", False),
    ]
    return Sheet(columns, rows, total_last=True, name="chip")


def _chip_row(name: str, number: int, each_mm2: float, total_mm2: float, source: str) -> list[str]:
    share = f"{number * each_mm2 / total_mm2:.2%}" if total_mm2 else "-"
    return [name, f"{number:,}", f"{each_mm2:,.4g}", f"{number * each_mm2:,.3f}", share, source]


def chip_fact(area: ChipArea) -> str:
    """Compute and memories added up, and the share of compute."""
    share = f"; compute is {area.compute_mm2 / area.total_mm2:.2%}" if area.total_mm2 else ""
    return f"compute {area.compute_mm2:,.3f} + memories {area.memories_mm2:,.3f} = {area.total_mm2:,.3f} mm^2{share}"


def iso_area_facts(result: IsoArea) -> list[tuple[str, str]]:
    """What the division is made of."""
    counted, base, machine = result.counted, result.baseline, result.machine
    quotient = f"{result.budget_mm2:,.6f} / {machine.per_tile_mm2(counted):,.6f} = {result.quotient:,.3f} tiles"
    if counted == "chip":
        fixed, per_tile = machine.fixed_mm2(counted), machine.per_tile_mm2(counted)
        quotient = f"({result.budget_mm2:,.6f} - {fixed:,.6f}) / {per_tile:,.6f} = {result.quotient:,.3f} tiles"
    return [
        ("counted", COUNTED_MEANINGS[counted]),
        ("baseline's tile", _tile(base, counted)),
        ("machine's tile", _tile(machine, counted)),
        (
            "area to fill",
            f"{_fixed(base, counted)}{base.tiles} x {base.per_tile_mm2(counted):,.6f} = {result.budget_mm2:,.6f} mm^2",
        ),
        ("division", quotient),
    ]


def _tile(area: ChipArea, counted: Counted) -> str:
    text = f"{parts_sum(area.tile_um2)} um^2"
    if counted == "chip":
        own = area.per_tile_mm2(counted) - area.tile_mm2
        text += f" + scratchpads {own * 1e6:,.10g} um^2 = {area.per_tile_mm2(counted) * 1e6:,.10g} um^2"
    return text


def _fixed(area: ChipArea, counted: Counted) -> str:
    return f"buffers and transposers {area.fixed_mm2(counted):,.6f} + " if counted == "chip" else ""


def iso_area_sheet(result: IsoArea, filed_tiles: int) -> Sheet:
    """The baseline, the tile counts around the solution, and that of the machine's file."""
    rows = [["baseline", f"{result.baseline.tiles:,}", f"{result.budget_mm2:,.3f}", "", "", ""]]
    for tiles in sorted({result.tiles - 1, result.tiles, result.tiles + 1, filed_tiles} - {0}):
        notes = ["chosen"] * (tiles == result.tiles) + ["in the machine's file"] * (tiles == filed_tiles)
        within = "yes" if result.allows(tiles) else "no"
        area, difference = result.area_mm2(tiles), result.area_mm2(tiles) - result.budget_mm2
        excess = f"{difference:+,.3f} ({result.excess(tiles):+.2%})"
        rows.append(["machine", f"{tiles:,}", f"{area:,.3f}", excess, within, ", ".join(notes)])
    columns = [
        ("", False),
        ("tiles", True),
        ("mm^2", True),
        ("over the baseline", True),
        (f"within {result.tolerance * 100:.4g}%", False),
        ("", False),
    ]
    return Sheet(columns, rows, name="tile counts")


def iso_area_speed(machine: Machine, baseline: Machine, tiles: int) -> list[tuple[str, str]]:
    """Lanes with so many tiles over the baseline's, and the most that they can gain where compute is all
    that counts.
    """
    lanes, base_lanes = tiles * lanes_per_tile(machine), baseline.values.tiles * lanes_per_tile(baseline)
    ratio, speed = lanes / base_lanes, lanes / base_lanes * machine.values.clock_hz / baseline.values.clock_hz
    facts = [
        (
            "lanes",
            f"{tiles:,} tiles x {lanes_per_tile(machine):,} = {lanes:,}, {base_lanes:,} of {baseline.name}: "
            f"{ratio:.4g}x",
        )
    ]
    if not baseline.tile.fixed_time:
        return facts
    clocks = (
        ""
        if speed == ratio
        else f" at {machine.values.clock_hz / 1e6:g} against {baseline.values.clock_hz / 1e6:g} MHz"
    )
    text = f"{speed:.4g}x{clocks} with one cycle a set, where compute is all that counts"
    least = machine.pe.least_cycles_per_set
    if not machine.tile.fixed_time and least:
        text += (
            f"; a set takes at least {least:.3g} cycles, so at most {speed:.4g} / {least:.3g} = {speed / least:.4g}x"
        )
    return [*facts, ("peak", text)]
