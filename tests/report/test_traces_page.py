"""The page of training steps beside each other: what one gains over the first, under the names that were given."""

from pathlib import Path

import pytest

from simhw import Trace, compare_traces, simulate
from simhw.cli import main
from simhw.quantities import ratio
from simhw.report.page.layers import LayerTable
from simhw.report.page.model import Page, TracesPart
from simhw.report.page.traces import saved_page, traces_page
from simhw.report.page.write import page_html
from simhw.report.trace_screen import reason
from simhw.results.saved import SavedResults, load_results, save_results
from simhw.results.traces import TraceComparison
from tests.cli_runs import factorised, output, result, some_trace
from tests.report.test_page import Parsed
from tests.report.test_page_in_browser import HOSTILE, hostile_steps

MACHINES = ["fpraker", "tensordash:memory.model=ideal"]


@pytest.fixture(scope="module")
def comparison() -> TraceComparison:
    return compare_traces({"dense": some_trace(), "lowrank": factorised()}, MACHINES, progress=False)


@pytest.fixture(scope="module")
def page(comparison: TraceComparison) -> Page:
    return traces_page(comparison, ["simhw compare"])


def part(page: Page) -> TracesPart:
    assert page.traces is not None
    return page.traces


def test_the_answer_is_the_gain_over_the_first_step_on_each_machine(comparison: TraceComparison, page: Page) -> None:
    gains = comparison.gains[: len(MACHINES)]
    texts = Parsed(page_html(page)).texts
    assert page.title == "lowrank against dense on 2 machines"
    for gain, sentence, headline in zip(gains, part(page).sentences, part(page).headlines, strict=True):
        assert f"lowrank is {gain.times_as_fast:.2f} times as fast as dense" in sentence
        assert (headline.machine, headline.against) == (gain.other.hardware, "lowrank against dense")
        assert headline.answers[0].figure == ratio(gain.times_as_fast)
        assert headline.answers[1].figure == ratio(gain.times_less_energy)
        assert {sentence, reason(gain), headline.answers[0].figure} <= set(texts)
    with_memories, ideal = part(page).headlines
    assert with_memories.answers[2].meaning == "times as fast, tiles alone"
    assert ideal.bound_by == "Memories are ideal."
    # The answer comes before each step beside its baseline.
    assert texts.index(part(page).sentences[0]) < texts.index("Each step beside the baselines")


def test_bars_are_the_steps_on_all_hardware(comparison: TraceComparison, page: Page) -> None:
    time, energy = part(page).charts
    ordered = [step for steps in comparison.steps_by_hardware.values() for step in steps]
    assert [bar.name for bar in time.bars] == [f"{step.hardware}, {step.trace}" for step in ordered]
    for step, slow, costly in zip(ordered, time.bars, energy.bars, strict=True):
        overall = step.totals.overall
        assert sum(piece.value for piece in slow.pieces) == pytest.approx(overall.time_s)
        assert [piece.value for piece in costly.pieces] == [group.mid for group in overall.groups.values()]


def tables(page: Page) -> list[LayerTable]:
    (difference,) = part(page).differences
    assert [label for label, _ in difference.layers] == MACHINES
    return [table for _, table in difference.layers]


def value(table: LayerTable, row: int, heading: str) -> float:
    found = table.layers[row].cells[[name for name, _ in table.columns].index(heading)].value
    assert found is not None
    return found


