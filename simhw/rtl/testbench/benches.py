"""The testbench of any twin, from tile passes of its machine."""

from collections.abc import Iterable, Iterator

import numpy as np

from simhw.bfloat16 import BF16Array
from simhw.rtl.bitparallel import BitParallel
from simhw.rtl.fpraker.tile import FPRakerTile
from simhw.rtl.testbench.bench import Bench, Pass
from simhw.rtl.testbench.sets import bitparallel_bench, fpraker_bench
from simhw.rtl.testbench.steps import tensordash_bench
from simhw.rtl.twins import Component


def bench_of(twin: Component, passes: Iterable[tuple[BF16Array, BF16Array]], sets: int) -> Bench:
    """The testbench of a twin.

    Parameters
    ----------
    twin : FPRakerTile, BitParallel or TensorDashTile
    passes : iterable of (x, y)
        bfloat16 bit patterns, (rows, K) each, of which the hardware takes as many rows at a time as it has; rows that
        are missing are zeros.
    sets : int
        Sets, or steps of TensorDash, that go in one after the other; fewer where the passes have no more.
    """
    if isinstance(twin, BitParallel):
        return bitparallel_bench(twin, list(_taken(passes, 1, 1, twin.pe.lanes, sets)))
    if isinstance(twin, FPRakerTile):
        return fpraker_bench(twin, list(_taken(passes, twin.tile.cols, twin.tile.rows, twin.pe.lanes, sets)))
    return tensordash_bench(twin, list(_taken(passes, twin.tile.rows, twin.tile.cols, twin.pe.lanes, sets)))


def _taken(
    passes: Iterable[tuple[BF16Array, BF16Array]], x_rows: int, y_rows: int, lanes: int, sets: int
) -> Iterator[Pass]:
    """Passes as the hardware takes them, the last one cut where it has more sets than are wanted."""
    for x, y in passes:
        for x_part in _parts(x, x_rows):
            for y_part in _parts(y, y_rows):
                kept = slice(min(x.shape[1], sets * lanes))
                yield Pass(x_part[:, kept], y_part[:, kept])
                sets -= x.shape[1] // lanes
                if sets <= 0:
                    return


def _parts(rows: BF16Array, size: int) -> Iterator[BF16Array]:
    """So many rows at a time, the last ones filled up with zeros."""
    for first in range(0, len(rows), size):
        part = rows[first : first + size]
        yield np.pad(part, ((0, size - len(part)), (0, 0)))
