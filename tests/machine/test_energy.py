"""Energy: events times costs, that nothing is lost on the way, and the identities that the papers' numbers obey."""

import numpy as np
import pytest

from simhw import Layer, load_machine, simulate, simulate_layer
from simhw.machine.costs import Range
from simhw.machine.energy import COMPONENTS, GROUPS, by_group, energy_of
from simhw.simulation.cost import PowerDrawn
from simhw.trace.trace import Trace
from tests.oracles import lowering
from tests.slow_engine import tensor


def layer() -> Layer:
    rng = np.random.default_rng(3)
    return Layer(
        "conv",
        "conv",
        {"padding": 1},
        a=tensor(rng, 2, 32, 8, 8),
        w=tensor(rng, 48, 32, 3, 3),
        g=tensor(rng, 2, 48, 8, 8),
    )


@pytest.mark.parametrize("name", ["fpraker", "tensordash", "tensordash-fp32", "bitparallel"])
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"energy.dram.model": "flat"},
        {"energy.cells": "hp"},
        {"energy.compute": "lane_cycle"},
        {"energy.compute": "pe_cycle"},
    ],
)
def test_components_add_up_to_the_total_at_each_end_of_the_uncertainty(name, overrides):
    results = simulate(Trace([layer()]), load_machine(name, **overrides), progress=False)
    for cost in [item.cost for item in results.operations]:
        assert set(cost.energy) == set(COMPONENTS)
        for end in ("low", "mid", "high"):
            total = getattr(cost.overall_energy_j, end)
            assert total == pytest.approx(sum(getattr(part, end) for part in cost.energy.values()), rel=1e-12)
            assert total == pytest.approx(sum(getattr(part, end) for part in by_group(cost.energy).values()), rel=1e-12)
        assert all(0 <= part.low <= part.mid <= part.high for part in cost.energy.values())
    overall = results.total.overall
    assert overall.energy_j.mid == pytest.approx(
        sum(item.cost.overall_energy_j.mid for item in results.operations), rel=1e-12
    )
    assert sum(len(parts) for parts in GROUPS.values()) == len(COMPONENTS)


def test_compute_efficiency_of_fpraker_is_speedup_over_the_ratio_of_powers():
    # Spec page fpraker.md, section 4: 36 x 109.5 mW / (8 x 475 mW) = 3.942 W / 3.800 W = 1.0374, ungated.
    for operation in ("forward", "input_grad", "weight_grad"):
        result = simulate_layer(layer(), operation, "fpraker")
        assert result.energy_efficiency == pytest.approx(result.speedup / (3.942 / 3.8), rel=1e-12)
        ideal = simulate_layer(layer(), operation, load_machine("fpraker", **{"memory.model": "ideal"}))
        assert ideal.overall_energy_efficiency == pytest.approx(result.energy_efficiency, rel=1e-12)


def test_each_component_is_its_events_times_its_cost():
    machine = load_machine("fpraker")
    cost = simulate_layer(layer(), "weight_grad", machine).cost
    memory, chip, seconds = cost.memory, cost.memory.on_chip, cost.overall_time_s
    energy = {name: part.mid for name, part in cost.energy.items()}
    pads = 7.112e-12 * chip.scratchpad_reads + 13.84e-12 * chip.scratchpad_writes
    assert energy["scratchpads"] == pytest.approx(pads, rel=1e-9)
    reads, writes = memory.buffer_reads, memory.buffer_writes
    large = 587.2e-12 * (reads["a"] + reads["g"]) + 477.2e-12 * (writes["a"] + writes["g"])
    assert energy["buffers"] == pytest.approx(large + 284.3e-12 * reads["w"] + 246.4e-12 * writes["w"], rel=1e-9)
    assert energy["transposers"] == pytest.approx((5.885e-12 + 6.003e-12) * chip.transposed, rel=1e-9)
    # 18 banks of 4 MB, 9 of 1 MB, per tile 8 + 8 operand scratchpads and 8 for partial sums, 18 transposers.
    leaking = 18 * 1.361e-3 + 9 * 0.3524e-3 + 36 * 24 * 0.001075e-3 + 18 * 9.337e-8
    assert energy["leakage"] == pytest.approx(leaking * seconds, rel=1e-6)
    assert energy["dram_activate"] == pytest.approx(1204.7e-12 * memory.dram.activates, rel=1e-9)
    assert energy["dram_read"] == pytest.approx((42.11 + 25.65) * 1e-12 * memory.dram.read_bytes, rel=1e-9)
    assert energy["dram_write"] == pytest.approx((30.94 + 34.97) * 1e-12 * memory.dram.write_bytes, rel=1e-9)
    assert energy["dram_background"] == pytest.approx(4 * 44.2e-3 * seconds, rel=1e-9)
    assert energy["dram_refresh"] == pytest.approx(119_392e-12 * 4 * seconds / 3903.75e-9, rel=1e-9)
    waiting = seconds - cost.time_s
    assert energy["compute"] == pytest.approx(3.942 * (cost.time_s + 0.3 * waiting), rel=1e-9)


