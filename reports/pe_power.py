"""Power of processing elements by the activity of their netlists, on operands of real training steps, as a page.

python reports/pe_power.py reports/pe_power.md
"""

import csv
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from simhw.files.writing import replacing
from simhw.machine.machine import Machine, load_machine
from simhw.pe.fpraker.record import fpraker_record
from simhw.pe.fpraker.replay import FPRakerReplay
from simhw.report.markdown import markdown_table
from simhw.report.waveform import one_pass
from simhw.rtl.bitparallel import BitParallel
from simhw.rtl.fpraker.element import LonePE
from simhw.rtl.netlist.circuit import Circuit, circuit_of
from simhw.rtl.netlist.loads import LoadModel
from simhw.rtl.netlist.operands import Sets, bitparallel_inputs, fpraker_inputs
from simhw.rtl.netlist.simulation import Delay, Simulator, unpacked
from simhw.rtl.synthesis.synthesise import synthesise
from simhw.simulation.cost import PowerDrawn
from simhw.trace.layer import OPERATIONS, Operation
from simhw.trace.reader import load_trace

LAYERS = (
    ("resnet50", "layer1.0.conv2"),
    ("resnet50", "layer3.1.conv2"),
    ("vit_skipvit", ""),
    ("resnet9_haet", ""),
)
"""Traces and layers whose first tile passes are run; no name stands for a layer in the middle."""
SETS = 8
"""Of each pass, so many sets are run."""
DELAYS: tuple[Delay, ...] = ("zero", "unit")
VARIANTS = (
    {"pe.shift_window": 0},
    {"pe.shift_window": 6},
    {"pe.shift_window": 13},
    {"pe.oob_threshold": 6, "pe.accumulator_fraction_bits": 6},
    {"pe.oob_threshold": 12},
    {"pe.encoder": "booth4"},
    {"pe.rounding": "cycle"},
)
LANES_BY_NETWORK = Path(__file__).parent / "papers" / "fpraker-lanes.csv"
"""Lane-cycles of the papers' networks on the machine `fpraker`, as `simhw reproduce fpraker` writes them."""
NOT_IN_THE_MEAN = "resnet18"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Operands:
    """A tile pass: where it is from, and the rows of the two operands."""

    trace: str
    layer: str
    operation: Operation
    x: npt.NDArray[np.uint16]
    y: npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Cycles:
    """PE-cycles of some passes: energy of each, and what the PE did.

    Attributes
    ----------
    energy : (cycles,) float64
        Of the toggles; the clock's is `clock` in each.
    busy, begins, ends : (cycles,) bool
    fires, waits : (cycles,) int64
        Lanes.
    """

    clock: float
    energy: Floats
    busy: npt.NDArray[np.bool_]
    begins: npt.NDArray[np.bool_]
    ends: npt.NDArray[np.bool_]
    fires: npt.NDArray[np.int64]
    waits: npt.NDArray[np.int64]

    @staticmethod
    def together(parts: Sequence["Cycles"]) -> "Cycles":
        """The cycles of several passes of one circuit."""
        names = ("energy", "busy", "begins", "ends", "fires", "waits")
        return Cycles(parts[0].clock, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @property
    def mean(self) -> float:
        """Of any cycle."""
        return float(self.energy.mean()) + self.clock

    @property
    def run(self) -> float:
        """Of a cycle in which the PE works, with the clock."""
        return float(self.energy[self.busy].mean()) + self.clock

    @property
    def waiting(self) -> float:
        """Of a cycle in which it has no set to work on."""
        return float(self.energy[~self.busy].mean()) + self.clock

    @property
    def share_waiting(self) -> float:
        """Of the cycles."""
        return float(1 - self.busy.mean())


def operands(machine: Machine) -> list[Operands]:
    """A pass from the middle of every operation of the layers."""
    found = []
    for name, layer_name in LAYERS:
        trace = load_trace(name)
        layer = next(
            (layer for layer in trace.layers if layer.name == layer_name), trace.layers[len(trace.layers) // 2]
        )
        for operation in OPERATIONS:
            if operation in layer.operations:
                x, y = one_pass(trace, layer.name, operation, machine)
                whole = SETS * machine.tile.lanes
                if len(x) == machine.tile.tile_x and len(y) == machine.tile.tile_y:
                    found.append(Operands(name, layer.name, operation, x[:, :whole], y[:, :whole]))
    return found


def fpraker_cycles(machine: Machine, circuit: Circuit, each: Operands, delay: Delay, loads: LoadModel) -> Cycles:
    """The PEs of a tile in one pass, waiting for each other as they do in the machine."""
    lanes, sets = machine.tile.lanes, each.x.shape[1] // machine.tile.lanes

    def record(sharing: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        tile = machine.values.tile.model_copy(update={"exponent_sharing": sharing})
        written = fpraker_record(tile.cols, tile.rows, lanes, sets, 0, 0)
        FPRakerReplay(machine.values.pe, tile).tile_pass(each.x, each.y, np.ones(tile.rows, bool), written)
        return written.start.reshape(-1, sets) + 2, written.finish.reshape(-1, sets) + 2

    start, finish = record(machine.values.tile.exponent_sharing)
    cycles = int(finish.max())
    alone_start, alone_finish = record(1)
    work = alone_finish - alone_start
    inputs = fpraker_inputs(circuit, Sets.of_passes([(each.x, each.y)], lanes), start, cycles)
    activity = Simulator(circuit, 1, delay, loads.of_toggles(circuit)).run(inputs)
    seen = {port: unpacked(activity.outputs[port]) for port in ("busy", "ends", "fires", "waits")}
    assert seen["busy"].sum() == work.sum(), "the netlist works as long as the replay"
    begins = np.zeros(seen["busy"].shape, bool)
    begins[start, np.arange(len(start))[:, None]] = True
    # From the first set on, as the passes before would have filled the tile.
    return Cycles(
        loads.of_clock(circuit),
        *(
            values[2:].ravel()
            for values in (
                activity.energies,
                seen["busy"].astype(bool),
                begins,
                seen["ends"].astype(bool),
                np.bitwise_count(seen["fires"]).astype(np.int64),
                np.bitwise_count(seen["waits"]).astype(np.int64),
            )
        ),
    )


def bitparallel_energy(
    machine: Machine, circuit: Circuit, each: Operands, stages: int, delay: Delay, loads: LoadModel
) -> float:
    """Of a PE-cycle, with the clock."""
    inputs = bitparallel_inputs(circuit, Sets.of_passes([(each.x, each.y)], machine.tile.lanes), stages)
    activity = Simulator(circuit, 1, delay, loads.of_toggles(circuit)).run(inputs)
    return float(activity.energies[2 + stages : -stages].mean()) + loads.of_clock(circuit)


def explained(cycles: Cycles, *, with_ends: bool) -> float:
    """R^2 of the energy of run cycles, by how many lanes fire and wait; and by where in a set the cycle is."""
    columns = [np.ones(cycles.busy.sum()), cycles.fires[cycles.busy], cycles.waits[cycles.busy]]
    if with_ends:
        columns += [cycles.begins[cycles.busy], cycles.ends[cycles.busy]]
    features, energy = np.stack(columns, 1).astype(float), cycles.energy[cycles.busy]
    rest = energy - features @ np.linalg.lstsq(features, energy, rcond=None)[0]
    return float(1 - rest.var() / energy.var())


def fpraker_circuit(machine: Machine) -> Circuit:
    """A PE with encoders and an exponent block of its own."""
    return circuit_of(synthesise(LonePE(machine.values.pe), "fpraker_pe"))


def variant_rows(base: Machine, published: Circuit, passes: Sequence[Operands]) -> list[list[str]]:
    """Area, and energy of a run cycle without and with delays, over those of the published PE."""
    loads = LoadModel()

    def run_energies(machine: Machine, circuit: Circuit) -> list[float]:
        return [
            Cycles.together([fpraker_cycles(machine, circuit, each, delay, loads) for each in passes]).run
            for delay in DELAYS
        ]

    own = run_energies(base, published)
    rows = []
    for changes in VARIANTS:
        machine = load_machine("fpraker", **({"pe.chunk": "off"} | changes))
        circuit = fpraker_circuit(machine)
        ratios = [mine / other for mine, other in zip(run_energies(machine, circuit), own, strict=True)]
        name = ", ".join(f"{key.removeprefix('pe.')} {value}" for key, value in changes.items())
        area = circuit.area / published.area
        rows.append([name, f"{area:.3f}", *(f"{each:.3f}" for each in ratios), f"{np.mean(ratios) / area - 1:+.1%}"])
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def network_rows() -> tuple[float, list[list[str]]]:
    """The mean share of waiting PE-cycles, and by network that share and the compute energy efficiency as charged by
    tiles and by PEs.
    """
    machine = load_machine("fpraker", **{"energy.compute": "pe_cycle"})
    with LANES_BY_NETWORK.open(encoding="utf-8", newline="") as file:
        totals = [row for row in csv.DictReader(file) if row["operation"] == "total"]
    # Each network early and late in its training: the late one counts, as in the published mean.
    late = {re.sub(r"-\d+$", "", Path(row["trace"]).stem): row for row in totals}
    waits, rows = [], []
    for name, row in late.items():
        cycles = {key: float(value) for key, value in row.items() if key.startswith("lane_cycles_") and value}
        waiting = (cycles["lane_cycles_exponent"] + cycles["lane_cycles_inter_pe"]) / sum(cycles.values())
        if name != NOT_IN_THE_MEAN:
            waits.append(waiting)
        share = PowerDrawn.on(machine, waiting=waiting).share
        plain = float(row["energy_efficiency"])
        charged = [plain / each for each in (share.mid, *sorted((share.low, share.high), reverse=True))]
        mid, low, high = (f"{each:.3f}" for each in charged)
        rows.append([name, f"{waiting:.3f}", f"{plain:.3f}", mid, f"{low} to {high}"])
    return float(np.mean(waits)), rows


def page() -> str:
    """The whole page."""
    base, dense = load_machine("fpraker", **{"pe.chunk": "off"}), load_machine("bitparallel")
    passes, loads = operands(base), LoadModel()
    circuit = fpraker_circuit(base)
    stages = (1, 2)
    denses = {
        number: circuit_of(
            synthesise(BitParallel(dense.values.pe, stages=number), "bitparallel_pe", apart=["multiplier_*"])
        )
        for number in stages
    }
    rows, both = [], {}
    dense_means: dict[tuple[Delay, int], float] = {}
    for delay in DELAYS:
        found = [fpraker_cycles(base, circuit, each, delay, loads) for each in passes]
        beside = {
            number: [bitparallel_energy(dense, denses[number], each, number, delay, loads) for each in passes]
            for number in stages
        }
        both[delay] = Cycles.together(found)
        dense_means |= {(delay, number): float(np.mean(beside[number])) for number in stages}
        for index, (each, cycles) in enumerate(zip(passes, found, strict=True)):
            rows.append(
                [
                    f"{each.trace} {each.layer}",
                    each.operation,
                    delay,
                    f"{cycles.share_waiting:.2f}",
                    f"{cycles.run:.0f}",
                    f"{cycles.waiting:.0f}",
                    *(f"{beside[number][index]:.0f}" for number in stages),
                ]
            )
            print(rows[-1], file=sys.stderr, flush=True)
    summary = [
        [
            delay,
            f"{both[delay].run:.0f}",
            f"{both[delay].waiting:.0f}",
            f"{both[delay].waiting / both[delay].run:.3f}",
            f"{both[delay].clock / both[delay].run:.2f}",
            *(f"{both[delay].mean / dense_means[delay, number]:.3f}" for number in stages),
            f"{explained(both[delay], with_ends=False):.2f}",
            f"{explained(both[delay], with_ends=True):.2f}",
        ]
        for delay in DELAYS
    ]
    sensitivity = []
    for model in (LoadModel(), LoadModel(wire=0), LoadModel(wire=2), LoadModel(inside=0.5), LoadModel(inside=2)):
        cycles = Cycles.together([fpraker_cycles(base, circuit, each, "zero", model) for each in passes])
        mean = np.mean([bitparallel_energy(dense, denses[1], each, 1, "zero", model) for each in passes])
        sensitivity.append(
            [f"{model.wire:g}", f"{model.inside:g}", f"{cycles.waiting / cycles.run:.3f}", f"{cycles.mean / mean:.3f}"]
        )
    variants = variant_rows(base, circuit, passes[::3])
    waiting, networks = network_rows()
    areas = [[f"FPRaker, {base.values.pe.lanes} lanes", f"{circuit.area:.0f}", f"{len(circuit.next_states)}"]] + [
        [f"bit-parallel, stages {number}", f"{each.area:.0f}", f"{len(each.next_states)}"]
        for number, each in denses.items()
    ]
    return TEXT.format(
        sets=SETS,
        passes=len(passes),
        areas=_table(["netlist", "area [NAND2]", "flip-flops"], areas),
        summary=_table(
            ["delays", "run", "waiting", "waiting / run", "clock / run", "tile / bit-parallel, stages 1", "stages 2",
             "R^2 of lanes", "and of first and last cycle"],
            summary,
        ),
        rows=_table(
            ["layer", "operation", "delays", "waiting", "run", "waiting", "bit-parallel, stages 1", "stages 2"], rows
        ),
        sensitivity=_table(["wire", "inside", "waiting / run", "tile / bit-parallel"], sensitivity),
        waiting=f"{waiting:.3f}",
        networks=_table(["network", "waiting", "tile_cycle", "pe_cycle", "between"], networks),
        variants=_table(["variant", "area", "energy, zero", "energy, unit", "mean energy / area"], variants),
    )  # fmt: skip


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(markdown_table(list(header), [list(row) for row in rows]))


TEXT = """# Power of processing elements by activity

Made by `python reports/pe_power.py reports/pe_power.md`; needs the extra `rtl`.

FPRaker's PE and the bit-parallel PE are synthesised to simhw's own cells. Their netlists run {passes} tile passes of
the bundled traces, up to {sets} sets of each. The 64 PEs of a tile are 64 streams, and wait for each other as in the
machine `fpraker`. FPRaker's PE has encoders and an exponent block of its own here, which a tile shares. Both PEs
accumulate without chunks.

With two `stages` the bit-parallel PE has registers between its multipliers and its loop.

A toggle costs the load of its net: the inputs that it drives, a wire to each, and the inside of the driving cell
(`simhw/rtl/netlist/loads.py` says the model and why). One unit is the input of an inverter. Every cycle has the
clock's energy too; clocks are not gated.

Two delay models bound the toggles. With `zero` no glitch is seen. With `unit` each cell takes a unit of time, and all
glitches count, those too that real cells swallow.

{areas}

## What a cycle costs

{summary}

The published power of the tiles is as 0.23 (109.5 mW by 475 mW). *Tile / bit-parallel* is the mean PE-cycle of
FPRaker, waiting included, over one of the bit-parallel PE. It hangs on the delay model and on the stages of the
baseline, so it is reported and not used.

*Waiting / run* is what the switch `energy.compute: pe_cycle` takes: the geometric mean of both models, and its distance
to them as the uncertainty.

*R^2* says how much of what differs between run cycles is explained by the lanes that fire and wait, and how much if it
is known besides whether a cycle is the first or the last one of its set.

## What it does to the energy table

`energy.compute: pe_cycle` charges a PE that waits `energy.waiting_pe` of one that works, and the published power where
{waiting} of the cycles wait, the mean of the nine networks. Compute energy efficiency of the papers' networks:

{networks}

## By layer and operation

{rows}

## What the loads matter

With zero delay, one stage:

{sensitivity}

## Variants

Energy of a run cycle over that of the published PE, beside the area, on every third pass. The last column is what is
wrong with a power in proportion to the area:

{variants}

A narrower window lets fewer lanes fire in a cycle, so that less toggles in each of more cycles. Its power is below what
its area says. For the other variants the area tells the power within the error above.
"""


if __name__ == "__main__":
    (target,) = sys.argv[1:]
    text = page()
    with replacing(target) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
