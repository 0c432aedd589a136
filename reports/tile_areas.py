"""Synthesise the units of tiles over their parameters, and fit what one of each of their quantities takes.

    python reports/tile_areas.py synthesise     # units that are not in tile_areas.csv, minutes to half an hour
    python reports/tile_areas.py write          # fit; the page, the picture, and the parts of the machine files

Synthesis needs simhw's extra `rtl`.
"""

import argparse
import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.optimize import nnls

from simhw.files.writing import replacing
from simhw.machine.area import compute_area, iso_area
from simhw.machine.machine import MachineFile, baseline_of, load_machine
from simhw.pe.bitparallel import structure as bitparallel
from simhw.pe.bitparallel.parameters import BitParallelPE
from simhw.pe.fpraker import structure as fpraker
from simhw.pe.fpraker.parameters import FPRakerPE
from simhw.pe.structure import Quantities, both
from simhw.pe.tensordash import structure as tensordash
from simhw.pe.tensordash.parameters import TensorDashPE
from simhw.report.markdown import markdown_table

HERE = Path(__file__).parent
POINTS = HERE / "tile_areas.csv"
PARTS = HERE.parent / "simhw" / "machine" / "library" / "parts"
Parameters = dict[str, Any]


def fpraker_points() -> list[Parameters]:
    """One parameter after the other, then many at random; the seed is fixed."""
    published = {
        "lanes": 8, "shift_window": 3, "window_on": "offset", "oob_threshold": 7, "accumulator_fraction_bits": 12,
        "rounding": "set", "chunk": 64,
    }  # fmt: skip
    single: dict[str, list[Any]] = {
        "shift_window": [0, 1, 2, 4, 6, 8, 10, 13],
        "oob_threshold": [4, 5, 6, 8, 9, 10, 12, 14, 16, 22, 29],
        "accumulator_fraction_bits": [4, 6, 8, 10, 14, 16, 20],
        "lanes": [4, 16],
        "rounding": ["cycle"],
        "window_on": ["position"],
        "chunk": ["off"],
    }
    points = [published]
    points += [published | {name: value} for name, values in single.items() for value in values]
    points.append(published | {"chunk": "off", "accumulator_fraction_bits": 29, "oob_threshold": 29})
    draw = random.Random(17)
    while len(points) < 46:
        points.append(
            {
                "lanes": draw.choice([4, 8, 8, 16]),
                "shift_window": draw.randint(0, 13),
                "window_on": draw.choice(["offset"] * 4 + ["position"]),
                "oob_threshold": draw.randint(4, 16),
                "accumulator_fraction_bits": draw.randint(4, 16),
                "rounding": draw.choice(["set", "set", "cycle"]),
                "chunk": draw.choice([64, "off"]),
            }
        )
    return points


def bitparallel_points() -> list[Parameters]:
    """The published one, and each parameter alone; a point takes up to a minute."""
    published = {"lanes": 8, "accumulator_fraction_bits": 12, "align_range": 32, "chunk": "off"}
    changes: list[Parameters] = [
        {},
        {"lanes": 16},
        {"accumulator_fraction_bits": 4},
        {"accumulator_fraction_bits": 20},
        {"accumulator_fraction_bits": 29},
        {"align_range": 8},
        {"align_range": 16},
        {"align_range": 24},
        {"chunk": 64},
    ]
    return [published | each for each in changes]


@dataclass(frozen=True)
class Unit:
    """A unit of hardware.

    Attributes
    ----------
    points : list of parameters
        Which it is synthesised with; the first ones are of published machines.
    quantities : callable
        What it consists of.
    hardware : callable
        Its components; the area is the sum of theirs.
    """

    points: list[Parameters]
    quantities: Callable[[Parameters], Quantities]
    hardware: Callable[[Parameters], list[Any]]


def _fpraker_pe(parameters: Parameters) -> FPRakerPE:
    return load_machine("fpraker").values.pe.model_copy(update=parameters)


