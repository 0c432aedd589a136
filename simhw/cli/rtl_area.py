"""`simhw rtl area`: a machine's tile in cells, and its area beside that of every reading of its baseline."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simhw.machine.machine import Machine
    from simhw.report.sheet import Sheet
    from simhw.rtl.synthesis.tiles import Tile

SECONDS = 300
"""About what a tile and its baselines take where each unit has to be synthesised."""


def add_parser(actions: Any) -> None:
    """Add this command to the parser of `simhw rtl`."""
    parser = actions.add_parser(
        "area",
        help="synthesise a machine's tile: cells, area, critical path, beside its baseline",
        description="Synthesise the hardware of a machine's tile, and what stands for its bit-parallel baseline, by "
        "Yosys with a library of cells: cells, area, critical path, and the ratio of the areas.",
        epilog="Example: simhw rtl area --pe fpraker:pe.shift_window=4",
    )
    parser.add_argument(
        "--pe",
        metavar="MACHINE",
        required=True,
        help="a name, a .yaml file, or either with overrides: fpraker:pe.shift_window=4",
    )
    parser.add_argument(
        "--baseline", metavar="MACHINE", help="a machine of bit-parallel PEs (default: the one that the file names)"
    )
    parser.add_argument(
        "--liberty", metavar="FILE", help="a Liberty file with cells of your own (default: simhw's, of transistors / 4)"
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.terminal import facts, show
    from simhw.machine.machine import MachineFile, baseline_of, load_machine
    from simhw.machine.overrides import split_machine
    from simhw.progress import announce, working
    from simhw.rtl.synthesis.library import own_library, read_library
    from simhw.rtl.synthesis.tiles import baselines_of, tile_of
    from simhw.rtl.synthesis.yosys import require_yosys
    from simhw.rtl.twins import twin_of

    require_yosys()
    name, overrides = split_machine(arguments.pe)
    file = MachineFile(name)
    machine, plain = file.machine(overrides), file.machine({})
    baseline, published = baseline_of(machine), None
    if baseline is not None and plain.values.baseline is not None:
        published = plain.tile_area_um2 / load_machine(plain.values.baseline).tile_area_um2
    if arguments.baseline is not None:
        name, overrides = split_machine(arguments.baseline)
        baseline = MachineFile(name).machine(overrides)
    twin_of(machine.values)  # where there is no hardware, that is all there is to say
    library = read_library(arguments.liberty) if arguments.liberty else own_library()
    announce("synthesising", SECONDS)
    with working(f"synthesising {machine.label} and its baselines"):
        tile = tile_of(machine.values, library)
        others = baselines_of(machine.values, baseline.values if baseline else None, library)
    pairs = [
        ("machine", f"{machine.label}: {tile.told}"),
        ("cells", f"{library.label}: {len(library.cells)} kinds, hash {library.hash}"),
    ]
    if published is not None:
        pairs.append(("published", f"ratio {published:.3f} of {plain.name}'s tile to its baseline's"))
    show(*facts(pairs), _ratios(tile, others, baseline), _units(tile))
    show(*_told(tile, others))
    return 0


def _ratios(tile: "Tile", others: "list[Tile]", baseline: "Machine | None") -> "Sheet":
    """The machine's tile, and a row for each reading of its baseline."""
    from simhw.quantities import figure
    from simhw.report.sheet import Sheet

    columns = [
        ("tile", False),
        ("cells", True),
        ("flip-flops", True),
        ("area", True),
        ("critical path ps", True),
        ("ratio", True),
        ("machine um^2", True),
    ]
    rows = []
    for each in (tile, *others):
        ratio = tile.area / each.area
        compared = ["", ""]
        if each is not tile:
            anchored = figure(ratio * baseline.tile_area_um2, ",.0f") if baseline is not None else ""
            compared = [figure(ratio, ".3f"), anchored]
        size = [figure(each.area, ",.0f"), figure(each.path.delay_ps, ",.0f")]
        rows.append([each.told, f"{each.cells.total():,}", f"{each.flip_flops:,}", *size, *compared])
    return Sheet(columns, rows, name="tiles")


def _units(tile: "Tile") -> "Sheet":
    """What the tile consists of; a unit's area has that of the units in it."""
    from simhw.report.sheet import Sheet

    columns = [("unit", False), ("in a tile", True), ("area", True), ("% of the tile", True)]
    rows = [
        [name, f"{count:,}", f"{area:,.0f}", f"{100 * area / tile.area:.1f}"]
        for name, (count, area) in tile.units.items()
    ]
    return Sheet(columns, rows, name="units")


def _told(tile: "Tile", others: "list[Tile]") -> list[str]:
    from simhw.rtl.synthesis.library import FO4_PS

    lines = []
    if "running_sum" in tile.units:
        rest = tile.area - tile.units["running_sum"][1]
        ratios = ", ".join(f"{rest / each.area:.3f}" for each in others)
        lines.append(f"Without the float32 adders of chunks (running_sum): area {rest:,.0f}, ratios {ratios}.")
    return [
        *lines,
        "area: in the library's unit; simhw's own is transistors / 4.  ratio: the machine's area over this one's.  "
        "machine um^2: of the machine's tile, where the baseline's has the area that its file states.",
        f"critical path: within a circuit of at most 100,000 cells; in simhw's cells {FO4_PS} ps are an inverter that "
        "drives four more.",
        "Caution: the paper does not say how its bit-parallel PE adds products; the reading decides the ratio.",
    ]