def test_flat_dram_costs_eight_picojoules_a_bit_and_nothing_else():
    cost = simulate_layer(layer(), "forward", load_machine("fpraker", **{"energy.dram.model": "flat"})).cost
    dram = cost.memory.dram
    off_chip = by_group(cost.energy)["off_chip"].mid
    assert off_chip == pytest.approx(8 * 8e-12 * (dram.read_bytes + dram.write_bytes))


def test_streaming_rows_costs_about_what_the_flat_model_says():
    # Spec page energy.md: "LPDDR4 about 8 pJ/bit in all".  A 2 KB row read, and one written, at 6.4 GB/s a channel.
    machine = load_machine("fpraker")
    costs = {name: machine.range(f"energy.dram.{name}").mid for name in ("activate_pj", "refresh_pj", "background_mw")}
    seconds = 2048 / 6.4e9
    shared = costs["activate_pj"] + costs["background_mw"] * seconds * 1e9 + costs["refresh_pj"] * seconds / 3903.75e-9
    moved = [
        machine.range(f"energy.dram.{way}_core_pj_per_byte").mid
        + machine.range(f"energy.dram.{way}_io_pj_per_byte").mid
        for way in ("read", "write")
    ]
    for per_byte in moved:
        assert 0.7 * 8 < (shared + 2048 * per_byte) / (2048 * 8) < 1.4 * 8


def test_lanes_that_do_nothing_useful_save_energy_where_lanes_are_counted():
    plain = simulate_layer(layer(), "forward", "fpraker")
    lanes = simulate_layer(
        layer(), "forward", load_machine("fpraker", **{"energy.compute": "lane_cycle", "energy.idle_lane": 0.25})
    )
    useful = plain.counters["useful"].value / sum(plain.counters[name].value for name in plain.classes)
    assert lanes.cost.energy_j == pytest.approx(plain.cost.energy_j * (useful + 0.25 * (1 - useful)))
    assert lanes.cycles == plain.cycles


LANES = {"energy.compute": "lane_cycle", "energy.idle_lane": 0.25}


