"""Products of one shape in one call: what they take, count and wait for is what each takes alone."""

from collections import Counter

import numpy as np
import pytest

from simhw import load_machine
from simhw.pe.passes import StackingTile, whole_tiles
from tests.kernel_runs import draw_inputs, whole_sets

MACHINES = {
    "as published": {},
    "narrow columns": {"tile.rows": 4, "tile.cols": 3},
    "half a vector": {"tile.rows": 16},
    "empty sets skipped": {"tile.empty_sets": "skip"},
    "a chunk at a time": {"pe.chunk": 64},
}


def assert_stacked_equals_alone(machine, rng, products, x_rows, y_rows, k):
    tile = machine.tile
    assert isinstance(tile, StackingTile)
    xs, ys = (
        [whole_sets(draw_inputs(rng, rows, k)[1], tile.lanes) for _ in range(products)] for rows in (x_rows, y_rows)
    )
    parallel = [whole_tiles([y], tile.tile_y) for y in ys]
    stacked = tile.run_stacked(np.stack(xs), np.stack(ys), parallel[0].real)
    alone = [tile.run(x, tile.prepare(rows)) for x, rows in zip(xs, parallel, strict=True)]
    assert stacked.counters == sum((passes.counters for passes in alone), Counter())
    # In another order: the last vectors of all products, which may not be full, come last.
    assert sorted(stacked.durations) == sorted(np.concatenate([passes.durations for passes in alone]))


@pytest.mark.parametrize("name", MACHINES)
def test_products_in_one_call_are_those_products_alone(name):
    machine = load_machine("fpraker", **MACHINES[name])
    rng = np.random.default_rng([3, list(MACHINES).index(name)])
    for _ in range(6):
        products, x_rows, y_rows, k = (int(rng.integers(1, most)) for most in (6, 20, 80, 80))
        assert_stacked_equals_alone(machine, rng, products, x_rows, y_rows, k)


@pytest.mark.parametrize("y_rows", [1, 7, 8, 9, 31, 32, 33, 40, 64, 65])
@pytest.mark.parametrize("x_rows", [1, 8, 9])
def test_vectors_and_tiles_that_are_not_full_belong_to_their_product(y_rows, x_rows):
    rng = np.random.default_rng([4, y_rows, x_rows])
    assert_stacked_equals_alone(load_machine("fpraker"), rng, 3, x_rows, y_rows, 24)
