"""The public calls: simulate_gemm equals the oracles and says what is wrong; costs follow from cycles; memory stays
bounded.
"""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from simhw import Layer, Trace, compare, load_machine, simulate, simulate_gemm, simulate_layer
from simhw.bfloat16 import from_float32, to_float32
from simhw.errors import MachineError, ShapeError, SimhwError, TraceError
from tests.kernel_runs import oracle, whole_sets
from tests.oracles.inputs import adversarial
from tests.slow_engine import LAYERS, layer, tensor

RNG = np.random.default_rng(0)
A, B = tensor(RNG, 11, 37), tensor(RNG, 21, 37)


# --- products ---


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("fpraker", {}),
        ("fpraker", {"tile.rows": 4, "tile.cols": 3, "chunk": 64}),
        ("tensordash", {}),
        ("tensordash", {"sides": "two"}),
        ("bitparallel", {}),
        ("tensordash-dense", {}),
    ],
)
def test_a_product_equals_the_oracle(name, overrides, check):
    machine = load_machine(name, **overrides)
    result, expected = simulate_gemm(A, B, machine, output=True, check=check), oracle(machine, A, [B])
    assert result.cycles == expected.cycles
    assert result.passes == expected.passes
    assert result.counters == dict(expected.counters)
    np.testing.assert_array_equal(result.output, to_float32(expected.outputs))
    assert result.output.dtype == np.float32
    assert simulate_gemm(A, B, machine).output is None


def test_a_product_of_more_rows_than_are_laid_out_at_once_equals_its_parts(monkeypatch):
    whole = {name: simulate_gemm(A, B, name, output=True) for name in ("fpraker", "tensordash", "bitparallel")}
    monkeypatch.setattr("simhw.simulation.gemm.ROWS_AT_A_TIME", 8)  # a whole number of tiles, as the constant is
    for name, expected in whole.items():
        found = simulate_gemm(A, B, name, output=True)
        assert (found.cycles, found.passes, found.counters) == (expected.cycles, expected.passes, expected.counters)
        np.testing.assert_array_equal(found.output, expected.output)


