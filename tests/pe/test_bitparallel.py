"""The bit-parallel kernel equals its oracle in every output bit, whatever the accumulator, the shifter and the set
size.
"""

from typing import Any

import numpy as np
import pytest

from simhw.errors import MachineError
from simhw.machine.machine import Machine, load_machine
from tests import kernel_runs
from tests.kernel_runs import assert_equals_oracle, draw, draw_blocks, draw_inputs, every_value
from tests.oracles.inputs import gaussian

SWITCHES: dict[str, list[Any]] = {
    "pe.lanes": [8, 16],
    "pe.accumulator_fraction_bits": [4, 7, 8, 12, 13, 20, 23, 29],
    "pe.align_range": [8, 12, 14, 20, 31, 32],
    "pe.chunk": ["off", 64],
    "tile.rows": [1, 3, 8, 33, 64],
    "tile.cols": [1, 4, 7, 64],
}


def draw_machine(rng: np.random.Generator, **fixed: Any) -> Machine:
    switches = draw(rng, SWITCHES, **fixed)
    if switches["pe.chunk"] == 64 and switches["pe.accumulator_fraction_bits"] > 23:
        switches.update({"pe.chunk": "off"} if fixed.get("pe.chunk") != 64 else {"pe.accumulator_fraction_bits": 23})
    return load_machine("bitparallel", **switches)


def draw_case(rng: np.random.Generator, machine: Machine, most_sets: int) -> int:
    """Compare a product of random shape and values, of about `most_sets` sets in all; gives the sets compared."""
    sizes = [int(rng.integers(1, 20)) for _ in range(rng.integers(1, 4))]
    x_rows = int(rng.integers(1, 12))
    k = int(rng.integers(1, max(2, machine.tile.lanes * most_sets // (sum(sizes) * x_rows)) + 1))
    (x_name, x), (y_name, blocks) = draw_inputs(rng, x_rows, k), draw_blocks(rng, sizes, k)
    return assert_equals_oracle(machine, x, blocks, (x_name, y_name))


@pytest.mark.parametrize(("switch", "value"), every_value(SWITCHES))
def test_kernel_equals_oracle_at_every_value_of_every_switch(switch, value):
    rng = np.random.default_rng([1, list(SWITCHES).index(switch), SWITCHES[switch].index(value)])
    for _ in range(4):
        draw_case(rng, draw_machine(rng, **{switch: value}), 800)


@pytest.mark.parametrize("lanes", [8, 16])
def test_every_input_against_every_other_kind(lanes):
    rng = np.random.default_rng(2)
    machine = load_machine("bitparallel", lanes=lanes)
    for name, make in kernel_runs.INPUTS.items():
        for other in ("gaussian", "repeated", "both_extremes"):
            assert_equals_oracle(machine, make(rng, 3, 50), [kernel_runs.INPUTS[other](rng, 3, 50)], (name, other))


@pytest.mark.parametrize("name", ["bitparallel", "tensordash-dense"])
def test_bundled_baselines_equal_the_oracle(name):
    rng = np.random.default_rng(3)
    for _ in range(5):
        draw_case(rng, load_machine(name), 2000)


def test_cycles_follow_from_the_shapes():
    rng = np.random.default_rng(4)
    passes = kernel_runs.run(load_machine("bitparallel"), gaussian(rng, 9, 20), [gaussian(rng, 17, 20)], outputs=False)
    # 9 and 17 rows are 2 x 3 tiles of 8 x 8; 20 values are 3 sets of 8.
    assert passes.durations.tolist() == [3] * 6
    assert passes.counters == {"useful": 9 * 17 * 20, "idle": 6 * 3 * 64 * 8 - 9 * 17 * 20}
    assert passes.outputs is None


@pytest.mark.parametrize(
    ("switch", "value"), [("lanes", 4), ("align_range", 33), ("align_range", 7), ("accumulator_fraction_bits", 30)]
)
def test_switches_beyond_what_the_kernel_holds_are_refused(switch, value):
    with pytest.raises(MachineError, match=switch):
        load_machine("bitparallel", **{switch: value})
