"""The page in a browser: sorted, filtered and drilled into by mouse and keyboard, and safe from what a trace is called.

The rules of axe-core on accessibility are asked too. `$AXE_CORE` may name a newer `axe.min.js` than the package holds.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simhw import compare_traces, explain, load_machine, simulate
from simhw.report.page.limits import limits_page
from simhw.report.page.model import SweepPage
from simhw.report.page.results import page_of
from simhw.report.page.sweep import sweep_page
from simhw.report.page.traces import traces_page
from simhw.report.page.write import AnyPage, write_page
from simhw.results.comparison import Comparison
from simhw.results.step import Results
from simhw.results.traces import TraceComparison
from simhw.sweeps.front import pareto_front
from tests.cli_runs import factorised, result, some_trace
from tests.report.browser import browser, complaints, opened, prefer, resize
from tests.sweeps.test_front import frame

pytestmark = pytest.mark.slow

HOSTILE = (
    "</title></style><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&amp;"
)


def hostile(results: Results) -> Results:
    """The results of a trace and of a machine's file whose author means harm: every text of theirs is script."""
    operations = [replace(item, layer=HOSTILE + item.layer, kind=HOSTILE) for item in results.operations]
    values = tuple(replace(each, layer=HOSTILE + each.layer, kind=HOSTILE) for each in results.values)
    provenance = results.provenance | dict.fromkeys(("trace", "model", "dataset", "technique"), HOSTILE)
    described = results.machine.values.model_copy(update={"name": HOSTILE, "description": HOSTILE})
    sources = {name: replace(each, source=HOSTILE) for name, each in results.machine.provenance.items()}
    machine = replace(results.machine, values=described, provenance=sources)
    return replace(results, operations=operations, values=values, provenance=provenance, machine=machine)


@pytest.fixture(scope="module")
def results() -> list[Results]:
    return [result("fpraker", sample=0.5), result("tensordash")]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser() as found:
        yield found


@pytest.fixture
def page(results: list[Results], driver: Any, tmp_path: Path) -> Any:
    """The page of both machines, freshly opened."""
    write_page(page_of(results, ["simhw run"]), tmp_path / "page.html")
    opened(driver, tmp_path / "page.html")
    return driver