@pytest.mark.parametrize("tile_y", [1, 2, 4, 8, 16, 32])
def test_tiles_of_every_height_divide_the_rows_laid_out_at_once(tile_y):
    # 300 rows of Y go through in two pieces; partial tiles may only come at the end.
    machine = load_machine("fpraker", **{"tile.rows": tile_y, "tile.cols": 8})
    y = tensor(np.random.default_rng(1), 300, 8)
    assert simulate_gemm(A[:8, :8], y, machine).passes == -(-300 // tile_y)


@pytest.mark.parametrize("sides", ["one", "two"])
@pytest.mark.parametrize("cols", [3, 5, 48])
def test_tiles_whose_height_does_not_divide_them_still_make_whole_passes(cols, sides):
    machine = load_machine("tensordash", **{"tile.cols": cols, "pe.sides": sides})
    y = tensor(np.random.default_rng(1), 300, 16)
    assert simulate_gemm(A[:4, :16], y, machine).passes == -(-300 // cols)


def test_values_of_the_other_operand_change_nothing_where_one_side_is_scheduled():
    # Without outputs they are counted, not looked at; with outputs they are.
    y = tensor(np.random.default_rng(1), 300, 37)
    plain, outputs = simulate_gemm(A, y, "tensordash"), simulate_gemm(A, y, "tensordash", output=True)
    counters = dict(outputs.counters)
    del counters["overflows"]
    assert (plain.cycles, plain.passes, plain.counters) == (outputs.cycles, outputs.passes, counters)
    assert simulate_gemm(A, y, "tensordash", check=True).cycles == plain.cycles


def test_floating_point_is_rounded_to_bfloat16_as_the_machine_says():
    a, b = (np.random.default_rng(seed).standard_normal((9, 16)) for seed in (1, 2))
    for dtype in (np.float64, np.float32, np.float16):
        x, y = a.astype(dtype), b.astype(dtype)
        bits = [from_float32(values.astype(np.float32)) for values in (x, y)]
        found, expected = simulate_gemm(x, y, "fpraker", output=True), simulate_gemm(*bits, "fpraker", output=True)
        assert (found.cycles, found.counters) == (expected.cycles, expected.counters)
        np.testing.assert_array_equal(found.output, expected.output)
    # The strict machine's accumulator holds all eight bits of a value, a low threshold does not.
    truncating = load_machine("fpraker-literal", conversion="truncate")
    one = np.float32([[1 + 2**-8 + 2**-10]])  # nearer to 1 + 2^-7, cut off 1
    assert simulate_gemm(one, np.ones((1, 1)), truncating, output=True).output == 1
    assert simulate_gemm(one, np.ones((1, 1)), "fpraker-literal", output=True).output == 1 + 2**-7


def test_k_is_padded_to_sets_and_views_are_taken():
    strided = np.asfortranarray(np.concatenate([A, A], axis=1))[:, :37]
    for name, lanes in (("fpraker", 8), ("tensordash", 16)):
        expected = simulate_gemm(whole_sets(A, lanes), whole_sets(B, lanes), name)
        assert simulate_gemm(strided, B, name) == expected
        frozen = A.copy()
        frozen.flags.writeable = False
        kept = frozen.copy()
        assert simulate_gemm(frozen, B, name) == expected
        assert (frozen == kept).all()


def test_adversarial_values_go_through_every_machine():
    for name, a in adversarial(np.random.default_rng(3), 5, 24):
        for machine in ("fpraker", "tensordash"):
            chosen = load_machine(machine)
            assert simulate_gemm(a, B[:5, :24], chosen).cycles == oracle(chosen, a, [B[:5, :24]]).cycles, (
                name,
                machine,
            )


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (A, B[:, :30], r"a \(11, 37\) and b \(21, 30\) differ in K"),
        (A, B[:, :36], r"a \(11, 37\) and b \(21, 36\) differ in K"),  # as many sets, but not as many values
        (A[0], B, r"a has shape \(37,\): give a matrix of rows by K"),
        (A, B[None], r"b has shape \(1, 21, 37\)"),
        (A[:0], B, r"a has shape \(0, 37\)"),
        (A[:, :0], B[:, :0], r"a has shape \(11, 0\)"),
        (A.astype(np.int16), B, "a is int16: give uint16 bfloat16 bit patterns or floating-point values"),
        (A, B.astype(np.uint8), "b is uint8"),
        (A, np.full((2, 37), "x"), "b is <U1"),
        (A, np.ones((2, 37), complex), "b is complex128"),
        (
            np.float32([[1, np.nan], [np.inf, 0]]),
            np.ones((1, 2)),
            r"a: 2 NaN or infinite values \(first at index \(0, 1\)\)",
        ),
        (np.ones((1, 1)), np.array([[0x7F80]], np.uint16), r"b: 1 NaN or infinite values"),
        (np.ones((1, 1)), np.array([[3.4e38]]), "b: 1 NaN or infinite values"),  # beyond the largest bfloat16
    ],
)
def test_operands_that_make_no_product_are_refused(a, b, message):
    with pytest.raises(ShapeError, match=message):
        simulate_gemm(a, b, "fpraker")


def test_an_unknown_machine_is_refused_with_the_names_there_are():
    with pytest.raises(MachineError, match=r"no machine 'fprak': .*fpraker, fpraker-literal, tensordash"):
        simulate_gemm(A, B, "fprak")


# --- layers and traces ---


def test_an_operation_that_training_did_not_run_is_refused():
    part = Layer("first", "linear", a=A, w=B)
    with pytest.raises(TraceError, match="layer 'first': training did not run input_grad; it ran forward"):
        simulate_layer(part, "input_grad", "fpraker")


