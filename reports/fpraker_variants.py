"""Variants of FPRaker at equal compute area: which one is best, by how much, and how exact its sums are.

python reports/fpraker_variants.py run STORES      # simulates; what the sweeps' stores in that folder hold is kept
python reports/fpraker_variants.py synthesise      # whole tiles of the best ones; needs simhw's extra `rtl`
python reports/fpraker_variants.py write           # the page and the picture, from the tables beside this script
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import simhw
from simhw.bfloat16 import from_float32, to_float32
from simhw.files.writing import replacing
from simhw.machine.area import compute_area
from simhw.machine.machine import Machine, baseline_of, load_machine
from simhw.pe.passes import whole_tiles
from simhw.report.markdown import markdown_table
from simhw.report.waveform import tile_passes
from simhw.trace.layer import OPERATIONS
from simhw.trace.reader import load_trace

HERE = Path(__file__).parent
SPEEDS, FINALISTS, ERRORS, TILES = (
    HERE / f"fpraker_variants{each}.csv" for each in ("", "_finalists", "_errors", "_tiles")
)
TRACES = ("resnet50", "bert_swiftlearn", "lstm_structured_dropout")
"""A convolutional, a transformer and a recurrent network."""
BATCH = 32
OWN_BATCH = ("sign_autoencoder",)
"""Its 200 captured vectors are not grown."""
THRESHOLDS = (5, 6, 7, 8, 9, 12)
WINDOWS = (0, 1, 2, 3, 4, 6, 8)
ROWS = (2, 4, 8, 16)
FEWER_WINDOWS, FEWER_ROWS = (2, 3, 4, 6), (4, 8, 16)
"""With other thresholds than the published design's."""
FRACTION_BITS = (6, 8, 10, 12)
Values = dict[str, Any]
BUFFERS: tuple[Values, ...] = (
    {"tile.sync": "set"},
    *({"tile.sync": "pe", "tile.buffers.a": depth, "tile.buffers.b": depth} for depth in (1, 2, 4)),
)
READINGS = {"fpraker": "the reading that agrees best", "fpraker-literal": "the strict reading"}
"""Readings of the published design, each of which is the published area's in its own file."""
BARE = "no less exact, no chunks"
WAITING = "waits at each set"
SYNTHESISED = ("published", WAITING, "no less exact", BARE, "strict", "strict, best")
"""Designs whose whole tiles are."""
STEPS: dict[str, tuple[Any, ...]] = {
    "pe.shift_window": tuple(range(14)),
    "tile.rows": (1, 2, 4, 8, 16),
    "tile.sync": ("set", "pe"),
    "tile.run_ahead": (1, 2, 3, 4),
    "tile.buffers.a": (1, 2, 3, 4, 8),
    "tile.buffers.b": (1, 2, 3, 4, 8),
    "tile.exponent_sharing": (1, 2),
}
"""What the search changes: one step of one value at a time.  Blocks of sampled traces have 16 rows."""
VARIED = ("pe.oob_threshold", "pe.accumulator_fraction_bits", "pe.chunk", *STEPS)
WITHOUT_CHUNKS = (8, 9, 10, 12)
"""Thresholds at which a PE without a float32 sum of chunks is looked at."""
FIGURES = (
    *("speedup", "speedup_ci95", "energy_efficiency", "overall_speedup", "overall_energy_efficiency"),
    *("cycles_per_set", "busy"),
)
PASSES, EVERY = 8, 8
"""Tile passes whose sums are compared, of each operation of a layer, and the distance between them."""
Floats = npt.NDArray[np.float64]


def read(values: Mapping[str, Any]) -> Values:
    """All values that vary, without those that its kind of `sync` does not read."""
    unread = ("tile.run_ahead",) if values["tile.sync"] == "pe" else ("tile.buffers.a", "tile.buffers.b")
    return {name: values[name] for name in VARIED if name not in unread}


def variant(machine: str, changes: Mapping[str, Any] | None = None) -> Values:
    """The values of a machine with changes."""
    built = load_machine(machine, **(changes or {}))
    values = {name: built.value(name) for name in VARIED}
    if values["pe.oob_threshold"] is None:
        values["pe.oob_threshold"] = values["pe.accumulator_fraction_bits"]
    return read(values)


def neighbours(values: Values) -> Iterator[Values]:
    """Variants that differ in one value by one step; a column that no longer waits gets buffers of one set."""
    defaults = {"tile.run_ahead": 1, "tile.buffers.a": 1, "tile.buffers.b": 1}
    for name, choices in STEPS.items():
        if name in values:
            place = choices.index(values[name])
            for other in choices[max(place - 1, 0) : place + 2]:
                if other != values[name]:
                    yield read({**defaults, **values, name: other})


