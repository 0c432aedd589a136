"""The engine between lowering and results: every figure equals the oracles' tile by tile, however the work is cut or
spread.
"""

from collections import Counter

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, simulate, simulate_layer
from simhw.simulation.plan import PassPlan, lower_for
from tests.slow_engine import (
    LAYERS,
    fed_pairs,
    layer,
    longest_first,
    published_macs,
    real_pairs,
    simulate_slowly,
    tensor,
)

SMALL = {"tile.rows": 4, "tile.cols": 2}

CASES = {
    "fpraker": ("fpraker", {}),
    "fpraker 4x2": ("fpraker", SMALL),
    "fpraker serial a": ("fpraker", SMALL | {"serial": "a"}),
    "fpraker serial w": ("fpraker", SMALL | {"serial": "w"}),
    "fpraker serial g": ("fpraker", SMALL | {"serial": "g"}),
    "fpraker skip": ("fpraker", SMALL | {"padding": "skip"}),
    "fpraker skip serial w": ("fpraker", {"tile.rows": 2, "tile.cols": 4, "padding": "skip", "serial": "w"}),
    "fpraker skip pack": ("fpraker", SMALL | {"padding": "skip", "lane_padding": "pack", "serial": "g"}),
    "fpraker pack image": ("fpraker", SMALL | {"lane_padding": "pack", "fc_windows": "image"}),
    "fpraker 1x3 lock-step": ("fpraker-literal", {"tile.rows": 1, "tile.cols": 3, "run_ahead": 0}),
    "fpraker 16x2 floor 1": (
        "fpraker-literal",
        {"tile.rows": 16, "tile.cols": 2, "exponent_sharing": 1, "encoder": "booth4"},
    ),
    "fpraker shared pointers": ("fpraker-literal", SMALL | {"sync": "term", "oob": "column", "serial": "w"}),
    "tensordash": ("tensordash", {}),
    "tensordash 2x3": ("tensordash", {"tile.rows": 2, "tile.cols": 3}),
    "tensordash scheduled a": ("tensordash", {"scheduled": "a"}),
    "tensordash scheduled w": ("tensordash", {"scheduled": "w", "tile.rows": 3, "tile.cols": 2}),
    "tensordash scheduled g": ("tensordash", {"scheduled": "g"}),
    "tensordash skip": ("tensordash", {"padding": "skip", "tile.rows": 2}),
    "tensordash skip pack w": (
        "tensordash",
        {"padding": "skip", "lane_padding": "pack", "scheduled": "w", "tile.cols": 2},
    ),
    "tensordash image": ("tensordash", {"fc_windows": "image", "lane_padding": "pack"}),
    "tensordash two-sided": ("tensordash", {"sides": "two", "tile.rows": 2, "tile.cols": 2}),
    "tensordash two-sided skip": (
        "tensordash",
        {"sides": "two", "padding": "skip", "scheduled": "w", "order": "dnnsim", "depth": 2},
    ),
    "bit-parallel": ("bitparallel", {}),
    "bit-parallel skip 2x3": ("bitparallel", {"padding": "skip", "tile.rows": 2, "tile.cols": 3}),
    "bit-parallel pack image": ("bitparallel", {"lane_padding": "pack", "fc_windows": "image", "tiles": 3}),
    "dense TensorDash": ("tensordash-dense", {"padding": "skip"}),
}