@pytest.mark.parametrize("sample", [0, -0.1, 1.5, float("nan")])
def test_a_share_outside_of_zero_to_one_is_refused(sample):
    with pytest.raises(SimhwError, match=r"sample .*: give a fraction above 0 and at most 1"):
        simulate(Trace([]), "fpraker", sample)


@pytest.mark.parametrize("name", ["a", "w", "g"])
def test_values_that_are_not_finite_are_refused_by_name_and_place(name):
    tensors = {t: np.array(LAYERS["linear"]().source(t).read()) for t in "awg"}
    tensors[name].reshape(-1)[7] = 0x7FC0
    with pytest.raises(TraceError, match=f"layer 'fc', tensor {name.upper()}: 1 NaN or infinite values"):
        simulate(Trace([Layer("fc", "linear", **tensors)]), "fpraker", 1.0)


def test_a_trace_without_layers_costs_nothing():
    results = simulate(Trace([]), "fpraker")
    assert (results.operations, len(results.frame), results.total.macs, results.total.cycles.value) == ([], 0, 0, 0)


def test_a_trace_is_the_sum_of_its_layers(tmp_path):
    layers = [make() for make in LAYERS.values()]
    for name, each in zip(LAYERS, layers, strict=True):
        each.name = name
    path = tmp_path / "trace.npz"
    Trace(layers).save(path)
    for machine in ("fpraker", "tensordash"):
        from_file, in_memory = simulate(path, machine, 1.0), simulate(Trace(layers), machine, 1.0)
        separate = [simulate_layer(each, operation, machine) for each in layers for operation in each.operations]
        for results in (from_file, in_memory):
            assert [item.counters for item in results.operations] == [item.counters for item in separate]
            assert [item.cost for item in results.operations] == [item.cost for item in separate]
        assert from_file.provenance["trace"] == str(path)
        assert from_file.provenance["trace_hash"]
        assert in_memory.provenance["trace_hash"] == ""


def test_checking_replays_every_pass_and_changes_nothing():
    trace = Trace([LAYERS["grouped"]()])
    for machine in ("fpraker", "tensordash"):
        plain, checked = (simulate(trace, machine, 1.0, check=check) for check in (False, True))
        # With outputs computed, TensorDash counts overflows as well.
        for one, other in zip(plain.operations, checked.operations, strict=True):
            assert one.cost == other.cost
            assert one.counters.items() <= other.counters.items()


def test_only_the_machines_asked_for_are_compared():
    comparison = compare(
        Trace([LAYERS["linear"]()]), ["fpraker", load_machine("fpraker", tiles=4), "tensordash"], sample=1.0
    )
    assert list(dict.fromkeys(comparison.frame["machine"])) == ["fpraker", "fpraker:tiles=4", "tensordash"]
    assert len(comparison.frame) == 9
    assert list(comparison.summary["operation"][:4]) == ["forward", "input_grad", "weight_grad", "total"]


# --- baselines ---


def busy_layer(zeros=0.0):
    """288 x 128 outputs: 36 x 16 passes of 8 x 8, a whole number on 36 tiles and on 8."""
    rng = np.random.default_rng(4)
    return Layer("fc", "linear", a=tensor(rng, 288, 64, zeros=zeros), w=tensor(rng, 128, 64, zeros=zeros))


def test_speed_up_is_four_and_a_half_over_cycles_per_set_where_all_tiles_are_busy():
    result = simulate_layer(busy_layer(0.5), "forward", "fpraker")
    assert result.passes == 576
    # The baseline takes 576 / 8 = 72 rounds of 8 sets. FPRaker's 16 passes a tile end within one pass of each other.
    assert result.baseline_cycles == 72 * 8
    assert result.baseline.busy == 1
    longest = 2 * result.tile_cycles / result.passes
    ideal = 4.5 / result.cycles_per_set
    assert ideal / (1 + longest / (result.tile_cycles / 36)) <= result.speedup <= ideal
    assert result.speedup == pytest.approx(ideal * result.cost.busy)


