"""Cycles on all tiles of a sample: exact where nothing is missing, else corrected by a bootstrap and honest
about it.
"""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw.machine.tiles import tile_loads
from simhw.simulation.makespan import (
    REPLICATED_PASSES,
    REPLICATES,
    _replicates,
    _Sample,
    _stretched,
    estimate_makespan,
)
from simhw.simulation.sampling import StratumTally, estimate_cycles
from tests.oracles.stand_in import stand_in


def stratum(cells, passes_per_cell, drawn):
    """A stratum of which cells with these durations were drawn."""
    tally = StratumTally(cells * passes_per_cell, cells, exact=False)
    for durations in drawn:
        tally.add(np.array(durations, np.int64), Counter())
    return tally


def test_a_census_is_scheduled_as_it_is():
    tally = stratum(3, 2, [[5, 9], [4, 4], [7, 1]])
    cycles, loads = estimate_makespan([tally], 2, (0,))
    # Longest first on two tiles: 9 + 4 + 1 beside 7 + 5 + 4.
    assert (cycles.value, cycles.half_width) == (16, 0)
    assert sorted(loads) == [14, 16]


def test_a_stand_in_keeps_what_was_simulated_and_lies_between():
    drawn = np.array([10, 30, 20], np.int64)
    found = stand_in(drawn, stratum(9, 1, [[10], [30], [20]]))
    assert found[:3].tolist() == [10, 30, 20]
    # Six more at even steps of the quantiles: of three values, at -1/4, 1/4, 3/4, ... of the way from the first.
    assert found[3:].tolist() == [10, 12, 18, 22, 28, 30]
    assert stand_in(drawn, stratum(3, 1, [[10], [30], [20]])) is drawn


@settings(max_examples=200)
@given(
    cells=st.lists(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=5), min_size=1, max_size=6),
    few=st.booleans(),
    missing=st.integers(1, 70),
    picks=st.lists(st.integers(0, 5), min_size=6, max_size=6),
)
def test_stand_ins_of_samples_are_those_of_the_oracle_pass_by_pass(cells, few, missing, picks):
    # A tile for each pass: loads are durations.
    cells = [[duration % 4 for duration in each] for each in cells] if few else cells
    tally = stratum(len(cells), 1, cells)
    tally.passes = sum(map(len, cells)) + missing
    picked = np.array(picks[: len(cells)]) % len(cells)
    (found,) = _Sample.of([tally]).loads(picked[None], tally.passes)
    expected = stand_in(np.concatenate([tally.durations[cell] for cell in picked]), tally)
    assert sorted(found.tolist()) == sorted(expected.tolist())


def test_equal_passes_end_in_whole_rounds_whatever_is_drawn():
    # 37 passes of 50 cycles on 36 tiles take two rounds; 100 of them three.
    for cells, rounds in ((37, 2), (100, 3)):
        cycles, loads = estimate_makespan([stratum(cells, 1, [[50], [50]])], 36, (0,))
        assert (cycles.value, cycles.half_width) == (50 * rounds, 0)
        assert loads.sum() == pytest.approx(50 * cells)


def test_one_tile_takes_the_sum():
    tally = stratum(20, 2, [[5, 9], [4, 4], [7, 1]])
    cycles, loads = estimate_makespan([tally], 1, (0,))
    (total,) = estimate_cycles([tally])
    assert cycles == total
    assert loads.tolist() == [total.value]


def test_no_estimate_is_below_the_longest_pass_or_the_mean_load():
    rng = np.random.default_rng(0)
    for seed in range(50):
        cells = rng.gamma(1, 50, (4, 3)).astype(np.int64) + 1
        tally = stratum(10, 3, cells)
        tiles = int(rng.integers(2, 40))
        cycles, loads = estimate_makespan([tally], tiles, (seed,))
        assert cycles.value >= cells.max()
        assert cycles.value >= estimate_cycles([tally])[0].value / tiles * (1 - 1e-12)
        assert loads.sum() == pytest.approx(estimate_cycles([tally])[0].value)
        assert loads.max() == pytest.approx(cycles.value)
        assert loads.min() >= 0


def test_the_same_sample_and_key_give_the_same_estimate_and_another_key_another():
    tally = stratum(50, 2, np.random.default_rng(0).integers(50, 200, (4, 2)))
    same, again, other = (estimate_makespan([tally], 36, key)[0] for key in ((1, 2), (1, 2), (1, 3)))
    assert same == again
    assert same != other


def replicated_one_by_one(tallies, tiles, rng):
    """The excess of each bootstrap sample, by drawing cells, putting them together and scheduling their stand-ins."""
    found = []
    for _ in range(int(np.clip(REPLICATED_PASSES // sum(tally.passes for tally in tallies), *REPLICATES))):
        parts = []
        for tally in tallies:
            cells = tally.durations
            if not tally.complete:
                cells = [
                    cells[cell * len(cells) // tally.cells]
                    for cell in rng.choice(tally.cells, len(cells), replace=False)
                ]
            parts.append(stand_in(np.concatenate(cells), tally))
        loads = tile_loads(np.concatenate(parts), tiles)
        found.append(loads.max() * tiles / loads.sum() if loads.any() else 1.0)
    return found


@pytest.mark.parametrize("scale", [0, 3, 500, 10**9])
@pytest.mark.parametrize("tiles", [1, 16, 36])
def test_bootstrap_samples_are_those_of_drawing_and_scheduling_them_one_by_one(scale, tiles):
    rng = np.random.default_rng([scale, tiles])
    sizes = [[4] * 5, [1, 7, 2], [3, 3], [6]]
    tallies = [
        StratumTally(500, 125, exact=False),
        StratumTally(40, 12, exact=False),
        StratumTally(6, 2, exact=False),
        StratumTally(6, 0, True),
    ]
    for tally, cells in zip(tallies, sizes, strict=True):
        for size in cells:
            tally.add(rng.integers(0, scale + 1, size), Counter())
    assert [tally.complete for tally in tallies] == [False, False, True, True]
    for few in (tallies, tallies[:1], tallies[1:3]):
        found = _replicates(_Sample.of(few), tiles, np.random.default_rng(7))
        assert found.tolist() == replicated_one_by_one(few, tiles, np.random.default_rng(7))


def test_a_bootstrap_sample_may_have_more_passes_than_its_stratum():
    # Two of three cells of 9, 1 and 1 passes were drawn; a sample of the large one alone has 18 of the stratum's 11.
    tallies = [stratum(3, 1, [[5] * 8 + [90], [40]])]
    tallies[0].passes = 11
    found = [_replicates(_Sample.of(tallies), 4, np.random.default_rng(seed)).tolist() for seed in range(5)]
    assert found == [replicated_one_by_one(tallies, 4, np.random.default_rng(seed)) for seed in range(5)]


def test_nothing_simulated_takes_no_time():
    assert estimate_makespan([], 4, (0,))[0].value == 0
    cycles, loads = estimate_makespan([StratumTally(0, 0, exact=True)], 4, (0,))
    assert (cycles.value, loads.tolist()) == (0, [0, 0, 0, 0])


@pytest.mark.parametrize(("mean", "longest"), [(8, 8), (8, 9), (8, 12), (5, 6), (5, 20)])
def test_stretched_loads_have_the_mean_and_the_maximum_asked_for(mean, longest):
    found = _stretched(np.array([10, 8, 8, 6], np.int64), mean, longest)
    assert found.mean() == pytest.approx(mean)
    assert found.max() == pytest.approx(longest)
    assert found.min() >= 0
