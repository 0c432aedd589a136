"""Results in a file: they come back equal, and a file that was changed, or is none, is refused in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from simhw import simulate
from simhw.errors import SimhwError
from simhw.machine.machine import load_machine
from simhw.machine.names import machine_names
from simhw.results.estimate import Estimate
from simhw.results.saved import MachineRecord, load_results, save_results
from simhw.results.saved_operation import _estimate, _written
from simhw.results.step import Results
from tests.cli_runs import result, some_trace


@pytest.fixture(scope="module")
def results() -> list[Results]:
    ideal = simulate(some_trace(), "tensordash:memory.model=ideal", progress=False)
    grown = replace(result("fpraker", sample=0.5, batch=4), doubts=("layer 'a' was taken to grow",))
    return [grown, ideal]


@pytest.fixture(scope="module")
def saved(results: list[Results], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "run.json"
    save_results(results, path, "simhw run")
    return path


def test_results_come_back_equal(results: list[Results], saved: Path) -> None:
    found = load_results(saved)
    assert found.command == "simhw run"
    for one, other in zip(results, found.results, strict=True):
        assert other.frame.equals(one.frame)
        assert other.total == one.total
        assert (other.machine, other.baseline, other.values) == (one.machine, one.baseline, one.values)
        assert (other.provenance, other.cautions) == (one.provenance, one.cautions)
    assert found.results[0].doubts == results[0].doubts
    assert found.results[0].total.cycles.half_width > 0  # a sample
    assert {name for each in found.results[0].values for name in each.tensors} == {"a", "w", "g"}


def test_a_path_that_is_no_text_is_saved_as_far_as_it_is(results: list[Results], tmp_path: Path) -> None:
    odd = replace(results[1], provenance=results[1].provenance | {"trace": "d\udcff.npz"})
    save_results([odd], tmp_path / "odd.json", "simhw --trace d\udcff.npz")
    found = load_results(tmp_path / "odd.json")
    assert (found.results[0].provenance["trace"], found.command) == ("d?.npz", "simhw --trace d?.npz")


def test_what_was_loaded_is_saved_alike(saved: Path, tmp_path: Path) -> None:
    save_results(load_results(saved).results, tmp_path / "again.json", "simhw run")
    assert (tmp_path / "again.json").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("estimate", [Estimate(3.5), Estimate(1 / 3, 0.1, 7.5), Estimate(2.0, inf, 1.0)])
def test_an_estimate_comes_back_equal(estimate: Estimate) -> None:
    assert _estimate(json.loads(json.dumps(_written(estimate)))) == estimate


def test_a_counter_estimated_below_zero_is_saved(results: list[Results], tmp_path: Path) -> None:
    """As of the bundled ViT's fourth block: two cells of unlike sizes, whose unbiased estimate is negative."""
    first = results[0].operations[0]
    name = first.classes[-1]
    below = replace(first, counters={**first.counters, name: Estimate(-69552.0, 2.5e9, 1.0)})
    save_results([replace(results[0], operations=[below])], tmp_path / "below.json")
    assert load_results(tmp_path / "below.json").results[0].operations[0].counters[name] == Estimate(-69552.0, 2.5e9, 1)


def test_every_machine_comes_back_equal() -> None:
    for name in machine_names():
        machine = load_machine(name)
        written = json.loads(json.dumps(MachineRecord.of(machine).model_dump(mode="json")))
        again = MachineRecord.model_validate(written).machine("here")
        assert (again, again.content_hash) == (machine, machine.content_hash)


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[str], str]:
    def edited(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return edited


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "[]", "is a table of rows, as --out writes it"),
        (lambda _: "{", "not JSON"),
        (lambda _: "{}", "format: Field required"),
        (edit(lambda d: d.update(format="simhw-trace")), "this is no saved result"),
        (edit(lambda d: d.update(format_version=3)), "format version 3 is unknown"),
        (edit(lambda d: d.update(results=[])), "results: List should have at least 1 item"),
        (edit(lambda d: d.update(traces=["one"])), "traces: 1 names of 2 results"),
        (edit(lambda d: d.update(more=1)), "more: Extra inputs are not permitted"),
        (edit(lambda d: d["results"][0]["operations"][0].update(macs=-1)), "operations.0.macs: Input should be"),
        (edit(lambda d: d["results"][0]["operations"][0]["cost"].update(cycles=[1, 2])), "give \\[value\\]"),
        (edit(lambda d: d["results"][0]["operations"][0].update(classes=["useful"])), "lane-cycle classes are useful,"),
        (edit(lambda d: d["results"][0]["operations"][0].update(baseline=None)), "has no baseline"),
        (edit(lambda d: d["results"][0]["operations"][0]["cost"]["memory"].update(blocking="auto")), "give loops"),
        (edit(lambda d: d["results"][0]["operations"][0]["cost"]["energy"].pop("leakage")), "has to name exactly"),
        (edit(lambda d: d["results"][0]["machine"]["values"].update(tiles=35)), "its machine are not those"),
        (edit(lambda d: d["results"][0]["machine"]["values"]["pe"].update(kind="mine")), "known are bitparallel"),
        (edit(lambda d: d["results"][0]["provenance"].pop("seed")), "'seed' is missing or unknown"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    change: Callable[[str], str], words: str, saved: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(change(saved.read_text()))
    with pytest.raises(SimhwError, match=words) as caught:
        load_results(path)
    assert str(path) in str(caught.value)