def _fpraker(parameters: Parameters) -> list[Any]:
    from simhw.rtl.fpraker.element import TermPE

    return [TermPE(_fpraker_pe(parameters))]


def _encoder(parameters: Parameters) -> list[Any]:
    from simhw.rtl.encoder import TermEncoder

    return [TermEncoder(parameters["encoder"])]


def _exponents(parameters: Parameters) -> list[Any]:
    from simhw.rtl.fpraker.exponent_turns import ExponentTurns

    return [ExponentTurns(**parameters)]


def _set_buffer(parameters: Parameters) -> list[Any]:
    from amaranth.hdl import unsigned

    from simhw.rtl.fpraker.set_buffer import SetBuffer

    return [SetBuffer(unsigned(parameters["bits"]), parameters["depth"], parameters["readers"])]


def _tensordash_pe(parameters: Parameters) -> TensorDashPE:
    return load_machine("tensordash").values.pe.model_copy(
        update={name: parameters[name] for name in ("order", "depth")}
    )


def _multiplexers(parameters: Parameters) -> list[Any]:
    from simhw.rtl.multiplexer import OperandMultiplexers

    return [OperandMultiplexers(_tensordash_pe(parameters), parameters["width"])]


def _scheduler(parameters: Parameters) -> list[Any]:
    from simhw.rtl.scheduler import Scheduler

    return [Scheduler(_tensordash_pe(parameters)), *_multiplexers(parameters)]


def _bitparallel_pe(parameters: Parameters) -> BitParallelPE:
    return load_machine("bitparallel").values.pe.model_copy(update=parameters)


def _bitparallel(parameters: Parameters) -> list[Any]:
    from simhw.rtl.bitparallel import BitParallel

    return [BitParallel(_bitparallel_pe(parameters))]


STAGED = [
    {"order": order, "depth": depth, "width": width}
    for depth, order, width in product((3, 2), ("paper", "dnnsim"), (16, 32))
]
UNITS = {
    "fpraker_pe": Unit(fpraker_points(), lambda each: fpraker.element(_fpraker_pe(each)), _fpraker),
    "term_encoder": Unit(
        [{"encoder": encoder} for encoder in ("naf", "booth4", "binary")],
        lambda each: {f"{each['encoder']}_encoders": 1.0},
        _encoder,
    ),
    "exponents": Unit(
        [{"lanes": lanes, "pes": pes} for lanes, pes in product((8, 4, 16), (2, 1))],
        lambda each: fpraker.exponents(each["lanes"], 1, each["pes"]),
        _exponents,
    ),
    "set_buffer": Unit(
        [
            {"depth": depth, "bits": bits, "readers": readers}
            for depth, (bits, readers) in product((1, 2, 3, 4, 8, 16), ((218, 8), (128, 8), (218, 4), (128, 16)))
        ],
        lambda each: fpraker.set_buffer(**each),
        _set_buffer,
    ),
    # As in the published table: a row's scheduler with the multiplexers that it alone drives, and those of each PE.
    "scheduler_and_multiplexers": Unit(
        STAGED,
        lambda each: both(
            tensordash.scheduler(_tensordash_pe(each)), tensordash.multiplexers(_tensordash_pe(each), each["width"])
        ),
        _scheduler,
    ),
    "multiplexers": Unit(
        STAGED, lambda each: tensordash.multiplexers(_tensordash_pe(each), each["width"]), _multiplexers
    ),
    "bitparallel_pe": Unit(bitparallel_points(), lambda each: bitparallel.element(_bitparallel_pe(each)), _bitparallel),
}


def written(parameters: Parameters) -> str:
    """Parameters as a cell of the table."""
    return " ".join(f"{name}={value}" for name, value in parameters.items())


