"""Simulations that are kept: what they hold, when they are run anew, and that a run goes on where one was stopped."""

import json
from math import isclose, nan

import pytest

from simhw import load_machine, simulate, sources
from simhw.errors import SimhwError
from simhw.reproduce import simulations
from simhw.reproduce.simulations import Simulation, Store
from simhw.reproduce.sums import Measured, Sums
from simhw.sources import code_hash
from tests.cli_runs import some_trace
from tests.reproduce.benches import small_bench


@pytest.fixture
def bench(tmp_path):
    return small_bench(tmp_path)


def simulation(bench, machine="fpraker", memories=False):
    (found,) = bench.of(bench.present[0], machine, memories)
    return found


def test_a_kept_simulation_is_what_the_simulator_gives(bench):
    measured = bench.store[simulation(bench, memories=True)]
    expected = simulate(some_trace(), "fpraker", progress=False, batch=4)
    assert measured.operations.keys() == expected.by_operation().keys()
    for name, totals in {**expected.by_operation(), "total": expected.total}.items():
        sums = measured.total if name == "total" else measured.operations[name]
        pairs = [
            (sums.speedup, totals.speedup),
            (sums.cycles_per_set, totals.cycles_per_set),
            (sums.energy_efficiency, totals.energy_efficiency),
            (sums.overall_speedup, totals.overall_speedup),
            (sums.overall_energy_efficiency, totals.overall_energy_efficiency),
        ]
        assert all(isclose(own, other) for own, other in pairs), name
        assert sums.class_shares == pytest.approx(totals.class_shares)
        assert sums.counters["processed"] == totals.counters["processed"].value
    by_layer = {(item.layer, item.operation): item.speedup for item in expected.operations}
    for layer, found in measured.layers.items():
        for operation, (time_s, baseline_s) in found.items():
            assert isclose(baseline_s / time_s, by_layer.pop((layer, operation)))
    assert not by_layer


def test_ideal_memories_are_those_of_the_command_that_is_told(bench):
    plain = simulation(bench)
    assert plain.command == f"simhw run --trace {plain.step.path} --pe fpraker --memory ideal"
    grown = simulation(bench, memories=True)
    assert grown.command == f"simhw run --trace {plain.step.path} --pe fpraker --batch 4"
    expected = simulate(some_trace(), load_machine("fpraker", **{"memory.model": "ideal"}), progress=False).total
    total = bench.store[plain].total
    assert total.overall_time_s == pytest.approx(total.time_s) == expected.time_s


def test_what_is_kept_is_not_run_again(bench, monkeypatch):
    wanted = bench.simulations("fpraker") + bench.simulations("fpraker:pe.oob_threshold=9")
    assert bench.store.run_missing(wanted[:1]) == 1
    assert bench.store.run_missing(wanted) == 1  # networks of one step share their simulations
    like = bench.simulations("fpraker:pe.oob_threshold=9,tile.rows=4") + bench.simulations(
        "fpraker:tile.rows=4,pe.oob_threshold=9,pe.chunk=64,tile.sync=pe,tile.buffers.a=1,tile.buffers.b=1"
    )
    assert bench.store.run_missing(like) == 1  # the same machine twice
    before = {each: Store(bench.store._folder)[each].total for each in wanted}
    monkeypatch.setattr(simulations, "_run", None)
    again = Store(bench.store._folder)
    assert again.run_missing(wanted) == 0
    assert {each: again[each].total for each in wanted} == before


def test_processes_of_their_own_give_the_same(bench, tmp_path):
    wanted = bench.simulations("fpraker") + bench.simulations("fpraker:tile.rows=4")
    beside = Store(tmp_path / "beside")
    beside.run_missing(wanted, jobs=2)
    assert [beside[each].total for each in wanted] == [bench.store[each].total for each in wanted]


