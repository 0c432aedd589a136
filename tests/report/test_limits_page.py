"""The page of limits: the waterfall of each machine, with the figures of its ladder."""

import re
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import pytest

from simhw import explain
from simhw.report.limit_tables import duration
from simhw.report.page.charts import Rung, Waterfall
from simhw.report.page.limits import limits_page
from simhw.report.page.waterfall import BARS, NAMES, draw_waterfall
from simhw.report.page.write import page_html
from simhw.results.attribution import Explanation
from tests.cli_runs import fails, output, some_trace
from tests.report.test_page import Parsed
from tests.report.test_page_in_browser import HOSTILE, hostile


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return explain(some_trace(), ["tensordash", "bitparallel"], progress=False)


def test_rungs_lead_from_the_ideal_to_the_measured_time(explanation: Explanation) -> None:
    page = limits_page(explanation)
    for part, each in zip(page.machines, explanation.attributions, strict=True):
        first, *between, last = part.waterfall.rungs
        assert first.end == 1
        assert isnan(first.start)
        assert isnan(last.start)
        ends = [first.end, *(rung.end for rung in between)]
        assert [rung.start for rung in between] == ends[:-1]
        assert [rung.end / rung.start for rung in between] == pytest.approx(each.factors()[1:])
        assert last.end == ends[-1]
        assert (first.text, last.text) == (duration(each.times_s["total"][0]), duration(each.times_s["total"][-1]))
        for rung, step in zip(part.waterfall.rungs, each.steps, strict=False):
            assert rung.name == step.limit
            assert step.meaning[1:] in rung.tip
    # One axis for all, so that they compare.
    assert len({(part.waterfall.low, part.waterfall.high) for part in page.machines}) == 1


def test_equal_factors_are_equally_long() -> None:
    rungs = (
        Rung("ideal", nan, 1.0, "#000000", "1 s", "all"),
        Rung("one", 1.0, 2.0, "#000000", "x 2", "two"),
        Rung("other", 2.0, 4.0, "#000000", "x 2", "four"),
        Rung("saves", 4.0, 2.0, "#000000", "x 0.5", "half"),
    )
    drawn = draw_waterfall(Waterfall("t", "c", "times", rungs, 0.5, 4.0))
    bars = re.findall(r'<rect x="([\d.]+)%" y="[\d.]+" width="([\d.]+)%" height="14"', drawn)
    third = 100 * (BARS - NAMES) / 3  # from a half to 4 are three doublings
    expected = [(0, third), (third, third), (2 * third, third), (2 * third, third)]
    for (left, width), (start, length) in zip(bars, expected, strict=True):
        assert (float(left), float(width)) == pytest.approx((100 * NAMES + start, length), abs=0.02)


def test_the_page_shows_tables_constants_and_origin(explanation: Explanation) -> None:
    html = page_html(limits_page(explanation, "conv", ["simhw explain --layer conv"]))
    parsed = Parsed(html)
    texts = " ".join(parsed.texts)
    for each in explanation.attributions:
        assert each.results.provenance["machine_hash"] in texts
        for caution in each.results.cautions:
            assert caution.removeprefix("Caution: ") in parsed.texts
        for scope in each.scopes:
            for value in each.factors(scope)[1:]:
                assert f"x {value:.3f}" in parsed.texts
    assert {"input_grad", "simhw explain --layer conv", "memory.dram.t_rcd", "seed"} <= set(parsed.texts)
    assert "layer conv of" in texts
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))


def test_names_are_text_and_nothing_else(explanation: Explanation) -> None:
    plain = Parsed(page_html(limits_page(explanation, "conv", ["simhw"])))
    (first, _) = explanation.attributions
    steps = [replace(step, limit=HOSTILE + step.limit, meaning=HOSTILE) for step in first.steps]
    bad = replace(first, steps=steps, results=hostile(first.results))
    parsed = Parsed(page_html(limits_page(Explanation([bad, bad]), HOSTILE, [HOSTILE])))
    assert set(parsed.tags) <= set(plain.tags)
    assert parsed.tags.count("script") == 1
    assert any(HOSTILE in text for text in parsed.texts)
    assert not [name for _, name, _ in parsed.attributes if name == "onerror"]


def test_the_command_writes_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--pe", "bitparallel", "--layer", "conv", "--html", "limits.html"]
    assert output(capsys, "explain", *run).splitlines()[-1] == "page written to limits.html"
    assert " ".join(["simhw explain --trace some", *run]) in (folder / "limits.html").read_text(encoding="utf-8")
    assert ".html" in fails(capsys, "explain", "--trace", "some", *run[:-1], "limits.txt")