def areas() -> dict[tuple[str, str], float]:
    """What has been synthesised: areas by unit and parameters."""
    if not POINTS.exists():
        return {}
    with POINTS.open(encoding="utf-8", newline="") as file:
        return {(row["unit"], row["parameters"]): float(row["area"]) for row in csv.DictReader(file)}


def synthesised(unit: str, parameters: Parameters) -> float:
    """Area of a unit, a NAND of two inputs being 1."""
    from simhw.rtl.synthesis.synthesise import synthesise

    return sum(synthesise(each, unit).area for each in UNITS[unit].hardware(parameters))


def synthesise_missing(units: Sequence[str]) -> None:
    """Synthesise what the table does not have; it is written after each, in the order of the points."""
    found = areas()
    wanted = {(name, written(each)): each for name, unit in UNITS.items() for each in unit.points}
    for (name, text), parameters in wanted.items():
        if (name, text) in found or name not in units:
            continue
        found[name, text] = synthesised(name, parameters)
        print(f"{name} {text}: {found[name, text]:g}", flush=True)
        with replacing(POINTS) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["unit", "parameters", "area"])
            rows.writerows([*key, f"{found[key]:g}"] for key in wanted if key in found)


@dataclass(frozen=True)
class Fit:
    """What one of each quantity of some units takes.

    Attributes
    ----------
    points : list of (unit, parameters)
    names : list of str
        Of the quantities.
    areas : (quantities,) float64
    numbers : (points, quantities) float64
    measured : (points,) float64
        The synthesised areas.
    left_out : (points,) float64
        Relative error of each by the fit to all others; NaN where it alone tells of a quantity.
    """

    points: list[tuple[str, Parameters]]
    names: list[str]
    areas: npt.NDArray[np.float64]
    numbers: npt.NDArray[np.float64]
    measured: npt.NDArray[np.float64]
    left_out: npt.NDArray[np.float64]

    @property
    def errors(self) -> npt.NDArray[np.float64]:
        """Of the fit, relative."""
        return self.numbers @ self.areas / self.measured - 1

    @property
    def error(self) -> float:
        """The largest of a point that was left out and that a machine can have: FPRaker's has eight lanes."""
        errors = [
            abs(error)
            for (unit, each), error in zip(self.points, self.left_out, strict=True)
            if each.get("lanes", 8) == 8 or unit == "bitparallel_pe"
        ]
        return 0.0 if np.isnan(errors).all() else float(np.nanmax(errors))


def fit(units: Sequence[str]) -> Fit:
    """The fit of the units of a part: least squares of relative errors, no area negative."""
    found = areas()
    points = [(unit, each) for unit in units for each in UNITS[unit].points if found[unit, written(each)]]
    quantities = [UNITS[unit].quantities(each) for unit, each in points]
    names = list(dict.fromkeys(name for each in quantities for name in each))
    numbers = np.array([[each.get(name, 0.0) for name in names] for each in quantities])
    measured = np.array([found[unit, written(each)] for unit, each in points])
    left_out = np.full(len(points), np.nan)
    for index in range(len(points)):
        others = np.arange(len(points)) != index
        if (numbers[others].any(axis=0) >= (numbers[index] > 0)).all():
            left_out[index] = numbers[index] @ _least(numbers[others], measured[others]) / measured[index] - 1
    return Fit(points, names, _least(numbers, measured), numbers, measured, left_out)


