"""Limits switched off and on: the steps lead from what values alone allow to what is measured, exactly."""

from math import isnan, prod

import numpy as np
import pytest

from simhw import Layer, Trace, explain, load_machine, load_trace, simulate
from simhw.bfloat16 import from_float32, significand_terms
from simhw.errors import SimhwError, TraceError
from simhw.machine.machine import Machine, variant_of
from simhw.pe.fpraker.ladder import _own_pace as fpraker_pace
from simhw.pe.ladder import PassTotals
from simhw.pe.tensordash.element import RowsApart
from simhw.pe.tensordash.element import _own_pace as tensordash_pace
from simhw.results.attribution import Attribution
from simhw.results.operation import OperationResult
from simhw.results.step import Results
from simhw.simulation.run import Draw
from tests.cli_runs import LONG_NAME, some_trace
from tests.places import ROOT

BUNDLED = sorted(path.stem for path in (ROOT / "traces").glob("*.npz"))
MACHINES = ("fpraker", "tensordash")


def explained(trace: Trace | str, machine: Machine | str, **options: object) -> Attribution:
    (found,) = explain(trace, machine, progress=False, **options).attributions  # type: ignore[arg-type]
    return found


def assert_leads_to(attribution: Attribution, measured: Results) -> None:
    """The steps multiply and add up to what an own simulation gives, in each operation and in all."""
    totals = {**measured.by_operation(), "total": measured.total}
    assert attribution.scopes == list(totals)
    limits = [step.limit for step in attribution.steps]
    for scope, total in totals.items():
        times = attribution.times_s[scope]
        assert times[0] > 0
        assert times[0] * prod(attribution.factors(scope)[1:]) == pytest.approx(total.overall.time_s, rel=1e-9)
        assert sum(attribution.shares(scope)) == pytest.approx(1.0)
        assert times[limits.index("idle tiles")] == pytest.approx(total.time_s, rel=1e-9)
        assert attribution.speedups(scope)[limits.index("idle tiles")] == pytest.approx(total.speedup, nan_ok=True)
        assert attribution.speedups(scope)[-1] == pytest.approx(total.overall_speedup, nan_ok=True)


def step(attribution: Attribution, limit: str) -> np.ndarray:
    """Cycles of the operations on a step."""
    return attribution.cycles[:, [each.limit for each in attribution.steps].index(limit)]


def totals_of(item: OperationResult) -> PassTotals:
    counters = {name: estimate.value for name, estimate in item.counters.items()}
    return PassTotals(item.tile_cycles, item.dense_sets, item.filled_sets, item.fed_macs, counters)


@pytest.fixture(scope="module")
def some() -> dict[str, Attribution]:
    return {name: explained(some_trace(), name) for name in (*MACHINES, "bitparallel")}


@pytest.mark.parametrize("machine", [*MACHINES, "bitparallel"])
def test_steps_lead_to_the_measured_time(machine, some):
    assert_leads_to(some[machine], simulate(some_trace(), machine, progress=False))


@pytest.mark.parametrize("machine", MACHINES)
def test_steps_of_a_bundled_trace_lead_to_the_measured_time(machine):
    assert_leads_to(explained("small_cnn", machine), simulate("small_cnn", machine, progress=False))


@pytest.mark.slow
@pytest.mark.parametrize("trace", BUNDLED)
@pytest.mark.parametrize("machine", [*MACHINES, "fpraker-literal"])
def test_steps_of_every_bundled_trace_lead_to_the_measured_time(machine, trace):
    trace = load_trace(trace)
    attribution = explained(trace, machine)
    assert_leads_to(attribution, simulate(trace, machine, progress=False))
    # All but these switch on what can only cost time; sets of other values round elsewhere, by a little.
    helpful = {"out of bounds", "lane padding"}
    for each, factor in zip(attribution.steps, attribution.factors(), strict=True):
        assert isnan(factor) or each.limit in helpful or factor > 0.995, each.limit


def test_limits_stand_in_their_order(some):
    around = ["lane padding", "fragmentation", "idle tiles", "DRAM", "on-chip memories"]
    assert [each.limit for each in some["fpraker"].steps] == [
        "terms alone",
        "lanes of a set",
        "shift window",
        "out of bounds",
        "exponent sharing",
        "tile pass",
        "column synchronisation",
        "run-ahead",
        "serial operand",
        *around,
    ]
    own = ["non-zero values", "look-ahead depth", "options", "row synchronisation"]
    assert [each.limit for each in some["tensordash"].steps] == [*own, *around]
    assert [each.limit for each in some["bitparallel"].steps] == ["full tiles", *around]


