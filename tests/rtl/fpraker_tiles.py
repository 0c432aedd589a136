"""An FPRaker tile in Amaranth's simulator, beside the oracle: every PE in every cycle, pass behind pass."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator

from simhw.bfloat16 import BF16Array
from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerTileParameters
from simhw.rtl.fpraker.tile import FPRakerTile
from simhw.rtl.fpraker.widths import Widths
from simhw.rtl.normaliser import EXPONENT_BITS
from tests.oracles import fpraker
from tests.oracles.inputs import powers_of_two, worst_naf
from tests.rtl.fpraker_runs import Lanes, column_of_oracle, config_of, in_sets, packed

Pass = tuple[BF16Array, BF16Array]
"""Values of A, a row a column of the tile, and of B, a row a row of the tile."""
LATEST_BEGIN = 8
"""Cycles within which a tile begins that is given its sets at once."""


@dataclass
class TileTrace:
    """By (cycle, PE), from the cycle in which the first set begins: what its lanes do, if they do anything; S and E
    after each set; outputs.
    """

    cycles: int = 0
    lanes: dict[tuple[int, int], Lanes] = field(default_factory=dict)
    registers: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    outputs: dict[tuple[int, int], int] = field(default_factory=dict)


def tile_of_oracle(pe: FPRakerPE, tile: FPRakerTileParameters, passes: list[Pass]) -> TileTrace:
    """Passes one after another, each in the time that the oracle says."""
    trace, config = TileTrace(), config_of(pe, tile)
    for a, b in passes:
        columns = [column_of_oracle(pe, tile, row[np.newaxis], b) for row in a]
        times = [[[len(rows[r].cycles) for rows in sets] for r in range(tile.rows)] for sets in columns]
        if tile.sync == "pe":
            finish = fpraker.finish_at_own_pace(times, config.buffers)
        else:
            of_columns = fpraker.finish_of_columns([rows[0] for rows in times], config.run_ahead)
            finish = {
                (c, r, s): end
                for c, ends in enumerate(of_columns)
                for s, end in enumerate(ends)
                for r in range(tile.rows)
            }
        for (c, r, s), end in finish.items():
            number, row = c * tile.rows + r, columns[c][s][r]
            after = trace.cycles + end
            for back, lanes in enumerate(reversed(row.cycles)):
                if any(lanes):
                    trace.lanes[after - 1 - back, number] = lanes
            trace.registers[after, number] = row.integer, row.exponent
            if row.output is not None:
                # A running sum takes the accumulator in the cycle in which that is there.
                trace.outputs[after + (config.chunk is not None), number] = row.output
        if pe.lanes == fpraker.LANES:
            assert fpraker.tile_pass(a, b, config).cycles == max(finish.values())
        trace.cycles += max(finish.values())
    return trace


def tile_of_twin(
    pe: FPRakerPE,
    tile: FPRakerTileParameters,
    passes: list[Pass],
    expected: TileTrace,
    late: np.random.Generator | None = None,
) -> TileTrace:
    """What the hardware does, looked at where the oracle has something to say; sets come at once or `late` at times."""
    dut = FPRakerTile(pe, tile)
    trace, pes = TileTrace(), tile.rows * tile.cols
    a_sets = [[packed(s) for a, _ in passes for s in in_sets(a[c], pe.lanes)] for c in range(tile.cols)]
    b_sets = [[packed(s) for _, b in passes for s in in_sets(b[r], pe.lanes)] for r in range(tile.rows)]
    counts = [len(in_sets(a[0], pe.lanes)) for a, _ in passes]
    first = mask_of(s == 0 for count in counts for s in range(count))
    last = mask_of(s == count - 1 for count in counts for s in range(count))
    operand, signed_bits = 16 * pe.lanes, Widths(pe).integer_bits
    looked_at = {cycle for cycle, _ in (*expected.registers, *expected.outputs)}

    def joined(sets: list[list[int]], places: list[int]) -> int:
        return sum(
            own[at] << (operand * i) for i, (own, at) in enumerate(zip(sets, places, strict=True)) if at < len(own)
        )

    def flags(flag: int, places: list[int]) -> int:
        return sum((flag >> at & 1) << i for i, at in enumerate(places))

    def parts(value: int, bits: int) -> list[int]:
        return [value >> (bits * i) & ((1 << bits) - 1) for i in range(pes)]

    async def testbench(ctx) -> None:
        a_at, b_at = [0] * tile.cols, [0] * tile.rows
        cycle, waited = -1, 0
        while cycle <= expected.cycles + 1:
            a_valid = mask_of(at < len(own) for own, at in zip(a_sets, a_at, strict=True))
            b_valid = mask_of(at < len(own) for own, at in zip(b_sets, b_at, strict=True))
            if late is not None:
                a_valid &= int(late.integers(1 << tile.cols))
                b_valid &= int(late.integers(1 << tile.rows))
            ctx.set(dut.a_valid, a_valid)
            ctx.set(dut.b_valid, b_valid)
            ctx.set(dut.restart, flags(first, a_at))
            ctx.set(dut.last, flags(last, a_at))
            ctx.set(dut.a.as_value(), joined(a_sets, a_at))
            ctx.set(dut.b.as_value(), joined(b_sets, b_at))
            if cycle < 0:
                if ctx.get(dut.busy):
                    cycle = 0
                elif (waited := waited + 1) > LATEST_BEGIN:
                    return
            if cycle >= 0:
                masks = [ctx.get(port.as_value()) for port in (dut.fires, dut.adds, dut.waits)]
                if any(masks):
                    of_pes = zip(*(parts(of_tile, pe.lanes) for of_tile in masks), strict=True)
                    trace.lanes.update({(cycle, number): lanes for number, lanes in enumerate(of_pes) if any(lanes)})
                    trace.cycles = cycle + 1
                if cycle in looked_at:
                    half = 1 << (signed_bits - 1)
                    integers = [(s ^ half) - half for s in parts(ctx.get(dut.integers.as_value()), signed_bits)]
                    exponents = parts(ctx.get(dut.exponents.as_value()), EXPONENT_BITS)
                    outputs = parts(ctx.get(dut.outputs.as_value()), 16)
                    for number in range(pes):
                        if (cycle, number) in expected.registers:
                            trace.registers[cycle, number] = integers[number], exponents[number]
                        if (cycle, number) in expected.outputs:
                            trace.outputs[cycle, number] = outputs[number]
                cycle += 1
            a_taken, b_taken = a_valid & ctx.get(dut.a_take), b_valid & ctx.get(dut.b_take)
            await ctx.tick()
            a_at = [at + (a_taken >> i & 1) for i, at in enumerate(a_at)]
            b_at = [at + (b_taken >> i & 1) for i, at in enumerate(b_at)]

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return trace


def mask_of(bits: Iterable[bool]) -> int:
    return sum(bool(bit) << i for i, bit in enumerate(bits))


def uneven(rng: np.random.Generator, rows: int, sets: int, lanes: int) -> BF16Array:
    """Sets that take the fewest cycles beside sets that take many, some of them empty: PEs wait for each other."""
    shape = (rows, sets, lanes)
    heavy = worst_naf(rng, rows, sets * lanes).reshape(shape)
    light = powers_of_two(rng, rows, sets * lanes).reshape(shape)
    few = (rng.random(shape) < 1.5 / lanes) & (rng.random((rows, sets, 1)) < 0.7)
    values = np.where(rng.random((rows, sets, 1)) < 0.5, heavy, np.where(few, light, 0))
    return np.asarray(values, dtype=np.uint16).reshape(rows, -1)


def first_tile_difference(pe: FPRakerPE, tile: FPRakerTileParameters, passes: list[Pass]) -> str | None:
    """Where twin and oracle differ first, None where they agree in everything."""
    expected = tile_of_oracle(pe, tile, passes)
    found = tile_of_twin(pe, tile, passes, expected)
    for name in ("lanes", "registers", "outputs"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        differing = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        if differing:
            key = differing[0]
            return (
                f"{pe}, {tile}: {name} of (cycle, PE) {key}: the twin has {ours.get(key)}, the oracle {theirs.get(key)}"
            )
    return None


def lanes_of_late_sets(
    pe: FPRakerPE, tile: FPRakerTileParameters, passes: list[Pass], rng: np.random.Generator
) -> tuple[list[list[Lanes]], list[list[Lanes]]]:
    """By PE, in order, what its lanes do in the hardware where sets come late, and what they do in the oracle."""
    expected = tile_of_oracle(pe, tile, passes)
    slow = TileTrace(cycles=20 * expected.cycles)
    found = tile_of_twin(pe, tile, passes, slow, rng)
    numbers = range(tile.rows * tile.cols)
    return tuple(
        [[lanes for (_, pe_number), lanes in sorted(trace.lanes.items()) if pe_number == number] for number in numbers]
        for trace in (found, expected)
    )
