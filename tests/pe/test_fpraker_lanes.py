"""FPRaker's kernel by the lanes that have work: code for 8, 6, 4, 2 and none, and sums at the edge of float32."""

import itertools
from typing import Any

import numba
import numpy as np
import pytest

from simhw.bfloat16 import BF16Array
from simhw.machine.machine import load_machine
from simhw.pe.accumulator import NO_EXPONENT
from simhw.pe.fpraker.kernel import ZERO_CODE, recoding
from simhw.pe.fpraker.parameters import NARROW_LIMIT
from simhw.pe.fpraker.serial import SerialRows, lay_out_serial
from simhw.pe.vector import WIDTH
from simhw.pointers import data, pointers
from tests.kernel_runs import INPUTS, assert_equals_oracle, run
from tests.oracles.inputs import exactly

SETS = 18
"""Two rounds of every number of lanes, in an order of their own."""


def with_live_lanes(rng: np.random.Generator, values: BF16Array, live: Any) -> BF16Array:
    """Rows (n, sets * 8) with all but `live` lanes of each set zero, at random places, zeros of either sign."""
    lanes = values.reshape(len(values), -1, 8)
    order = rng.permuted(np.broadcast_to(np.arange(8), lanes.shape), axis=2)
    zeros = rng.choice(np.array([0, 0x8000, 0x007F], np.uint16), lanes.shape)
    return np.where(order < np.broadcast_to(live, lanes.shape[1])[:, np.newaxis], lanes, zeros).reshape(values.shape)


def finite(rng: np.random.Generator, rows: int, k: int) -> BF16Array:
    """Values of several generators, none of them zero."""
    kinds = [INPUTS[name](rng, rows, k) for name in ("gaussian", "threshold_6", "threshold_12", "worst_naf")]
    values = np.choose(rng.integers(0, len(kinds), (rows, k)), kinds)
    return np.where(values & 0x7F80, values, values | 0x3F80).astype(np.uint16)


READINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "literal": {"chunk": "off", "tile.sync": "set", "pe.oob_threshold": None},
    "empty sets skipped": {"tile.empty_sets": "skip"},
    "window on positions": {"pe.window_on": "position"},
    "cycle": {"rounding": "cycle", "chunk": "off", "pe.oob_threshold": None},
    "T 16": {"pe.oob_threshold": 16, "chunk": "off"},
    "T 16, cycle, empty sets skipped": {"pe.oob_threshold": 16, "rounding": "cycle", "tile.empty_sets": "skip"},
    "F 20": {"pe.oob_threshold": None, "accumulator_fraction_bits": 20, "shift_window": 0},
}


