"""The FPRaker twin in Amaranth's simulator, beside the oracle: lanes cycle by cycle, register and output set by set."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from amaranth.sim import Simulator

from simhw.bfloat16 import BF16Array, from_float32
from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.fpraker.column import Column
from simhw.rtl.fpraker.element import LonePE
from tests.oracles import fpraker
from tests.oracles.accumulator import BIAS, Accumulator, decode_rows

LANES = 8
MOST_CYCLES = 9 * 16
"""With 16 lanes.  A set that takes more fires no term in some cycle, and will never end: a twin that does so is left
there.
"""


Lanes = tuple[int, int, int]
"""Of a cycle, as bit masks: lanes that fire, those of them whose term is in bounds, and those outside the window."""


@dataclass(frozen=True)
class SetTrace:
    """Of one set: its cycles; S and E after it, and the bfloat16 read out; with chunks that is read after a reduction
    alone, and else None.
    """

    cycles: tuple[Lanes, ...]
    integer: int
    exponent: int
    output: int | None


Reduction = tuple[str, BF16Array, BF16Array]
"""A name, and K values of A and of B."""


def parameters(**changed: object) -> FPRakerPE:
    """A PE by the strict rules, but for what is changed."""
    values: dict[str, object] = {
        "kind": "fpraker",
        "lanes": LANES,
        "encoder": "naf",
        "shift_window": 3,
        "window_on": "offset",
        "oob_threshold": None,
        "oob": "pe",
        "accumulator_fraction_bits": 12,
        "rounding": "set",
        "chunk": "off",
    }
    return FPRakerPE.model_validate(values | changed)


class WatchedAccumulator(Accumulator):
    """Tells S and E as they were before a chunk's end moved them away."""

    def end_set(self, macs: int) -> None:
        self.ended = self.integer, self.exponent + 2 * BIAS + EXPONENT_OFFSET if self.integer else 0
        super().end_set(macs)


def tile_parameters(**changed: object) -> FPRakerTileParameters:
    """One column by the strict rules, but for what is changed."""
    values: dict[str, object] = {
        "rows": 8,
        "cols": 1,
        "sync": "set",
        "run_ahead": 1,
        "buffers": {"a": 1, "b": 1},
        "exponent_sharing": 2,
        "empty_sets": "floor",
    }
    return FPRakerTileParameters.model_validate(values | changed)


def config_of(pe: FPRakerPE, tile: FPRakerTileParameters) -> fpraker.Config:
    """The oracle's parameters of a tile."""
    return fpraker.Config(
        encoder=pe.encoder,
        shift_window=pe.shift_window,
        window_on=pe.window_on,
        oob_threshold=pe.threshold,
        oob=pe.oob,
        accumulator_fraction_bits=pe.accumulator_fraction_bits,
        rounding=pe.rounding,
        chunk=None if pe.chunk == "off" else pe.chunk,
        rows=tile.rows,
        cols=tile.cols,
        sync=tile.sync,
        run_ahead=tile.run_ahead,
        buffers=(tile.buffers.a, tile.buffers.b),
        exponent_sharing=tile.exponent_sharing,
        empty_sets=tile.empty_sets,
    )


def of_oracle(pe: FPRakerPE, a: BF16Array, b: BF16Array) -> list[SetTrace]:
    """What the oracle says of one reduction in a PE alone."""
    return [row for (row,) in column_of_oracle(pe, tile_parameters(rows=1, exponent_sharing=1), a, b)]


def column_of_oracle(pe: FPRakerPE, tile: FPRakerTileParameters, a: BF16Array, b: BF16Array) -> list[list[SetTrace]]:
    """What the oracle says of a column, by set and row: as many cycles as the set takes there."""
    config = config_of(pe, tile)
    registers = [WatchedAccumulator(config.accumulator_fraction_bits, config.chunk) for _ in b]
    traces = []
    for x, *ys in zip(*decode_rows(a, pe.lanes), *decode_rows(b, pe.lanes), strict=True):
        column = [fpraker.make_lanes(x, y, register, config) for y, register in zip(ys, registers, strict=True)]
        if config.oob == "column":
            fpraker.share_slots(column)
        if config.sync == "term":
            runs = fpraker.run_together(column, config.shift_window)
        else:
            runs = [fpraker.run_alone(lanes, config.shift_window) for lanes in column]
        waiting = outside_the_window(column, runs, config.sync == "term")
        row_traces = []
        for row, cycles in enumerate(fpraker.set_times(column, runs, config)):
            fpraker.accumulate(column[row], runs[row], registers[row], config)
            fired = [mask(lane for lane, _ in pairs) for pairs in runs[row].fired]
            adding = [
                mask(lane for lane, term in pairs if term < column[row][lane].in_bounds) for pairs in runs[row].fired
            ]
            at_work = zip(fired, adding, waiting[row], strict=True)
            idle = ((0, 0, 0),) * (cycles - len(fired))
            output = read_out(registers[row]) if config.chunk is None else None
            row_traces.append(SetTrace((*at_work, *idle), *registers[row].ended, output))
        traces.append(row_traces)
    traces[-1] = [
        replace(trace, output=read_out(register)) for trace, register in zip(traces[-1], registers, strict=True)
    ]
    return traces