def test_energy_efficiency_is_speed_up_over_the_power_ratio():
    result = simulate_layer(busy_layer(0.5), "forward", "fpraker")
    # 36 tiles of 109.5 mW against 8 of 475 mW.
    assert result.energy_efficiency == pytest.approx(result.speedup / (36 * 109.5 / (8 * 475)))
    assert result.energy_efficiency == pytest.approx(result.speedup / 1.0374, rel=1e-4)
    assert result.cost.energy_j == pytest.approx(3.942 * result.cycles / 600e6)


def test_dense_values_never_gain_more_than_two_and_a_quarter():
    # Two cycles a set at least: 4.5 / 2. Powers of two with no exponent spread are all the floor.
    ones = Layer("fc", "linear", a=np.full((288, 64), 0x3F80, np.uint16), w=np.full((128, 64), 0x3F80, np.uint16))
    result = simulate_layer(ones, "forward", "fpraker")
    assert result.cycles_per_set == 2
    assert result.speedup == pytest.approx(2.25)


def test_tensordash_without_zeros_keeps_up_with_its_baseline_and_gates_its_schedulers():
    result = simulate_layer(busy_layer(0.0), "forward", "tensordash")
    assert result.speedup == 1
    assert result.energy_efficiency == pytest.approx(1)
    kept = simulate_layer(busy_layer(0.0), "forward", load_machine("tensordash", gate="off"))
    assert kept.speedup == 1
    assert kept.energy_efficiency == pytest.approx(1 / 1.05, rel=1e-3)  # the papers' power ratio


def test_tensordash_does_not_gate_what_it_needs():
    assert simulate_layer(busy_layer(0.5), "forward", "tensordash").cost.power_w == pytest.approx(
        16 * (197.92 + 9.896) / 1e3
    )
    # One zero in the operand that is not scheduled does not keep the schedulers on.
    w = tensor(np.random.default_rng(5), 128, 64, zeros=0)
    w[0, 0] = 0
    one_zero = Layer("fc", "linear", a=busy_layer().a, w=w)
    assert simulate_layer(
        one_zero, "forward", load_machine("tensordash", scheduled="a")
    ).energy_efficiency == pytest.approx(1)
    assert simulate_layer(one_zero, "forward", load_machine("tensordash", scheduled="w")).energy_efficiency < 1


def test_schedulers_that_skip_padding_are_not_gated():
    # Three channels leave 13 of 16 lanes zeros: TensorDash gains on them although no tensor holds a zero.
    first = layer("conv2d", (1, 3, 8, 8), (16, 3, 3, 3), (1, 16, 8, 8), padding=1)
    a = np.where(first.a & 0x7F80, first.a, 0x3F80).astype(np.uint16)
    result = simulate_layer(
        Layer("c", "conv2d", {"padding": 1}, a=a, w=first.w, operations=["forward"]), "forward", "tensordash"
    )
    assert result.speedup > 1.5
    assert result.energy_efficiency == pytest.approx(result.speedup / 1.05, rel=1e-3)


def test_the_baseline_can_be_any_machine():
    trace = Trace([LAYERS["conv2d"](), LAYERS["linear"]()])
    other = load_machine("fpraker", **{"oob_threshold": 6})
    against = simulate(trace, "fpraker", 1.0, baseline=other)
    alone = simulate(trace, other, 1.0)
    assert [item.baseline for item in against.operations] == [item.cost for item in alone.operations]
    assert against.provenance["baseline"] == other.label
    assert against.total.speedup == pytest.approx(alone.total.time_s / against.total.time_s)


def test_a_machine_is_as_fast_as_itself_even_in_a_sample():
    results = simulate(Trace([busy_layer(0.5)]), "fpraker", 0.3, seed=3, baseline="fpraker")
    assert results.total.speedup == 1
    # Both sides are estimates, and the interval says so.
    assert results.operations[0].speedup_half_width == pytest.approx(
        np.sqrt(2) * results.operations[0].cost.cycles.relative_half_width
    )


