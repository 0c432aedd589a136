"""The other oracles' own checks (numbers, baseline, TensorDash, inputs); FPRaker's are in test_oracles_fpraker.py."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from simhw.bfloat16 import EXPONENT_MASK, from_float32, to_float32
from tests.oracles import bitparallel, fpraker, tensordash
from tests.oracles.accumulator import decode_rows, power_of_two, round_to_format, shift_right_rne, to_bfloat16
from tests.oracles.fpraker import Config
from tests.oracles.inputs import GENERATORS, adversarial, adversarial_pairs, exactly

UNLIMITED = 10_000


# Numbers


@pytest.mark.parametrize(
    ("value", "positions", "expected"),
    [(5, 1, 2), (7, 1, 4), (6, 2, 2), (-5, 1, -2), (-7, 1, -4), (3, 40, 0), (3, -2, 12)],
)
def test_shift_rounds_ties_to_even_alike_for_both_signs(value, positions, expected):
    assert shift_right_rne(value, positions) == expected


def test_shift_agrees_with_the_rounding_of_exact_fractions():
    for value, positions in itertools.product(range(-130, 131), range(9)):
        assert shift_right_rne(value, positions) == round(Fraction(value, 1 << positions))


def test_rounding_to_a_format_agrees_with_ieee_hardware():
    rng = np.random.default_rng(1)
    doubles = rng.standard_normal(2000) * 2.0 ** rng.integers(-152, 130, 2000)
    with np.errstate(over="ignore", under="ignore"):
        expected = doubles.astype(np.float32)
    assert [round_to_format(Fraction(x), 24, -126, 127, subnormals=True) for x in doubles] == expected.tolist()


def test_read_out_rounds_like_the_converter_where_both_are_normal():
    rng = np.random.default_rng(2)
    values = (rng.standard_normal(2000) * 2.0 ** rng.integers(-120, 120, 2000)).astype(np.float32)
    assert [to_bfloat16(Fraction(float(x))) for x in values] == to_float32(from_float32(values)).tolist()


def test_read_out_at_both_ends_of_the_range():
    largest = Fraction(255) * power_of_two(120)
    half_place = power_of_two(119)
    assert to_bfloat16(largest + half_place - 1) == float(largest)
    assert to_bfloat16(largest + half_place) == math.inf  # the tie goes to the even neighbour, which is 2^128
    assert to_bfloat16(-largest - half_place) == -math.inf
    smallest = power_of_two(-126)
    assert to_bfloat16(smallest) == 2.0**-126
    # 2^-126 (1 - 2^-9) is halfway between 2^-126 (1 - 2^-8) and 2^-126 at 8 significant bits, and even means up.
    assert to_bfloat16(smallest * (1 - Fraction(1, 512))) == 2.0**-126
    below = to_bfloat16(-smallest * (1 - Fraction(1, 511)))
    assert below == 0
    assert math.copysign(1, below) == 1


# Baseline


def test_baseline_takes_one_cycle_a_set_and_counts_effectual_lanes():
    a, b = exactly([1, 0, 2], [0, 0, 3]), exactly([1, 1, 0])
    result = bitparallel.tile_pass(np.pad(a, ((0, 0), (0, 6))), np.pad(b, ((0, 0), (0, 6))))
    assert result.cycles == 2  # 9 values are two sets
    assert (result.useful, result.idle) == (1, 8 * 8 * 8 * 2 - 1)
    assert result.outputs.tolist() == [[1], [0]]


def test_baseline_loses_a_product_beyond_its_shifter():
    # 1 + 2^-13 ties to 1; a product 32 positions down breaks the tie, one 33 positions down is lost.
    register = {}
    for below in (32, 33):
        a, b = exactly([1, 1, 1] + [0] * 5 + [-1]), exactly([1, 2.0**-13, 2.0**-below] + [0] * 5 + [1])
        register[below] = bitparallel.tile_pass(a, b).outputs[0, 0]
    assert register == {32: 2.0**-12, 33: 0}


def test_baseline_and_fpraker_agree_where_nothing_is_out_of_bounds():
    rng = np.random.default_rng(11)
    for name, a, b in adversarial_pairs(rng, 2, 2, 40):
        ours = fpraker.tile_pass(a, b, Config(rows=2, cols=2, oob_threshold=UNLIMITED))
        baseline = bitparallel.tile_pass(a, b, rows=2, cols=2, align_range=UNLIMITED)
        assert np.array_equal(ours.outputs, baseline.outputs), name
        assert ours.overflows == baseline.overflows


# TensorDash


def random_masks(rng, rows, steps, sparsity):
    return ((rng.random((rows, steps, 16)) >= sparsity) * (1 << np.arange(16))).sum(axis=-1).tolist()


def test_four_cycle_example_of_the_spec_page():
    masks = [0x0406, 0x8638, 0xBE41, 0x3677, 0xF6F5, 0x34CD]
    window = [{lane for lane in range(16) if mask >> lane & 1} for mask in masks[:3]]
    assert tensordash.schedule_window(window, "paper") == [2, 0, 0, 1, 1, 1, 2, 6, 4, 4, 0, 2, 2, 2, 4, 2]
    schedule = tensordash.tile_schedule([masks])
    assert schedule.advanced == [2, 2, 1, 3]
    assert (schedule.cycles, schedule.skipped_steps, schedule.row_sync_steps) == (4, 2, 0)


RANDOM_SPARSITY = {
    1: {0.1: 1.099, 0.3: 1.354, 0.5: 1.728, 0.7: 2.318, 0.9: 2.982},
    4: {0.1: 1.084, 0.3: 1.296, 0.5: 1.597, 0.7: 2.040, 0.9: 2.935},
}


@pytest.mark.parametrize("rows", RANDOM_SPARSITY)
def test_speedup_on_random_sparsity(rows):
    # The speed-up is the mean of AS. Four of its standard errors, and half a unit of the page's last digit.
    rng = np.random.default_rng(12)
    steps = 4000
    for sparsity, speedup in RANDOM_SPARSITY[rows].items():
        schedule = tensordash.tile_schedule(random_masks(rng, rows, steps, sparsity))
        error = 4 * np.std(schedule.advanced) / schedule.cycles**0.5 + 0.0005
        assert error < 0.08
        assert steps / schedule.cycles == pytest.approx(speedup, abs=error)


@pytest.mark.parametrize("order", ["paper", "dnnsim"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_effectual_pair_is_multiplied_exactly_once_and_never_slower_than_dense(order, depth):
    rng = np.random.default_rng(13)
    for rows, sparsity in itertools.product((1, 4), (0.0, 0.2, 0.5, 0.8, 0.95, 1.0)):
        masks = random_masks(rng, rows, 50, sparsity)
        schedule = tensordash.tile_schedule(masks, depth, order)
        for row, row_masks in enumerate(masks):
            effectual = [(step, lane) for step, mask in enumerate(row_masks) for lane in range(16) if mask >> lane & 1]
            assert sorted(tensordash.replay(schedule, row)) == effectual
        assert -(-50 // depth) <= schedule.cycles <= 50
        assert schedule.useful + schedule.idle == rows * 16 * schedule.cycles
        assert schedule.row_sync_steps >= 0


@pytest.mark.parametrize("order", ["paper", "dnnsim"])
def test_dense_takes_every_step_and_nothing_takes_a_third(order):
    assert tensordash.tile_schedule([[0xFFFF] * 10] * 4, 3, order).cycles == 10
    empty = tensordash.tile_schedule([[0] * 10] * 4, 3, order)
    assert (empty.cycles, empty.useful, empty.idle) == (4, 0, 4 * 16 * 4)
    assert tensordash.tile_schedule([[0] * 10], 1, order).cycles == 10


def test_slowest_row_sets_the_pace():
    schedule = tensordash.tile_schedule([[0xFFFF] * 6, [0] * 6])
    # Row 1 has drained two steps more than row 0, but for the last cycle, when both look past the end of the reduction.
    assert schedule.advanced == [1, 1, 1, 1, 1, 3]
    assert schedule.row_sync_steps == 5 * 2


def test_values_move_on_a_ring_of_lanes():
    window = [set(), {15}, set()]
    # Of the lanes that reach (1, 15), lane 0 decides first and has it as its fourth option, (1, i - 1).
    choice = tensordash.schedule_window(window, "paper")
    assert choice[0] == 3
    assert [index for index in choice if index is not None] == [3]


@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize("order", ["paper", "dnnsim"])
def test_outputs_do_not_depend_on_the_schedule(sides, order):
    rng = np.random.default_rng(14)
    for name, a, b in adversarial_pairs(rng, 3, 2, 70):
        result = tensordash.tile_pass(a, b, sides=sides, order=order)
        for r, c in itertools.product(range(3), range(2)):
            pairs = zip(decode_rows(a, 70)[r][0], decode_rows(b, 70)[c][0], strict=True)
            exact = sum((x.value * y.value for x, y in pairs if x is not None and y is not None), Fraction(0))
            assert result.outputs[r, c] == to_bfloat16(exact), name


# Inputs


def test_adversarial_inputs_are_finite_reproducible_and_of_the_shape_asked_for():
    for k in (1, 8, 20):
        again = adversarial(np.random.default_rng(15), 3, k)
        for (name, rows), (_, same) in zip(adversarial(np.random.default_rng(15), 3, k), again, strict=True):
            assert rows.shape == (3, k), name
            assert rows.dtype == np.uint16
            assert ((rows & EXPONENT_MASK) != EXPONENT_MASK).all(), name
            assert np.array_equal(rows, same), name


def test_adversarial_inputs_spring_their_traps():
    rng = np.random.default_rng(16)
    large, small = GENERATORS["largest_exponents"](rng, 2, 16), GENERATORS["smallest_exponents"](rng, 2, 16)
    tile = Config(rows=2, cols=2)
    assert fpraker.tile_pass(large, large, tile).overflows == 4
    underflow = fpraker.tile_pass(small, small, tile)
    assert underflow.processed > 0
    assert (underflow.outputs == 0).all()
    cancelled = fpraker.tile_pass(GENERATORS["cancelling"](rng, 2, 16), GENERATORS["repeated"](rng, 2, 16), tile)
    assert cancelled.processed > 0
    assert (cancelled.outputs[1] == 0).all()
    fields = GENERATORS["threshold_12"](rng, 50, 8).astype(int) >> 7 & 0xFF
    offsets = set((fields.max(axis=1, keepdims=True) - fields).ravel().tolist())
    assert offsets == {0, *range(12 - 8, 12 + 10)}
    assert set(GENERATORS["zeros_and_subnormals"](rng, 5, 50).ravel().tolist()) >= {0, 0x8000}