def find(driver: Any, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def shown(driver: Any, selector: str) -> list[str]:
    """Texts of the elements that can be seen."""
    return [each.text for each in driver.find_elements("css selector", selector) if each.is_displayed()]


TABLE = "#machine-1-layers"
NAMES = f"{TABLE} tbody.layer > tr:first-child th"


def test_nothing_is_left_on_the_console(page: Any) -> None:
    assert complaints(page) == []
    assert page.execute_script("return document.documentElement.classList.contains('js')")


def test_a_click_on_a_heading_sorts(page: Any) -> None:
    original = shown(page, NAMES)
    heading = find(page, f"{TABLE} thead th:nth-child(2)")
    button = heading.find_element("css selector", "button")

    def macs() -> list[float]:
        cells = page.find_elements("css selector", f"{TABLE} tbody.layer > tr:first-child td:nth-child(2)")
        return [float(cell.get_attribute("data-v")) for cell in cells]

    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert macs() == sorted(macs(), reverse=True)
    button.click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert macs() == sorted(macs())
    button.click()
    assert heading.get_attribute("aria-sort") is None
    assert shown(page, NAMES) == original


def test_a_filter_leaves_the_layers_that_fit(page: Any) -> None:
    assert len(shown(page, NAMES)) == 2
    field = find(page, '[data-filters="machine-1-layers"]')
    field.send_keys("CONV")
    assert shown(page, NAMES) == ["conv"]
    assert find(page, '[data-counts="machine-1-layers"]').text == "1 of 2 shown"
    field.clear()
    field.send_keys("no such layer")
    assert shown(page, NAMES) == []


def test_an_operation_is_chosen(page: Any) -> None:
    find(page, '[data-opens="machine-1-layers"]').click()
    assert set(shown(page, f"{TABLE} tr.op th")) == {"forward", "input_grad", "weight_grad"}
    find(page, 'select[data-operation="machine-1-layers"]').send_keys("input_grad")
    assert shown(page, f"{TABLE} tr.op th") == ["input_grad"]
    assert shown(page, NAMES) == ["conv"]  # training ran none of the other layer


def test_the_keyboard_drills_from_the_total_to_an_operation(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    assert shown(page, f"{TABLE} tr.op th") == shown(page, f"{TABLE} tr.detail dt") == []
    layer = find(page, f"{TABLE} tbody.layer button")
    layer.send_keys(Keys.ENTER)
    assert layer.get_attribute("aria-expanded") == "true"
    assert shown(page, f"{TABLE} tr.op th") == ["forward", "input_grad", "weight_grad"]
    layer.send_keys(Keys.TAB)
    operation = page.switch_to.active_element
    assert operation.text == "forward"
    operation.send_keys(Keys.SPACE)
    assert "tile passes" in shown(page, f"{TABLE} tr.detail dt")
    layer.send_keys(Keys.ENTER)
    assert shown(page, f"{TABLE} tr.op th") == shown(page, f"{TABLE} tr.detail dt") == []


def test_arrow_keys_read_a_chart_and_enter_leads_to_the_row(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    chart = find(page, "svg.chart:has([data-row])")
    chart.send_keys(Keys.ARROW_RIGHT)
    said, tip = find(page, "#said"), find(page, "#tip")
    assert "MAC/byte" in tip.text == said.text
    row = find(page, ".mark.here").get_attribute("data-row")
    chart.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.find_element("xpath", "ancestor::tr").get_attribute("id") == row
    assert find(page, f"#{row} + tr.detail").is_displayed()


def test_a_tooltip_follows_the_mouse(page: Any) -> None:
    from selenium.webdriver import ActionChains

    mark = find(page, "section:nth-of-type(2) svg.chart .mark")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    ActionChains(page).move_to_element(mark).perform()
    assert find(page, "#tip").text.startswith("fpraker, tiles alone")


def test_colours_follow_the_system_and_the_button(page: Any) -> None:
    def background() -> str:
        return str(page.execute_script("return getComputedStyle(document.body).backgroundColor"))

    seen = []
    for preferred in ("light", "dark"):
        prefer(page, preferred)
        seen.append(background())
    assert seen[0] == "rgb(255, 255, 255)" != seen[1]
    find(page, "#theme").click()
    assert (find(page, "#theme").text, background()) == ("Colours: light", seen[0])
    find(page, "#theme").click()
    assert background() == seen[1]
    prefer(page, "light")


def test_a_phone_scrolls_in_one_direction(page: Any) -> None:
    resize(page, 390, 844)
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    resize(page, 1280, 900)


def test_in_print_headings_and_cautions_stay_and_controls_go(page: Any) -> None:
    prefer(page, "dark")
    caution_is_seen = "return document.querySelector('.cautions li').checkVisibility()"
    assert not page.execute_script(caution_is_seen)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    resize(page, 718, 1000)  # A4 less its margins
    try:
        assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        root = "document.documentElement"
        # The line around a bar that ends at the edge may take the next pixel.
        assert page.execute_script(f"return {root}.scrollWidth - {root}.clientWidth") <= 1
        assert shown(page, "#theme, .controls, nav, figure summary") == []
        assert page.execute_script(caution_is_seen)
        names = shown(page, NAMES)
        # On one line each, and no longer a button, which would lose its text where the heading is repeated.
        assert "conv" in names
        heading = find(page, f"{TABLE} thead th:nth-child(2)")
        assert heading.text == "MACs"
        button = heading.find_element("css selector", "button")
        assert page.execute_script("return getComputedStyle(arguments[0]).display", button) == "contents"
    finally:
        prefer(page, "light")
        resize(page, 1280, 900)


def test_script_in_a_name_does_not_run(results: list[Results], driver: Any, tmp_path: Path) -> None:
    made = page_of([hostile(each) for each in results], [HOSTILE])
    write_page(made, tmp_path / "hostile.html")
    opened(driver, tmp_path / "hostile.html")
    assert complaints(driver) == []  # the policy had nothing to refuse: no text has become a script
    assert driver.title.endswith("on 2 machines - simhw")
    assert len(driver.find_elements("css selector", "script")) == 1
    assert driver.find_elements("css selector", "img") == []
    assert HOSTILE + "conv" in shown(driver, NAMES)[0]


def test_the_policy_refuses_script_even_where_it_came_through(page: Any, tmp_path: Path) -> None:
    path = Path(page.current_url.removeprefix("file://"))
    broken = path.read_text(encoding="utf-8").replace("<main", "<script>document.title = 'owned'</script><main")
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    opened(page, tmp_path / "broken.html")
    assert page.title != "owned"
    assert any("Content Security Policy" in each for each in complaints(page))


def test_without_its_script_every_figure_is_there(results: list[Results], tmp_path: Path) -> None:
    write_page(page_of(results), tmp_path / "page.html")
    with browser(scripts=False) as driver:
        opened(driver, tmp_path / "page.html")
        assert find(driver, f"{TABLE} tr.op").is_displayed()
        assert not find(driver, "#theme").is_displayed()
        assert complaints(driver) == []


@pytest.fixture
def limits(driver: Any, tmp_path: Path) -> Any:
    """The page of limits, freshly opened."""
    write_page(limits_page(explain(some_trace(), "tensordash", progress=False)), tmp_path / "limits.html")
    opened(driver, tmp_path / "limits.html")
    return driver


def test_a_row_of_a_waterfall_tells_its_limit_along_its_whole_width(limits: Any) -> None:
    from selenium.webdriver import ActionChains

    row = limits.find_elements("css selector", "svg.chart .mark")[1]
    limits.execute_script("arguments[0].scrollIntoView({block: 'center'})", row)
    width = row.size["width"]
    for place in (-0.45, 0.0, 0.45):
        ActionChains(limits).move_to_element_with_offset(row, int(place * width), 0).perform()
        assert find(limits, "#tip").text.startswith("look-ahead depth: x ")
    assert "staging buffer" in find(limits, "#tip").text
    assert complaints(limits) == []


def test_the_keyboard_reads_a_waterfall(limits: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    chart = find(limits, "svg.chart")
    chart.send_keys(Keys.END)
    assert find(limits, "#said").text.startswith("measured: ")


def some_sweep() -> SweepPage:
    """The page of a sweep of three points."""
    points = frame(
        machine=[HOSTILE, "fpraker", "fpraker:tile.rows=8"],
        overall_speedup=[1.5, 3.0, 2.0],
        overall_energy_j=[0.001, 0.003, 0.002],
        compute_area_mm2=[10.0, 9.5, 120.0],
    )
    return sweep_page(points, pareto_front(points), "sweep.db", "traces: some")


def swept(driver: Any, folder: Path) -> Any:
    """It, freshly opened."""
    write_page(some_sweep(), folder / "sweep.html")
    opened(driver, folder / "sweep.html")
    return driver


NUMBERS = "#all-points tbody th"


def test_points_of_a_sweep_are_sorted_by_their_figures(driver: Any, tmp_path: Path) -> None:
    page = swept(driver, tmp_path)
    assert shown(page, NUMBERS) == ["2", "3", "1"]  # by speed-up
    for heading in page.find_elements("css selector", "#all-points thead th"):
        if heading.text.startswith("area"):
            button = heading.find_element("css selector", "button")
            button.click()
            assert shown(page, NUMBERS) == ["3", "1", "2"]  # as numbers: 120 is more than 9.5
            button.click()
            assert shown(page, NUMBERS) == ["2", "1", "3"]
            break
    else:
        raise AssertionError("no column of areas")
    find(page, '[data-filters="all-points"]').send_keys("tile.rows")
    assert shown(page, NUMBERS) == ["3"]
    assert complaints(page) == []


def test_a_mark_of_a_sweep_leads_to_its_row_though_it_was_filtered(driver: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page = swept(driver, tmp_path)
    find(page, '[data-filters="all-points"]').send_keys("nothing")
    assert shown(page, NUMBERS) == []
    chart = find(page, "svg.chart")
    chart.send_keys(Keys.ARROW_RIGHT)
    row = find(page, ".mark.here").get_attribute("data-row")
    chart.send_keys(Keys.ENTER)
    assert page.switch_to.active_element.get_attribute("id") == row
    assert len(shown(page, NUMBERS)) == 3


@pytest.mark.parametrize("kind", ["limits", "sweep"])
def test_other_pages_fit_a_phone(kind: str, limits: Any, tmp_path: Path) -> None:
    page = limits if kind == "limits" else swept(limits, tmp_path)
    resize(page, 390, 844)
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    resize(page, 1280, 900)


def axe() -> Any:
    """The rules on accessibility, of the package or of the newer axe.min.js that ``$AXE_CORE`` names."""
    from axe_core_python.selenium import Axe

    return Axe.from_file(os.environ["AXE_CORE"]) if "AXE_CORE" in os.environ else Axe()


VIOLATIONS: dict[str, object] = {"resultTypes": ["violations"]}
"""Of what passes one place is enough: to name thousands takes most of the time."""


def variants() -> list[Results]:
    variant = load_machine("fpraker", **{"pe.oob_threshold": 9})
    return [result("fpraker"), simulate(some_trace(), variant, progress=False)]


def traces() -> list[Results]:
    """Of two traces that differ by their names and hashes."""
    first = result("fpraker")
    return [first, replace(first, provenance=first.provenance | {"trace": "other.npz", "trace_hash": "other"})]


def steps() -> TraceComparison:
    """A step beside one whose linear layer is two factors."""
    return compare_traces({"dense": some_trace(), "lowrank": factorised()}, ["fpraker", "tensordash"], progress=False)


def hostile_steps() -> TraceComparison:
    """Two steps of which names, layers and machine mean harm."""
    bad = hostile(result("fpraker"))
    labelled = replace(bad, machine=bad.machine.called("fpraker"))
    return TraceComparison({name: Comparison([labelled]) for name in (HOSTILE, HOSTILE + "other")})


PAGES: dict[str, Callable[[], AnyPage]] = {
    "run": lambda: page_of([result("fpraker", sample=0.5)], ["simhw run"]),
    "variants": lambda: page_of(variants(), ["simhw compare"]),
    "traces": lambda: page_of(traces(), ["simhw compare"]),
    "steps": lambda: traces_page(steps(), ["simhw compare"]),
    "limits": lambda: limits_page(explain(some_trace(), ["fpraker", "tensordash"], progress=False), "conv"),
    "sweep": some_sweep,
}


@pytest.mark.parametrize("kind", PAGES)
def test_axe_finds_nothing(kind: str, driver: Any, tmp_path: Path) -> None:
    write_page(PAGES[kind](), tmp_path / "page.html")
    opened(driver, tmp_path / "page.html")
    driver.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for button in driver.find_elements("css selector", "[data-opens]"):
        button.click()
    for colors in ("light", "dark"):
        prefer(driver, colors)
        # The policy forbids foreign script to the page, not to the driver.
        found = axe().run(driver, options=VIOLATIONS)
        assert found["passes"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == [], colors
    prefer(driver, "light")
    assert complaints(driver) == []


def test_steps_and_their_layers_are_sorted_and_filtered(driver: Any, tmp_path: Path) -> None:
    write_page(traces_page(steps()), tmp_path / "steps.html")
    opened(driver, tmp_path / "steps.html")
    heading = next(each for each in driver.find_elements("css selector", "#all-steps th") if "fast" in each.text)
    heading.find_element("css selector", "button").click()
    column = int(heading.get_attribute("cellIndex")) + 1
    cells = driver.find_elements("css selector", f"#all-steps tbody td:nth-child({column})")
    gains = [float(cell.get_attribute("data-v")) for cell in cells]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 1  # the factors have fewer products
    layers = "#difference-1-layers-1"
    find(driver, '[data-filters="difference-1-layers-1"]').send_keys("conv")
    assert shown(driver, f"{layers} tbody.layer > tr:first-child th") == ["conv"]
    find(driver, f"{layers} tbody.layer:not([hidden]) button").click()
    assert shown(driver, f"{layers} tr.op th") == ["forward", "input_grad", "weight_grad"]
    assert complaints(driver) == []


def test_script_in_the_name_of_a_trace_does_not_run(driver: Any, tmp_path: Path) -> None:
    write_page(traces_page(hostile_steps(), [HOSTILE]), tmp_path / "steps.html")
    opened(driver, tmp_path / "steps.html")
    assert complaints(driver) == []
    assert driver.title.startswith(f"{HOSTILE}other against {HOSTILE} on fpraker")
    assert len(driver.find_elements("css selector", "script")) == 1
    assert driver.find_elements("css selector", "img") == []


def test_axe_finds_what_is_wrong(page: Any) -> None:
    page.execute_script("document.querySelector('svg.chart').removeAttribute('aria-label')")
    assert "svg-img-alt" in [each["id"] for each in axe().run(page, options=VIOLATIONS)["violations"]]
