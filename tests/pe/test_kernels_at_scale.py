"""A million sets: the kernels of every kind of PE against their oracles, all switches and inputs drawn at random."""

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