def _least(numbers: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return nnls(numbers / measured[:, None], np.ones(len(measured)))[0]


FILES: dict[str, dict[str, tuple[str, ...]]] = {
    "fpraker-area": {"pe_array": ("fpraker_pe", "exponents", "set_buffer"), "term_encoders": ("term_encoder",)},
    "bitparallel-area": {"pe_array": ("bitparallel_pe",)},
    "dense-area": {"cores": ("bitparallel_pe",)},
    "tensordash-area": {"schedulers_and_multiplexers": ("scheduler_and_multiplexers", "multiplexers")},
}
"""Parts of the machine files, and the units that each part of a tile consists of."""
COUNTED = {
    "dense-area": {"cores": "mac_lanes", "transposers": "transposers"},
    "tensordash-area": {"cores": "mac_lanes", "transposers": "transposer_bits"},
}
"""Parts of tiles that change in number alone."""


def part_text(name: str) -> str:
    """A part of machine files: what one of each quantity takes, with its source."""
    lines = [
        "# How the area of a tile follows what it consists of, a two-input NAND being 1.  Only ratios count, so that",
        "# the published tile has its published area.  Power is scaled by area, at the same clock.  Fitted to",
        "# synthesised units of simhw.rtl (reports/tile_areas.md); reports/tile_areas.py writes this file.",
        "tile_area_model:",
    ]
    for part, units in FILES[name].items():
        found = fit(units)
        number = len(found.measured)
        source = f"fitted to {number} syntheses ({versions()}); reports/tile_areas.md"
        error = f"the largest error of a synthesis that the fit left out, of {number}"
        if not found.error:
            error = "exact: each of them was synthesised"
        lines.append(f"  {part}:")
        lines.append(f'    error: {{value: {found.error:.4f}, source: "{error}", confidence: 0.6}}')
        lines.append("    areas:")
        lines += [
            f'      {quantity}: {{value: {area:.6g}, source: "{source}", confidence: 0.6}}'
            for quantity, area in zip(found.names, found.areas, strict=True)
        ]
        lines += [
            f'      {quantity}: {{value: 0, source: "synthesised: needs no cells", confidence: 0.6}}'
            for quantity in without_cells(units)
        ]
        if quantity := COUNTED.get(name, {}).get(part):
            lines.append(_counted(quantity))
    for part, quantity in COUNTED.get(name, {}).items():
        if part not in FILES[name]:
            exact = 'error: {value: 0, source: "decided: so many of the same", confidence: 0.8}'
            lines += [f"  {part}:", f"    {exact}", "    areas:", _counted(quantity)]
    return "\n".join(lines) + "\n"


def without_cells(units: Sequence[str]) -> list[str]:
    """Quantities of units that are wires alone."""
    found = areas()
    return [
        name
        for unit in units
        for each in UNITS[unit].points
        if not found[unit, written(each)]
        for name in UNITS[unit].quantities(each)
    ]


def _counted(quantity: str) -> str:
    return (
        f'      {quantity}: {{value: 1, source: "decided: the only one, so that any value will do", confidence: 0.8}}'
    )


def versions() -> str:
    """What synthesised."""
    return f"Yosys {version('pyosys')}, Amaranth {version('amaranth')}"


VARIANTS = {
    "fpraker": (
        ("pe.shift_window", (0, 1, 2, 3, 4, 6, 8)),
        ("pe.oob_threshold", (4, 6, 7, 9, 12, 16)),
        ("pe.accumulator_fraction_bits", (4, 8, 12, 16, 20)),
        ("pe.rounding", ("set", "cycle")),
        ("pe.chunk", ("off", 64)),
        ("pe.encoder", ("naf", "booth4", "binary")),
        ("tile.exponent_sharing", (2, 1)),
        ("tile.buffers.a", (1, 2, 4, 16)),
        ("tile.buffers.b", (1, 2, 4, 16)),
        ("tile.sync", ("pe", "set")),
        ("tile.rows", (1, 4, 8, 16)),
    ),
    "tensordash": (("pe.depth", (1, 2, 3)), ("pe.order", ("paper", "dnnsim")), ("pe.sides", ("one", "two"))),
    "tensordash-fp32": (("pe.depth", (1, 2, 3)), ("pe.sides", ("one", "two"))),
    "bitparallel": (
        ("pe.accumulator_fraction_bits", (4, 12, 20)),
        ("pe.align_range", (8, 16, 32)),
        ("pe.chunk", ("off", 64)),
    ),
}
"""Machines, and the values whose tiles the page lists."""


def page() -> str:
    """How well the areas are known, and what variants take."""
    fits = {
        f"{name.removesuffix('-area')}: {part}": fit(units)
        for name, parts in FILES.items()
        for part, units in parts.items()
    }
    quality = [
        [
            label,
            str(len(each.measured)),
            str(len(each.names)),
            f"{_rms(each.errors):.1%}",
            f"{_rms(each.left_out):.1%}" if each.error else "-",
            f"{each.error:.1%}" if each.error else "-",
        ]
        for label, each in fits.items()
        if not label.startswith("dense")
    ]
    taken = [
        [label, quantity, f"{area:,.4g}", f"{share:.1%}"]
        for label, each in fits.items()
        if not label.startswith("dense")
        for quantity, area, share in zip(each.names, each.areas, _shares(label, each), strict=True)
    ]
    lines = [
        "# What tiles take",
        "",
        "Published areas are those of one tile. simhw scales them for a variant by the hardware that it consists of",
        "([variants](../docs/machine-files.md#area-and-power-of-a-variant)). This page says how well that is known.",
        "",
        "<!-- not run: synthesises for half an hour -->",
        "```sh",
        "python reports/tile_areas.py synthesise    # what tile_areas.csv lacks",
        "python reports/tile_areas.py write         # this page, the picture, and the parts of the machine files",
        "```",
        "",
        f"Each unit of `simhw.rtl` was synthesised apart, by {versions()}, with simhw's own cells, on",
        "2026-11-28. The areas stand in [tile_areas.csv](tile_areas.csv); a NAND of two inputs has 1. The processing",
        "element counts what a unit consists of. The fit says what one of each takes: least squares of relative",
        "errors, none negative. A tile is so many of its units.",
        "",
        "## How well the fit holds",
        "",
        "Left out: each synthesis is predicted from all others. The largest such error is the `error` of the machine",
        "files, by which ranges of a variant's power are wider. It does not tell what another library of cells",
        "would change: 3 to 5% of a ratio. Other numbers of lanes than a machine can have are in the fit and its rms.",
        "",
        *markdown_table(["part", "syntheses", "quantities", "fit, rms", "left out, rms", "left out, largest"], quality),
        "",
        "![Fit and syntheses](tile_areas.png)",
        "",
        "## What one of each takes",
        "",
        "The share is of the published tile's part, as modelled.",
        "",
        *markdown_table(["part", "quantity", "NANDs each", "share"], taken),
        "",
        "## What variants take",
        "",
        "Each value alone is another one. Tiles: as many as take the area of the machine's baseline, by",
        "`simhw machine iso-area`. Power goes with the area of each part.",
        "",
        *_variants(),
        "## What is not in it",
        "",
        "- The units are not placed and wired, and all cells have one size.",
        "- Synthesis steps: one more bit can change the area by 2% either way. The fit goes through the middle.",
        "- FPRaker's published term encoders take 4% of a tile, ours under 1%: the published ones hold and send the",
        "  terms too. Their ratios are those of the recoding alone, and binary digits need none.",
        "- TensorDash's staging buffers are not among its published parts, and are not counted.",
        "- Power is scaled by area. What a variant toggles is not modelled here.",
        "- A clock that a longer path would lower is not charged; area is compared at the file's clock.",
        "- FPRaker with `chunk: 64` has a float32 running sum in every PE. One for several PEs would take less.",
        "- FPRaker's `oob: column`, `sync: term` and `empty_sets: skip` are not modelled, and keep their caution.",
    ]
    return "\n".join(lines) + "\n"


def _rms(errors: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.nanmean(errors**2)))


