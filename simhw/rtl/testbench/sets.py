"""Testbenches of PEs that take sets into an accumulator: FPRaker's in a tile, and the bit-parallel one by itself.

What is expected comes from simhw's replays: in each cycle the lanes that fire and those that wait outside the window,
and of each set the cycle in which its accumulator is there, S, its exponent and the bfloat16 output.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.machine.values import TileParameters
from simhw.pe.accumulator import EXPONENT_OFFSET
from simhw.pe.bitparallel.replay import BitParallelReplay
from simhw.pe.fpraker import replay
from simhw.pe.fpraker.record import FPRakerRecord, fpraker_record
from simhw.rtl.bitparallel import BitParallel
from simhw.rtl.fpraker.tile import FPRakerTile
from simhw.rtl.normaliser import EXPONENT_BITS
from simhw.rtl.testbench.bench import Bench, Pass
from simhw.rtl.testbench.memory import FIELD_BITS, Fields, Memory, halves, word

TEMPLATE, UNIT = "sets.v", "sets"
USUAL_CYCLES = 12
"""Of a set, waiting included: few passes take more."""
Integers = npt.NDArray[np.integer[Any]]


class _Results(NamedTuple):
    """What the sets of a pass give, as (PEs, sets): when the accumulator is there [cycle], S, its exponent as the
    replays have it, and the output.
    """

    end: Integers
    s: Integers
    exponent: Integers
    output: Integers


def fpraker_bench(twin: FPRakerTile, passes: Sequence[Pass]) -> Bench:
    """The testbench of an FPRaker tile: passes follow each other without a gap."""
    pe, tile = twin.pe, twin.tile
    model = replay.FPRakerReplay(pe, tile)
    results, lanes, now = [], [], 0
    for x, y in passes:
        cycles, outputs, record = _recorded(model, twin, x, y)
        lanes.append(_lanes(record, cycles))
        by_pe = twin.pes, -1
        columns = (each.swapaxes(1, 2).reshape(by_pe) for each in (record.s, record.exponent, record.output))
        s, exponent, output = columns
        output[:, -1] = outputs.ravel()
        results.append(_Results(now + record.finish.reshape(by_pe), s, exponent, output))
        now += cycles
    a = np.concatenate([word(_flags(x, pe.lanes), *_in_sets(x, pe.lanes)) for x, _ in passes])
    b = np.concatenate([word(*_in_sets(y, pe.lanes)) for _, y in passes])
    memories = [Memory("a_sets", a), Memory("b_sets", b), Memory("lanes", np.concatenate(lanes))]
    names = ("a_valid", "restart", "last", "a", "a_take", "b_valid", "b", "b_take", "busy", "fires", "waits")
    ports = {name: name for name in names} | {"integers": "s", "exponents": "exponent", "outputs": "value"}
    facts = {"rows": tile.rows, "cols": tile.cols, "lanes": pe.lanes, "operand_bits": FIELD_BITS * pe.lanes}
    return _bench(twin, memories, results, [x for x, _ in passes], ports, facts | {"cycles": now})


def bitparallel_bench(twin: BitParallel, passes: Sequence[Pass]) -> Bench:
    """The testbench of a bit-parallel PE, which takes a set each cycle."""
    lanes = twin.pe.lanes
    model = BitParallelReplay(twin.pe, TileParameters(rows=1, cols=1))
    results, now = [], 0
    for (x,), (y,) in passes:
        registers, output = model.registers(x, y)
        s, exponent, outputs = registers.T[:, None]
        outputs[0, -1] = output
        results.append(_Results(now + twin.stages + np.arange(len(registers))[None], s, exponent, outputs))
        now += len(registers)
    words = [word(_flags(x, lanes), *_in_sets(x, lanes), *_in_sets(y, lanes)) for x, y in passes]
    ports = {"enable": "valid", "first": "set[0]", "last": "set[1]", "s": "s", "exponent": "exponent", "value": "value"}
    begin_of_y = FIELD_BITS * (1 + lanes)
    ports |= {
        "x": f"set[{begin_of_y - 1}:{FIELD_BITS}]",
        "y": f"set[{begin_of_y + FIELD_BITS * lanes - 1}:{begin_of_y}]",
    }
    memories = [Memory("sets", np.concatenate(words))]
    return _bench(twin, memories, results, [x for x, _ in passes], ports, {"lanes": 0, "cycles": now + twin.stages})


def _recorded(
    model: replay.FPRakerReplay, twin: FPRakerTile, x: BF16Array, y: BF16Array
) -> tuple[int, BF16Array, FPRakerRecord]:
    """Cycles, outputs and record of a pass."""
    tile, sets = twin.tile, x.shape[1] // twin.pe.lanes
    room = USUAL_CYCLES * sets
    while True:
        record = fpraker_record(tile.cols, tile.rows, twin.pe.lanes, sets, room, replay.INTER_PE)
        cycles, _, outputs = model.tile_pass(x, y, np.ones(tile.rows, np.bool_), record)
        if cycles <= room:
            return cycles, outputs, record
        room = cycles


def _lanes(record: FPRakerRecord, cycles: int) -> Fields:
    """By cycle, the lanes of all PEs that fire, and those that wait outside the window."""
    columns, rows, _ = record.start.shape
    masks = np.zeros((cycles, 2, columns * rows), np.uint8)
    for column in range(columns):
        for row in range(rows):
            start, finish = record.start[column, row], record.finish[column, row]
            times = finish - start
            way = times.sum()
            # Of the PE's own cycles, one set's behind the other's, to those of the tile.
            clock = np.repeat(start - (np.cumsum(times) - times), times) + np.arange(way)
            own = column, slice(way), row
            for index, lanes in enumerate((record.fired[own] >= 0, record.state[own] == replay.SHIFT_RANGE)):
                masks[clock, index, column * rows + row] = np.packbits(lanes, axis=1, bitorder="little")[:, 0]
    return masks.reshape(cycles, -1).view("<u2")


def _bench(
    twin: FPRakerTile | BitParallel,
    memories: list[Memory],
    results: Sequence[_Results],
    xs: Sequence[BF16Array],
    ports: dict[str, str],
    facts: dict[str, Any],
) -> Bench:
    pe = twin.pe
    end, s, exponent, output = (np.concatenate(each, axis=1) for each in zip(*results, strict=True))
    pes, sets = s.shape
    stored = np.where(s == 0, 0, exponent.astype(np.int64) + EXPONENT_OFFSET)
    ends = np.concatenate([_flags(x, pe.lanes) >> 1 for x in xs])
    parts = (halves(end.ravel()), halves(s.ravel()), stored.ravel(), output.ravel(), np.tile(ends, pes))
    facts = facts | {
        "sets_of_pe": sets,
        "pes": pes,
        "s_bits": pe.accumulator_fraction_bits + 2,
        "exponent_bits": EXPONENT_BITS,
        "chunked": pe.chunk != "off",
    }
    return Bench(TEMPLATE, [*memories, Memory("results", word(*parts))], ports, facts, pes * sets, UNIT)


def _flags(x: BF16Array, lanes: int) -> npt.NDArray[np.uint16]:
    """By set of a pass: bit 0 in the first one, bit 1 in the last."""
    flags = np.zeros(x.shape[1] // lanes, np.uint16)
    flags[0] |= 1
    flags[-1] |= 2
    return flags


def _in_sets(rows: BF16Array, lanes: int) -> list[BF16Array]:
    """(sets, lanes) of each row."""
    return [row.reshape(-1, lanes) for row in rows]
