"""`simhw machine iso-area`: how many tiles of a machine take the area of a baseline, with all the arithmetic."""

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from simhw.errors import SimhwError

if TYPE_CHECKING:
    from simhw.machine.area import ChipArea
    from simhw.machine.machine import Machine


def add_parser(actions: Any) -> None:
    """Add this command to the parser of `simhw machine`."""
    parser = actions.add_parser(
        "iso-area",
        help="the tile count at which a machine takes a baseline's area",
        description="The tile count whose area comes closest to the baseline's, without exceeding it by more than "
        "the tolerance.",
        epilog="Example: simhw machine iso-area --baseline bf16 --pe fpraker",
    )
    parser.add_argument(
        "--pe",
        metavar="MACHINE",
        required=True,
        help="a name, a .yaml file, or either with overrides; its tile count is what is sought",
    )
    parser.add_argument(
        "--baseline",
        metavar="MACHINE",
        help="the machine whose area is to be filled (default: the one that the machine's file names)",
    )
    parser.add_argument(
        "--tolerance",
        metavar="SHARE",
        type=float,
        default=0.01,
        help="by how much the area may be exceeded (default: 0.01; FPRaker's published 36 tiles take 0.37%% more "
        "than its baseline)",
    )
    parser.add_argument(
        "--area",
        choices=("compute", "chip"),
        default="compute",
        help="what is counted: tiles alone, as in the papers (default), or memories too",
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.terminal import facts, show
    from simhw.machine.area import chip_area, compute_area, iso_area
    from simhw.machine.machine import MachineFile
    from simhw.machine.overrides import split_machine
    from simhw.report.area_tables import iso_area_facts, iso_area_sheet, iso_area_speed
    from simhw.report.tile_costs import tile_costs_fact

    name, overrides = split_machine(arguments.pe)
    file = MachineFile(name)
    machine, filed = file.machine(overrides), file.machine({})
    baseline, filed_baseline = _baseline(arguments.baseline, machine)
    if arguments.area == "chip":
        areas = chip_area(baseline, filed_baseline), chip_area(machine, filed)
    else:
        areas = compute_area(baseline), compute_area(machine)
    result = iso_area(*areas, arguments.tolerance, arguments.area, (baseline.label, machine.label))
    # Tells whether a machine of so many tiles can be had at all.
    file.machine({**overrides, "tiles": result.tiles})
    machines = [
        ("baseline", f"{baseline.label}: {baseline.values.description}"),
        ("machine", f"{machine.label}: {machine.values.description}"),
    ]
    machines += [
        (f"{role}'s area", tile_costs_fact(each))
        for role, each in (("baseline", baseline), ("machine", machine))
        if each.tile_costs.followed
    ]
    show(*facts([*machines, *iso_area_facts(result)]), iso_area_sheet(result, filed.values.tiles))
    most = f"{result.tolerance * 100:.4g}%"
    chosen = f"{result.tiles:,}, the closest to {result.quotient:,.3f} with at most {most} more area than the baseline"
    show(
        *facts(
            [
                ("tiles", chosen),
                *iso_area_speed(machine, baseline, result.tiles),
                ("to use it", f"--pe {shlex.quote(_override(arguments.pe, result.tiles))}"),
            ]
        )
    )
    show(*_cautions((baseline, machine), areas, arguments.area))
    return 0


def _baseline(text: str | None, machine: "Machine") -> "tuple[Machine, Machine]":
    """The baseline, with and without overrides."""
    from simhw.machine.machine import MachineFile, baseline_of, load_machine
    from simhw.machine.overrides import split_machine

    if text is not None:
        name, overrides = split_machine(text)
        file = MachineFile(name)
        return file.machine(overrides), file.machine({})
    own = baseline_of(machine)
    if own is None:
        raise SimhwError(f"{machine.label} names no baseline of its own; give one with --baseline")
    return own, load_machine(str(machine.values.baseline))


def _override(text: str, tiles: int) -> str:
    """The machine as it was given, with so many tiles."""
    from simhw.machine.overrides import split_machine

    name, overrides = split_machine(text)
    settings = text[len(name) + 1 :].split(",") if overrides else []
    kept = [setting for setting in settings if setting.partition("=")[0].strip() not in ("", "tiles")]
    return f"{name}:{','.join([*kept, f'tiles={tiles}'])}"


def _cautions(machines: "tuple[Machine, Machine]", areas: "tuple[ChipArea, ChipArea]", counted: str) -> list[str]:
    """What makes the areas less than comparable."""
    from simhw.machine.costs_of import memory_cost_cautions, stale_tile

    lines = []
    for machine in machines:
        if stale := stale_tile(machine, "tile_area_um2"):
            lines.append(
                f"Caution: the tile area of {machine.name} is that of the file; it does not follow {', '.join(stale)}."
            )
        if counted == "chip":
            lines += memory_cost_cautions(machine)
    if counted == "chip" and bool(areas[0].memories) != bool(areas[1].memories):
        lines.append("Caution: one of the two machines states no memories, so only the other's count.")
    return lines
