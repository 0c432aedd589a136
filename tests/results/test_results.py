"""Results: what a cost says, totals that add up, and one tidy table that survives being written."""

import json

import numpy as np
import pandas as pd
import pytest

from simhw import Layer, Trace, compare, simulate
from simhw.errors import SimhwError
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost, OperationResult
from simhw.results.totals import Totals
from tests.slow_engine import LAYERS, tensor


def cost(cycles, clock_hz=500e6, power_w=2.0, busy=0.5, occupancy=0.25, tile_cycles=100.0):
    estimate = cycles if isinstance(cycles, Estimate) else Estimate(cycles)
    return OperationCost(estimate, Estimate(tile_cycles), busy, occupancy, clock_hz, power_w)


def operation(machine, baseline=None, operation="forward", dense_sets=50, useful=10.0, macs=1000):
    counters = {"useful": Estimate(useful), "idle": Estimate(90.0)}
    return OperationResult(
        "l", "linear", operation, "a", macs, 4, 1.0, machine, baseline, counters, ("useful", "idle"), dense_sets
    )


# --- one operation ---


def test_time_and_energy_follow_from_cycles_clock_and_power():
    one = cost(1000.0)
    assert one.time_s == pytest.approx(2e-6)
    assert one.energy_j == pytest.approx(4e-6)


def test_speed_up_compares_times_and_not_cycles():
    # The baseline takes twice the cycles at twice the clock: equally long, at half the power.
    item = operation(cost(1000.0), cost(2000.0, clock_hz=1e9, power_w=1.0))
    assert item.speedup == pytest.approx(1)
    assert item.energy_efficiency == pytest.approx(0.5)
    assert item.baseline_cycles == 2000
    assert item.cycles_per_set == 2


def test_without_a_baseline_ratios_are_not_a_number():
    item = operation(cost(1000.0))
    assert np.isnan([item.speedup, item.energy_efficiency, item.baseline_cycles, item.speedup_half_width]).all()


def test_a_sampled_baseline_widens_the_speed_ups_interval():
    # Relative half-widths of 3% and 4% (t is 1.96 with endless degrees of freedom): together 5%.
    part = [Estimate(1000.0, (share * 1000 / 1.959964) ** 2) for share in (0.03, 0.04)]
    alone, both = operation(cost(part[0]), cost(2000.0)), operation(cost(part[0]), cost(part[1]))
    assert alone.speedup_half_width == pytest.approx(0.03 * alone.speedup)
    assert both.speedup_half_width == pytest.approx(0.05 * both.speedup)
    assert Totals.of([both]).speedup_half_width == pytest.approx(0.05 * both.speedup)


# --- totals ---


def test_ratios_of_a_total_are_ratios_of_sums():
    slow, fast = operation(cost(3000.0), cost(3000.0)), operation(cost(1000.0), cost(9000.0), useful=30.0)
    total = Totals.of([slow, fast])
    assert total.speedup == pytest.approx(12 / 4)  # not the mean of 1 and 9
    assert total.energy_efficiency == pytest.approx(3)
    assert total.cycles.value == 4000
    assert total.macs == 2000
    assert total.counters["useful"].value == 40
    assert total.cycles_per_set == pytest.approx(200 / 100)
    assert total.class_shares == {"useful": 40 / 220, "idle": 180 / 220}


def test_busy_is_weighted_by_time_and_occupancy_by_sets():
    total = Totals.of(
        [
            operation(cost(3000.0, busy=1.0, occupancy=0.5), dense_sets=10),
            operation(cost(1000.0, busy=0.2, occupancy=1.0), dense_sets=30),
        ]
    )
    assert total.busy == pytest.approx((3 * 1.0 + 1 * 0.2) / 4)
    assert total.occupancy == pytest.approx((10 * 0.5 + 30 * 1.0) / 40)


def test_a_total_with_an_operation_without_baseline_has_none():
    total = Totals.of([operation(cost(1000.0), cost(2000.0)), operation(cost(1000.0))])
    assert np.isnan([total.speedup, total.energy_efficiency, total.baseline_busy]).all()


def test_errors_of_operations_add_as_independent_ones():
    parts = [operation(cost(Estimate(1000.0, 9.0, 5.0))), operation(cost(Estimate(1000.0, 16.0, 5.0)))]
    assert Totals.of(parts).cycles.variance == 25


