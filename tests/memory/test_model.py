"""The whole machine: what memories add to the tiles' time, and properties that every result must have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simhw import Layer, Trace, load_machine, simulate, simulate_layer
from simhw.errors import MachineError
from simhw.memory.model import SHARES, compression_ratios, memory_cost
from simhw.memory.onchip import PassShape
from simhw.trace.statistics import statistics_of
from tests.slow_engine import tensor

MACHINES = ("fpraker", "tensordash")
WAYS_TO_DOUBLE_BANDWIDTH = (
    {"memory.dram.channels": 8},
    {"memory.dram.channel_bits": 32},
    {"memory.dram.transfers_per_s": 6.4e9},
)


def convolution(
    seed: int = 0,
    images: int = 2,
    channels: int = 24,
    filters: int = 40,
    size: int = 9,
    kernel: int = 3,
    stride: int = 1,
) -> Layer:
    rng = np.random.default_rng(seed)
    out = (size + 2 * (kernel // 2) - kernel) // stride + 1
    return Layer(
        "conv",
        "conv",
        {"stride": stride, "padding": kernel // 2},
        a=tensor(rng, images, channels, size, size),
        w=tensor(rng, filters, channels, kernel, kernel),
        g=tensor(rng, images, filters, out, out),
    )


def shaped(images: int, channels: int, filters: int, size: int, kernel: int) -> Layer:
    """A layer without values: what the memories see of it."""
    out = size + 2 * (kernel // 2) - kernel + 1
    shapes = {
        "a": (images, channels, size, size),
        "w": (filters, channels, kernel, kernel),
        "g": (images, filters, out, out),
    }
    return Layer("conv", "conv2d", {"stride": 1, "padding": kernel // 2}, shapes=shapes)


def cost_of(layer: Layer, operation: str, machine, cycles_per_set: float = 1.0):
    """The layer through the memories of a machine whose tiles share its sets evenly."""
    shapes = layer.shapes
    windows, filters, sets = (
        shapes["g"][2] * shapes["g"][3],
        shapes["w"][0],
        shapes["w"][1] * shapes["w"][2] * shapes["w"][3] / 8,
    )
    passes = PassShape(
        "a" if operation != "input_grad" else "g",
        "w" if operation != "weight_grad" else "g",
        1,
        -(-windows // 8),
        -(-filters // 8),
        sets,
    )
    tiles = machine.values.tiles
    return memory_cost(
        layer, operation, machine, [passes], np.full(tiles, cycles_per_set * passes.passes * sets / tiles)
    )


layers = st.builds(
    shaped,
    st.integers(1, 4),
    st.sampled_from([3, 16, 64, 96, 300]),
    st.sampled_from([8, 32, 64, 130]),
    st.integers(3, 30),
    st.sampled_from([1, 3]),
)


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
def test_ideal_memories_give_the_compute_only_cycles(name, operation):
    layer = convolution()
    modelled = simulate_layer(layer, operation, load_machine(name))
    ideal = simulate_layer(layer, operation, load_machine(name, **{"memory.model": "ideal"}))
    assert ideal.cycles == modelled.cycles == ideal.cost.overall_cycles
    assert ideal.baseline.overall_cycles == modelled.baseline_cycles
    assert ideal.overall_speedup == ideal.speedup == modelled.speedup
    assert ideal.cost.bound_by == "compute"
    assert ideal.overall_energy_efficiency == pytest.approx(modelled.energy_efficiency, rel=1e-12)
    assert modelled.cost.overall_cycles > modelled.cycles


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(
    "overrides", [{}, {"memory.transposers.count": 1}, {"memory.buffers.w.banks": 1}, {"memory.dram.channel_bits": 32}]
)
def test_causes_add_up_to_the_time(name, overrides):
    for operation in ("forward", "input_grad", "weight_grad"):
        result = simulate_layer(convolution(stride=2), operation, load_machine(name, **overrides))
        for cost in (result.cost, result.baseline):
            assert set(cost.shares) == set(SHARES)
            assert sum(cost.shares.values()) == pytest.approx(cost.overall_cycles, rel=1e-9)
            assert min(cost.shares.values()) >= -1e-6
            assert cost.shares["compute"] == pytest.approx(cost.cycles.value)


def test_transposers_and_buffers_are_named_where_they_hold_the_tiles_up():
    layer = convolution(channels=64, filters=64)
    plain = simulate_layer(layer, "weight_grad", load_machine("fpraker", **{"memory.dram.channels": 64}))
    slow = simulate_layer(
        layer, "weight_grad", load_machine("fpraker", **{"memory.dram.channels": 64, "memory.transposers.count": 1})
    )
    assert slow.cost.bound_by == "transposer"
    assert plain.cost.shares["transposer"] == 0
    # An access per transposer and cycle: none can be faster than its accesses.
    assert slow.cost.overall_cycles > slow.cost.memory.on_chip.transposed
    # Nine positions leave weights little reuse: one bank serves their eight rows one by one.
    few = convolution(images=1, size=3, channels=64, filters=256)
    wide, narrow = (
        simulate_layer(
            few, "forward", load_machine("fpraker", **{"memory.dram.channels": 64, "memory.buffers.w.banks": banks})
        )
        for banks in (9, 1)
    )
    assert narrow.cost.bound_by == "buffer"
    assert narrow.cost.shares["buffer_conflict"] > 4 * wide.cost.shares["buffer_conflict"]


@settings(max_examples=60)
@given(
    layer=layers,
    operation=st.sampled_from(["forward", "input_grad", "weight_grad"]),
    name=st.sampled_from(MACHINES),
    speed=st.floats(0.05, 8),
)
def test_twice_the_bandwidth_never_slows_anything(layer, operation, name, speed):
    plain = cost_of(layer, operation, load_machine(name), speed)
    for overrides in WAYS_TO_DOUBLE_BANDWIDTH:
        assert cost_of(layer, operation, load_machine(name, **overrides), speed).cycles <= plain.cycles * (1 + 1e-12)


@settings(max_examples=60)
@given(
    layer=layers,
    operation=st.sampled_from(["forward", "input_grad", "weight_grad"]),
    name=st.sampled_from(MACHINES),
    speed=st.floats(0.05, 8),
)
def test_layer_that_fits_on_chip_is_never_slower_with_larger_buffers(layer, operation, name, speed):
    plain = cost_of(layer, operation, load_machine(name), speed)  # at most 4 x 300 x 30 x 30 values: 2.2 MB of 16 MB
    for tensor_name in "awg":
        bank = load_machine(name).values.memory.buffers.a.bank_bytes
        larger = load_machine(name, **{f"memory.buffers.{tensor_name}.bank_bytes": 4 * bank})
        assert cost_of(layer, operation, larger, speed).cycles <= plain.cycles


@settings(max_examples=40)
@given(
    layer=layers,
    operation=st.sampled_from(["forward", "input_grad", "weight_grad"]),
    slow=st.floats(0.1, 8),
    more=st.floats(1, 4),
)
def test_slower_tiles_cost_at_most_what_they_lose(layer, operation, slow, more):
    # So half the width of the confidence interval of the tiles' time bounds that of the whole.
    machine = load_machine("fpraker")
    fast, late = cost_of(layer, operation, machine, slow), cost_of(layer, operation, machine, slow * more)
    lost = late.shares["compute"] - fast.shares["compute"]
    assert fast.cycles <= late.cycles * (1 + 1e-12)
    assert late.cycles <= (fast.cycles + lost) * (1 + 1e-9)


def test_traffic_of_a_layer_that_fits_is_its_cold_misses():
    layer = convolution()
    for operation, (output, *inputs) in {"forward": "gaw", "input_grad": "agw", "weight_grad": "wag"}.items():
        memory = simulate_layer(layer, operation, load_machine("fpraker", **{"memory.compression": "none"})).cost.memory
        size = {name: 2 * int(np.prod(layer.shapes[name])) for name in "awg"}
        assert memory.raw_bytes[f"{output}_out"] == size[output]
        assert memory.traffic_bytes == memory.raw_bytes
        for name in inputs:
            assert memory.raw_bytes[f"{name}_in"] >= size[name]  # blocks of positions overlap by the kernel
            assert memory.raw_bytes[f"{name}_out"] == 0
        blocking = load_machine("fpraker", **{"memory.blocking": "gpco:1x1x1x1"})
        whole = simulate_layer(layer, operation, blocking).cost.memory
        assert str(whole.blocking) == "gpco:1x1x1x1"
        assert {name: whole.raw_bytes[f"{name}_in"] for name in inputs} == {name: size[name] for name in inputs}


def test_blocking_that_does_not_fit_is_refused_with_the_buffer_and_its_size():
    small = {"memory.buffers.a.bank_bytes": 16, "memory.blocking": "gpco:1x1x1x1"}
    with pytest.raises(
        MachineError,
        match=r"layer 'conv', operation forward: memory\.blocking=gpco:1x1x1x1 needs .* bytes of the buffer of A, "
        r"which has 144",
    ):
        simulate_layer(convolution(), "forward", load_machine("fpraker", **small))
    with pytest.raises(MachineError, match="neither auto nor loops and counts"):
        load_machine("fpraker", **{"memory.blocking": "fastest"})


def test_compression_is_that_of_the_codecs_and_never_grows_a_tensor():
    layer = convolution()
    bdc = compression_ratios(layer, load_machine("fpraker").values.memory)
    zero = compression_ratios(layer, load_machine("tensordash").values.memory)
    none = compression_ratios(layer, load_machine("fpraker", **{"memory.compression": "none"}).values.memory)
    wide = compression_ratios(layer, load_machine("tensordash-fp32").values.memory)
    for name in "awg":
        statistics = statistics_of(layer, name)
        raw = 2 * statistics.size
        assert none[name] == 1.0
        assert bdc[name] == min(1.0, statistics.compressed_bytes["bdc"] / raw)
        assert zero[name] == min(1.0, statistics.compressed_bytes["zero"] / raw)
        # A mask bit per value and four bytes per value that is not zero.
        assert wide[name] == pytest.approx(min(1.0, 1 / 32 + 1 - statistics.zero_fraction), abs=1e-3)


def test_columns_three_apart_meet_in_banks():
    # Stride 3 puts the next position 12 accesses on, so that eight of them share three of nine banks: three meet.
    free, met = (
        simulate_layer(
            convolution(size=size, stride=stride, kernel=1, channels=64), "forward", "fpraker"
        ).cost.memory.on_chip
        for size, stride in ((8, 1), (22, 3))
    )
    assert free.buffer_reads == met.buffer_reads  # eight by eight positions both
    assert met.buffer_cycles == 3 * free.buffer_reads["a"] / 8
    assert free.buffer_cycles == free.buffer_reads["a"] / 8


def test_step_of_several_layers_adds_up():
    trace = Trace([convolution(0), convolution(1, channels=16, filters=16)])
    results = simulate(trace, "tensordash", progress=False)
    total = results.total
    assert total.overall.cycles == pytest.approx(sum(item.cost.overall_cycles for item in results.operations))
    assert total.overall.off_chip_bytes == sum(item.cost.memory.off_chip_bytes for item in results.operations)
    assert sum(total.overall.bound.values()) == pytest.approx(1)
    assert total.overall_speedup == pytest.approx(total.baseline_overall.time_s / total.overall.time_s)
    frame = results.frame
    assert frame["overall_cycles"].sum() == pytest.approx(total.overall.cycles)
    assert (
        frame["off_chip_bytes"] == frame[[f"{name}_{way}_bytes" for name in "awg" for way in ("in", "out")]].sum(axis=1)
    ).all()
