"""The page: what it shows of results, and that it holds it as text that no browser takes for anything else."""

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest

from simhw import simulate
from simhw.cli import main
from simhw.quantities import ratio
from simhw.report.page.bars import draw_bars, draw_mini
from simhw.report.page.charts import Bar, Bars, Piece
from simhw.report.page.results import page_of
from simhw.report.page.svg import element, ink
from simhw.report.page.write import page_html
from simhw.results.saved import save_results
from simhw.results.step import Results
from tests.cli_runs import fails, result, some_trace
from tests.report.test_page_in_browser import HOSTILE, hostile


class Parsed(HTMLParser):
    """Elements and texts of a page, as a browser finds them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.fixture(scope="module")
def results() -> list[Results]:
    ideal = simulate(some_trace(), "tensordash:memory.model=ideal", progress=False)
    return [result("fpraker", sample=0.5), ideal]


@pytest.fixture(scope="module")
def html(results: list[Results]) -> str:
    return page_html(page_of(results, ["simhw run --trace some"]))


def test_the_page_holds_the_figures_of_the_run(results: list[Results], html: str) -> None:
    texts = set(Parsed(html).texts)
    for each in results:
        assert ratio(each.total.speedup, each.total.speedup_half_width) in texts
        assert f"{each.total.energy_efficiency:.3f}" in texts
        for item in each.operations:
            assert item.layer in texts
    page = page_of(results)
    rows = {row.name: row for row in page.machines[0].layers.layers[0].operations}
    assert list(rows) == ["forward", "input_grad", "weight_grad"]
    assert rows["forward"].cells[0].value == results[0].operations[0].macs
    whole = page.machines[0].layers
    times = [layer.cells[1].value for layer in whole.layers]
    assert sum(value for value in times if value is not None) == pytest.approx(1.0)
    assert sum(piece.value for piece in whole.total.lanes) == pytest.approx(1.0)
    assert sum(piece.value for piece in whole.total.time) == pytest.approx(1.0)


def test_energy_bars_are_the_groups_with_both_ends(results: list[Results]) -> None:
    energy = next(chart for chart in page_of(results).overview if chart.title == "Energy")
    overall = results[0].total.overall
    bar = energy.bars[0]
    assert [piece.value for piece in bar.pieces] == [
        overall.groups[name].mid for name in ("core", "on_chip", "off_chip")
    ]
    assert (bar.low, bar.high) == (overall.energy_j.low, overall.energy_j.high)
    # Ideal memories: no ends beside those of the tiles, and nothing off chip.
    assert next(bar for bar in energy.bars if "tensordash" in bar.name).pieces[2].value == 0


def test_every_constant_stands_there_with_its_source(results: list[Results], html: str) -> None:
    texts = Parsed(html).texts
    assert {"pe.oob_threshold", "memory.dram.t_rcd", "clock_hz"} <= set(texts)
    for source in {each.source for each in results[0].machine.provenance.values()}:
        assert source in texts
    assert results[0].provenance["machine_hash"] in " ".join(texts)


def test_what_is_missing_is_left_out() -> None:
    alone = simulate(some_trace(), "bitparallel:memory.model=ideal", progress=False)
    page = page_of([alone])
    machine = page.machines[0]
    assert (machine.time, machine.roofline, machine.intervals, machine.speedups.bars) == (None, None, None, ())
    assert "no baseline to compare with" in page_html(page)


def test_two_results_of_one_name_are_told_apart(results: list[Results]) -> None:
    page = page_of([results[0], results[0]])
    assert len({each.machine for each in page.headlines}) == 2
    ids = Parsed(page_html(page)).values("id")
    assert len(ids) == len(set(ids))


def test_the_page_needs_no_other_file(html: str) -> None:
    parsed = Parsed(html)
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    assert parsed.tags.count("script") == parsed.tags.count("style") == 1
    for name in ("src", "href", "action", "srcset", "poster"):
        assert all(value.startswith("#") or value == "data:," for value in parsed.values(name))
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on") or name == "style"]
    assert "url(" not in re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]


def test_the_policy_names_the_script_and_the_style_by_their_hashes(html: str) -> None:
    policy = next(value for value in Parsed(html).values("content") if "default-src" in value)
    assert policy.startswith("default-src 'none';")
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_names_of_a_trace_are_text_and_nothing_else(results: list[Results], html: str) -> None:
    parsed = Parsed(page_html(page_of([hostile(each) for each in results], [HOSTILE])))
    assert sorted(set(parsed.tags)) == sorted(set(Parsed(html).tags))
    assert parsed.tags.count("script") == 1
    assert HOSTILE in parsed.texts
    assert any(HOSTILE in value for value in parsed.values("aria-label"))
    assert not [name for _, name, _ in parsed.attributes if name == "onerror"]


def test_markup_in_an_svg_is_escaped() -> None:
    assert element("text", "<b>&", x=1.5, aria_label='"', class_="a") == (
        '<text x="1.5" aria-label="&#34;" class="a">&lt;b&gt;&amp;</text>'
    )
    assert element("rect", width="10%") == '<rect width="10%"/>'


def test_a_number_in_a_bar_has_the_ink_that_contrasts_more() -> None:
    # Contrast with black: white 21, yellow 19.6, blue #0000ff 2.4; with white 1, 1.07, 8.6.
    assert [ink(color) for color in ("#ffffff", "#ffff00", "#0000ff", "#000000")] == [
        "#000000",
        "#000000",
        "#ffffff",
        "#ffffff",
    ]


def test_bars_share_one_scale() -> None:
    bars = (
        Bar("a", "a", (Piece("a", 2.0, "#000000", "2"),), "2"),
        Bar("b", "b", (Piece("b", 1.0, "#000000", "1"),), "1"),
    )
    drawn = draw_bars(Bars("t", "c", bars))
    assert re.findall(r'<rect x="0%" y="[\d.]+" width="([\d.]+)%"', drawn) == [
        "94.1",
        "47.05",
    ]  # less the room of a character


def test_a_small_bar_says_its_shares() -> None:
    drawn = draw_mini((Piece("one", 0.25, "#000000", "25.0%"), Piece("two", 0.75, "#ffffff", "75.0%")), "lanes")
    assert 'aria-label="lanes: one 25.0%, two 75.0%"' in drawn
    assert re.findall(r'x="([\d.]+)%" width="([\d.]+)%"', drawn) == [("0", "25"), ("25", "75")]


def test_a_saved_result_makes_the_same_page(
    results: list[Results], html: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_results(results, tmp_path / "run.json", "simhw run --trace some")
    assert main(["report", str(tmp_path / "run.json"), "--html", str(tmp_path / "run.html")]) == 0
    assert capsys.readouterr().out.split() == ["page", "written", "to", str(tmp_path / "run.html")]
    assert (tmp_path / "run.html").read_text(encoding="utf-8") == html


def test_a_run_writes_its_page_and_saves_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "--trace", "some", "--pe", "tensordash", "--html", "run.html", "--save", "run.json"]
    assert main(run) == 0
    assert {"result saved to run.json", "page written to run.html"} <= set(capsys.readouterr().out.splitlines())
    page = (folder / "run.html").read_text(encoding="utf-8")
    assert " ".join(["simhw", *run]) in page
    assert main(["report", "run.json", "--html", "again.html"]) == 0
    assert (folder / "again.html").read_text(encoding="utf-8") == page


def test_bad_input_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no.json: cannot be read" in fails(capsys, "report", "no.json", "--html", "a.html")
    assert "must end in one of .html" in fails(capsys, "report", "no.json", "--html", "a.txt")
    (folder / "rows.json").write_text("[]")
    assert "as --out writes it" in fails(capsys, "report", "rows.json", "--html", "a.html")
    assert not (folder / "a.html").exists()
