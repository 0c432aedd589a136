"""Results show themselves: short where they are named, the first screen where they are printed, and documented."""

import json
import pickle
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import simhw
from simhw import Trace
from simhw.errors import SimhwError
from simhw.report.limit_tables import duration, factor
from simhw.report.printing import plain_text
from simhw.report.screen import SCREEN_WIDTH, screen
from simhw.results.attribution import Explanation
from simhw.results.cautions import Caution
from simhw.results.comparison import Comparison
from simhw.results.step import Results
from simhw.trace.metadata import Metadata
from tests.cli_runs import result, some_trace
from tests.places import ROOT

EVIL = "<script>alert(1)</script>&\"'"


@pytest.fixture(scope="module")
def both() -> Comparison:
    return Comparison([result("fpraker"), result("tensordash")])


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return simhw.explain(some_trace(), ["fpraker", "tensordash"], progress=False)


def test_a_result_is_named_in_a_line_and_printed_as_a_screen(both: Comparison) -> None:
    fpraker = both.results[0]
    assert repr(fpraker).startswith("<Results: fpraker on a trace in memory, speed-up 0.")
    assert "fpraker, tensordash" in repr(both)
    assert max(len(repr(fpraker)), len(repr(both))) < 200
    assert str(fpraker) == plain_text(screen([fpraker]), SCREEN_WIDTH)
    assert str(both) == plain_text(screen(both.results), SCREEN_WIDTH)


def test_a_line_names_the_file_of_a_trace_and_not_where_it_lies(tmp_path: Path) -> None:
    some_trace().save(tmp_path / "some.npz")
    each = simhw.simulate(tmp_path / "some.npz", "fpraker", progress=False)
    explanation = simhw.explain(tmp_path / "some.npz", "fpraker", progress=False)
    for line in map(repr, (each, Comparison([each]), explanation)):
        assert "on some.npz" in line
        assert str(tmp_path) not in line
        assert len(line) < 200


def test_an_explanation_is_printed_with_the_limits_of_each_machine(explanation: Explanation) -> None:
    text = str(explanation)
    for each in explanation.attributions:
        assert each.results.machine.values.description in " ".join(text.split())
        assert duration(each.times_s["total"][-1]) in text
        for step, value in zip(each.steps[1:], each.factors()[1:], strict=True):
            (row, *_) = [
                line for line in text.splitlines() if line.startswith(f" {step.limit} ") and factor(value) in line
            ]
            assert row
    assert "Side by side" in text
    assert max(map(len, text.splitlines())) <= SCREEN_WIDTH
    assert "Side by side" not in str(Explanation(explanation.attributions[:1]))


def test_a_notebook_shows_an_explanation_with_its_waterfall(explanation: Explanation) -> None:
    (only, _) = explanation.attributions
    steps = [replace(step, limit=EVIL) for step in only.steps]
    html = Explanation([replace(only, steps=steps)])._repr_html_()
    (png,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert b64decode(png, validate=True).startswith(b"\x89PNG")
    page = Page(html.replace(">", "/>", 1))  # the picture has no end tag
    assert page.tags <= {"img", "div", "table", "thead", "tbody", "tr", "th", "td", "p"}
    assert EVIL in page.text
    assert duration(only.times_s["total"][-1]) in page.text


def test_a_notebook_shows_a_picture_that_is_the_last_of_a_cell(both: Comparison, explanation: Explanation) -> None:
    for shown in (both.results[0], both, explanation):
        picture = shown.plot()
        assert picture._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


class Page(HTMLParser):
    """The tags and the text of a fragment."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def test_a_notebook_shows_names_as_text(tmp_path: Path) -> None:
    machine = tmp_path / "evil.yaml"
    machine.write_text(f"extends: tensordash\nname: {json.dumps(EVIL)}\ndescription: {json.dumps(EVIL)}\n")
    trace = Trace(some_trace().layers, Metadata(model=EVIL, dataset=EVIL))
    each = simhw.simulate(trace, simhw.load_machine(machine), progress=False)
    for shown in (each, Comparison([each, each])):
        page = Page(shown._repr_html_())
        assert page.tags <= {"div", "table", "thead", "tbody", "tr", "th", "td", "p"}
        assert page.open == []
        assert EVIL in page.text


def test_a_notebook_shows_the_figures_of_the_screen(both: Comparison) -> None:
    cells = Page(both.results[0]._repr_html_()).text.split("\n")
    assert f"{both.results[0].total.speedup:.3f}" in cells
    assert "overall speed-up" in cells


def test_summary_has_the_totals(both: Comparison) -> None:
    summary = both.results[0].summary
    assert list(summary.operation) == ["forward", "input_grad", "weight_grad", "total"]
    assert summary.speedup.iloc[-1] == both.results[0].total.speedup
    assert list(both.summary.columns) == ["machine", *summary.columns]
    assert list(both.summary.machine) == ["fpraker"] * 4 + ["tensordash"] * 4


def test_a_plot_is_refused_before_it_is_drawn(both: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simhw.results.shown.import_module", lambda _: pytest.fail("drawn"))
    with pytest.raises(SimhwError, match="must end in one of"):
        both.plot("both.txt")


def documented() -> set[str]:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").partition("## Columns of the frame")[2]
    cells = re.findall(r"^\| (`[^|]+`) \|", page, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("index", [0, 1])
def test_every_column_is_documented_and_no_other(both: Comparison, index: int) -> None:
    columns = set(both.results[index].frame.columns)
    named = documented()
    # A counter's interval goes without saying: the page says that each has one.
    counters = {f"{name}_ci95" for name in both.results[index].total.counters}
    assert columns - counters - named == set()


def test_the_page_documents_no_column_that_is_gone(both: Comparison) -> None:
    assert documented() - set(both.frame.columns) == set()


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, both: Comparison) -> None:
    example, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "results.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    # What is simulated is not what the example is about.
    monkeypatch.setattr(simhw, "simulate", lambda *_: both.results[0], raising=False)
    monkeypatch.setattr(simhw, "compare", lambda *_: both, raising=False)
    names: dict[str, object] = {}
    exec(example, names)
    assert isinstance(names["results"], Results)
    assert {path.name for path in tmp_path.iterdir()} == {"results.parquet", "variants.png"}
    assert (tmp_path / "variants.png").read_bytes().startswith(b"\x89PNG")


def test_cautions_go_to_another_process_and_back_with_their_short_form() -> None:
    caution = Caution("the batch is small; --batch N grows it", "the batch is small")
    again = pickle.loads(pickle.dumps(caution))
    assert (again, again.short) == (caution, caution.short)
