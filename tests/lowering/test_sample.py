"""Sampling a trace: every cell equally likely, estimates without bias, the file within its budget, the truth kept
beside it.
"""

from itertools import product
from zipfile import ZipFile

import numpy as np
import pytest

from simhw import load_machine, simulate_layer
from simhw.bfloat16 import from_float32, is_zero, to_float32
from simhw.errors import TraceError
from simhw.lowering import block_classes, lower
from simhw.lowering.sample import BLOCK_ROWS, DRAW, PILOT, BlockStratum, allocate, draw_cells, sample_trace
from simhw.simulation.strata import plan_operation
from simhw.trace.layer import Layer
from simhw.trace.metadata import Metadata
from simhw.trace.reader import load_trace
from simhw.trace.statistics import layer_statistics
from simhw.trace.trace import Trace


def tensor(rng, *shape, zeros=0.5):
    values = rng.standard_normal(shape, dtype=np.float32)
    return from_float32(np.where(rng.random(shape) < zeros, np.float32(0), values))


GEOMETRY = {"stride": 2, "padding": 1}


def small_trace():
    """Three layers, one with four stride phases, with edges of fewer than 16 rows, and cells that differ much from each
    other.
    """
    rng = np.random.default_rng(0)
    a = tensor(rng, 3, 8, 23, 23)
    a[1] = 0  # images differ, so a sample that favoured one would be off
    conv = Layer(
        "conv", "conv", GEOMETRY, a=a, w=tensor(rng, 20, 8, 3, 3, zeros=0), g=tensor(rng, 3, 20, 12, 12, zeros=0.8)
    )
    fc = Layer(
        "fc",
        "linear",
        a=tensor(rng, 2000, 64),
        w=tensor(rng, 70, 64),
        g=tensor(rng, 2000, 70),
        operations=["forward", "input_grad"],
    )
    attention = Layer(
        "attention", "matmul", a=tensor(rng, 8, 8, 20, 8), w=tensor(rng, 8, 8, 8, 20), g=tensor(rng, 8, 8, 20, 20)
    )
    return Trace([conv, fc, attention], Metadata(model="small", extra={"note": 1}))


BUDGET = 120_000


@pytest.fixture(scope="module")
def trace():
    return small_trace()


@pytest.fixture(scope="module")
def sample(trace):
    return sample_trace(trace, BUDGET, seed=3)


def strata(trace):
    return [(layer, o, f) for layer in trace.layers for o in layer.operations for f in lower(layer, o, 1)]


# --- drawing ---


def test_every_cell_of_a_stratum_is_equally_likely_at_every_place_of_the_draw():
    cells, size, seeds = 7, 3, 7000
    counts = np.zeros((size, cells))
    for seed in range(seeds):
        drawn = draw_cells(cells, size, seed, DRAW, (0, 1, 2))
        assert len(set(drawn)) == size
        counts[np.arange(size), drawn] += 1
    # Each count is binomial(7000, 1/7): mean 1000, standard deviation 29.3; 21 of them stay within 4 of those.
    assert np.abs(counts - seeds / cells).max() < 4 * np.sqrt(seeds / cells * (1 - 1 / cells))


def test_pilot_and_draw_and_neighbouring_strata_are_independent():
    draws = [
        tuple(draw_cells(10_000, 4, 1, purpose, key))
        for purpose in (PILOT, DRAW)
        for key in product(range(3), repeat=3)
    ]
    assert len(set(draws)) == len(draws)


def test_draws_of_all_cells_give_each_once():
    assert sorted(draw_cells(9, 9, 0, DRAW, (0, 0, 0))) == list(range(9))


# --- allocation ---


def test_equal_costs_share_the_budget_in_proportion_to_weight():
    # Neyman allocation: the variance sum(w^2 / n) under sum(n) = 100 is least at n proportional to w.
    strata = [
        BlockStratum((0, 0, i, 0), cells=10_000, reduction=weight, bytes_per_cell=1.0)
        for i, weight in enumerate((1, 2, 7))
    ]
    assert allocate(strata, 100) == [10, 20, 70]


def test_dear_cells_are_bought_less():
    # Least variance at n proportional to w / sqrt(cost): 1 to 1/2 for a cost of 4, so n + 4 n / 2 = 300 gives 100 and
    # 50.
    cheap, dear = (BlockStratum((0, 0, i, 0), 10_000, 5, cost) for i, cost in enumerate((1.0, 4.0)))
    counts = allocate([cheap, dear], 300)
    assert abs(counts[0] - 100) <= 2
    assert abs(counts[1] - 50) <= 1


def test_two_cells_come_first_even_for_a_stratum_of_no_weight():
    heavy, light = BlockStratum((0, 0, 0, 0), 1000, 1000, 1.0), BlockStratum((0, 0, 1, 0), 3, 1, 1.0)
    assert allocate([heavy, light], 10) == [8, 2]


