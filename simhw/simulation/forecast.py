"""How long a simulation is expected to take, from the time that a small product takes now."""

import time

import numpy as np

from simhw.bfloat16 import from_float32
from simhw.pe.passes import Tile, whole_tiles


def seconds_per_work(tile: Tile) -> float:
    """Time that one thread takes for a unit of `PassPlan.simulator_work` [s]."""
    rng = np.random.default_rng(0)
    x = from_float32(np.maximum(rng.standard_normal((4 * tile.tile_x, 1024), np.float32), 0))
    y = from_float32(rng.standard_normal((tile.vector_rows or tile.tile_y, 1024), np.float32))
    rows = whole_tiles([y], tile.tile_y)
    prepared = tile.prepare(rows)
    tile.run(x, prepared)
    started = time.perf_counter()
    tile.run(x, prepared)
    elapsed = time.perf_counter() - started
    trial = x.size if tile.fixed_time or not tile.needs_y else x.size * len(rows.rows)
    # Gathering and laying out rows come on top of the kernel: at most as much again.
    return 2 * elapsed / trial