def assert_equals_slow_path(layer_, operation, machine, case=""):
    result, slow = simulate_layer(layer_, operation, machine), simulate_slowly(layer_, operation, machine)
    where = (case, layer_.name, operation)
    assert result.tile_cycles == slow.tile_cycles, where
    assert result.passes == len(slow.durations), where
    assert result.cycles == longest_first(slow.durations, machine.values.tiles), where
    assert result.dense_sets == slow.sets, where
    for name, estimate in result.counters.items():
        assert estimate.value == slow.counters[name], (*where, name)
        assert estimate.half_width == 0, (*where, name)
    # Only outputs overflow, and these machines do not compute them unless asked.
    assert set(slow.counters) - set(result.counters) <= {"overflows"}, where
    tile = machine.values.tile
    slots = tile.rows * tile.cols * machine.values.pe.lanes * result.tile_cycles
    assert sum(result.counters[name].value for name in result.classes) == slots, where
    assert (result.simulated, result.half_width) == (1, 0), where
    assert result.cost.busy == pytest.approx(slow.tile_cycles / (machine.values.tiles * result.cycles)), where


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_layer_and_operation_equals_the_oracles_tile_by_tile(case):
    name, overrides = CASES[case]
    machine = load_machine(name, **overrides)
    for make in LAYERS.values():
        layer_ = make()
        for operation in layer_.operations:
            assert_equals_slow_path(layer_, operation, machine, case)


@pytest.mark.parametrize("name", ["gru", "conv2d beside its gradient alone"])
def test_other_layers_equal_the_oracles(name):
    if name == "gru":
        layer_ = layer("gru", (2, 3, 7), (6, 7), (2, 3, 6))
    else:
        whole = layer("conv2d", (1, 4, 3, 3), (5, 4, 3, 3), (1, 5, 3, 3), padding=1)
        layer_ = Layer(
            "c", "conv2d", {"padding": 1}, w=whole.w, g=whole.g, shapes=whole.shapes, operations=["input_grad"]
        )
    for operation in layer_.operations:
        for machine in ("fpraker", "tensordash"):
            assert_equals_slow_path(layer_, operation, load_machine(machine), name)


def test_a_batch_that_fills_several_vectors_and_strips_equals_the_oracles():
    # 70 rows of Y exceed two vectors of 32 PEs; 3 images of 25 positions leave partial tiles in every strip.
    layer_ = layer("conv2d", (3, 2, 5, 5), (70, 2, 1, 1), (3, 70, 5, 5))
    machine = load_machine("fpraker", **{"serial": "a", "tile.rows": 4, "tile.cols": 4})
    assert_equals_slow_path(layer_, "forward", machine)
    assert_equals_slow_path(
        layer_, "forward", load_machine("fpraker", **{"serial": "w", "tile.rows": 8, "tile.cols": 4})
    )


@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
def test_multiply_accumulates_are_counted_as_published_and_what_is_fed_apart(operation):
    for make in LAYERS.values():
        layer_ = make()
        streamed = simulate_layer(layer_, operation, "bitparallel")
        skipped = simulate_layer(layer_, operation, load_machine("bitparallel", **{"lowering.padding": "skip"}))
        fed, real = fed_pairs(layer_, operation), real_pairs(layer_)
        assert streamed.macs == skipped.macs == published_macs(layer_), layer_.name
        assert (streamed.fed_macs, streamed.padding_macs) == (fed, fed - real), layer_.name
        assert (skipped.fed_macs, skipped.padding_macs) == (real, 0), layer_.name
        # Slots of a dense pass: 8 x 8 PEs of 8 lanes a cycle.
        for result in (streamed, skipped):
            assert result.cost.occupancy == pytest.approx(result.fed_macs / (512 * result.dense_sets)), layer_.name


# --- how the work is cut and spread ---


def everything(results):
    """All figures of a run that do not say how long it took."""
    return results.frame.drop(columns="seconds")


@pytest.fixture(scope="module")
def trace():
    return Trace([LAYERS[name]() for name in ("strided", "grouped", "linear", "matmul")])


MACHINES = {
    "fpraker": load_machine("fpraker", **{"tile.rows": 4, "tile.cols": 2}),
    "fpraker skip": load_machine("fpraker", **{"tile.rows": 4, "padding": "skip", "serial": "w"}),
    "tensordash": load_machine("tensordash"),
    "tensordash two-sided": load_machine("tensordash", sides="two", padding="skip"),
    "bit-parallel": load_machine("bitparallel"),
}


