"""Whole steps on one machine and on several: one tidy table that survives being written."""

import json

import numpy as np
import pandas as pd
import pytest

from simhw import Layer, Trace, compare, simulate
from simhw.errors import SimhwError
from tests.slow_engine import LAYERS, tensor


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
    assert results.provenance["baseline"] == "bitparallel:memory.compression=none"


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