def test_one_cell_each_where_two_do_not_fit_everywhere():
    assert allocate([BlockStratum((0, 0, i, 0), 50, weight, 10.0) for i, weight in enumerate((1, 9))], 35) == [1, 2]


def test_small_strata_are_taken_whole_and_never_exceeded():
    assert allocate([BlockStratum((0, 0, 0, 0), 1, 5, 1.0), BlockStratum((0, 0, 1, 0), 4, 5, 1.0)], 1000) == [1, 4]


def test_too_small_a_budget_is_refused_with_what_it_takes():
    with pytest.raises(
        TraceError, match=r"one cell of each of 2 strata takes about 0\.02 MB, the limit leaves 0\.01 MB"
    ):
        allocate([BlockStratum((0, 0, i, 0), 50, 5, 1e4) for i in range(2)], 1e4)


# --- the sampled trace ---


def test_population_is_the_whole_layers(trace, sample):
    assert sample.sampled
    for (_, _, whole), (_, _, sampled) in zip(strata(trace), strata(sample), strict=True):
        assert (whole.count, whole.m, whole.n, whole.k(), whole.fed) == (
            sampled.count,
            sampled.m,
            sampled.n,
            sampled.k(),
            sampled.fed,
        )


def test_every_stratum_has_two_different_cells_or_all(sample):
    for _, _, family in strata(sample):
        places = {(b.product, b.x_start, b.y_start) for b in family.blocks}
        assert len(places) == len(family.blocks)
        for alike in block_classes(family):
            assert sum(map(alike.holds, family.blocks)) >= min(2, alike.cells)


def test_blocks_are_rows_of_the_whole_products(trace, sample):
    partial = 0
    for (_, _, whole), (_, _, sampled) in zip(strata(trace), strata(sample), strict=True):
        for block in sampled.blocks:
            x, y = whole.product(block.product)
            np.testing.assert_array_equal(block.x, x.rows(block.x_start, block.x_start + BLOCK_ROWS))
            np.testing.assert_array_equal(block.y, y.rows(block.y_start, block.y_start + BLOCK_ROWS))
            assert len(block.x) == min(BLOCK_ROWS, whole.m - block.x_start)
            assert len(block.y) == min(BLOCK_ROWS, whole.n - block.y_start)
            partial += len(block.x) < BLOCK_ROWS
    assert partial  # the trace has edges, and the sample met some


@pytest.mark.parametrize("budget", [60_000, BUDGET, 200_000])
def test_file_stays_within_its_budget_and_uses_it(trace, tmp_path, budget):
    path = tmp_path / "sample.npz"
    sample_trace(trace, budget, seed=1).save(path, compress=True)
    assert 0.85 * budget < path.stat().st_size <= budget


def test_sample_survives_its_file(sample, tmp_path):
    path = tmp_path / "sample.npz"
    sample.save(path, compress=True)
    for (_, _, kept), (_, _, read) in zip(strata(sample), strata(load_trace(path)), strict=True):
        assert [(b.product, b.x_start, b.y_start) for b in kept.blocks] == [
            (b.product, b.x_start, b.y_start) for b in read.blocks
        ]
        for one, other in zip(kept.blocks, read.blocks, strict=True):
            np.testing.assert_array_equal(one.x, other.x)
            np.testing.assert_array_equal(one.y, other.y)


def test_statistics_and_shapes_of_the_whole_tensors_stay(trace, sample):
    for whole, sampled in zip(trace.layers, sample.layers, strict=True):
        assert sampled.shapes == whole.shapes
        assert sampled.operations == whole.operations
        for t in "awg":
            assert not sampled.holds(t)
            expected = layer_statistics(whole, t)
            assert sampled.statistics[t].zeros == expected.zeros
            np.testing.assert_array_equal(sampled.statistics[t].exponents, expected.exponents)


def test_same_seed_same_sample_other_seed_other_sample(trace, sample):
    def places(trace):
        return [(b.product, b.x_start, b.y_start) for _, _, f in strata(trace) for b in f.blocks]

    assert places(sample_trace(trace, BUDGET, seed=3)) == places(sample)
    assert places(sample_trace(trace, BUDGET, seed=4)) != places(sample)


def test_sample_says_how_it_was_drawn(sample):
    assert sample.metadata.model == "small"
    assert sample.metadata.extra == {"note": 1, "sample": {"seed": 3, "max_bytes": BUDGET, "block_rows": 16}}


def cell_values(x, y):
    """Two quantities of a cell that have nothing to do with each other: the sum of |X Y^T|, and X's zeros."""
    xs, ys = np.abs(to_float32(x).astype(np.float64)), np.abs(to_float32(y).astype(np.float64))
    return np.array([(xs @ ys.T).sum(), is_zero(x).sum() * len(y)])


