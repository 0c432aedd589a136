"""`simhw machine`: which machines there are, every constant of one with its source, and tile counts of equal area."""

import argparse
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from simhw.cli import iso_area
from simhw.errors import MachineError, SimhwError

if TYPE_CHECKING:
    from simhw.machine.machine import Machine
    from simhw.report.sheet import Sheet
    from simhw.roofline.device import Device
    from simhw.roofline.numbers import Number

Loaded = TypeVar("Loaded")


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser("machine", help="list machines, or show every constant of one", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the machines that come with simhw")
    listing.set_defaults(execute=_list)

    show = actions.add_parser("show", help="every constant with its unit, source and confidence; area and power")
    show.add_argument(
        "machine", metavar="MACHINE", help="a name, a .yaml file, or either with overrides: fpraker:pe.oob_threshold=9"
    )
    show.add_argument("--yaml", action="store_true", help="print the file as it is, to start one of your own")
    show.set_defaults(execute=_show)

    iso_area.add_parser(actions)


def _list(arguments: argparse.Namespace) -> int:  # noqa: ARG001  # every command takes them
    """Print a line per machine."""
    from simhw.cli.terminal import show
    from simhw.machine.machine import load_machine
    from simhw.machine.names import machine_names
    from simhw.plugins import FOLDERS, problems
    from simhw.progress import tell
    from simhw.report.result_reasons import lane_count
    from simhw.report.sheet import Sheet

    headings = ["tiles", "lanes", "MHz", "mm^2", "W"]
    columns = [("name", False), *((heading, True) for heading in headings), ("baseline", False), ("description", False)]
    rows = []
    for name, machine in _loaded(machine_names(), load_machine):
        values = machine.values
        numbers = [
            str(values.tiles),
            f"{lane_count(machine):,}",
            f"{values.clock_hz / 1e6:g}",
            f"{machine.compute_area_mm2:.2f}",
        ]
        rows.append([name, *numbers, f"{_power_w(machine):.3f}", values.baseline or "-", values.description])
    for line in problems(*FOLDERS):
        tell(line)
    show(
        Sheet(columns, rows, name="machines"),
        "lanes: of all tiles; a bit-parallel lane takes a multiply-accumulate a cycle, a term-serial one a term.  "
        "mm^2, W: compute only.",
        "",
        _devices(),
        "devices: real chips, for `simhw roofline`; peaks of products and of off-chip memory.",
        "`simhw machine show NAME` lists the constants and where they come from; `--yaml` prints the file.",
    )
    return 0


def _loaded(names: list[str], load: Callable[[str], Loaded]) -> Iterator[tuple[str, Loaded]]:
    """What is loaded by each name; one whose file or package cannot be used is told of, and left out."""
    from simhw.progress import tell

    for name in names:
        try:
            yield name, load(name)
        except MachineError as error:
            tell(str(error))


def _devices() -> "Sheet":
    """A row per device of `simhw roofline`."""
    from simhw.machine.names import device_names
    from simhw.report.sheet import Sheet
    from simhw.roofline.ceilings import ceilings
    from simhw.roofline.device import load_device

    numbers: tuple[Number, ...] = ("fp32", "tf32", "bf16", "fp16", "int8")
    headings = [f"{number} T/s" for number in numbers] + ["GB/s"]
    columns = [("name", False), *((heading, True) for heading in headings), ("description", False)]
    rows = []
    for name, device in _loaded(device_names(), load_device):
        known = device.values.hardware.numbers
        peaks = [f"{ceilings(device, each)[0].per_s / 1e12:.4g}" if each in known else "-" for each in numbers]
        rows.append([name, *peaks, f"{ceilings(device, 'fp32')[-1].per_s / 1e9:,.4g}", device.values.description])
    return Sheet(columns, rows, name="devices")


def _power_w(machine: "Machine") -> float:
    return machine.values.tiles * sum(machine.tile_powers_mw.values()) / 1e3


def _show(arguments: argparse.Namespace) -> int:
    """Print a machine's constants and what follows from them."""
    from simhw.cli.terminal import facts, show
    from simhw.machine.costs_of import stale_tile
    from simhw.machine.files import machine_text
    from simhw.machine.machine import MachineFile, baseline_of
    from simhw.machine.overrides import split_machine
    from simhw.roofline.device import device_source, is_device

    name, overrides = split_machine(arguments.machine)
    device = is_device(name)
    if arguments.yaml:
        if overrides:
            raise SimhwError(f"--yaml prints the file of {name} as it is; leave the overrides out")
        if arguments.json:
            raise SimhwError("--yaml prints a file, --json a document: give one of them")
        print(machine_text(device_source(name) if device else name), end="")
        return 0
    if device:
        return _show_device(name, arguments.machine)
    file = MachineFile(name)
    machine, plain = file.machine(overrides), file.machine({})
    baseline = baseline_of(machine)
    pairs = [("machine", machine.label), ("", machine.values.description), ("hash", machine.content_hash)]
    pairs.append(("baseline", f"{baseline.label}: {baseline.values.description}" if baseline else "none"))
    show(
        *facts(pairs),
        _constants(machine, plain),
        *facts(_arithmetic(machine, baseline)),
        *_chip(machine, plain, baseline),
    )
    if stale := stale_tile(machine, "tile_power_mw"):
        show(f"Caution: area and power are those of the file; they do not follow {', '.join(stale)}.")
    return 0


def _show_device(name: str, text: str) -> int:
    """Print a device's constants."""
    from simhw.cli.terminal import facts, show
    from simhw.roofline.device import load_device, parse_device

    device = parse_device(text)
    show(*facts([("device", device.label), ("", device.values.description), ("hash", device.content_hash)]))
    show(_constants(device, load_device(name)))
    return 0


def _constants(machine: "Machine | Device", plain: "Machine | Device") -> "Sheet":
    """Every constant; `plain` is the machine without overrides."""
    from simhw.machine.constants import constants, value_text
    from simhw.machine.dotted import leaf
    from simhw.report.sheet import Sheet

    own, original = machine.values.model_dump(), plain.values.model_dump()
    rows = []
    for each in constants(machine):
        value = leaf(own, each.name)
        # A list in one cell would make all rows wider than any screen.
        texts = [value_text(item) for item in value] if value and isinstance(value, list) else [each.text]
        if each.overridden:
            texts[-1] += f" (file: {value_text(leaf(original, each.name))})"
        source = each.source
        confidence = [f"{source.confidence:.0%}", source.source] if source else ["-", "-"]
        rows += [[each.name, text, each.unit, *confidence] for text in texts]
    return Sheet(
        [("constant", False), ("value", True), ("unit", False), ("confidence", True), ("source", False)],
        rows,
        name="constants",
    )


def _arithmetic(machine: "Machine", baseline: "Machine | None") -> list[tuple[str, str]]:
    """How lanes, area and power follow from the constants."""
    from simhw.report.area_tables import parts_sum
    from simhw.report.result_reasons import lane_count
    from simhw.report.tile_costs import tile_costs_fact

    values, tile = machine.values, machine.tile
    area, power = machine.tile_areas_um2, machine.tile_powers_mw
    compared = ["", "", ""]
    if baseline is not None:
        ratios = (
            lane_count(machine) / lane_count(baseline),
            machine.compute_area_mm2 / baseline.compute_area_mm2,
            _power_w(machine) / _power_w(baseline),
        )
        compared = [f"; {ratio:.4g}x {baseline.name}" for ratio in ratios]
    lanes = f"{values.tiles} tiles x {tile.tile_x * tile.tile_y} PEs x {tile.lanes} lanes = {lane_count(machine):,}"
    areas = f"{values.tiles} tiles x {parts_sum(area)} um^2 = {machine.compute_area_mm2:.3f} mm^2"
    powers = f"{values.tiles} tiles x {parts_sum(power)} mW = {_power_w(machine):.3f} W"
    return [
        ("lanes", lanes + compared[0]),
        ("area", areas + compared[1]),
        ("power", powers + compared[2]),
        ("tile costs", tile_costs_fact(machine)),
    ]


def _chip(machine: "Machine", plain: "Machine", baseline: "Machine | None") -> "list[str | Sheet]":
    """The area of the whole chip, memories with it."""
    from simhw.machine.area import chip_area
    from simhw.machine.costs_of import memory_cost_cautions
    from simhw.machine.machine import load_machine
    from simhw.report.area_tables import chip_fact, chip_sheet

    if machine.values.memory is None:
        return []
    try:
        area = chip_area(machine, plain)
        compared = ""
        if baseline is not None:
            ratio = area.total_mm2 / chip_area(baseline, load_machine(str(machine.values.baseline))).total_mm2
            compared = f"; {ratio:.4g}x {baseline.name}"
    except MachineError as error:
        return [f"chip   unknown: {error}"]
    cells = machine.values.energy.cells if machine.values.energy else ""
    lines: list[str | Sheet] = [f"chip   {chip_fact(area)}{compared}", chip_sheet(area, cells)]
    lines += memory_cost_cautions(machine)
    return lines