def _shares(label: str, found: Fit) -> list[float]:
    """Of each quantity in the part of the published tile."""
    name, _, part = label.partition(": ")
    structure = load_machine(name).pe.structure()
    assert structure is not None
    taken = [area * structure.parts[part].get(name, 0) for name, area in zip(found.names, found.areas, strict=True)]
    return [each / sum(taken) for each in taken]


def _variants() -> list[str]:
    lines = []
    for name, values in VARIANTS.items():
        rows = []
        file = MachineFile(name)
        for value, choices in values:
            for choice in choices:
                machine = file.machine({value: choice})
                baseline = baseline_of(machine)
                tiles = ""
                if baseline is not None:
                    tiles = f"{iso_area(compute_area(baseline), compute_area(machine)).tiles}"
                published = file.unchanged
                own = published.value(value) == choice
                rows.append(
                    [
                        f"{value}={choice}" + (" (published)" if own else ""),
                        f"{machine.tile_area_um2:,.0f}",
                        f"{machine.tile_area_um2 / published.tile_area_um2:.3f}",
                        f"{machine.tile_power.mid / published.tile_power.mid:.3f}",
                        tiles,
                    ]
                )
        headings = [f"`{name}`", "tile, um^2", "of the published", "its power", "tiles at equal area"]
        lines += [*markdown_table(headings, rows), ""]
    return lines