def test_a_limit_that_a_machine_has_not_is_left_out():
    machine = load_machine("fpraker", **{"exponent_sharing": 1, "memory.model": "ideal", "tile.buffers.b": 16})
    limits = [each.limit for each in explained(some_trace(), machine).steps]
    assert not {"exponent sharing", "run-ahead", "DRAM", "on-chip memories"} & set(limits)
    assert {"shift window", "column synchronisation", "idle tiles"} < set(limits)


def test_the_ideal_of_fpraker_counts_the_terms_that_meet_a_value(some):
    layer = some_trace().layers[1]
    a, w = (layer.source(tensor).read() for tensor in ("a", "w"))

    def terms(serial: np.ndarray, parallel: np.ndarray) -> int:
        """Rows of one operand, each with every row of the other: k by k."""
        counts = [
            [len(significand_terms(int(v) & 0x7F, "naf")) * (int(v) & 0x7F80 != 0) for v in row] for row in serial
        ]
        return int(np.sum(np.array(counts).sum(axis=0) * ((parallel & 0x7F80) != 0).sum(axis=0)))

    lanes = 36 * 64 * 8
    found = step(some["fpraker"], "terms alone")[3]  # after the three operations of the convolution
    assert found in (pytest.approx(terms(a, w) / lanes), pytest.approx(terms(w, a) / lanes))


def test_the_ideal_of_tensordash_counts_the_values_that_are_not_zero(some):
    layer = some_trace().layers[1]
    operand = some["tensordash"].results.operations[3].operand
    values, others = layer.source(operand).read(), layer.source("w" if operand == "a" else "a").read()
    pairs = int(((values & 0x7F80) != 0).sum()) * len(others)
    assert step(some["tensordash"], "non-zero values")[3] == pytest.approx(pairs / (16 * 16 * 16))


@pytest.mark.parametrize("switches", [{}, {"pe.oob": "off", "shift_window": 65536, "exponent_sharing": 1}])
def test_the_own_pace_of_fpraker_is_that_of_a_lone_pe(switches):
    # Rows that do not fill tiles: what is told from a tile has to leave its empty PEs out.
    tiles = load_machine("fpraker", **switches)
    lone = variant_of(tiles, {"tile.rows": 1, "tile.cols": 1})
    for tile, alone in zip(
        *(simulate(some_trace(), each, progress=False).operations for each in (tiles, lone)), strict=True
    ):
        assert fpraker_pace(tiles.values, totals_of(tile)) == pytest.approx(alone.cycles_per_set, rel=1e-12)


@pytest.mark.parametrize("sides", ["one", "two"])
def test_the_own_pace_of_tensordash_is_that_of_a_lone_scheduler(sides):
    tiles = load_machine("tensordash", sides=sides)
    lone = variant_of(tiles, {"tile.rows": 1, **({"tile.cols": 1} if sides == "two" else {})})
    apart = variant_of(tiles, {}, RowsApart)
    found = (simulate(some_trace(), each, progress=False, check=each is apart).operations for each in (apart, lone))
    for tile, alone in zip(*found, strict=True):
        totals = totals_of(tile)
        rows = alone.counters["skipped_steps"].value
        assert tile.counters["skipped_steps"].value == rows
        if sides == "two" or alone.filled_sets == 4 * alone.dense_sets:
            assert tensordash_pace(tiles.values, totals) == pytest.approx(alone.cycles_per_set, rel=1e-12)


@pytest.mark.parametrize("padding", ["stream", "skip"])
def test_filled_sets_are_those_that_fpraker_counts_terms_of(padding):
    for item in simulate(some_trace(), load_machine("fpraker", padding=padding), progress=False).operations:
        terms = sum(item.counters[name].value for name in ("processed", "skipped_zero", "skipped_oob"))
        assert item.filled_sets == terms / 64  # eight bits of eight lanes


