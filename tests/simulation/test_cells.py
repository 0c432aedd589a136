"""Cells and units: every tile pass exactly once, whatever is shared, and sizes that are true."""

from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw import load_machine
from simhw.errors import TraceError
from simhw.lowering import Reduction
from simhw.simulation.cells import _tile_groups, block_rows, cell_strata, exact_units, split_strips, unit_rows
from simhw.simulation.plan import PassPlan, lower_for
from tests.slow_engine import LAYERS, layer


@dataclass
class StandIn:
    """As much of a family as plans look at: a grid of products, those of a row sharing X and those of a column sharing
    Y.
    """

    count: int
    m: int
    n: int
    reduction: Reduction
    x_groups: int
    y_groups: int

    def x_key(self, index):
        return "x", index % self.x_groups

    def y_key(self, index):
        return "y", index % self.y_groups


@st.composite
def plans(draw):
    count = draw(st.integers(1, 9))
    family = StandIn(
        count,
        draw(st.integers(1, 40)),
        draw(st.integers(1, 40)),
        Reduction(1, draw(st.integers(1, 60)), 8),
        # The family's products share X or Y in any pattern: none, all, or some.
        draw(st.integers(1, count)),
        draw(st.integers(1, count)),
    )
    products = tuple(sorted(draw(st.sets(st.integers(0, count - 1), min_size=1))))
    tile = SimpleNamespace(
        tile_x=draw(st.integers(1, 9)),
        tile_y=draw(st.integers(1, 9)),
        lanes=8,
        needs_y=draw(st.booleans()),
        cell_rows=draw(st.sampled_from([None, 4, 32])),
    )
    return PassPlan(family, draw(st.booleans()), products, tile)


def passes_of(unit):
    """(product of X, tile of X, product of Y, tile of Y) of every pass of a unit."""
    for x in unit.xs:
        for x_tile in range(x.first, x.last):
            for y in unit.ys:
                for y_tile in range(y.first, y.last):
                    yield x.product, x_tile, y.product, y_tile


def operand_passes(plan, product_passes):
    """The same passes by what they read: keys of the operands and tiles."""
    family = plan.family
    x_key, y_key = (family.y_key, family.x_key) if plan.swapped else (family.x_key, family.y_key)
    return Counter((x_key(x), x_tile, y_key(y), y_tile) for x, x_tile, y, y_tile in product_passes)


def every_pass(plan):
    x_tiles, y_tiles = plan.tiles
    return operand_passes(plan, ((p, x, p, y) for p in plan.products for x in range(x_tiles) for y in range(y_tiles)))


@settings(max_examples=300)
@given(plan=plans(), values=st.sampled_from([1, 200, 4_000_000]), macs=st.sampled_from([1, 5000, 40_000_000]))
def test_units_cover_every_pass_exactly_once(plan, values, macs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simhw.simulation.cells.UNIT_VALUES", values)
        units = list(exact_units(plan, macs))
    found = operand_passes(plan, (each for unit in units for each in passes_of(unit)))
    assert found == every_pass(plan)
    assert sum(found.values()) == plan.passes


@settings(max_examples=300)
@given(plan=plans())
def test_cells_cover_every_pass_exactly_once_and_tell_their_size(plan):
    found = Counter()
    for stratum in cell_strata(plan):
        assert stratum.cells > 0
        assert stratum.passes_per_cell > 0
        for cell in range(stratum.cells):
            unit = stratum.unit(cell)
            passes = list(passes_of(unit))
            assert len(passes) == stratum.passes_per_cell
            assert sum(strip.last - strip.first for strip in unit.xs) == 1  # one tile of X
            found += operand_passes(plan, passes)
    assert found == every_pass(plan)
    assert sum(stratum.cells * stratum.passes_per_cell for stratum in cell_strata(plan)) == plan.passes


@given(
    products=st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True),
    tiles=st.integers(1, 9),
    size=st.integers(1, 20),
)
def test_strips_hold_every_tile_in_order_and_as_many_as_fit(products, tiles, size):
    groups = list(split_strips(products, tiles, size))
    expanded = [[(s.product, tile) for s in strips for tile in range(s.first, s.last)] for strips in groups]
    assert [each for group in expanded for each in group] == [(p, tile) for p in products for tile in range(tiles)]
    assert {len(group) for group in expanded[:-1]} <= {size}
    assert 1 <= len(expanded[-1]) <= size


def plan_of(name, operation, swapped=False, machine="fpraker", **overrides):
    machine = load_machine(machine, **overrides)
    family = lower_for(LAYERS[name](), operation, machine).families[0]
    return PassPlan(family, swapped, tuple(range(family.count)), machine.tile)


def test_images_of_a_convolution_share_the_filters_from_either_side():
    assert plan_of("conv2d", "forward").clusters() == [((0, 1), (0,))]
    assert plan_of("conv2d", "forward", swapped=True).clusters() == [((0,), (0, 1))]


def test_products_that_share_nothing_are_clusters_of_their_own():
    assert plan_of("matmul", "forward").clusters() == [((p,), (p,)) for p in range(4)]


def test_groups_of_a_convolution_do_not_mix():
    # Products of 2 images x 2 groups: 0 and 2 are group 0 of either image, 1 and 3 group 1.
    assert plan_of("grouped", "forward").clusters() == [((0, 2), (0,)), ((1, 3), (1,))]


