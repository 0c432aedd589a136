"""The first screen of a run: the figures of the result within 100 columns and about twenty lines, and why."""

from math import hypot

import pytest

from simhw import load_machine, simulate
from simhw.quantities import ratio
from simhw.report.printing import plain_text
from simhw.report.result_tables import BOUND_NAMES
from simhw.report.screen import SCREEN_WIDTH, answer_sheet, screen
from simhw.results.estimate import Estimate
from simhw.results.step import Results
from simhw.results.totals import Totals
from tests.cli_runs import details, output, result, rows, some_trace
from tests.results.parts import cost, operation


@pytest.fixture(scope="module")
def results() -> list[Results]:
    variant = load_machine("fpraker", **{"pe.oob_threshold": 9})
    return [result("fpraker", sample=0.05), result("tensordash"), result("fpraker", baseline=variant)]


def text(results: list[Results]) -> str:
    return plain_text(screen(results), SCREEN_WIDTH)


def test_one_machine_takes_about_twenty_lines_of_at_most_100_columns(results: list[Results]) -> None:
    lines = text(results[:1]).splitlines()
    assert 15 <= len(lines) <= 20
    assert max(map(len, lines)) <= 100
    for word in (
        "net, digits, dense, step 7, batch 2",
        "FPRaker, 36 tiles",
        "bitparallel:memory.compression=none",
        "Why 0.",
        "Overall ",
    ):
        assert any(word in line for line in lines)


def test_it_holds_the_figures_of_the_result_with_their_intervals(results: list[Results]) -> None:
    each = results[0]
    for name, totals in {**each.by_operation(), "total": each.total}.items():
        (row,) = rows(text([each]), name)
        assert row[1:] == [
            ratio(totals.speedup, totals.speedup_half_width),
            ratio(totals.energy_efficiency, totals.energy_efficiency_half_width),
            ratio(totals.overall_speedup, totals.overall_speedup_half_width),
            ratio(totals.overall_energy_efficiency, totals.overall_energy_efficiency_half_width),
            BOUND_NAMES[totals.overall.bound_by],
        ]
    assert each.total.energy_efficiency_half_width > 0
    assert each.total.overall_energy_efficiency_half_width > 0


def test_two_machines_have_all_operations_and_more_have_their_totals(results: list[Results]) -> None:
    assert [row[:2] for row in answer_sheet(results[:2]).rows] == [
        [name if operation == "forward" else "", operation]
        for name in ("fpraker", "tensordash")
        for operation in ("forward", "input_grad", "weight_grad", "total")
    ]
    three = answer_sheet(results)
    assert [row[1] for row in three.rows] == [
        ratio(each.total.speedup, each.total.speedup_half_width) for each in results
    ]
    # The fastest with memories is named; here it is the one of least time.
    fastest = min(results, key=lambda each: each.total.overall.time_s)
    assert f"Shortest time: {fastest.machine.label}" in text(results)
    assert "each machine is against its own baseline" in text(results)


def test_scaled_costs_of_tiles_are_told_and_how_surely(results: list[Results]) -> None:
    assert "tile costs" not in text(results[:2])
    variant = simulate(some_trace(), load_machine("fpraker", **{"pe.shift_window": 0}), progress=False)
    scale = variant.machine.tile_costs.scales["pe_array"]
    assert scale.error
    told = f"pe_array x {scale.factor:.4g} (+-{scale.error:.1%}), for pe.shift_window"
    assert told in " ".join(text([results[0], variant]).split())
    assert told in " ".join(text([variant]).split())
    # Among many machines by name alone; one that is a baseline counts.
    assert f"tile costs  of {results[2].baseline.label} scaled" in text(results)


def test_cautions_that_change_the_reading_are_there_and_others_are_not(results: list[Results]) -> None:
    assert "off-chip compression is bdc" in text(results[:1])
    assert any("taken to compress" in caution for caution in results[0].cautions)
    assert "taken to compress" not in text(results[:1])


def test_energy_efficiency_has_the_interval_of_the_energies() -> None:
    # Two operations of 3 and 4 standard errors, at 2 W and 1 W on a clock of 500 MHz: the energies' variances add up.
    machine = [cost(Estimate(1000.0, 9.0), power_w=2.0), cost(Estimate(500.0, 16.0), power_w=1.0)]
    totals = Totals.of([operation(each, cost(4000.0)) for each in machine])
    energy = (1000 * 2 + 500 * 1) / 500e6
    assert totals.energy_j == pytest.approx(energy)
    half = 1.959964 * hypot(3 * 2, 4 * 1) / 500e6
    assert totals.machine.energy_half_width_j == pytest.approx(half, rel=1e-6)
    assert totals.energy_efficiency_half_width == pytest.approx(totals.energy_efficiency * half / energy, rel=1e-6)


@pytest.mark.usefixtures("folder")
def test_run_prints_it_with_the_way_to_more(capsys: pytest.CaptureFixture[str]) -> None:
    printed = output(capsys, "run", "--pe", "fpraker")
    assert "Lane-cycles of" not in printed
    last = printed.splitlines()[-1]
    assert "--details" in last
    assert "--per-layer" in last
    assert "Lane-cycles of" in details(capsys, "run", "--pe", "fpraker")