@pytest.mark.parametrize("reading", READINGS)
def test_every_number_of_live_lanes_equals_the_oracle(reading):
    rng = np.random.default_rng([1, list(READINGS).index(reading)])
    machine = load_machine("fpraker", **READINGS[reading], **{"tile.rows": 2, "tile.cols": 3})
    live = rng.permutation(np.repeat(np.arange(9), SETS // 9))
    x = with_live_lanes(rng, finite(rng, 4, 8 * SETS), live)
    # Zeros on the other side too: some lanes in all rows, some PEs in all lanes of a set.
    y = finite(rng, 5, 8 * SETS)
    y[:, rng.random(8 * SETS) < 0.2] = 0
    y.reshape(5, SETS, 8)[rng.random((5, SETS)) < 0.2] = 0
    assert_equals_oracle(machine, x, [y], reading)


@pytest.mark.parametrize("live", range(9))
def test_one_number_of_live_lanes_in_all_sets_equals_the_oracle(live):
    # The same code set after set: accumulators, chunks and counts go from one to the next.
    rng = np.random.default_rng([2, live])
    for rounding in ("set", "cycle"):
        machine = load_machine("fpraker", rounding=rounding, **{"tile.rows": 2, "tile.cols": 1})
        x = with_live_lanes(rng, finite(rng, 1, 8 * SETS), live)
        assert_equals_oracle(machine, x, [finite(rng, 2, 8 * SETS)], live)


def test_empty_sets_between_others_leave_the_accumulator_alone():
    rng = np.random.default_rng(3)
    for skip, sharing in itertools.product(("floor", "skip"), (1, 2)):
        switches = {"tile.empty_sets": skip, "tile.exponent_sharing": sharing, "tile.rows": 2, "tile.cols": 2}
        machine = load_machine("fpraker", **switches)
        x = with_live_lanes(rng, finite(rng, 3, 8 * 20), np.where(np.arange(20) % 3, 0, 3))
        assert_equals_oracle(machine, x, [finite(rng, 3, 8 * 20)], switches)
        assert_equals_oracle(machine, np.zeros_like(x), [finite(rng, 3, 8 * 20)], switches)


EDGES = [
    *itertools.product((NARROW_LIMIT, NARROW_LIMIT + 1), (4, 7, 12, 13, 20)),
    (0, NARROW_LIMIT),
    (19, 20),
    (20, 20),
    (29, 29),
    (29, 4),
]


@pytest.mark.parametrize(("threshold", "fraction_bits"), EDGES)
def test_the_largest_sums_of_a_set_equal_the_oracle(threshold, fraction_bits):
    # Eight products of nearly 4 each, of one sign or both: 2**(T + 12) units of their last place, in which float32 has
    # none to spare at T = 12. Fractions around 1.99 give NAF digits of 2 that truncate to it, and odd last places.
    rng = np.random.default_rng([4, threshold, fraction_bits])
    for rounding in ("set", "cycle"):
        switches = {"pe.oob_threshold": threshold, "accumulator_fraction_bits": fraction_bits, "rounding": rounding}
        machine = load_machine("fpraker-literal", **switches, **{"tile.rows": 4, "tile.cols": 2})
        operands = []
        for rows in (2, 4):
            fractions = 127 - rng.integers(0, 4, (rows, 8 * 12)) * (rng.random((rows, 8 * 12)) < 0.3)
            exponents = 127 - rng.choice([0, 0, 0, 1, 6, 12], (rows, 8 * 12)) * (rng.random((rows, 1)) < 0.7)
            signs = (rng.random((rows, 8 * 12)) < 0.2) << 15
            operands.append((signs | (exponents << 7) | fractions).astype(np.uint16))
        assert_equals_oracle(machine, operands[0], [operands[1]], switches)


def test_rows_of_x_that_are_laid_out_in_several_rounds_equal_the_oracle():
    # A tile of 64 columns and 1,032 values a row passes ROUND_VALUES: rounds of one tile each, the last not full.
    rng = np.random.default_rng(5)
    machine = load_machine("fpraker", **{"tile.rows": 1, "tile.cols": 64})
    x = with_live_lanes(rng, finite(rng, 130, 1032), rng.integers(0, 2, 129))
    y = np.where(rng.random((1, 1032)) < 0.1, finite(rng, 1, 1032), 0).astype(np.uint16)
    whole = run(machine, x, [y])
    parts = [run(machine, x[start : start + 64], [y]) for start in (0, 64, 128)]
    assert whole.durations.tolist() == [time for part in parts for time in part.durations.tolist()]
    assert whole.outputs is not None
    assert (whole.outputs == np.concatenate([part.outputs for part in parts])).all()
    for name in ("useful", "shift_range", "no_term", "exponent", "processed"):
        assert whole.counters[name] == sum(part.counters[name] for part in parts), name


@numba.njit
def _lay_out(x, nonzero_rows, tables, rows):
    return lay_out_serial(data(x), *x.shape, data(nonzero_rows), pointers(tables), pointers(rows))


def test_serial_rows_hold_the_live_lanes_first():
    rng = np.random.default_rng(6)
    pe = load_machine("fpraker", oob_threshold=7).values.pe
    tables = recoding(pe)
    x = with_live_lanes(rng, finite(rng, 3, 8 * SETS), rng.permutation(np.repeat(np.arange(9), 2)))
    rows = SerialRows(np.empty(x.size // 8, np.uint8), *(np.empty(x.size, np.uint32) for _ in range(5)))
    nonzero_rows = rng.integers(0, 5, x.shape[1])
    terms = _lay_out(x, nonzero_rows, tables, rows)
    assert terms == (tables.counts[np.where(x & 0x7F80, x & 0x7F, ZERO_CODE)] * nonzero_rows).sum()
    for index, lanes in enumerate(x.reshape(-1, 8)):
        live = [lane for lane in range(8) if lanes[lane] & 0x7F80]
        depth = int(rows.depths[index])
        assert depth == len(live) + len(live) % 2
        slots = slice(8 * index, 8 * index + depth)
        first = 8 * (index % SETS)
        own = [int(offset) // WIDTH - first for offset in rows.offsets[slots]]
        assert own[: len(live)] == live
        assert not any(lanes[lane] & 0x7F80 for lane in own[len(live) :])
        codes = [int(lanes[lane] & 0x7F | lanes[lane] >> 8 & 0x80) if lane in live else 256 for lane in own]
        for name in ("terms", "positive", "negative"):
            assert getattr(rows, name)[slots].tolist() == getattr(tables, name)[codes].tolist(), name
        exponents = [(int(lanes[lane]) >> 7) & 0xFF if lane in live else NO_EXPONENT for lane in own]
        assert rows.exponents[slots].tolist() == [(exponent & 0xFFFF) * 0x10001 for exponent in exponents]


def test_a_lone_value_takes_its_terms_alone():
    # 1.3125 = 1 + 1/4 + 1/16: three terms, one a cycle, in whichever lane it stands.
    machine = load_machine("fpraker-literal", **{"tile.rows": 1, "tile.cols": 1, "tile.exponent_sharing": 1})
    for lane in range(8):
        row = [0.0] * lane + [1.3125] + [0.0] * (7 - lane)
        passes = run(machine, exactly(row), [exactly([1.0] * 8)])
        assert passes.durations.tolist() == [3]
        assert (passes.counters["useful"], passes.counters["no_term"]) == (3, 21)
