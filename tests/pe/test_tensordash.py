"""TensorDash's kernels: equal to the oracle, never slower than dense, and the figures of the spec page."""

import itertools
from typing import Any

import numpy as np
import pytest

from simhw.machine.machine import Machine, load_machine
from simhw.pe.tensordash.kernel import AHEAD, LANES, effectual_masks
from simhw.pe.tensordash.tile import TensorDashTile
from tests import kernel_runs
from tests.kernel_runs import assert_equals_oracle, draw, draw_blocks, draw_inputs, every_value
from tests.oracles.inputs import all_ones, any_finite, gaussian, sparse
from tests.oracles.tensordash import operand_masks

SWITCHES: dict[str, list[Any]] = {
    "pe.order": ["paper", "dnnsim", "any"],
    "pe.depth": [1, 2, 3],
    "pe.sides": ["one", "two"],
    "pe.gate": ["on", "off"],
    "tile.rows": [1, 2, 3, 4, 16],
    "tile.cols": [1, 3, 4, 16],
}
SPARSITIES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)


def draw_machine(rng: np.random.Generator, **fixed: Any) -> Machine:
    return load_machine("tensordash", **draw(rng, SWITCHES, **fixed))


def draw_case(rng: np.random.Generator, machine: Machine, most_steps: int) -> int:
    """Compare a product of random shape and values; gives the steps of PEs compared.

    Half of the operands are sparse, since nothing else gives the scheduler work.
    """
    rows, cols = machine.tile.tile_x, machine.tile.tile_y
    x_rows, sizes = (
        int(rng.integers(1, 2 * rows + 2)),
        [int(rng.integers(1, cols + 2)) for _ in range(rng.integers(1, 3))],
    )
    k = int(rng.integers(1, max(2, LANES * most_steps // (x_rows * sum(sizes))) + 1))
    (x_name, x), (y_name, blocks) = draw_inputs(rng, x_rows, k), draw_blocks(rng, sizes, k)
    if rng.random() < 0.5:
        x_name = "sparse"
        x = sparse(rng, x_rows, k, float(rng.choice(SPARSITIES)))
    if rng.random() < 0.5:
        y_name = "sparse"
        blocks = [sparse(rng, size, k, float(rng.choice(SPARSITIES))) for size in sizes]
    return assert_equals_oracle(machine, x, blocks, (x_name, y_name))


@pytest.mark.parametrize(("switch", "value"), every_value(SWITCHES))
def test_kernel_equals_oracle_at_every_value_of_every_switch(switch, value):
    rng = np.random.default_rng([1, list(SWITCHES).index(switch), SWITCHES[switch].index(value)])
    for _ in range(6):
        draw_case(rng, draw_machine(rng, **{switch: value}), 400)


@pytest.mark.parametrize("order", ["paper", "dnnsim", "any"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_kernel_equals_oracle_at_every_sparsity(order, depth):
    rng = np.random.default_rng(2)
    machine = load_machine("tensordash", order=order, depth=depth)
    for sparsity in SPARSITIES:
        assert_equals_oracle(machine, sparse(rng, 4, 16 * 60, sparsity), [gaussian(rng, 1, 16 * 60)], sparsity)


def test_more_tiles_than_a_vector_holds_equal_the_oracle():
    # 32 tiles stand side by side in the kernel; tiles of different sparsity end at different times.
    rng = np.random.default_rng(3)
    x = np.concatenate([sparse(rng, 1, 16 * 9, (row % 11) / 10) for row in range(75)])
    assert_equals_oracle(load_machine("tensordash", rows=1), x, [gaussian(rng, 3, 16 * 9)])
    assert_equals_oracle(load_machine("tensordash", rows=2), x, [gaussian(rng, 3, 16 * 9)])


def test_one_step_reductions_equal_the_oracle():
    rng = np.random.default_rng(4)
    for depth, sides in itertools.product((1, 2, 3), ("one", "two")):
        machine = load_machine("tensordash", depth=depth, sides=sides)
        for k in (1, 16, 17):
            assert_equals_oracle(machine, sparse(rng, 5, k, 0.5), [sparse(rng, 5, k, 0.5)])


@pytest.mark.parametrize("tile_rows", [1, 2, 4])
def test_masks_and_their_count_are_the_oracles(tile_rows):
    # Two steps are looked at together: odd numbers of them end in one alone, the very last one of which nothing
    # follows.  What follows in another row, or what was a row before, is no part of it.
    rng = np.random.default_rng(9)
    for rows, steps in itertools.product((1, 2, 3, 5), (0, 1, 2, 3, 4, 7)):
        x = np.concatenate([any_finite(rng, 2 * rows, LANES * steps), sparse(rng, 2 * rows, LANES * steps, 0.5)])
        for values in (x[:rows], x[rows::2][:rows], x[-rows:], np.asfortranarray(x[-rows:])):
            masks, nonzeros = effectual_masks(values, tile_rows)
            assert masks.shape == (-(-rows // tile_rows) * tile_rows, steps + AHEAD)
            assert masks[:rows, :steps].tolist() == operand_masks(values)
            assert not masks[rows:].any()
            assert not masks[:, steps:].any()
            assert nonzeros == sum(mask.bit_count() for row in operand_masks(values) for mask in row)


@pytest.mark.parametrize("order", ["paper", "dnnsim", "any"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_more_tiles_of_both_sides_than_a_vector_holds_equal_the_oracle(order, depth):
    # 7 tiles of X, the last one partial, meet 5 of Y in two blocks, each with a partial tile.  The last vector's tiles
    # have pairs, so that whatever the one before left behind would show.
    rng = np.random.default_rng(10)
    x = np.concatenate([sparse(rng, 1, LANES * 5, 1 - row / 12) for row in range(13)])
    blocks = [np.concatenate([sparse(rng, 1, LANES * 5, row / 8) for row in range(size)]) for size in (3, 5)]
    machine = load_machine("tensordash", sides="two", order=order, depth=depth, rows=2, cols=2)
    assert_equals_oracle(machine, x, blocks, (order, depth))


@pytest.mark.parametrize("sides", ["one", "two"])
def test_cycles_in_which_no_multiplier_has_a_pair_to_take_equal_the_oracle(sides):
    # Dense rows; then single zeros, so that one multiplier of one tile of the vector is free; then rows that become
    # dense or sparse half way; then dense steps between empty ones.
    rng = np.random.default_rng(11)
    dense = all_ones(rng, 40, LANES * 12)
    few = dense.copy()
    few[rng.integers(0, 40, 9), rng.integers(0, LANES * 12, 9)] = 0x8000
    half = dense.copy()
    half[::2, LANES * 6 :] = sparse(rng, 20, LANES * 6, 0.7)
    half[1::2, : LANES * 6] = sparse(rng, 20, LANES * 6, 0.7)
    gaps = dense.copy()
    gaps.reshape(40, 12, LANES)[rng.random((40, 12)) < 0.6] = 0
    for rows in (1, 2):
        machine = load_machine("tensordash", sides=sides, rows=rows, cols=1)
        for x in (dense, few, half, gaps):
            assert_equals_oracle(machine, x, [dense[:1]])


def masks_of(values: list[list[int]]) -> np.ndarray:
    """Masks (rows, T + MAX_DEPTH) as the kernel takes them: empty steps at the end."""
    return np.pad(np.array(values, np.uint16), ((0, 0), (0, AHEAD)))


def schedule(machine: Machine, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cycles of each tile and row_sync_steps of each row of it, of a one-sided machine."""
    tile = machine.tile
    assert isinstance(tile, TensorDashTile)
    cycles, row_sync = tile.schedule(masks)
    return cycles[:, 0], row_sync[:, 0, :, 0]


def test_four_cycle_example_of_the_spec_page():
    # Section 5: AS = 2, 2, 1, 3, so 4 cycles for T = 6.
    cycles, row_sync = schedule(
        load_machine("tensordash", rows=1), masks_of([[0x0406, 0x8638, 0xBE41, 0x3677, 0xF6F5, 0x34CD]])
    )
    assert cycles.tolist() == [4]
    assert row_sync.tolist() == [[0]]


# Section 5: speed-up on uniformly random one-sided sparsity, 200,000 steps, order paper, depth 3.
RANDOM_SPARSITY = {
    1: {0.1: 1.099, 0.3: 1.354, 0.5: 1.728, 0.7: 2.318, 0.9: 2.982},
    4: {0.1: 1.084, 0.3: 1.296, 0.5: 1.597, 0.7: 2.040, 0.9: 2.935},
}


@pytest.mark.parametrize("rows", RANDOM_SPARSITY)
def test_speedup_on_random_sparsity(rows):
    # The speed-up is the mean of AS over at least 67,000 cycles. Its standard deviation is below 0.7, so three standard
    # errors are 0.008 at most, and less where cycles are more; the page's figures come from such a sample themselves.
    rng = np.random.default_rng(5)
    steps = 200_000
    for sparsity, speedup in RANDOM_SPARSITY[rows].items():
        bits = rng.random((rows, steps, LANES)) >= sparsity
        masks = masks_of((bits * (1 << np.arange(LANES))).sum(axis=-1))
        cycles, _ = schedule(load_machine("tensordash", rows=rows), masks)
        assert steps / cycles[0] == pytest.approx(speedup, abs=0.008)


@pytest.mark.parametrize("order", ["paper", "dnnsim"])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("sides", ["one", "two"])
def test_never_slower_than_dense_and_never_faster_than_the_staging_buffer_is_deep(order, depth, sides):
    rng = np.random.default_rng(6)
    steps = 97
    machine = load_machine("tensordash", order=order, depth=depth, sides=sides)
    for sparsity in SPARSITIES:
        x, y = sparse(rng, 64, LANES * steps, sparsity), sparse(rng, 8, LANES * steps, sparsity)
        durations = kernel_runs.run(machine, x, [y], outputs=False).durations
        assert durations.max() <= steps
        assert durations.min() >= -(-steps // depth)


def test_without_zeros_every_step_takes_a_cycle_and_of_nothing_but_zeros_a_third():
    rng = np.random.default_rng(7)
    dense, zero = all_ones(rng, 4, LANES * 30), np.zeros((4, LANES * 30), np.uint16)
    machine = load_machine("tensordash")
    assert kernel_runs.run(machine, dense, [dense], outputs=False).durations.tolist() == [30]
    assert kernel_runs.run(machine, zero, [dense], outputs=False).durations.tolist() == [10]


def test_wires_to_everywhere_fill_every_multiplier_while_the_buffer_has_a_pair():
    # 8 pairs a step for 6 steps, 48 in all, on the same 8 lanes: two steps fit into a cycle of 16 multipliers, and the
    # third step of the buffer is left whole. With the paper's wires fewer pairs reach a free lane.
    half = masks_of([[0x00FF] * 6])
    (cycles,), _ = schedule(load_machine("tensordash", rows=1, order="any"), half)
    assert cycles == 3
    (wired,), _ = schedule(load_machine("tensordash", rows=1), half)
    assert wired > 3


def test_gating_costs_no_cycles():
    rng = np.random.default_rng(8)
    x, y = sparse(rng, 9, 320, 0.6), gaussian(rng, 5, 320)
    on, off = (kernel_runs.run(load_machine("tensordash", gate=gate), x, [y]) for gate in ("on", "off"))
    kernel_runs.assert_same(on, off, "gate")