def nonzero_pairs(layer: Layer, operation: str) -> int:
    """Products of an operation whose two factors are not zero, one by one."""
    a, w, g = (np.asarray(layer.source(name).read()) & 0x7F80 != 0 for name in "awg")
    geometry = layer.geometry
    triples = lowering.contributions(
        a.shape, w.shape, (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    )
    if operation == "forward":
        return sum(int(a[source] and w[weight]) for _, source, weight in triples)
    if operation == "input_grad":
        return sum(int(g[output] and w[weight]) for output, _, weight in triples)
    return sum(int(g[output] and a[source]) for output, source, _ in triples)


@pytest.mark.parametrize("operation", ["forward", "input_grad", "weight_grad"])
@pytest.mark.parametrize(("machine", "dense"), [("fpraker", "bitparallel"), ("tensordash", "tensordash-dense")])
def test_idle_lanes_of_the_baseline_save_energy_too(machine, dense, operation):
    rng = np.random.default_rng(4)
    layer = Layer(
        "conv",
        "conv",
        {"padding": 1, "stride": 2},
        a=tensor(rng, 2, 6, 5, 5),
        w=tensor(rng, 10, 6, 3, 3),
        g=tensor(rng, 2, 10, 3, 3),
    )
    whole = simulate_layer(layer, operation, machine)
    lanes = simulate_layer(layer, operation, load_machine(machine, **LANES))
    tile = load_machine(dense).tile
    useful = nonzero_pairs(layer, operation) / (
        lanes.baseline.tile_cycles.value * tile.lanes * tile.tile_x * tile.tile_y
    )
    assert 0 < useful < 0.5
    assert lanes.baseline.cycles == whole.baseline.cycles
    assert lanes.baseline.energy_j == pytest.approx(whole.baseline.energy_j * (useful + 0.25 * (1 - useful)), rel=1e-12)
    # As a machine of its own it is charged the same.
    alone = simulate_layer(layer, operation, load_machine(dense, **LANES))
    assert alone.cost.energy_j == pytest.approx(lanes.baseline.energy_j, rel=1e-12)
    assert alone.cost.overall_energy_j.mid == pytest.approx(lanes.baseline.overall_energy_j.mid, rel=1e-12)


PES = {"energy.compute": "pe_cycle", "energy.waiting_pe": 0.5, "energy.published_waiting": 0.2}


@pytest.mark.parametrize("sync", ["pe", "set"])
def test_waiting_pes_draw_less_where_pes_are_counted(sync):
    plain = simulate_layer(layer(), "forward", load_machine("fpraker", **{"tile.sync": sync}))
    pes = simulate_layer(layer(), "forward", load_machine("fpraker", **{"tile.sync": sync}, **PES))
    waiting = (plain.counters["exponent"].value + plain.counters["inter_pe"].value) / sum(
        plain.counters[name].value for name in plain.classes
    )
    assert 0.2 < waiting < 0.9
    # A waiting cycle draws half, and where a fifth of the cycles waits the tile draws what the file says.
    assert pes.cost.energy_j == pytest.approx(plain.cost.energy_j * (1 - waiting / 2) / (1 - 0.2 / 2))
    assert pes.cycles == plain.cycles
    # The baseline's PEs never wait.
    assert pes.baseline.energy_j == plain.baseline.energy_j


def test_the_end_of_a_waiting_cycles_power_is_an_end_of_the_energy():
    machine = load_machine("fpraker", **PES)
    share = PowerDrawn.on(machine, waiting=0.6).share
    of_waiting = machine.range("energy.waiting_pe")
    # More waiting than the published: the less a waiting cycle draws, the less is drawn.
    ends = [(1 - 0.6 * (1 - end)) / (1 - 0.2 * (1 - end)) for end in (of_waiting.low, of_waiting.mid, of_waiting.high)]
    assert [share.low, share.mid, share.high] == pytest.approx(ends)
    # Less waiting: the other way round.
    share = PowerDrawn.on(machine, waiting=0.0).share
    ends = [1 / (1 - 0.2 * (1 - end)) for end in (of_waiting.high, of_waiting.mid, of_waiting.low)]
    assert [share.low, share.mid, share.high] == pytest.approx(ends)


def test_machines_whose_pes_never_wait_draw_what_the_file_says():
    for name in ("tensordash", "bitparallel"):
        assert PowerDrawn.on(load_machine(name, **PES), waiting=0.0).share == Range(1, 1, 1)


def test_idle_lanes_of_a_sampled_traces_baseline_are_estimated_from_its_blocks():
    results = simulate("resnet9_haet", load_machine("tensordash", **{"energy.compute": "lane_cycle"}), progress=False)
    alone = simulate(
        "resnet9_haet", load_machine("tensordash-dense", **{"energy.compute": "lane_cycle"}), progress=False
    )
    assert results.total.baseline_energy_j == pytest.approx(alone.total.energy_j, rel=1e-9)


def test_ideal_memories_cost_nothing():
    energy = energy_of(load_machine("fpraker"), 2.0, Range(1, 1, 1), None)
    assert energy["compute"].mid == pytest.approx(2 * 3.942)
    assert all(part == Range(0, 0, 0) for name, part in energy.items() if name != "compute")
