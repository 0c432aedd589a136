"""Tiles share the passes: longest first, to the tile that is free first, and never better than they can."""

import heapq
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw import Layer, load_machine, simulate_layer
from simhw.machine.tiles import longest_first as longest_first_of_parts
from simhw.machine.tiles import repeated_loads, tile_loads
from tests.slow_engine import longest_first, tensor

durations_ = st.lists(st.integers(0, 60), min_size=1, max_size=80)


def makespan(durations, tiles):
    """Cycles from the first pass's start to the last one's end."""
    return int(tile_loads(durations, tiles).max())


@settings(max_examples=200)
@given(durations=durations_, tiles=st.integers(1, 20))
def test_makespan_is_that_of_longest_first_and_keeps_its_bounds(durations, tiles):
    found = makespan(np.array(durations, np.int64), tiles)
    assert found == longest_first(durations, tiles)
    assert found >= max(durations)
    assert found * tiles >= sum(durations)
    # The last pass to end started when every tile was busy: no later than total / tiles.
    assert found <= sum(durations) / tiles + max(durations)


@settings(max_examples=200)
@given(durations=durations_, tiles=st.integers(1, 20), cuts=st.lists(st.integers(0, 80), max_size=3))
def test_each_tile_is_as_busy_whatever_parts_the_passes_come_in(durations, tiles, cuts):
    # Tile by tile, as a plain heap fills them: where several are free at once, the first takes the next pass.
    free_at = [(0, tile) for tile in range(tiles)]
    for duration in sorted(durations, reverse=True):
        free, tile = heapq.heappop(free_at)
        heapq.heappush(free_at, (free + duration, tile))
    busy = [free for free, _ in sorted(free_at, key=lambda pair: pair[1])]
    assert tile_loads(np.array(durations, np.int64), tiles).tolist() == busy
    bounds = sorted({0, len(durations), *(min(cut, len(durations)) for cut in cuts)})
    parts = np.concatenate([np.sort(durations[start:stop]) for start, stop in pairwise(bounds)])
    assert longest_first_of_parts(parts, np.array(bounds), tiles).tolist() == busy


@given(durations=durations_, tiles=st.integers(1, 20), seed=st.integers(0, 9))
@settings(max_examples=50)
def test_makespan_does_not_depend_on_the_order_of_passes(durations, tiles, seed):
    shuffled = np.random.default_rng(seed).permutation(np.array(durations, np.int64))
    assert makespan(shuffled, tiles) == makespan(np.array(durations, np.int64), tiles)


@pytest.mark.parametrize(
    ("passes", "tiles", "rounds"), [(1, 36, 1), (36, 36, 1), (37, 36, 2), (72, 36, 2), (1000, 7, 143)]
)
def test_equal_passes_take_whole_rounds(passes, tiles, rounds):
    # A run of one more or one less cycle takes another way than all in turns, and agrees to those cycles.
    equal = np.full(passes, 50, np.int64)
    assert makespan(equal, tiles) == 50 * rounds
    equal[-1] -= 1
    assert makespan(equal, tiles) in (50 * rounds, 50 * rounds - 1)


def test_no_passes_take_no_time_and_one_tile_takes_the_sum():
    assert makespan(np.zeros(0, np.int64), 4) == 0
    assert makespan(np.array([3, 5, 9], np.int64), 1) == 17


def test_first_and_last_pass_being_equal_does_not_make_all_of_them():
    assert makespan(np.array([5, 1, 1, 1, 5], np.int64), 2) == 7  # 5 + 1, 5 + 1 + 1


def test_long_passes_are_not_left_to_the_end():
    # In the order given one tile would take 1 + 1 + 6; longest first gives 6 beside 1 + 1 + 1 + 1.
    assert makespan(np.array([1, 1, 1, 1, 6], np.int64), 2) == 6


def test_a_machine_of_many_tiles_stands_idle_where_passes_are_few():
    # 16 windows by 24 filters: 2 x 3 = 6 passes. Of 36 tiles 30 have none, and the six of the machine end at different
    # times.
    rng = np.random.default_rng(0)
    layer = Layer("fc", "linear", a=tensor(rng, 16, 40), w=tensor(rng, 24, 40))
    result = simulate_layer(layer, "forward", "fpraker")
    assert result.passes == 6
    assert result.cost.busy <= 6 / 36
    assert result.cost.busy == result.tile_cycles / (36 * result.cycles)
    # The baseline's 8 tiles take 6 passes of 5 sets, all at once: iso-area speed-up is lost to idle tiles.
    assert result.baseline.cycles.value == 5
    assert result.baseline.busy == 6 / 8
    assert result.speedup == pytest.approx(5 / result.cycles)


@pytest.mark.parametrize("tiles", [1, 2, 5, 36])
def test_more_tiles_never_take_longer(tiles):
    rng = np.random.default_rng(1)
    layer = Layer("fc", "linear", a=tensor(rng, 60, 24), w=tensor(rng, 30, 24))
    few, more = (simulate_layer(layer, "forward", load_machine("fpraker", tiles=n)) for n in (tiles, 2 * tiles))
    assert more.cycles <= few.cycles
    assert more.tile_cycles == few.tile_cycles


@settings(max_examples=300)
@given(passes=st.dictionaries(st.integers(0, 60), st.integers(0, 40), max_size=6), tiles=st.integers(1, 20))
def test_loads_of_repeated_passes_in_closed_form_are_those_of_the_passes_one_by_one(passes, tiles):
    durations = np.array([duration for duration, number in passes.items() for _ in range(number)], np.int64)
    np.testing.assert_array_equal(repeated_loads(passes, tiles), tile_loads(durations, tiles))


def test_loads_of_repeated_passes_do_not_cost_by_their_number():
    # Three rounds of a quadrillion passes of seven cycles, and two of five cycles that go to the first tiles.
    assert repeated_loads({7: 3 * 10**15, 5: 2}, 3).tolist() == [7 * 10**15 + 5, 7 * 10**15 + 5, 7 * 10**15]