def outside_the_window(column: list[list[fpraker.Lane]], runs: list[fpraker.SetRun], shared: bool) -> list[list[int]]:
    """By PE and cycle, the lanes that have a term to fire and do not; lanes may have their pointers in common."""
    done = [[0] * len(lanes) for lanes in column]
    pointers = [list(own) for own in done]
    waiting: list[list[int]] = [[] for _ in column]
    for cycle in range(max(run.cycles for run in runs)):
        for pe, (lanes, run) in enumerate(zip(column, runs, strict=True)):
            if cycle >= run.cycles:
                continue
            fired = {lane for lane, _ in run.fired[cycle]}
            to_fire = {i for i, lane in enumerate(lanes) if done[pe][i] < lane.slots and done[pe][i] == pointers[pe][i]}
            waiting[pe].append(mask(to_fire - fired))
            for lane in fired:
                done[pe][lane] += 1
        for index in range(len(column[0])):
            on = [done[pe][index] > pointers[pe][index] for pe in range(len(column))]
            if shared:
                needs = [lanes[index].slots > pointers[pe][index] for pe, lanes in enumerate(column)]
                on = [all(moved for moved, needed in zip(on, needs, strict=True) if needed)] * len(column)
            for pe, moves in enumerate(on):
                pointers[pe][index] += moves
    return waiting


def mask(lanes: Iterable[int]) -> int:
    return sum(1 << lane for lane in lanes)


def read_out(register: Accumulator) -> int:
    return int(from_float32(np.float32([register.read_out()]))[0])


def of_twin(pe: FPRakerPE, reductions: Iterable[Reduction]) -> list[list[SetTrace]]:
    """What the hardware does, with sets that follow each other without a gap."""
    sets = [
        [(packed(x), packed(y)) for x, y in zip(in_sets(a, pe.lanes), in_sets(b, pe.lanes), strict=True)]
        for _, a, b in reductions
    ]
    dut = LonePE(pe)
    traces: list[list[SetTrace]] = [[] for _ in sets]

    async def testbench(ctx) -> None:
        late: list[int] = []  # reductions whose output is there in the next cycle

        async def clock() -> None:
            await ctx.tick()
            while late:
                reduction = traces[late.pop()]
                reduction[-1] = replace(reduction[-1], output=ctx.get(dut.output))

        def see() -> None:
            cycles.append((ctx.get(dut.fires), ctx.get(dut.adds), ctx.get(dut.waits)))

        def end(number: int) -> None:
            output = ctx.get(dut.output) if pe.chunk == "off" else None
            traces[number].append(SetTrace(tuple(cycles), ctx.get(dut.integer), ctx.get(dut.exponent), output))
            if pe.chunk != "off" and len(traces[number]) == len(sets[number]):
                late.append(number)

        where: int | None = None
        for number, reduction in enumerate(sets):
            for index, (x, y) in enumerate(reduction):
                ctx.set(dut.valid, 1)
                ctx.set(dut.restart, index == 0)
                ctx.set(dut.last, index == len(reduction) - 1)
                ctx.set(dut.a.as_value(), x)
                ctx.set(dut.b.as_value(), y)
                cycles: list[Lanes] = []
                taken = False
                while not taken:
                    if ctx.get(dut.busy):
                        see()
                    taken = bool(ctx.get(dut.take))
                    if len(cycles) > MOST_CYCLES:
                        return
                    await clock()
                if where is not None:
                    end(where)
                where = number
        ctx.set(dut.valid, 0)
        cycles = []
        while ctx.get(dut.busy):
            see()
            if len(cycles) > MOST_CYCLES:
                return
            await clock()
        if where is not None:
            end(where)
        await clock()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return traces


def column_of_twin(pe: FPRakerPE, tile: FPRakerTileParameters, a: BF16Array, b: BF16Array) -> list[list[SetTrace]]:
    """What the hardware does with one reduction in every row, by set and row."""
    sets = [
        (packed(x), packed(np.concatenate(ys)))
        for x, *ys in zip(in_sets(a, pe.lanes), *(in_sets(row, pe.lanes) for row in b), strict=True)
    ]
    dut = Column(pe, tile)
    traces: list[list[SetTrace]] = []

    async def testbench(ctx) -> None:
        ctx.set(dut.valid, 1)
        # A set behind the last one, so that the column moves on from that too.
        for number, (x, y) in enumerate([*sets, (0, 0)]):
            ctx.set(dut.restart, number == 0)
            ctx.set(dut.a.as_value(), x)
            ctx.set(dut.b.as_value(), y)
            cycles: list[list[Lanes]] = [[] for _ in b]
            taken = False
            while not taken:
                for row in range(len(b)):
                    cycles[row].append((ctx.get(dut.fires[row]), ctx.get(dut.adds[row]), ctx.get(dut.waits[row])))
                taken = bool(ctx.get(dut.take))
                if len(cycles[0]) > MOST_CYCLES:
                    return
                await ctx.tick()
            if number:
                traces.append(
                    [
                        SetTrace(
                            tuple(cycles[row]),
                            ctx.get(dut.integers[row]),
                            ctx.get(dut.exponents[row]),
                            ctx.get(dut.outputs[row]),
                        )
                        for row in range(len(b))
                    ]
                )

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return traces


def in_sets(values: BF16Array, lanes: int) -> list[BF16Array]:
    flat = np.asarray(values, dtype=np.uint16).ravel()
    padded = np.concatenate([flat, np.zeros(-len(flat) % lanes, dtype=np.uint16)])
    return list(padded.reshape(-1, lanes))


def packed(values: BF16Array) -> int:
    """A set as the bits of a port, lane 0 first."""
    return int.from_bytes(np.ascontiguousarray(values, dtype="<u2").tobytes(), "little")


def first_difference(pe: FPRakerPE, reductions: list[Reduction]) -> str | None:
    """Where twin and oracle differ first, None where they agree in everything."""
    for (name, a, b), found in zip(reductions, of_twin(pe, reductions), strict=True):
        expected = of_oracle(pe, a, b)
        if found != expected:
            index, pair = next(item for item in enumerate(zip_longest(found, expected)) if item[1][0] != item[1][1])
            return f"{pe}: {name}, set {index}: the twin has {pair[0]}, the oracle {pair[1]}"
    return None