def test_kernel_positions_of_a_weight_gradient_share_the_gradient():
    plan = plan_of("conv2d", "weight_grad")
    assert plan.clusters() == [(tuple(range(9)), (0,))]
    assert plan_of("conv2d", "weight_grad", swapped=True).clusters() == [((0,), tuple(range(9)))]


# X of a product that shares Y with another is read as this product's own; Y as any of its cluster's: both must be the
# same rows.
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
def test_equal_keys_mean_equal_operands(name, operation, swapped):
    plan = plan_of(name, operation, swapped)
    family = plan.family
    for products, side, key in ((range(family.count), 0, family.x_key), (range(family.count), 1, family.y_key)):
        first = {}
        for product in products:
            rows = family.product(product)[side].rows(0, 999)
            np.testing.assert_array_equal(rows, first.setdefault(key(product), rows))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("name", "operation"), [("conv2d", "forward"), ("strided", "input_grad"), ("conv3d", "forward")]
)
def test_tiles_that_leave_out_the_same_sets_run_together_and_none_twice(name, operation, swapped):
    plan = plan_of(name, operation, swapped, padding="skip", **{"tile.rows": 2, "tile.cols": 3})
    for unit in exact_units(plan, 40_000_000):
        at, strips, rows = (1, unit.ys, plan.tile.tile_y) if swapped else (0, unit.xs, plan.tile.tile_x)
        operand, _ = plan.family.product(strips[0].product)  # the padded one is the family's X
        seen = Counter()
        for live, group in _tile_groups(plan.sides[at], strips, rows):
            for strip in group:
                for tile in range(strip.first, strip.last):
                    np.testing.assert_array_equal(operand.live_sets(tile * rows, (tile + 1) * rows), live)
                    seen[strip.product, tile] += 1
        assert seen == Counter((s.product, tile) for s in strips for tile in range(s.first, s.last))


@pytest.mark.parametrize("y_values", [True, False])
def test_rows_of_y_that_no_one_reads_are_only_counted(y_values):
    plan = plan_of("conv2d", "forward", machine="tensordash")
    (unit,) = exact_units(plan, 40_000_000)
    ((parallel, x_blocks),) = unit_rows(plan, unit, y_values)
    # Three filters fill a tile of four columns but for one.
    assert parallel.real.tolist() == [True, True, True, False]
    assert parallel.rows.shape == (4, plan.reduction if y_values else 0)
    assert sum(len(block) for block in x_blocks) == 2 * 20  # positions of two images


@settings(max_examples=60)
@given(
    rows=st.integers(1, 3000),
    reduction=st.integers(1, 3000),
    cell_rows=st.sampled_from([4, 32]),
    swapped=st.booleans(),
)
def test_units_hold_a_bounded_number_of_values(rows, reduction, cell_rows, swapped):
    tile = SimpleNamespace(tile_x=8, tile_y=8, lanes=8, needs_y=True, cell_rows=cell_rows)
    plan = PassPlan(StandIn(1, rows, 2 * rows, Reduction(1, reduction, 8), 1, 1), swapped, (0,), tile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simhw.simulation.cells.UNIT_VALUES", 100_000)
        # One group of Y and one tile of X are the least that a unit can be.
        for unit in exact_units(plan, 40_000_000):
            x_rows = sum(s.last - s.first for s in unit.xs) * 8
            y_rows = sum(s.last - s.first for s in unit.ys) * 8
            assert x_rows * plan.reduction <= max(100_000, 8 * plan.reduction)
            assert y_rows * plan.reduction <= max(100_000, 32 * plan.reduction)


def sampled_plan(tile_rows, machine="fpraker"):
    machine = load_machine(machine, **{"tile.rows": tile_rows})
    whole = layer("linear", (40, 9), (20, 9), (40, 20))
    return PassPlan(lower_for(whole, "forward", machine).families[0], False, (0,), machine.tile)


@pytest.mark.parametrize("tile_rows", [1, 2, 4, 8, 16])
def test_blocks_of_sixteen_rows_make_whole_tiles(tile_rows):
    plan = sampled_plan(tile_rows)
    x, y = plan.family.product(0)
    block = SimpleNamespace(x=x.rows(16, 32), y=y.rows(16, 32), border=None)  # the last four rows of Y
    ((parallel, x_blocks),) = block_rows(plan, block)
    assert len(parallel.rows) == -(-4 // tile_rows) * tile_rows
    np.testing.assert_array_equal(parallel.rows[:4], block.y)
    np.testing.assert_array_equal(np.concatenate(list(x_blocks)), block.x)


def test_a_tile_larger_than_a_block_is_refused_with_what_to_do():
    with pytest.raises(
        TraceError,
        match=r"layer 'linear', operation forward: .*blocks of 16 rows, which tiles of 32 rows do not divide; use a",
    ):
        list(block_rows(sampled_plan(32), SimpleNamespace(border=None, x=np.zeros((16, 8)), y=np.zeros((16, 8)))))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_cluster_sizes_are_those_of_the_clusters(kind, operation, swapped):
    some = plan_of(kind, operation, swapped=swapped)
    plan = replace(some, products=range(some.family.count))
    assert plan.cluster_sizes() == Counter((len(xs), len(ys)) for xs, ys in plan.clusters())