@pytest.mark.parametrize("sample", [1.0, 0.3])
@pytest.mark.parametrize("name", MACHINES)
def test_results_do_not_depend_on_the_number_of_workers(trace, name, sample):
    one, two, four = (
        everything(simulate(trace, MACHINES[name], sample, seed=5, workers=workers)) for workers in (1, 2, 4)
    )
    assert one.equals(two)
    assert one.equals(four)


@pytest.mark.parametrize(("values", "macs"), [(1, 1), (500, 3000), (4000, 10_000)])
@pytest.mark.parametrize("name", MACHINES)
def test_results_do_not_depend_on_the_size_of_units(trace, name, values, macs, monkeypatch):
    whole = everything(simulate(trace, MACHINES[name], 1.0))
    monkeypatch.setattr("simhw.simulation.cells.UNIT_VALUES", values)
    monkeypatch.setattr("simhw.simulation.cells.LEAST_UNIT_MACS", macs)
    monkeypatch.setattr("simhw.simulation.cells.MOST_UNIT_MACS", macs)
    assert everything(simulate(trace, MACHINES[name], 1.0, workers=2)).equals(whole)


def test_the_same_seed_draws_the_same_sample_and_another_seed_another(trace):
    machine = MACHINES["fpraker"]
    same, again, other = (
        everything(simulate(trace, machine, 0.2, seed=seed)).drop(columns="seed") for seed in (1, 1, 2)
    )
    assert same.equals(again)
    assert not same["tile_cycles"].equals(other["tile_cycles"])


def test_a_layers_sample_does_not_depend_on_the_layers_after_it(trace):
    machine = MACHINES["fpraker"]
    alone, first = (simulate(part, machine, 0.2, seed=1).operations[0] for part in (Trace(trace.layers[:1]), trace))
    assert alone.counters == first.counters


# --- the baseline's arithmetic ---


@pytest.mark.parametrize("padding", ["stream", "skip"])
@pytest.mark.parametrize(
    ("name", "shape"), [("bitparallel", {"tile.rows": 2, "tile.cols": 3}), ("tensordash-dense", {})]
)
def test_closed_form_of_the_dense_machine_equals_its_oracle_on_every_pass(name, shape, padding):
    machine = load_machine(name, padding=padding, **shape)
    for make in LAYERS.values():
        layer_ = make()
        for operation in layer_.operations:
            families = lower_for(layer_, operation, machine).families
            closed = [PassPlan(family, False, range(family.count), machine.tile).passes_by_sets for family in families]
            assert sorted(sum(closed, Counter()).elements()) == sorted(
                simulate_slowly(layer_, operation, machine).durations
            ), (
                layer_.name,
                operation,
            )


def test_sets_of_a_swapped_plan_follow_the_side_that_reads_padding():
    # 4 x 4 image, 3 x 3 kernel, padding 1: rows of tiles of four positions are rows of the image; the outer two skip
    # three of nine taps.
    layer_ = layer("conv2d", (1, 8, 4, 4), (5, 8, 3, 3), (1, 5, 4, 4), padding=1)
    machine = load_machine("fpraker", padding="skip", **{"tile.rows": 4, "tile.cols": 8})
    (family,) = lower_for(layer_, "forward", machine).families
    assert sorted(PassPlan(family, True, (0,), machine.tile).passes_by_sets.elements()) == [6, 6, 9, 9]
    # Unswapped, a tile takes 8 positions: two rows of the image, which need all nine taps between them; 5 filters make
    # two tiles of 4.
    assert sorted(PassPlan(family, False, (0,), machine.tile).passes_by_sets.elements()) == [9, 9, 9, 9]


def test_zeros_cost_a_tile_of_shared_exponents_its_floor():
    # 16 rows of 64 zeros on a tile of 8 x 8: 2 x 1 passes of 8 sets, two cycles each.
    layer_ = Layer("fc", "linear", a=np.zeros((16, 64), np.uint16), w=tensor(np.random.default_rng(0), 8, 64))
    result = simulate_layer(layer_, "forward", "fpraker")
    assert (result.tile_cycles, result.cycles, result.dense_sets, result.cycles_per_set) == (32, 16, 16, 2)
    assert result.counters["exponent"].value == 32 * 512
