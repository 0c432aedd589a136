"""A million sets: the kernels of every kind of PE against their oracles, all switches and inputs drawn at random.

And 200,000 for each switch of FPRaker's that a further reading of its rules needs.
"""

import numpy as np
import pytest

from tests.pe import test_bitparallel, test_fpraker, test_tensordash

SETS = {test_fpraker: 750_000, test_bitparallel: 200_000, test_tensordash: 100_000}
"""Sets of 8 (of 8 or 16; steps of 16) of PEs with operands in both rows; padding and empty PEs are not counted."""


@pytest.mark.slow
def test_kernels_equal_oracles_on_a_million_sets():
    compared = dict.fromkeys(SETS, 0)
    for seed, (kind, wanted) in enumerate(SETS.items()):
        rng = np.random.default_rng([20, seed])
        while compared[kind] < wanted:
            compared[kind] += kind.draw_case(rng, kind.draw_machine(rng), 4000)
    print({kind.__name__: count for kind, count in compared.items()})
    assert sum(compared.values()) >= 1_000_000


READINGS = {
    "own pace": {"tile.sync": "pe"},
    "own pace, one set buffered": {"tile.sync": "pe", "tile.buffers.a": 1, "tile.buffers.b": 1},
    "own pace, 16 sets buffered": {"tile.sync": "pe", "tile.buffers.a": 16, "tile.buffers.b": 16},
    "window on positions": {"pe.window_on": "position"},
    "empty sets skipped": {"tile.empty_sets": "skip"},
    "all three": {"tile.sync": "pe", "pe.window_on": "position", "tile.empty_sets": "skip"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READINGS)
def test_each_reading_of_fprakers_rules_equals_the_oracle_on_200_000_sets(name):
    rng = np.random.default_rng([21, list(READINGS).index(name)])
    compared = 0
    while compared < 200_000:
        compared += test_fpraker.draw_case(rng, test_fpraker.draw_machine(rng, **READINGS[name]), 4000)
