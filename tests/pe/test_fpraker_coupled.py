"""FPRaker's general kernel: walks along terms, shared pointers and bounds, every number of live lanes and PEs."""

import itertools
from typing import Any

import numba
import numpy as np
import pytest

from simhw.bfloat16 import ENCODERS, BF16Array
from simhw.machine.machine import load_machine
from simhw.pe.fpraker.coupled import _advance
from simhw.pe.fpraker.kernel import POSITIONS, ZERO_CODE, column_all, recoding, word_of
from simhw.pe.stack import load_next, store_next
from simhw.pe.vector import WIDTH, load, store
from simhw.pointers import data
from tests.kernel_runs import INPUTS, assert_equals_oracle, run
from tests.oracles.inputs import exactly
from tests.pe.test_fpraker_lanes import finite, with_live_lanes

READINGS: dict[str, dict[str, Any]] = {
    "sync term": {"tile.sync": "term"},
    "oob column": {"pe.oob": "column"},
    "both": {"tile.sync": "term", "pe.oob": "column"},
    "both, cycle": {"tile.sync": "term", "pe.oob": "column", "rounding": "cycle"},
    "oob off, own pace": {"pe.oob": "off", "tile.sync": "pe"},
    "oob off, sync term": {"pe.oob": "off", "tile.sync": "term"},
    "window on positions, cycle": {"pe.window_on": "position", "rounding": "cycle"},
    "window on positions, both": {"pe.window_on": "position", "tile.sync": "term", "pe.oob": "column"},
}


@numba.njit
def _steps(gaps, unary, steps):
    """Step after step of every lane; gives nothing."""
    rest, like = load_next(data(gaps), 0, 2), load(gaps, 0)
    for index in range(steps.shape[0]):
        step, rest = _advance(rest, unary, like)
        store_next(data(steps[index]), 0, step)


@pytest.mark.parametrize("threshold", [12, 20])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_walks_meet_every_term_and_then_leave_all_bounds(encoder, threshold):
    pe = load_machine("fpraker", encoder=encoder, oob_threshold=threshold).values.pe
    tables, word = recoding(pe), word_of(pe)
    # Eight terms of 255 / 128 in binary do not fit a word of 16 bits four bits a step.
    assert tables.unary == (encoder == "binary" and threshold == 12)
    for first in range(0, ZERO_CODE, 2 * WIDTH):
        codes = np.arange(first, first + 2 * WIDTH)
        steps = np.empty((POSITIONS, 2 * WIDTH), word)
        _steps(tables.gaps[codes].astype(word), tables.unary, steps)
        for lane, code in enumerate(codes):
            places = [place for place in range(POSITIONS) if tables.positions[code] >> place & 1]
            walked = list(itertools.accumulate(steps[:, lane].tolist(), initial=int(tables.first[code].astype(word))))
            assert walked[: len(places)] == places
            assert min(steps[len(places) - 1 :, lane], default=POSITIONS) >= POSITIONS


@numba.njit
def _all(words, column, out):
    store(out, 0, column_all(load(words, 0), column))


@pytest.mark.parametrize("column", [1, 2, 4, 8, 16, 32])
def test_bits_of_a_column_are_those_that_all_its_pes_have(column):
    rng = np.random.default_rng(column)
    for _ in range(50):
        # Each bit is absent from a few PEs, so that large columns keep some too.
        words = np.bitwise_or(*rng.integers(0, 1 << 16, (2, WIDTH))).astype(np.uint16)
        words[rng.random(WIDTH) < 0.7] = 0xFFFF
        out = np.empty_like(words)
        _all(words, column, out)
        expected = np.bitwise_and.reduce(words.reshape(-1, column), axis=1)
        assert (out.reshape(-1, column) == expected[:, np.newaxis]).all()


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("threshold", [12, 29])
def test_every_number_of_live_lanes_equals_the_oracle(reading, threshold):
    rng = np.random.default_rng([1, list(READINGS).index(reading), threshold])
    own = {"chunk": "off", "pe.oob_threshold": threshold, "tile.rows": 4, "tile.cols": 2, **READINGS[reading]}
    live = rng.permutation(np.repeat(np.arange(9), 2))
    x = with_live_lanes(rng, finite(rng, 2, 8 * len(live)), live)
    y = finite(rng, 5, 8 * len(live))
    y[:, rng.random(y.shape[1]) < 0.2] = 0
    y.reshape(5, -1, 8)[rng.random((5, len(live))) < 0.2] = 0
    assert_equals_oracle(load_machine("fpraker", **own), x, [y], reading)


def every_value(rng: np.random.Generator) -> BF16Array:
    """(1, 256): a value of every sign and fraction, exponents close to each other, so that all terms matter."""
    values = (rng.integers(125, 130, 256) << 7 | np.arange(256) & 0x7F | (np.arange(256) & 0x80) << 8).astype(np.uint16)
    return rng.permutation(values)[np.newaxis]


@pytest.mark.parametrize("reading", ["sync term", "oob column", "both, cycle", "oob off, own pace"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_value_of_every_encoder_equals_the_oracle(encoder, reading):
    rng = np.random.default_rng([2, list(READINGS).index(reading), ENCODERS.index(encoder)])
    for window in (0, 3):
        tile = {"tile.rows": 2, "tile.cols": 1, "shift_window": window, "chunk": "off", "pe.oob_threshold": 12}
        machine = load_machine("fpraker", encoder=encoder, **tile, **READINGS[reading])
        assert_equals_oracle(machine, every_value(rng), [INPUTS["gaussian"](rng, 3, 256)], (encoder, window))


@pytest.mark.parametrize("reading", ["sync term", "oob column", "both"])
@pytest.mark.parametrize("rows", [1, 2, 4, 8, 16, 32])
def test_columns_of_every_size_equal_the_oracle(rows, reading):
    rng = np.random.default_rng([3, rows, list(READINGS).index(reading)])
    machine = load_machine("fpraker", **{"tile.rows": rows, "tile.cols": 1, **READINGS[reading]})
    # 33 rows of Y: two vectors, the second nearly empty.
    assert_equals_oracle(machine, INPUTS["mixed"](rng, 1, 24), [INPUTS["mixed"](rng, 33, 24)], reading)


def test_a_pointer_waits_for_the_slowest_pe_of_its_own_column():
    # The oracle's set by hand, in both columns of the vector that have rows; the second column waits for nobody.
    x, y = exactly([1, 1.5]), exactly([1, 1], [1, 2.0**-5], [1, 1], [1, 1])
    machine = load_machine(
        "fpraker-literal", **{"tile.sync": "term", "tile.rows": 2, "tile.cols": 1, "exponent_sharing": 1}
    )
    passes = run(machine, x, [y])
    assert passes.durations.tolist() == [3, 2]
    assert_equals_oracle(machine, x, [y])


@pytest.mark.parametrize("chunk", ["off", 64])
def test_chunks_end_with_their_sets_whether_those_are_empty_or_not(chunk):
    # 21 sets: two chunks and five sets more; the last set of the first chunk, and all of the second, are empty.
    rng = np.random.default_rng(4)
    live = np.full(21, 8)
    live[7:16] = 0
    x, y = with_live_lanes(rng, finite(rng, 3, 168), live), finite(rng, 3, 168)
    for empty_sets in ("floor", "skip"):
        own = {"chunk": chunk, "tile.sync": "term", "tile.rows": 2, "tile.cols": 2, "tile.empty_sets": empty_sets}
        assert_equals_oracle(load_machine("fpraker", **own), x, [y], empty_sets)
