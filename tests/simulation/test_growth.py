"""A step grown to a larger batch is the step that would have run on the same images again and again."""

from collections import Counter

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, load_trace, simulate
from simhw.errors import MachineError, SimhwError
from simhw.pe.operand import OperandChoice
from simhw.simulation.growth import grow_layer, growth
from simhw.simulation.plan import PassPlan, lower_for
from simhw.trace.batch import BatchAxes, captured_batch
from tests.slow_engine import LAYERS, tensor


def layers(times: int = 1) -> list[Layer]:
    rng = np.random.default_rng(5)

    def repeated(*shape: int, axis: int = 0) -> np.ndarray:
        return np.concatenate([tensor(rng, *shape)] * times, axis=axis)

    conv = Layer(
        "conv", "conv", {"padding": 1}, a=repeated(2, 16, 6, 6), w=tensor(rng, 24, 16, 3, 3), g=repeated(2, 24, 6, 6)
    )
    fc = Layer("fc", "linear", a=repeated(2, 40), w=tensor(rng, 24, 40), g=repeated(2, 24))
    attention = Layer("qk", "matmul", a=repeated(2, 3, 10, 16), w=repeated(2, 3, 16, 10), g=repeated(2, 3, 10, 10))
    gates = Layer("lstm", "lstm", a=repeated(4, 2, 16, axis=1), w=tensor(rng, 24, 16), g=repeated(4, 2, 24, axis=1))
    return [conv, fc, attention, gates]


@pytest.mark.parametrize("machine", ["fpraker", "tensordash", "bitparallel"])
def test_step_grown_to_its_own_batch_is_the_same(machine):
    trace = Trace(layers())
    plain, grown = (simulate(trace, machine, progress=False, batch=batch) for batch in (None, 2))
    assert plain.frame.drop(columns=["seconds", "grown_to"]).equals(grown.frame.drop(columns=["seconds", "grown_to"]))


@pytest.mark.parametrize("machine", ["fpraker", "tensordash"])
def test_grown_step_does_the_work_of_images_that_are_really_there(machine):
    grown = simulate(Trace(layers()), machine, progress=False, batch=16)
    real = simulate(Trace(layers(times=8)), machine, progress=False)
    for mine, true in zip(grown.operations, real.operations, strict=True):
        place = (mine.layer, mine.operation)
        assert (place, mine.macs, mine.passes, mine.dense_sets) == (place, true.macs, true.passes, true.dense_sets)
        assert mine.baseline.cycles.value == true.baseline.cycles.value
        assert mine.cost.memory.raw_bytes == true.cost.memory.raw_bytes
        assert mine.cost.memory.on_chip.buffer_reads == true.cost.memory.on_chip.buffer_reads
        if mine.layer in ("conv", "qk") and mine.operation != "weight_grad":
            # Every image has passes of its own; only how evenly they fill the tiles can differ.
            assert mine.tile_cycles == true.tile_cycles
            assert mine.cycles >= true.cycles


def test_weights_are_moved_once_whatever_the_batch():
    small, large = (simulate(Trace(layers()[:1]), "fpraker", progress=False, batch=batch) for batch in (2, 64))
    forward = [results.operations[0].cost.memory.raw_bytes for results in (small, large)]
    assert forward[0]["w_in"] == forward[1]["w_in"]
    assert forward[1]["g_out"] == 32 * forward[0]["g_out"]


def test_sampled_trace_grows_and_keeps_its_relative_error():
    trace = load_trace("resnet50.npz")
    assert captured_batch(trace) == 4
    plain, grown = (simulate(trace, "tensordash", progress=False, batch=batch).total for batch in (None, 32))
    assert grown.macs == 8 * plain.macs
    assert grown.cycles.relative_half_width == pytest.approx(plain.cycles.relative_half_width, rel=0.1)
    assert grown.speedup == pytest.approx(plain.speedup, rel=0.01)


@pytest.mark.parametrize("factor", [1, 2, 5])
@pytest.mark.parametrize("padding", ["stream", "skip"])
@pytest.mark.parametrize("name", LAYERS)
def test_passes_of_a_grown_step_are_counted_as_one_by_one(name, padding, factor):
    """Products, tile passes, their sets and their clusters, also where images differ in their operand."""
    machine, layer = load_machine("tensordash", padding=padding), LAYERS[name]()
    axis = 1 if layer.kind == "lstm" else 0
    axes = BatchAxes(tuple((tensor, axis) for tensor in "awg" if tensor != "w" or layer.kind == "matmul"))
    larger = grow_layer(layer, axes, factor)
    images = layer.shapes["a"][0]
    for operation in layer.operations:
        whole = (operation == "weight_grad" and layer.kind != "matmul") or layer.kind == "linear"
        for mask in range(1 if whole else 1 << images):
            chosen = None if whole else np.array([bool(mask >> image & 1) for image in range(images)])
            repeated = None if whole else chosen if axis else np.tile(chosen, factor)
            for family, grown in zip(
                lower_for(layer, operation, machine).families,
                lower_for(larger, operation, machine).families,
                strict=True,
            ):
                fast = OperandChoice("a", False, chosen).grown(family, grown)
                slow = OperandChoice("a", False, repeated).split(grown)
                assert dict(fast) == {swapped: len(products) for swapped, products in slow}
                for swapped, products in slow:
                    plan, one_by_one = (
                        PassPlan(grown, swapped, range(len(products)), machine.tile),
                        PassPlan(grown, swapped, products, machine.tile),
                    )
                    assert plan.passes_by_sets == one_by_one.passes_by_sets
                    assert plan.cluster_sizes() == Counter((len(xs), len(ys)) for xs, ys in one_by_one.clusters())


def test_batch_beyond_what_is_timed_or_counted_is_refused():
    with pytest.raises(
        MachineError, match=r"layer 'conv', operation forward: it moves .* GB off chip, over the .*memory.model=ideal"
    ):
        simulate(Trace(layers()[:1]), "fpraker", progress=False, batch=2 * 10**8)
    with pytest.raises(SimhwError, match="give at most 1099511627776"):
        growth(Trace(layers()), 2 * 10**12)


@pytest.mark.parametrize("machine", ["fpraker", "tensordash"])
def test_growing_costs_nothing_whatever_the_batch(machine):
    ideal = load_machine(machine, **{"memory.model": "ideal"})
    trace = Trace(layers())
    few, many = (simulate(trace, ideal, progress=False, batch=2 * factor).total for factor in (10**3, 10**11))
    assert many.macs == 10**8 * few.macs
    assert many.speedup == pytest.approx(few.speedup, rel=1e-2)
