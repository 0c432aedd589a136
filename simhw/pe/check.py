"""Replay: the schedule of a machine, stepped one lane at a time, and outputs recomputed from what it multiplied.

The kernels of `simhw.pe` are fast because they are clever; this is slow and plain, and shares no code of theirs (the
parameters of a machine alone), so a wrong schedule or a wrong value cannot go unnoticed.  `--check` compares every tile
pass of a run with its replay.
"""

from collections import Counter
from typing import Any

import numpy as np

from simhw.bfloat16 import BF16Array, to_float32
from simhw.errors import CheckError, ShapeError
from simhw.pe.passes import ParallelRows, TilePasses
from simhw.pe.protocol import ProcessingElement


def replay(pe: ProcessingElement[Any], x: BF16Array, parallel: ParallelRows) -> TilePasses:
    """Replay every row of X against rows of Y, a tile pass at a time, in the order of the PE's tile.

    Parameters
    ----------
    pe : ProcessingElement
    x : (n, K) uint16
        bfloat16 bit patterns, K a multiple of the PE's lanes.
    parallel : ParallelRows
        Rows of Y in whole tiles.

    Returns
    -------
    TilePasses
        With outputs, and the same counters as the PE's tile gives.

    Raises
    ------
    ShapeError
        K is not a multiple of the lanes, X and Y differ in it, or Y is not in whole tiles.
    CheckError
        A TensorDash schedule missed a pair or multiplied one twice.
    """
    tile = pe.tile
    rows, real = parallel.rows, parallel.real
    if x.shape[1] % tile.lanes or x.shape[1] != rows.shape[1]:
        raise ShapeError(
            f"reductions of {x.shape[1]} and {rows.shape[1]} values: both must be the same multiple of {tile.lanes}"
        )
    if len(rows) % tile.tile_y:
        raise ShapeError(f"{len(rows)} rows of Y are not whole tiles of {tile.tile_y}")
    # Numba compiles anew for arrays that may not be written; copying those costs less.
    x, rows = np.require(x, np.uint16, ["C", "W"]), np.require(rows, np.uint16, ["C", "W"])
    stepper = pe.replay()
    durations: list[int] = []
    counters: Counter[str] = Counter()
    outputs = np.zeros((len(x), len(rows)), np.uint16)
    # The tile's kernel takes some rows of Y at once, and all of X against them before the next.
    group = tile.vector_rows or len(rows)
    for start in range(0, len(rows), group):
        for first in range(0, len(x), tile.tile_x):
            part = slice(first, min(first + tile.tile_x, len(x)))
            for begin in range(start, min(start + group, len(rows)), tile.tile_y):
                columns = slice(begin, begin + tile.tile_y)
                cycles, counts, outputs[part, columns] = stepper.tile_pass(x[part], rows[columns], real[columns])
                durations.append(cycles)
                counters.update(counts)
    return TilePasses(np.array(durations, np.int64), counters, outputs[:, real])


def check_passes(
    pe: ProcessingElement[Any], x: BF16Array, parallel: ParallelRows, passes: TilePasses, where: str
) -> None:
    """Compare tile passes with their replay: the cycles of each, every counter and, where there are any, every output
    bit.

    Parameters
    ----------
    pe, x, parallel
        What `passes` was made from; see `replay`.
    passes : TilePasses
        What the PE's tile gave.
    where : str
        What is checked, for the error: layer, operation and the like.

    Raises
    ------
    CheckError
        They differ; says where, in what, at which index first, and both values.
    """
    try:
        expected = replay(pe, x, parallel)
    except CheckError as error:
        raise CheckError(f"{where}: {error}") from None
    if passes.passes != expected.passes:
        raise CheckError(f"{where}: {passes.passes} tile passes simulated, {expected.passes} replayed")
    differ = np.flatnonzero(passes.durations != expected.durations)
    if len(differ):
        first = differ[0]
        raise CheckError(
            f"{where}: tile pass {first} took {passes.durations[first]} cycles, replayed it takes "
            f"{expected.durations[first]}"
        )
    for name in sorted(set(passes.counters) | set(expected.counters)):
        if name == "overflows" and name not in passes.counters and passes.outputs is None:
            continue  # without outputs some tiles have nothing to count overflows in
        if (
            name not in passes.counters
            or name not in expected.counters
            or passes.counters[name] != expected.counters[name]
        ):
            simulated, replayed = passes.counters.get(name, "none"), expected.counters.get(name, "none")
            raise CheckError(f"{where}: counter {name} is {simulated} simulated, {replayed} replayed")
    if passes.outputs is None or expected.outputs is None:
        return
    if passes.outputs.shape != expected.outputs.shape:
        raise CheckError(f"{where}: outputs have the shape {passes.outputs.shape}, replayed {expected.outputs.shape}")
    wrong = np.argwhere(passes.outputs != expected.outputs)
    if len(wrong):
        row, column = wrong[0]
        both = (passes.outputs[row, column], expected.outputs[row, column])
        simulated, replayed = (f"{float(to_float32(bits)):.8g} (0x{int(bits):04x})" for bits in both)
        count = f"{len(wrong)} of {passes.outputs.size} differ"
        raise CheckError(f"{where}: output ({row}, {column}) is {simulated} simulated, {replayed} replayed; {count}")