# --- whole runs ---


@pytest.fixture(scope="module")
def results():
    return simulate(Trace([LAYERS["strided"](), LAYERS["linear"]()]), "fpraker", 1.0)


def test_a_row_for_every_layer_and_operation(results):
    frame = results.frame
    assert list(zip(frame["layer"], frame["operation"], strict=True)) == [
        (name, operation) for name in ("conv2d", "linear") for operation in ("forward", "input_grad", "weight_grad")
    ]
    for item, (_, row) in zip(results.operations, frame.iterrows(), strict=True):
        assert (row["cycles"], row["speedup"], row["energy_j"], row["operand"]) == (
            item.cycles,
            item.speedup,
            item.cost.energy_j,
            item.operand,
        )
        assert row["cycles_ci95"] == 0
    # Lanes of 64 PEs a cycle of every tile.
    np.testing.assert_array_equal(frame[list(results.classes)].sum(axis=1), 512 * frame["tile_cycles"])
    figures = frame.loc[:, "macs" : f"{list(results.operations[0].counters)[-1]}_ci95"]
    assert not figures.isna().any(axis=None)


def test_every_row_says_where_it_comes_from(results):
    frame = results.frame
    for name in ("machine", "machine_hash", "baseline", "baseline_hash", "sampling", "seed", "simhw"):
        assert set(frame[name]) == {results.provenance[name]}
    assert results.provenance["machine"] == "fpraker"
    assert results.provenance["baseline"] == "bitparallel"


def test_totals_by_operation_add_up_to_the_total(results):
    parts = results.by_operation()
    assert list(parts) == ["forward", "input_grad", "weight_grad"]
    for figure in ("macs", "time_s", "baseline_time_s", "energy_j", "baseline_energy_j"):
        assert sum(getattr(part, figure) for part in parts.values()) == pytest.approx(getattr(results.total, figure)), (
            figure
        )
    assert sum(part.cycles.value for part in parts.values()) == results.total.cycles.value


def test_operations_that_did_not_run_have_no_total():
    layer = Layer("first", "linear", a=tensor(np.random.default_rng(0), 8, 8), w=tensor(np.random.default_rng(1), 8, 8))
    assert list(simulate(Trace([layer]), "fpraker", 1.0).by_operation()) == ["forward"]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_table_comes_back_from_its_file(results, suffix, tmp_path):
    path = tmp_path / f"table{suffix}"
    results.write(path)
    read = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}[suffix](path)
    assert list(read.columns) == list(results.frame.columns)
    for name in ("layer", "operation", "machine"):
        assert list(read[name]) == list(results.frame[name])
    for name in ("cycles", "speedup", "useful", "macs"):
        np.testing.assert_allclose(read[name], results.frame[name], rtol=1e-9)
    if suffix == ".json":
        assert len(json.loads(path.read_text())) == 6
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_table_of_another_kind_is_refused_and_nothing_is_left(results, tmp_path):
    with pytest.raises(SimhwError, match=r"table\.xlsx: the name must end in one of \.csv, \.json, \.parquet"):
        results.write(tmp_path / "table.xlsx")
    assert not list(tmp_path.iterdir())


def test_a_comparison_summarises_every_machine():
    trace = Trace([LAYERS["linear"]()])
    comparison = compare(trace, ["fpraker", "bitparallel"], sample=1.0)
    summary = comparison.summary.set_index(["machine", "operation"])
    single = simulate(trace, "fpraker", 1.0).total
    total = summary.loc[("fpraker", "total")]
    assert total["speedup"] == single.speedup
    assert total["cycles"] == single.cycles.value
    assert total["cycles"] == summary.loc["fpraker"].drop("total")["cycles"].sum()
    assert np.isnan(summary.loc[("bitparallel", "total"), "speedup"])


def test_a_comparison_writes_the_rows_of_all_machines(tmp_path):
    comparison = compare(Trace([LAYERS["linear"]()]), ["fpraker", "tensordash"], sample=1.0)
    comparison.write(tmp_path / "both.csv")
    read = pd.read_csv(tmp_path / "both.csv")
    assert list(read["machine"]) == ["fpraker"] * 3 + ["tensordash"] * 3
    # A counter that one machine has not is empty there, not zero.
    assert read.loc[read["machine"] == "tensordash", "shift_range"].isna().all()