def draw(path: Path) -> None:
    """Syntheses against the fit that left them out, and FPRaker's PE over one value at a time."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, *others = figure.subplots(1, 4, sharey=False, width_ratios=[1.5, 1, 1, 1])
    for label, units in (
        ("FPRaker", ("fpraker_pe",)),
        ("TensorDash", FILES["tensordash-area"]["schedulers_and_multiplexers"]),
        ("bit-parallel", ("bitparallel_pe",)),
    ):
        found = fit(units)
        left.plot(found.measured, 100 * found.left_out, ".", label=label)
    left.set(xscale="log", xlabel="synthesised area, NANDs", ylabel="error of the fit without it, %", ylim=(-9, 9))
    left.xaxis.set_minor_formatter(NullFormatter())
    left.legend()
    found = fit(("fpraker_pe",))
    published = UNITS["fpraker_pe"].points[0]
    base = areas()["fpraker_pe", written(published)]
    fitted = dict(zip(found.names, found.areas, strict=True))

    def modelled(parameters: Parameters) -> float:
        quantities = UNITS["fpraker_pe"].quantities(parameters)
        return sum(fitted[name] * number for name, number in quantities.items())

    titles = {
        "shift_window": "shift window",
        "oob_threshold": "threshold T",
        "accumulator_fraction_bits": "accumulator bits",
    }
    for axes, (name, title) in zip(others, titles.items(), strict=True):
        alone = [each for each in UNITS["fpraker_pe"].points if {**each, name: published[name]} == published]
        alone = sorted((each for each in alone if each[name] <= 16), key=lambda each: each[name])
        axes.plot([each[name] for each in alone], [areas()["fpraker_pe", written(each)] / base for each in alone], "o")
        span = range(alone[0][name], alone[-1][name] + 1)
        axes.plot(span, [modelled({**published, name: value}) / modelled(published) for value in span], "-")
        axes.set(xlabel=title, ylim=(0.8, 1.15))
    others[0].set_ylabel("area of FPRaker's PE over the published one's")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def write() -> None:
    """The parts of the machine files, the page and the picture."""
    for name in FILES:
        with replacing(PARTS / f"{name}.yaml") as temporary:
            temporary.write_text(part_text(name), encoding="utf-8")
    for path, text in ((HERE / "tile_areas.md", page()),):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    draw(HERE / "tile_areas.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("synthesise", help="what tile_areas.csv lacks")
    one.add_argument("units", nargs="*", help=f"of {', '.join(UNITS)}; by default all")
    commands.add_parser("write", help="the parts of the machine files, the page and the picture")
    given = parser.parse_args(arguments)
    if given.command == "write":
        write()
    else:
        synthesise_missing(given.units or list(UNITS))


if __name__ == "__main__":
    main()