def test_the_dense_machine_is_its_own_measure():
    results = simulate(Trace([busy_layer()]), "bitparallel", 1.0)
    assert np.isnan(results.total.speedup)
    assert np.isnan(results.operations[0].energy_efficiency)
    assert results.operations[0].cycles_per_set == 1


# --- memory ---


def peak_bytes(path, machine):
    tracemalloc.start()
    simulate(path, machine, 1.0, workers=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("machine", ["fpraker", "tensordash"])
def test_memory_does_not_grow_with_the_number_of_layers(machine, tmp_path):
    rng = np.random.default_rng(6)

    def written(count):
        # 1.5 MB a layer; mapped tensors do not count here, padded copies and units do.
        layers = [
            Layer(f"l{i}", "linear", a=tensor(rng, 16, 24_000), w=tensor(rng, 8, 24_000), operations=["forward"])
            for i in range(count)
        ]
        path = tmp_path / f"{count}.npz"
        Trace(layers).save(path)
        return path

    few, many = written(3), written(24)
    peak_bytes(few, machine)  # whatever is allocated once
    few_peak, many_peak = peak_bytes(few, machine), peak_bytes(many, machine)
    # 21 more layers hold 24 MB; what is left of a layer is its record in the file, statistics and results (measured: 75
    # kB).
    assert many_peak < few_peak + 4_000_000, (few_peak, many_peak)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_that_stays_does_not_grow_with_the_number_of_layers(tmp_path):
    rng = np.random.default_rng(6)
    program = (
        "import re, sys, simhw\n"
        "simhw.simulate(sys.argv[1], 'tensordash', 1.0, workers=1)\n"
        "print(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    resident = []
    for count in (2, 16):
        # 20 MB a layer, 280 MB more in the larger file: mapped pages may be dropped by the system and do not count
        # here.
        layers = [
            Layer(f"l{i}", "linear", a=tensor(rng, 64, 100_000), w=tensor(rng, 36, 100_000)) for i in range(count)
        ]
        path = tmp_path / f"{count}.npz"
        Trace(layers).save(path)
        run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
        resident.append(int(run.stdout))  # kB
    assert resident[1] < resident[0] + 40_000, resident


@pytest.mark.parametrize(("machine", "base"), [("fpraker", "bitparallel"), ("tensordash", "tensordash-dense")])
@pytest.mark.parametrize("compression", ["none", "bdc", "zero"])
def test_a_baselines_compression_is_that_of_the_baseline_run_by_itself(machine, base, compression):
    trace = Trace([busy_layer(0.5)])
    plain = simulate(trace, machine, 1.0, progress=False).total
    results = simulate(trace, machine, 1.0, progress=False, baseline_compression=compression)
    by_itself = simulate(trace, f"{base}:memory.compression={compression}", 1.0, progress=False).total.overall
    overall = results.total.baseline_overall
    assert overall.time_s == by_itself.time_s
    assert overall.off_chip_bytes == by_itself.off_chip_bytes
    assert overall.energy_j.mid == pytest.approx(by_itself.energy_j.mid, rel=1e-9)
    # The machine itself and the tiles alone know nothing of it.
    assert results.total.overall == plain.overall
    assert (results.total.speedup, results.total.energy_efficiency) == (plain.speedup, plain.energy_efficiency)
    assert results.provenance["baseline_compression"] == compression
    (compared,) = compare(trace, [machine], sample=1.0, progress=False, baseline_compression=compression).results
    assert compared.total.baseline_overall == overall


def test_a_baseline_that_is_named_keeps_its_compression():
    trace = Trace([busy_layer(0.5)])
    named = simulate(trace, "fpraker", 1.0, progress=False, baseline="bitparallel")
    assert named.provenance["baseline_compression"] == "bdc"
    with pytest.raises(MachineError, match="bitparallel is named as the baseline"):
        simulate(trace, "fpraker", progress=False, baseline="bitparallel", baseline_compression="none")
