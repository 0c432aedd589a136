"""Tiles of the twins in cells beside those of their baselines, under every reading of these, as a page.

python reports/tile_ratios.py reports/tile_ratios.md
"""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from simhw.files.writing import replacing
from simhw.machine.machine import baseline_of, load_machine
from simhw.report.markdown import markdown_table
from simhw.rtl.synthesis.library import own_library
from simhw.rtl.synthesis.tiles import Tile, baselines_of, tile_of

LIBRARY = own_library()
DEPTHS = (2, 3)


def fpraker(name: str) -> tuple[Tile, list[Tile], float]:
    """A machine's tile, its baselines, and the published ratio of the two."""
    machine = load_machine(name)
    baseline = baseline_of(machine)
    assert baseline is not None
    published = machine.tile_area_um2 / baseline.tile_area_um2
    return tile_of(machine.values, LIBRARY), baselines_of(machine.values, baseline.values, LIBRARY), published


def fpraker_tables(names: Sequence[str]) -> list[str]:
    """The ratio of FPRaker's tile to each reading of the baseline, and what its tile consists of."""
    ratios: list[list[str]] = []
    units: list[list[str]] = []
    for name in names:
        tile, others, published = fpraker(name)
        chunk_adders = tile.units.get("running_sum", (0, 0.0))[1]
        for other in others:
            without = f"{(tile.area - chunk_adders) / other.area:.3f}" if chunk_adders else "-"
            paths = f"{tile.path.delay_ps / 1e3:.2f} / {other.path.delay_ps / 1e3:.2f}"
            cells = [f"{tile.area:,.0f}", f"{other.area:,.0f}", f"{tile.area / other.area:.3f}", without]
            ratios.append([name, other.told, *cells, f"{published:.3f}", paths])
        for unit, (count, area) in tile.units.items():
            units.append([name, unit, f"{count:,}", f"{area:,.0f}", f"{area / tile.area:.1%}"])
    head = ["machine", "reading of the baseline", "machine's area", "baseline's", "ratio", "without chunk adders"]
    return [
        *markdown_table([*head, "published", "critical paths, ns"], ratios),
        "",
        "Units of FPRaker's tile; the area of a unit has that of the units in it.",
        "",
        *markdown_table(["machine", "unit", "in a tile", "area", "share"], units),
    ]


def tensordash_table() -> list[str]:
    """What TensorDash's tile takes more than a dense one."""
    rows = []
    for name in ("tensordash", "tensordash-fp32"):
        machine = load_machine(name)
        cores = machine.tile_area_um2 / load_machine(machine.values.baseline or "").tile_area_um2
        # A staging buffer of one step is a dense PE's operand register.
        staged = tile_of(load_machine(name, **{"pe.depth": 1}).values, LIBRARY)
        for depth in DEPTHS:
            values = load_machine(name, **{"pe.depth": depth}).values
            tile, (alone,) = tile_of(values, LIBRARY), baselines_of(values, None, LIBRARY)
            published = f"{cores:.2f}" if depth == machine.value("pe.depth") else "-"
            ratios = [f"{tile.area / other.area:.3f}" for other in (alone, staged)]
            rows.append([name, str(depth), f"{tile.area:,.0f}", *ratios, published, f"{tile.path.delay_ps / 1e3:.2f}"])
    head = ["machine", "depth", "area", "over PEs alone", "over a tile of depth 1", "published"]
    return markdown_table([*head, "critical path, ns"], rows)


PAGE = """\
# Tiles beside their baselines

Whole tiles of the hardware in `simhw.rtl`, synthesised by {versions}, with simhw's own
cells ({cells}). An area is the number of transistors by four. No machine uses these
ratios: published tiles keep their published area, and variants are [scaled from it](tile_areas.md).

<!-- not run: synthesises for ten minutes -->
```sh
python reports/tile_ratios.py reports/tile_ratios.md
```

## FPRaker

The paper's text, as far as it is known here, does not say how the bit-parallel PE adds eight products. That reading
decides the ratio. So every one is told, and none is chosen to fit.

{fpraker}

Why our tiles are larger against the baseline than the published one:

- **Registers.** A set is taken in the cycle after the one before it. So the PE keeps digits, signs, fractions and
  exponents of its set, about a third of its area. The published PE may read them from its buffers.
- **Chunks.** Each PE of `fpraker` has a float32 adder for the sum of its chunks. If the published tile shares it, or
  leaves it out of the table, the column without chunk adders holds.
- **Buffers.** The machine `fpraker` lets PEs go at their own pace, and keeps exponents and operands for that. The
  strict reading, `fpraker-literal`, does not.
- **The baseline.** Eight multipliers with a float32 adder each come closer to the published ratio than a fused PE.
- **No gate is sized.** Cells have one size, and Yosys is given no clock to meet. All of these tiles are slower than the
  published 600 MHz. To meet it may cost the baseline more than FPRaker.

## TensorDash

Against the PEs alone, and against the same tile with a staging buffer of one step, whose registers a dense tile needs
too. The published ratio is of schedulers and multiplexers.

{tensordash}
"""


def page() -> str:
    """The page's text."""
    versions = [f"{name} {version(package)}" for name, package in (("Yosys", "pyosys"), ("Amaranth", "amaranth"))]
    return PAGE.format(
        versions=" and ".join(versions),
        cells=f"{len(LIBRARY.cells)} kinds, hash {LIBRARY.hash}",
        fpraker="\n".join(fpraker_tables(("fpraker-literal", "fpraker"))),
        tensordash="\n".join(tensordash_table()),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    (target,) = sys.argv[1:] if arguments is None else arguments
    text = page()
    with replacing(Path(target)) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