def filled(machine: Machine) -> float:
    """The area of a machine's tiles over that of its baseline's."""
    baseline = baseline_of(machine)
    assert baseline is not None
    return compute_area(machine).compute_mm2 / compute_area(baseline).compute_mm2


class Study:
    """Speed-ups of variants, simulated by sweeps whose stores lie in a folder.

    Parameters
    ----------
    folder : Path
    jobs : int
        Processes.
    """

    def __init__(self, folder: Path, jobs: int) -> None:
        self._folder, self._jobs = folder, jobs
        self.rows: dict[tuple[str, tuple[Any, ...]], dict[str, Any]] = {}

    def speeds(self, machine: str, variants: Sequence[Values]) -> list[float]:
        """Geometric mean over the traces of each variant's speed-up at equal area, its tiles evenly loaded."""
        missing = {key(each): each for each in variants if (machine, key(each)) not in self.rows}
        if missing:
            self._run(machine, list(missing.values()))
        return [float(self.rows[machine, key(each)]["speedup"]) for each in variants]

    def _run(self, machine: str, variants: Sequence[Values]) -> None:
        grid = {"tiles": ["iso-area"], "batch": [BATCH], "sample": [1], "memory": ["ideal"]}
        frame = swept(
            {"traces": list(TRACES), "machines": machine, "grid": grid, "list": list(variants)},
            self._folder / f"{machine}.db",
            self._jobs,
        )
        assert len(frame) == len(TRACES) * len(variants)
        for place, values in enumerate(variants):
            built = load_machine(machine, **values, tiles=int(frame["tiles"].iloc[place]))
            share = filled(built)
            row: dict[str, Any] = {"machine": machine, **values}
            row |= {"tile_um2": round(built.tile_area_um2, 1), "tiles": built.values.tiles}
            speedups = []
            for number, trace in enumerate(TRACES):
                point = frame.iloc[number * len(variants) + place]
                assert point["trace"] == trace
                assert point["tiles"] == built.values.tiles
                row[f"speedup_{trace}"] = round(float(point["speedup"]), 4)
                row[f"busy_{trace}"] = round(float(point["busy"]), 4)
                # Of these traces the baseline's tiles are evenly loaded.
                speedups.append(float(point["speedup"]) / float(point["busy"]) / share)
            row["speedup"] = round(float(np.exp(np.mean(np.log(speedups)))), 4)
            self.rows[machine, key(values)] = row

    def best(self, machine: str, starts: Sequence[Values]) -> list[Values]:
        """From each start the variant that no neighbour is faster than."""
        found = list(starts)
        while True:
            around = [[each, *neighbours(each)] for each in found]
            self.speeds(machine, [each for group in around for each in group])
            better = [max(group, key=lambda each: self.speeds(machine, [each])[0]) for group in around]
            if better == found:
                return found
            found = better