def test_one_layer_takes_what_it_takes_within_the_step(some):
    for machine in MACHINES:
        one = explained(some_trace(), machine, layer=LONG_NAME)
        np.testing.assert_allclose(one.cycles, some[machine].cycles[3:], rtol=1e-12)
    with pytest.raises(TraceError, match="no layer 'cnov'; near names are conv"):
        explain(some_trace(), "fpraker", layer="cnov", progress=False)


def test_a_grown_step_leads_to_its_measured_time():
    for machine in MACHINES:
        assert_leads_to(
            explained(some_trace(), machine, batch=8), simulate(some_trace(), machine, progress=False, batch=8)
        )


def many_rows() -> Trace:
    """Layers of which a sample leaves most cells out."""
    rng = np.random.default_rng(7)
    draw = lambda *shape: from_float32(np.maximum(rng.standard_normal(shape, dtype=np.float32), 0))  # noqa: E731
    linear = Layer("fc", "linear", a=draw(1000, 24), w=draw(200, 24), g=draw(1000, 200))
    # Images whose zeros differ, so that TensorDash schedules A for some and W for others.
    a = draw(2, 8, 24, 24)
    a[0] = 0x3F80
    return Trace([linear, Layer("conv", "conv2d", {"padding": 1}, a=a, w=draw(64, 8, 3, 3), g=draw(2, 64, 24, 24))])


@pytest.mark.parametrize("machine", ["fpraker:lowering.serial=oracle", "tensordash"])
def test_all_variants_of_a_sample_run_the_same_passes(machine, monkeypatch):
    drawn: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    runs = 0
    original = Draw.cells

    def cells(draw, stratum, seed):
        nonlocal runs
        found = original(draw, stratum, seed)
        runs += 1
        if len(found) < stratum.cells.cells:
            drawn.setdefault((*stratum.key[:2], *stratum.key[3:]), set()).add(tuple(found))
        return found

    monkeypatch.setattr(Draw, "cells", cells)
    trace = many_rows()
    attribution = explained(trace, machine, sample=0.1, seed=3)
    assert runs > 3 * len(drawn) > 0
    assert {len(samples) for samples in drawn.values()} == {1}
    assert_leads_to(attribution, simulate(trace, machine, sample=0.1, seed=3, progress=False))


def test_where_a_precision_is_asked_for_all_variants_run_as_large_a_share(monkeypatch):
    monkeypatch.setattr("simhw.simulation.run.EXACT_SECONDS", 0.0)
    attribution = explained(many_rows(), "tensordash")
    share = attribution.results.provenance["sampling"]
    assert share.startswith("random, 0.")
    assert_leads_to(attribution, attribution.results)


@pytest.mark.parametrize("machine", ["tensordash:sides=two", pytest.param("fpraker", marks=pytest.mark.slow)])
def test_replays_agree_with_every_variant(machine):
    assert explained(some_trace(), machine, layer=LONG_NAME, check=True).results.provenance["checked"]


def test_a_table_has_a_row_per_operation_and_limit_and_a_summary_per_limit():
    explanation = explain(some_trace(), MACHINES, progress=False)
    frame, summary = explanation.frame, explanation.summary
    steps = sum(len(each.steps) for each in explanation.attributions)
    assert len(frame) == 5 * steps
    assert len(summary) == 4 * steps
    whole = frame[frame.machine == "fpraker"].groupby("step").time_s.sum().to_numpy()
    np.testing.assert_allclose(whole, explanation.attributions[0].times_s["total"])
    # A variant can be run by itself, and takes the tile cycles of its step.
    row = frame[(frame.limit == "run-ahead") & (frame.operation == "weight_grad")].iloc[0]
    machine, _, settings = row.variant.partition(":")
    assert machine == "fpraker"
    assert settings == "lowering.lane_padding=pack"
    assert explanation.limits.index("terms alone") < explanation.limits.index("non-zero values")
    assert explanation.limits.index("row synchronisation") < explanation.limits.index("lane padding")
    assert len(explanation.limits) == len(set(explanation.limits))


def test_what_cannot_be_explained_is_refused():
    with pytest.raises(SimhwError, match="give at least one machine"):
        explain(some_trace(), [], progress=False)
    idle = Layer("idle", "linear", a=np.zeros((2, 8), np.uint16), w=np.zeros((2, 8), np.uint16), operations=[])
    with pytest.raises(TraceError, match="training ran no operation"):
        explain(Trace([idle]), "fpraker", progress=False)
