"""Products run through a machine's tile, and the same products through the plain-Python oracles, pass by pass."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from simhw.bfloat16 import BF16Array, from_float32
from simhw.machine.machine import Machine
from simhw.pe.passes import ParallelRows, TilePasses, whole_tiles
from tests.oracles import bitparallel, fpraker, tensordash
from tests.oracles.inputs import GENERATORS, mixed

INPUTS = {**GENERATORS, "mixed": mixed}


def whole_sets(rows: BF16Array, lanes: int) -> BF16Array:
    """Rows (n, K) with K padded with zeros to whole sets, as lowering hands them to a tile."""
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, -rows.shape[1] % lanes))))


def parallel_rows(machine: Machine, blocks: Sequence[BF16Array]) -> ParallelRows:
    """Blocks of rows of Y, each in whole tiles of its own."""
    tile = machine.tile
    return whole_tiles([whole_sets(block, tile.lanes) for block in blocks], tile.tile_y)


def run(machine: Machine, x: BF16Array, blocks: Sequence[BF16Array], outputs: bool = True) -> TilePasses:
    """What the machine's tile makes of rows of X against blocks of rows of Y."""
    tile = machine.tile
    return tile.run(whole_sets(x, tile.lanes), tile.prepare(parallel_rows(machine, blocks)), outputs)


def draw_inputs(rng: np.random.Generator, rows: int, k: int) -> tuple[str, BF16Array]:
    """(name, (rows, K)): one of the generators of `tests.oracles.inputs`, at random."""
    name = str(rng.choice(list(INPUTS)))
    return name, INPUTS[name](rng, rows, k)


def draw_blocks(rng: np.random.Generator, sizes: Sequence[int], k: int) -> tuple[str, list[BF16Array]]:
    """(names, blocks of Y): every block from a generator of its own."""
    drawn = [draw_inputs(rng, size, k) for size in sizes]
    return "+".join(name for name, _ in drawn), [block for _, block in drawn]