def test_another_machine_trace_batch_or_source_is_another_simulation(bench, monkeypatch):
    base = simulation(bench)
    step = base.step
    others = [
        Simulation(step, "fpraker:pe.oob_threshold=9"),
        Simulation(type(step)(step.path, "another hash", step.batch), "fpraker"),
        Simulation(step, "fpraker", memories=True),
        Simulation(type(step)(step.path, step.hash, 8), "fpraker", memories=True),
    ]
    paths = {bench.store.path(each) for each in [base, *others]}
    assert len(paths) == 5
    # A name is no value: what is overridden to the value that it has is the same.
    same = "fpraker:pe.oob_threshold=7,pe.chunk=64"
    assert bench.store.path(Simulation(step, same)) == bench.store.path(base)
    # The costs of each reading are of its own tile, so that one that becomes the other draws another power.
    strict = "fpraker:pe.oob_threshold=5,pe.chunk=64,tile.sync=set,tile.run_ahead=1,tile.buffers.a=1,tile.buffers.b=1"
    literal = "fpraker-literal:pe.oob_threshold=5,pe.chunk=64"
    assert bench.store.path(Simulation(step, strict)) != bench.store.path(Simulation(step, literal))
    assert bench.store.path(Simulation(step, "fpraker-literal:pe.oob_threshold=5")) != bench.store.path(
        Simulation(step, literal)
    )
    # Nor does it matter how the baseline compresses where memories are ideal; else it does.
    ideal, modelled = (
        {
            bench.store.path(Simulation(step, name, memories))
            for name in ("fpraker", "fpraker:baseline_compression=same")
        }
        for memories in (False, True)
    )
    assert (len(ideal), len(modelled)) == (1, 2)
    # The batch does not matter where memories do not.
    assert bench.store.path(Simulation(type(step)(step.path, step.hash, 8), "fpraker")) in paths
    monkeypatch.setattr(simulations, "code_hash", lambda: "another")
    assert bench.store.path(base) not in paths


def test_the_hash_of_the_sources_leaves_reports_out(monkeypatch, tmp_path):
    package = tmp_path / "simhw"
    for name in ("pe/kernel.py", "report/tables.py", "reproduce/simulations.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(sources, "__file__", str(package / "sources.py"))

    def fresh():
        code_hash.cache_clear()
        return code_hash()

    first = fresh()
    (package / "report/tables.py").write_text("x = 2\n")
    assert fresh() == first
    (package / "pe/kernel.py").write_text("x = 2\n")
    assert fresh() != first
    code_hash.cache_clear()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"operations": {"forward": {"unknown": 1}}, "layers": {}}'])
def test_a_damaged_file_is_named(bench, content):
    wanted = simulation(bench)
    bench.store.run_missing([wanted])
    path = bench.store.path(wanted)
    path.write_text(content)
    with pytest.raises(SimhwError, match=path.name):
        Store(path.parent)[wanted]


def test_steps_of_a_network_add_up():
    early = Measured({"forward": Sums(time_s=1, baseline_time_s=2, time_variance=0.01, lane_cycles={"useful": 1.0})})
    late = Measured(
        {"forward": Sums(time_s=3, baseline_time_s=3, lane_cycles={"no_term": 3.0}), "weight_grad": Sums(time_s=4)}
    )
    both = Measured.together([early, late])
    assert both.operations["forward"].speedup == 5 / 4
    assert both.operations["forward"].class_shares == {"useful": 0.25, "no_term": 0.75}
    # The half-width of the machine's time is 0.1 of 4.
    assert isclose(both.operations["forward"].speedup_half_width, 5 / 4 * 0.1 / 4)
    assert both.total.time_s == 8


def test_what_there_is_no_baseline_for_survives_being_written():
    measured = Measured({"forward": Sums(time_s=1, baseline_time_s=nan)}, {"a": {"forward": (1.0, nan)}})
    again = Measured.read(json.loads(json.dumps(measured.written(), allow_nan=False)))
    assert str(again) == str(measured)