def key(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """Of a variant."""
    return tuple(values.get(name) for name in VARIED)


def swept(description: Mapping[str, Any], store: Path, jobs: int) -> pd.DataFrame:
    """The points of a sweep in its order, trace by trace; none may fail."""
    frame = simhw.sweep(description, store, jobs=jobs).sort_values("number", ignore_index=True)
    failed = frame[frame["status"] != "done"]
    assert failed.empty, failed["error"].iloc[0]
    return frame


def errors() -> list[dict[str, Any]]:
    """Relative errors of sums by reading, threshold and accumulator, of each trace.

    Of each operation of each layer: the root of the mean square of what outputs differ from exact sums, over that of
    the exact sums.  The table has the root of the mean square over operations.
    """
    names = ("pe.oob_threshold", "pe.accumulator_fraction_bits", "pe.chunk")
    points: list[tuple[Any, ...]] = [(*pair, 64) for pair in product(THRESHOLDS, FRACTION_BITS)]
    points += [(*pair, "off") for pair in product(WITHOUT_CHUNKS, (8, 12))]
    machines: dict[tuple[Any, ...], Machine] = {
        ("fpraker", *each): load_machine("fpraker", **dict(zip(names, each, strict=True))) for each in points
    }
    machines["bitparallel", "", 12, "off"] = load_machine("bitparallel", accumulator_fraction_bits=12)
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for name in TRACES:
        trace = load_trace(name)
        for layer, operation in product(trace.layers, OPERATIONS):
            if operation not in layer.operations:
                continue
            passes = islice(tile_passes(trace, layer.name, operation, load_machine("fpraker")), 0, None, EVERY)
            rows = list(islice(passes, PASSES))
            exact = [to_float32(x).astype(np.float64) @ to_float32(y).astype(np.float64).T for x, y in rows]
            if not any(each.any() for each in exact):
                continue
            nearest = [to_float32(from_float32(each.astype(np.float32))).astype(np.float64) for each in exact]
            found.setdefault(("bfloat16", "", "", ""), {}).setdefault(name, []).append(distance(nearest, exact))
            for label, machine in machines.items():
                outputs = [sums(machine, x, y) for x, y in rows]
                found.setdefault(label, {}).setdefault(name, []).append(distance(outputs, exact))
    return [
        {
            **dict(zip(("machine", "oob_threshold", "accumulator_fraction_bits", "chunk"), label, strict=True)),
            **{f"error_{name}": f"{np.sqrt(np.mean(np.square(each))):.5f}" for name, each in by_trace.items()},
        }
        for label, by_trace in found.items()
    ]


def sums(machine: Machine, x: npt.NDArray[np.uint16], y: npt.NDArray[np.uint16]) -> Floats:
    """What a machine's tile gives for rows of X against rows of Y."""
    parallel = whole_tiles([y], machine.tile.tile_y)
    outputs = machine.tile.run(x, machine.tile.prepare(parallel), outputs=True).outputs
    assert outputs is not None
    return to_float32(outputs).astype(np.float64)


def distance(outputs: Sequence[Floats], exact: Sequence[Floats]) -> float:
    """Relative, by the root of the mean square."""
    wrong = sum(float(np.square(one - other).sum()) for one, other in zip(outputs, exact, strict=True))
    return float(np.sqrt(wrong / sum(float(np.square(each).sum()) for each in exact)))


def errors_of(found: pd.DataFrame, values: Mapping[str, Any]) -> Floats:
    """Of each trace, with a variant's threshold, accumulator and chunks; no other value changes a sum."""
    names = ("oob_threshold", "accumulator_fraction_bits", "chunk")
    rows = found[found["machine"] == "fpraker"]
    for name in names:
        rows = rows[rows[name].astype(str) == str(values[f"pe.{name}"])]
    return np.array([float(rows[f"error_{name}"].iloc[0]) for name in TRACES])


def no_worse(found: pd.DataFrame, values: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a variant's sums are as exact as another's on each of the traces."""
    return bool((errors_of(found, values) <= errors_of(found, other)).all())


def keep(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table."""
    with replacing(path) as temporary:
        pd.DataFrame(list(rows), dtype=object).to_csv(temporary, index=False, lineterminator="\n")


def table(path: Path) -> pd.DataFrame:
    """Read a table; what does not apply is an empty string."""
    return pd.read_csv(path, keep_default_na=False, na_values=[])


def grid(threshold: int, every: bool) -> list[Values]:
    """Window x rows x buffers with a threshold: every combination, or those near the published design."""
    axes = (WINDOWS, ROWS, BUFFERS) if every else (FEWER_WINDOWS, FEWER_ROWS, BUFFERS[:2])
    return [
        variant("fpraker", {"pe.oob_threshold": threshold, "pe.shift_window": window, "tile.rows": rows, **buffers})
        for window, rows, buffers in product(*axes)
    ]


def chosen(study: Study, found: pd.DataFrame) -> dict[str, tuple[str, Values]]:
    """Machines and values of what is looked at on all traces, by what they are called."""
    published, strict = variant("fpraker"), variant("fpraker-literal")
    grids = {threshold: grid(threshold, published["pe.oob_threshold"] == threshold) for threshold in THRESHOLDS}
    study.speeds("fpraker", [each for group in grids.values() for each in group])
    starts = [max(group, key=lambda each: study.speeds("fpraker", [each])[0]) for group in grids.values()]
    widest = max(starts, key=lambda each: int(each["pe.oob_threshold"]))
    starts += [{**widest, "pe.oob_threshold": threshold, "pe.chunk": "off"} for threshold in WITHOUT_CHUNKS]
    best = study.best("fpraker", starts)
    (strict_best,) = study.best("fpraker-literal", [strict])
    trimmed = [{**each, "pe.accumulator_fraction_bits": bits} for each in best for bits in FRACTION_BITS]
    measured = [
        each for each in trimmed if each["pe.chunk"] != "off" or each["pe.accumulator_fraction_bits"] in (8, 12)
    ]
    study.speeds("fpraker", measured)
    exact = [each for each in measured if no_worse(found, each, published)]
    designs = {"published": ("fpraker", published), WAITING: ("fpraker", variant("fpraker", {"tile.sync": "set"}))}
    for name, chunked in (("no less exact", True), (BARE, False)):
        alike = [each for each in exact if (each["pe.chunk"] != "off") == chunked]
        if alike:
            designs[name] = ("fpraker", max(alike, key=lambda each: study.speeds("fpraker", [each])[0]))
    for each in best:
        name = f"T = {each['pe.oob_threshold']}" + (", no chunks" if each["pe.chunk"] == "off" else "")
        designs[name] = ("fpraker", each)
    return designs | {"strict": ("fpraker-literal", strict), "strict, best": ("fpraker-literal", strict_best)}


def on_all_traces(designs: Mapping[str, tuple[str, Values]], folder: Path, jobs: int) -> list[dict[str, Any]]:
    """Speed-ups and energy efficiencies of designs with memories and without, on every bundled trace."""
    names = sorted(each.stem for each in (HERE.parent / "traces").glob("*.npz"))
    loads = {name: baseline_load(name) for name in names}
    found = {}
    for own, machine in product((False, True), READINGS):
        traces = [name for name in names if (name in OWN_BATCH) == own]
        variants = list({key(values): values for name, values in designs.values() if name == machine}.values())
        grid = {"tiles": ["iso-area"], "batch": [None if own else BATCH], "sample": [1]}
        points = swept(
            {"traces": traces, "machines": machine, "grid": grid, "list": variants},
            folder / f"all-{machine}-{own}.db",
            jobs,
        )
        for (trace, values), point in zip(product(traces, variants), points.to_dict("records"), strict=True):
            built = load_machine(machine, **values, tiles=int(point["tiles"]))
            found[machine, key(values), trace] = {
                "tiles": built.values.tiles,
                "filled": round(filled(built), 5),
                "baseline_busy": loads[trace],
                **{name: round(float(point[name]), 4) for name in FIGURES},
            }
    return [
        {"design": called, "machine": machine, **values, "trace": trace, **found[machine, key(values), trace]}
        for called, (machine, values) in designs.items()
        for trace in names
    ]


def baseline_load(trace: str) -> float:
    """Share of the time in which the bit-parallel tiles have a pass."""
    batch = None if trace in OWN_BATCH else BATCH
    results = simhw.simulate(load_trace(trace), load_machine("fpraker"), sample=1, batch=batch, progress=False)
    return round(float(results.total.baseline_busy), 5)


def whole_tiles_synthesised(designs: Mapping[str, tuple[str, Values]]) -> list[dict[str, Any]]:
    """Areas of whole synthesised tiles, a NAND of two inputs being 1, and their critical paths."""
    from simhw.rtl.synthesis.library import own_library
    from simhw.rtl.synthesis.tiles import tile_of

    rows = []
    for called, (machine, values) in designs.items():
        built = load_machine(machine, **values)
        tile = tile_of(built.values, own_library())
        rows.append(
            {"design": called, "machine": machine, **values, "area": round(tile.area)}
            | {"critical_path_ps": round(tile.path.delay_ps)}
        )
        print(f"{called}: {tile.area:,.0f}", flush=True)
    return rows


def run(folder: Path, jobs: int) -> None:
    """Simulate, and write the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    keep(ERRORS, errors())
    study = Study(folder, jobs)
    designs = chosen(study, table(ERRORS))
    keep(SPEEDS, [study.rows[each] for each in sorted(study.rows, key=str)])
    keep(FINALISTS, on_all_traces(designs, folder, jobs))


def designs_of(finalists: pd.DataFrame) -> dict[str, tuple[str, Values]]:
    """Machine and values of each design."""
    return {
        str(row["design"]): (str(row["machine"]), values_of(row))
        for row in finalists.drop_duplicates("design").to_dict("records")
    }


def values_of(row: Mapping[Any, Any]) -> Values:
    """What a row of a table says of a variant."""
    return {
        name: row[name] if name in ("tile.sync",) or row[name] == "off" else int(float(row[name]))
        for name in VARIED
        if row[name] != ""
    }


def synthesise() -> None:
    """Write the table of synthesised tiles."""
    designs = designs_of(table(FINALISTS))
    keep(TILES, whole_tiles_synthesised({name: designs[name] for name in SYNTHESISED}))


def shown(values: Mapping[str, Any]) -> list[str]:
    """A variant as cells of a table: T, bits, chunk, window, rows, how a column waits, PEs to an exponent block."""
    if values["tile.sync"] == "pe":
        waits = f"buffers {values['tile.buffers.a']}, {values['tile.buffers.b']}"
    else:
        waits = f"each set, ahead {values['tile.run_ahead']}"
    first = ("pe.oob_threshold", "pe.accumulator_fraction_bits", "pe.chunk", "pe.shift_window", "tile.rows")
    return [*(str(values[name]) for name in first), waits, str(values["tile.exponent_sharing"])]


HEADINGS = ("T", "bits", "chunk", "window", "rows", "a column waits", "PEs a block")


def mean(values: Iterable[float]) -> float:
    """Geometric."""
    return float(np.exp(np.mean(np.log(list(values)))))


class Results:
    """The tables, and what follows from them."""

    def __init__(self) -> None:
        self.speeds, self.finalists, self.errors, self.tiles = map(table, (SPEEDS, FINALISTS, ERRORS, TILES))
        self.designs = designs_of(self.finalists)
        self._speeds = {
            (row["machine"], key(values_of(row))): float(row["speedup"]) for row in self.speeds.to_dict("records")
        }

    def speed(self, machine: str, values: Mapping[str, Any]) -> float:
        """Mean over the three traces at equal area."""
        return self._speeds[machine, key(values)]

    def of(self, design: str, column: str, traces: Sequence[str] | None = None) -> list[float]:
        """A column of a design on traces, by default on all; of the tiles alone at equal area and evenly loaded."""
        rows = self.finalists[self.finalists["design"] == design].set_index("trace")
        rows = rows if traces is None else rows.loc[list(traces)]
        values = rows[column].astype(float)
        if column in ("speedup", "energy_efficiency"):
            values = values / rows["busy"].astype(float) * rows["baseline_busy"].astype(float)
        if column == "speedup":
            values = values / rows["filled"].astype(float)
        return [float(each) for each in values]

    def gain(self, design: str, over: str, column: str = "speedup", traces: Sequence[str] | None = None) -> float:
        """Mean of a column over another design's, less 1."""
        return mean(self.of(design, column, traces)) / mean(self.of(over, column, traces)) - 1

    def whole(self, design: str) -> tuple[float, float]:
        """Area of a whole synthesised tile over that of its reading, and the gain on the three traces by that area."""
        machine, values = self.designs[design]
        reading = "published" if machine == "fpraker" else "strict"
        areas = {row["design"]: float(row["area"]) for row in self.tiles.to_dict("records")}
        ratio = areas[design] / areas[reading]
        modelled = load_machine(machine, **values).tile_area_um2 / load_machine(machine).tile_area_um2
        return ratio, (1 + self.gain(design, reading, traces=TRACES)) * modelled / ratio - 1

    @property
    def traces(self) -> list[str]:
        """Bundled ones, in the order of the rows."""
        return list(dict.fromkeys(self.finalists["trace"]))


def page(results: Results) -> str:
    """The page."""
    others = len(results.traces) - len(TRACES)
    return f"""# Which variant of FPRaker is best at equal area

<!-- not run: simulates for a quarter of an hour, and synthesises for some minutes -->
```sh
python reports/fpraker_variants.py run stores    # the tables beside this page
python reports/fpraker_variants.py synthesise    # whole tiles of the best ones, by the extra rtl
python reports/fpraker_variants.py write         # this page and its picture
```

{summary(results)}

![Variants at equal area](fpraker_variants.png)

## What is compared

- {len(results.speeds):,} variants are in [the table](fpraker_variants.csv): window x T x rows x buffers, and what a
  search from the best ones met. The search changes one value by one step while that helps.
- Three traces: a convolutional network, a transformer, a recurrent network. Every tile pass that they hold is
  simulated. Two of them hold all values, ResNet-50's a sample (95% half-width: 0.3%).
- Each variant has the tiles that fill the area of the bit-parallel tiles (`tiles: iso-area`). Whole tiles miss that
  area by up to a tile, and speed-ups are per area: divided by the share that is filled.
- Tiles are taken as evenly loaded. In these small steps the last passes leave tiles idle for 2 to 8% of the time. How
  many depends on whether passes divide by tiles, which is luck. The tables hold `busy`, and speed-ups as they are.
- Areas are those of [variants](../docs/area.md): the published tile's, times a modelled ratio.
- T is how far below the largest exponent a term still counts, *bits* the fraction bits of the accumulator.
- *The published design* is `fpraker`, the reading of the paper that agrees best with what it reports
  ([why](../docs/fpraker.md)): PEs at their own pace, buffers of one set, chunks of 64, T = 7.

## The best of each threshold

Speed-up of the tiles over the bit-parallel machine, geometric mean of the three traces. *Error* is the largest of the
traces' relative errors of sums (below).

{lines(best_of_each(results))}

## One change at a time

{lines(single_changes(results))}

## How exact the sums are

Sums of every operation and layer against exact ones: root of the mean square of the difference, over that of the exact
sums. A trace's figure is the root of the mean square over its operations. *bfloat16* is the exact sum rounded once.
Window, rows and buffers change no sum.

{lines(error_table(results))}

Without chunks the error grows with the length of a sum. Sums over a training batch are longer than those over the few
samples in a trace. Whether a network trains as well with such sums is not tested here.

## On all bundled traces

The {others} other traces had no part in the choice. Published to best:

- *tiles*: speed-up at equal area, and energy efficiency, evenly loaded;
- *with memories*: the step with {BATCH} samples, with whole tiles and as they are loaded;
- *half-width*: 95%, of the trace's own sample, as a share. Two designs have the same sample, so their quotient is
  surer.

{lines(all_traces(results))}

## How sure it is

{lines(how_sure(results))}

## What is not in it

- One clock for all. What a longer path would cost is not charged.
- Power goes with area. A narrow window draws less than that ([measured](pe_power.md)), wide ones more.
- Every PE has a float32 sum for its chunks. If the published one is shared by PEs, dropping it gains less.
- Eight columns and eight lanes, NAF, and windows on offsets, as published.
"""


def lines(each: Iterable[str]) -> str:
    """As text."""
    return "\n".join(each)


def percent(share: float) -> str:
    """With a sign."""
    return f"{100 * share:+.1f}%"


def summary(results: Results) -> str:
    """What came out, in a few lines."""

    def gains(design: str, over: str) -> str:
        few, every = (results.gain(design, over, traces=traces) for traces in (TRACES, None))
        return f"{percent(few)} on the three traces, {percent(every)} on all {len(results.traces)}"

    best, bare, other = (overrides(*results.designs[name]) for name in ("no less exact", BARE, "strict, best"))
    nine = percent(results.gain("T = 9", "published", traces=TRACES))
    whole = percent(results.whole("no less exact")[1])
    memories = percent(results.gain("no less exact", "published", "overall_speedup"))
    return f"""At equal area, over the published design:

- **The best variant whose sums are as exact: {gains("no less exact", "published")}.** It is
  `{best}`.
- By the areas of whole synthesised tiles it is {whole} on the three traces ([below](#how-sure-it-is)).
- With memories it is {memories}: DRAM binds these steps. In energy of the tiles it is as much as in speed.
- With T = 9 it is {nine} on the three traces, with under a third of the error.
- Without the float32 sum of chunks it can keep more terms: {gains(BARE, "published")}.
  Its sums are more exact on the captured steps, and longer ones lose more ([below](#how-exact-the-sums-are)). It is
  `{bare}`.
- By the strict reading the published design is another one, and so is the best:
  {gains("strict, best", "strict")}. It is
  `{other}`.

The published window of 3 and 8 rows are the best at T = 7. What gains is that columns wait at each set, and that each
PE has an exponent block."""


def overrides(machine: str, values: Mapping[str, Any]) -> str:
    """A variant as the command line takes it."""
    own = variant(machine)
    defaults = {"tile.run_ahead": 1, "tile.buffers.a": 1, "tile.buffers.b": 1} | own
    return f"{machine}:" + ",".join(f"{name}={value}" for name, value in values.items() if defaults[name] != value)


def best_of_each(results: Results) -> list[str]:
    """Table of the designs."""
    published = results.speed("fpraker", results.designs["published"][1])
    strict = results.speed("fpraker-literal", results.designs["strict"][1])
    rows = []
    for name, (machine, values) in results.designs.items():
        speed = results.speed(machine, values)
        first = published if machine == "fpraker" else strict
        error = f"{100 * max(errors_of(results.errors, values)):.2f}%"
        rows.append([name, *shown(values), error, f"{speed:.3f}", percent(speed / first - 1)])
    return markdown_table(["design", *HEADINGS, "error", "speed-up", "over its reading"], rows)


def single_changes(results: Results) -> list[str]:
    """From the published design to the best one."""
    values = dict(results.designs["published"][1])
    rows = []
    before = results.speed("fpraker", values)
    for name, choices in (
        ("pe.shift_window", WINDOWS),
        ("tile.rows", ROWS),
        ("pe.oob_threshold", THRESHOLDS),
    ):
        cells = []
        for choice in choices:
            changed = {**values, name: choice}
            cells.append(f"{choice}: {percent(results.speed('fpraker', changed) / before - 1)}")
        rows.append([f"`{name}`", "; ".join(cells)])
    waits = []
    for buffers in BUFFERS:
        changed = variant("fpraker", buffers)
        label = "each set" if buffers["tile.sync"] == "set" else f"buffers of {buffers['tile.buffers.a']}"
        waits.append(f"{label}: {percent(results.speed('fpraker', changed) / before - 1)}")
    rows.append(["how a column waits", "; ".join(waits)])
    best = results.designs["T = 7"][1]
    before = results.speed("fpraker", best)
    bits = [{**best, "pe.accumulator_fraction_bits": each} for each in FRACTION_BITS]
    cells = [
        f"{each['pe.accumulator_fraction_bits']}: {percent(results.speed('fpraker', each) / before - 1)}"
        for each in bits
    ]
    rows.append(["`pe.accumulator_fraction_bits`, of the best with T = 7", "; ".join(cells)])
    return markdown_table(["of the published design", "speed-up at equal area with each value"], rows)


def error_table(results: Results) -> list[str]:
    """Errors of each trace by threshold, accumulator and chunks."""
    rows = [
        [*(str(row[name]) for name in ("machine", "oob_threshold", "accumulator_fraction_bits", "chunk"))]
        + [f"{100 * float(row[f'error_{trace}']):.2f}%" for trace in TRACES]
        for row in results.errors.to_dict("records")
        if row["machine"] != "fpraker" or row["accumulator_fraction_bits"] in ("8", "12", 8, 12, 8.0, 12.0)
    ]
    return markdown_table(["sums of", "T", "bits", "chunk", *TRACES], rows)


def all_traces(results: Results) -> list[str]:
    """Published and best on each trace."""
    columns = {
        "speedup": "tiles",
        "energy_efficiency": "energy",
        "overall_speedup": "with memories",
        "overall_energy_efficiency": "their energy",
    }
    rows = []
    for number, trace in enumerate(results.traces):
        row = [f"{trace} (chosen by)" if trace in TRACES else trace]
        for name in columns:
            first, other = (results.of(design, name)[number] for design in ("published", "no less exact"))
            row.append(f"{first:.3f} to {other:.3f} ({percent(other / first - 1)})")
        half = results.of("published", "speedup_ci95")[number] / results.of("published", "speedup")[number]
        strict = results.of("strict, best", "speedup")[number] / results.of("strict", "speedup")[number] - 1
        bare = results.of(BARE, "speedup")[number] / results.of("published", "speedup")[number] - 1
        rows.append([*row, f"{100 * half:.1f}%", percent(bare), percent(strict)])
    means = ["*geometric mean*"]
    for name in columns:
        first, other = (mean(results.of(design, name)) for design in ("published", "no less exact"))
        means.append(f"{first:.3f} to {other:.3f} ({percent(other / first - 1)})")
    rows.append([*means, "", percent(results.gain(BARE, "published")), percent(results.gain("strict, best", "strict"))])
    headings = ["trace", *columns.values(), "half-width", "tiles: no chunks", "strict reading"]
    return markdown_table(headings, rows)


def how_sure(results: Results) -> list[str]:
    """Area model, synthesised tiles and sample against the gain."""
    tiles = {row["design"]: row for row in results.tiles.to_dict("records")}
    rows = []
    for name, tile in tiles.items():
        machine, values = results.designs[name]
        other = "published" if machine == "fpraker" else "strict"
        modelled = load_machine(machine, **values).tile_area_um2 / load_machine(machine).tile_area_um2
        whole, by_whole = results.whole(name)
        gain = results.gain(name, other, traces=TRACES)
        path = f"{int(tile['critical_path_ps']):,}"
        rows.append([name, f"{modelled:.3f}", f"{whole:.3f}", percent(gain), percent(by_whole), path])
    error = load_machine("fpraker").values.tile_area_model["pe_array"].error
    return [
        f"The area model predicts a synthesis that the fit has not seen to {100 * error:.1f}% at worst. So whole tiles",
        "were synthesised too. *By synthesised area* is the gain if those are right. Areas are over the reading's own",
        "tile.",
        "",
        *markdown_table(
            ["design", "area: modelled", "synthesised", "gain", "by synthesised area", "critical path, ps"], rows
        ),
        "",
        "Tiles whose PEs have exponent blocks of their own take 3 to 8% more than modelled, so that part of a gain is",
        "the least sure.",
        "",
        "Samples matter less: two of the three traces are exact, and ResNet-50's interval is 0.3%. The reading matters",
        "most: if the published tile already waits at each set, that part of the gain is in it.",
    ]


COLORS = {5: "#CC79A7", 6: "#E69F00", 7: "#0072B2", 8: "#56B4E9", 9: "#009E73", 12: "#999999"}
"""Of thresholds; Okabe and Ito's."""


def draw(results: Results, path: Path) -> None:
    """Variants by error and speed-up, the windows of the best, and the gain on each trace."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.2, 1, 1.2])
    records = [(row["machine"], values_of(row), float(row["speedup"])) for row in results.speeds.to_dict("records")]
    chunked = [each for each in records if each[0] == "fpraker" and each[1]["pe.chunk"] != "off"]
    ahead = [(100 * float(max(errors_of(results.errors, values))), speed) for _, values, speed in chunked]
    for threshold, color in COLORS.items():
        own = [place for place, each in enumerate(chunked) if each[1]["pe.oob_threshold"] == threshold]
        places = [ahead[place] for place in own]
        left.plot(*zip(*places, strict=True), ".", color=color, alpha=0.5, label=f"T = {threshold}")
    front = [(x, y) for x, y in ahead if not any(u <= x and v >= y and (u, v) != (x, y) for u, v in ahead)]
    left.plot(*zip(*sorted(set(front)), strict=True), "-", color="black", linewidth=1, label="Pareto front")
    for name, mark in (("published", "s"), ("no less exact", "*")):
        _, values = results.designs[name]
        x, y = 100 * float(max(errors_of(results.errors, values))), results.speed("fpraker", values)
        left.plot(x, y, mark, color="black", markersize=10 if mark == "*" else 7, label=name)
    left.set(
        xscale="log", xlabel="error of sums, %", ylabel="speed-up at equal area", title="three traces, with chunks"
    )
    left.set_xticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    left.xaxis.set_minor_formatter(NullFormatter())
    left.legend(fontsize=7)
    for rows in ROWS:
        for sync, style in (("set", "-o"), ("pe", "--s")):
            changes = {"tile.sync": sync, "tile.rows": rows, "pe.oob_threshold": published_threshold()}
            speeds = [
                results.speed("fpraker", variant("fpraker", {**changes, "pe.shift_window": window}))
                for window in WINDOWS
            ]
            color = ("#CC79A7", "#E69F00", "#0072B2", "#009E73")[ROWS.index(rows)]
            middle.plot(WINDOWS, speeds, style, color=color, markersize=4, label=f"{rows} rows, waits by {sync}")
    middle.set(xlabel="shift window", ylabel="speed-up at equal area", title="T = 7, buffers of one set")
    middle.legend(fontsize=7)
    bars = np.arange(len(results.traces))
    for name, other, shift, color in (
        ("no less exact", "published", -0.28, "#0072B2"),
        (BARE, "published", 0.0, "#009E73"),
        ("strict, best", "strict", 0.28, "#E69F00"),
    ):
        ratios = [one / two for one, two in zip(results.of(name, "speedup"), results.of(other, "speedup"), strict=True)]
        right.barh(
            bars + shift, [100 * (each - 1) for each in ratios], 0.27, color=color, label=f"{name}, over {other}"
        )
    right.set_yticks(bars, results.traces, fontsize=7)
    right.invert_yaxis()
    right.set(xlabel="gain at equal area, %", title="all bundled traces")
    right.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.4, 1.06))
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def published_threshold() -> int:
    """T of the published design."""
    return int(variant("fpraker")["pe.oob_threshold"])


def write() -> None:
    """The page and the picture."""
    results = Results()
    with replacing(HERE / "fpraker_variants.md") as temporary:
        temporary.write_text(page(results), encoding="utf-8")
    draw(results, HERE / "fpraker_variants.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    simulating = commands.add_parser("run", help="the tables of speeds and errors")
    simulating.add_argument("stores", type=Path, help="a folder for the stores of the sweeps")
    simulating.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    commands.add_parser("synthesise", help="the table of whole tiles")
    commands.add_parser("write", help="the page and the picture")
    given = parser.parse_args(arguments)
    if given.command == "run":
        run(given.stores, given.jobs)
    elif given.command == "synthesise":
        synthesise()
    else:
        write()


if __name__ == "__main__":
    main()