def tile_order(machine: Machine, x_rows: int, blocks: Sequence[BF16Array]) -> Iterator[tuple[slice, int, slice]]:
    """(rows of X, block, rows of the block) of every tile pass, in the order of `TilePasses.durations`.

    The rows of Y that one run of the kernel takes meet all rows of X before the next ones do.
    """
    tile = machine.tile
    y_tiles = [
        (index, slice(start, min(start + tile.tile_y, len(block))))
        for index, block in enumerate(blocks)
        for start in range(0, len(block), tile.tile_y)
    ]
    group = max(1, tile.vector_rows // tile.tile_y) if tile.vector_rows else len(y_tiles)
    for first in range(0, len(y_tiles), group):
        for start in range(0, x_rows, tile.tile_x):
            for index, rows in y_tiles[first : first + group]:
                yield slice(start, min(start + tile.tile_x, x_rows)), index, rows


def fpraker_config(machine: Machine) -> fpraker.Config:
    """The machine's switches, as the oracle takes them."""
    pe: Any = machine.values.pe
    tile: Any = machine.values.tile
    return fpraker.Config(
        encoder=pe.encoder,
        shift_window=pe.shift_window,
        oob_threshold=pe.oob_threshold,
        accumulator_fraction_bits=pe.accumulator_fraction_bits,
        rounding=pe.rounding,
        chunk=None if pe.chunk == "off" else pe.chunk,
        exponent_sharing=tile.exponent_sharing,
        sync=tile.sync,
        buffers=(tile.buffers.a, tile.buffers.b),
        empty_sets=tile.empty_sets,
        window_on=pe.window_on,
        oob=pe.oob,
        run_ahead=tile.run_ahead,
        rows=tile.rows,
        cols=tile.cols,
    )


def _fpraker(machine: Machine, x: BF16Array, y: BF16Array) -> tuple[int, dict[str, int], Any]:
    result = fpraker.tile_pass(x, y, fpraker_config(machine))
    names = (
        "useful",
        "shift_range",
        "no_term",
        "exponent",
        "inter_pe",
        "processed",
        "skipped_zero",
        "skipped_oob",
        "overflows",
    )
    return result.cycles, {name: getattr(result, name) for name in names}, result.outputs


def _bitparallel(machine: Machine, x: BF16Array, y: BF16Array) -> tuple[int, dict[str, int], Any]:
    pe: Any = machine.values.pe
    result = bitparallel.tile_pass(
        x,
        y,
        accumulator_fraction_bits=pe.accumulator_fraction_bits,
        align_range=pe.align_range,
        chunk=None if pe.chunk == "off" else pe.chunk,
        rows=machine.tile.tile_y,
        cols=machine.tile.tile_x,
        lanes=pe.lanes,
    )
    return result.cycles, {name: getattr(result, name) for name in ("useful", "idle", "overflows")}, result.outputs


def _tensordash(machine: Machine, x: BF16Array, y: BF16Array) -> tuple[int, dict[str, int], Any]:
    pe: Any = machine.values.pe
    result = tensordash.tile_pass(x, y, depth=pe.depth, order=pe.order, sides=pe.sides)
    schedule = result.schedule
    rows = len(x)
    useful, schedulers = schedule.useful, rows * len(y)
    if pe.sides == "one":
        useful, schedulers = useful * len(y), rows  # every column multiplies what the row's scheduler chose
    counters = {
        "useful": useful,
        "idle": machine.values.tile.rows * machine.values.tile.cols * 16 * schedule.cycles - useful,
        "row_sync_steps": schedule.row_sync_steps,
        "skipped_steps": schedule.skipped_steps * schedulers,
        "overflows": result.overflows,
    }
    return schedule.cycles, counters, result.outputs


_ORACLES = {"fpraker": _fpraker, "bitparallel": _bitparallel, "tensordash": _tensordash}


def oracle(machine: Machine, x: BF16Array, blocks: Sequence[BF16Array]) -> TilePasses:
    """What the oracle of the machine's kind makes of the same product."""
    durations = []
    counters: Counter[str] = Counter()
    starts = np.cumsum([0, *(len(block) for block in blocks)])
    outputs = np.zeros((len(x), starts[-1]), np.uint16)
    for x_rows, index, y_rows in tile_order(machine, len(x), blocks):
        cycles, counts, values = _ORACLES[machine.values.pe.kind](machine, x[x_rows], blocks[index][y_rows])
        durations.append(cycles)
        counters.update(counts)
        columns = slice(starts[index] + y_rows.start, starts[index] + y_rows.stop)
        outputs[x_rows, columns] = from_float32(values)  # exact: every output is a bfloat16
    return TilePasses(np.array(durations, np.int64), counters, outputs)


def assert_same(passes: TilePasses, expected: TilePasses, case: object) -> None:
    """Cycles of every pass, every counter and every output bit."""
    assert passes.durations.tolist() == expected.durations.tolist(), case
    assert dict(passes.counters) == dict(expected.counters), case
    assert passes.outputs is not None, case
    assert expected.outputs is not None, case
    assert passes.outputs.shape == expected.outputs.shape, case
    differ = np.argwhere(passes.outputs != expected.outputs)
    assert not len(differ), (case, differ[:3].tolist())


def assert_equals_oracle(machine: Machine, x: BF16Array, blocks: Sequence[BF16Array], case: object = "") -> int:
    """Run both and compare; gives the sets (of every PE that has both rows) that were compared."""
    assert_same(
        run(machine, x, blocks),
        oracle(machine, x, blocks),
        (machine.label, x.shape, [len(block) for block in blocks], case),
    )
    sets = -(-x.shape[1] // machine.tile.lanes)
    return sets * len(x) * sum(len(block) for block in blocks)


def draw(rng: np.random.Generator, switches: Mapping[str, Sequence[Any]], **fixed: Any) -> dict[str, Any]:
    """A value for every switch, at random, but for those that are fixed."""
    return {name: values[rng.integers(len(values))] for name, values in switches.items()} | fixed


def every_value(switches: Mapping[str, Sequence[Any]]) -> list[tuple[str, Any]]:
    """(switch, value) of every value of every switch."""
    return [(name, value) for name, values in switches.items() for value in values]