def test_layers_of_both_steps_are_matched_by_name(comparison: TraceComparison, page: Page) -> None:
    conv, linear = some_trace().layers
    for table, gain in zip(tables(page), comparison.gains, strict=False):
        assert [row.name for row in table.layers] == [conv.name, linear.name]
        assert value(table, 0, "times as fast") == pytest.approx(1)
        # 24 x 40 x 16 forward and for the weights; the factors are of rank 4, and the second's weights alone learn.
        assert value(table, 1, "MACs, dense") == 2 * 24 * 40 * 16
        assert value(table, 1, "MACs, lowrank") == 24 * (40 * 4 + 4 * 16) + 24 * 4 * 16
        before, after = gain.first.totals.overall, gain.other.totals.overall
        saved = sum(value(table, row, "saved") for row in range(2))
        assert saved == pytest.approx(1 - after.time_s / before.time_s)
        forward, *_ = table.layers[1].operations
        first, other = forward.details
        assert (first[0], other[0]) == ("dense", "lowrank")
        assert linear.name in first[1]
        assert all(f"{linear.name}.{number} (linear)" in other[1] for number in (0, 1))
    assert [table.with_memories for table in tables(page)] == [True, False]


def test_a_layer_of_one_step_alone_has_no_ratio() -> None:
    apart = compare_traces({"all": some_trace(), "one": _first_layer()}, ["tensordash"], progress=False)
    ((_, table),) = part(traces_page(apart)).differences[0].layers
    figures = dict(zip((name for name, _ in table.columns), (cell.text for cell in table.layers[1].cells), strict=True))
    assert {figures[name] for name in ("times as fast", "less energy", "ms, one", "MACs, one")} == {"-"}
    assert figures["ms, all"] != "-"
    assert "no such layer" in table.layers[1].operations[0].details[1][1]


def _first_layer() -> Trace:
    trace = some_trace()
    return Trace([trace.layers[0]], trace.metadata)


def test_results_below_are_called_as_the_traces_are(page: Page) -> None:
    names = [f"{machine} on {trace}" for trace in ("dense", "lowrank") for machine in MACHINES]
    assert [machine.label for machine in page.machines] == names
    assert [values.trace for values in page.values] == ["dense", "lowrank"]
    ids = Parsed(page_html(page)).values("id")
    assert len(ids) == len(set(ids))


def test_no_two_regions_have_one_name(page: Page) -> None:
    parsed = Parsed(page_html(page))
    regions = [value for tag, name, value in parsed.attributes if tag == "div" and name == "aria-label"]
    assert len(regions) == len(set(regions))


def test_names_are_text_and_nothing_else(page: Page) -> None:
    parsed = Parsed(page_html(traces_page(hostile_steps(), [HOSTILE])))
    assert set(parsed.tags) <= set(Parsed(page_html(page)).tags)
    assert parsed.tags.count("script") == 1
    assert any(HOSTILE in text for text in parsed.texts)
    assert not [name for _, name, _ in parsed.attributes if name == "onerror"]


def test_a_saved_comparison_makes_the_same_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factorised().save(folder / "lrd.npz")
    given = ["--trace", "lowrank=lrd", "--pe", "tensordash", "--html", "now.html", "--save", "both.json"]
    output(capsys, "compare", *given)
    assert main(["report", "both.json", "--html", "later.html"]) == 0
    now = (folder / "now.html").read_text(encoding="utf-8")
    assert (folder / "later.html").read_text(encoding="utf-8") == now
    assert "lowrank against some on tensordash" in Parsed(now).texts
    assert load_results(folder / "both.json").traces == ["some", "lowrank"]


def test_runs_that_were_saved_apart_are_compared_where_they_are_on_the_same_machines(folder: Path) -> None:
    factorised().save(folder / "lrd.npz")
    first, other, elsewhere = (
        simulate(trace, machine, progress=False)
        for trace, machine in (("some.npz", "tensordash"), ("lrd.npz", "tensordash"), ("lrd.npz", "fpraker"))
    )
    assert saved_page([SavedResults([first]), SavedResults([other])]).title == "lrd against some on tensordash"
    for apart in ([first, elsewhere], [first, first], [first]):
        assert saved_page([SavedResults([each]) for each in apart]).traces is None


def test_names_are_kept_and_older_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    save_results([result("tensordash")], path, traces=["mine"])
    assert load_results(path).traces == ["mine"]
    older = path.read_text().replace('"format_version":2', '"format_version":1').replace(',"traces":["mine"]', "")
    path.write_text(older)
    assert not load_results(path).traces