def expanded(family):
    """Cells of each size times the mean over those drawn."""
    return sum(
        alike.cells * np.mean([cell_values(b.x, b.y) for b in family.blocks if alike.holds(b)], axis=0)
        for alike in block_classes(family)
    )


def test_cells_of_one_size_are_drawn_apart_and_all_of_them_are_a_family():
    # 37 x 21 rows: 16 + 16 + 5 by 16 + 5, of three products.
    (family,) = lower(Layer("m", "matmul", a=np.zeros((3, 37, 4)), w=np.zeros((3, 4, 21))), "forward", 1)
    classes = block_classes(family)
    assert [(alike.x_rows, alike.y_rows, alike.cells) for alike in classes] == [
        (16, 16, 6),
        (16, 5, 6),
        (5, 16, 3),
        (5, 5, 3),
    ]
    places = [alike.place(cell) for alike in classes for cell in range(alike.cells)]
    assert sorted(places) == [(p, x, y) for p in range(3) for x in (0, 16, 32) for y in (0, 16)]


def test_a_sample_says_in_its_file_that_sizes_were_drawn_apart_and_others_do_not(trace, sample, tmp_path):
    for part, name in ((sample, "sample.npz"), (trace, "whole.npz")):
        part.save(tmp_path / name, compress=True)
        assert {layer.blocks_by_size for layer in load_trace(tmp_path / name).layers} == {part is sample}
        with ZipFile(tmp_path / name) as file:
            assert (b"blocks_by_size" in file.read("metadata.json")) == (part is sample)


def test_a_sample_without_blocks_of_one_size_is_refused(sample):
    layer = sample.layers[1]
    blocks = {
        operation: [b for b in cells if b.x.shape[0] == 16 == b.y.shape[0]] for operation, cells in layer.blocks.items()
    }
    part = Layer(
        "fc",
        "linear",
        operations=layer.operations,
        shapes=layer.shapes,
        statistics=layer.statistics,
        blocks=blocks,
        blocks_by_size=True,
    )
    with pytest.raises(
        TraceError, match="layer 'fc', operation forward: the trace holds no block of some size of its products; sample"
    ):
        simulate_layer(part, "forward", "fpraker")


def test_a_simulated_sample_estimates_every_size_by_its_own_blocks(sample):
    # Passes of the whole, and of each size its share of them: on tiles of 8 x 8 whole blocks have four passes, edges
    # one or two.
    for layer in sample.layers:
        for operation in layer.operations:
            run = plan_operation(layer, operation, load_machine("fpraker"), False, 0)
            families = run.lowered.families
            tallies = run.candidates[0].tallies
            assert len(tallies) == sum(len(block_classes(family)) for family in families)
            assert sum(tally.passes for tally in tallies) == sum(family.population(8, 8) for family in families)
            assert all(tally.passes % tally.cells == 0 for tally in tallies)


def test_expanded_samples_average_to_the_exact_totals(trace):
    exact = []
    for _, _, family in strata(trace):
        total = np.zeros(2)
        for index in range(family.count):
            x, y = (operand.rows(0, operand.shape[0]) for operand in family.product(index))
            total += cell_values(x, y)
        exact.append(total)
    estimates = []
    for seed in range(48):
        families = [f for _, _, f in strata(sample_trace(trace, 60_000, seed=seed))]
        estimates.append([expanded(family) for family in families])
    error = np.mean(estimates, axis=0) - exact
    standard_error = np.std(estimates, axis=0, ddof=1) / np.sqrt(len(estimates))
    # 2 x 11 means of 48 estimates: within 4 standard errors, or exact where the whole stratum is always drawn.
    assert (np.abs(error) <= 4 * standard_error + 1e-9 * np.abs(exact)).all()
    assert (standard_error > 0).mean() > 0.5  # most strata were truly sampled
    total = np.sum(estimates, axis=1)
    assert np.abs(total.mean(axis=0) / np.sum(exact, axis=0) - 1).max() < 0.05


def test_trace_that_fits_stays_whole(trace):
    kept = sample_trace(trace, 10_000_000, seed=0)
    assert not kept.sampled
    assert all(kept.layers[0].holds(t) and t in kept.layers[0].statistics for t in "awg")


def test_sampling_a_sample_is_refused(sample):
    with pytest.raises(TraceError, match="layer 'conv' is already a sample"):
        sample_trace(sample, BUDGET, seed=0)


def test_budget_below_one_cell_each_is_refused(trace):
    with pytest.raises(TraceError, match="raise the limit"):
        sample_trace(trace, 5_000, seed=0)


def test_negative_seed_is_refused(trace):
    with pytest.raises(TraceError, match="sample seed -1"):
        sample_trace(trace, BUDGET, seed=-1)
