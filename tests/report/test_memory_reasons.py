"""What is said of memories: why speed-ups differ with and without them, and what makes the figures less
than certain.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, simulate
from simhw.bfloat16 import from_float32
from simhw.machine.energy import GROUPS
from simhw.report.memory_reasons import memory_explanation
from simhw.report.memory_tables import GROUP_NAMES, component_name, energy_sheet, share, sides, time_sheet
from simhw.report.result_tables import has_memories, layer_sheet, machine_facts, performance_sheet
from simhw.report.sheet import Sheet
from simhw.results.cautions import SMALL_BATCH_SHARE, weight_share
from simhw.results.step import Results
from tests.cli_runs import result

MACHINES = ("fpraker", "tensordash", "tensordash-fp32")


def product(kind: str, *shapes: tuple[int, ...]) -> Layer:
    rng = np.random.default_rng(3)
    a, w, g = (from_float32(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes)
    return Layer(kind, kind, a=a, w=w, g=g)


def width(sheet: Sheet) -> int:
    """Columns of a terminal that a table takes: a blank at either side and between cells."""
    return 2 + sum(
        1 + max(len(heading), *(len(row[index]) for row in sheet.rows))
        for index, (heading, _) in enumerate(sheet.columns)
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_times_that_are_named_make_both_speedups(machine: str) -> None:
    each = result(machine)
    _, why, _ = memory_explanation(each)
    base_computing, base_waiting, computing, waiting = (float(number) for number in re.findall(r"([\d.]+) ms", why))
    overall = each.total.overall
    assert computing + waiting == pytest.approx(overall.time_s * 1e3, abs=2e-3)
    # Milliseconds of a small trace have few digits, so the ratios are those of the results from which they come.
    base = each.total.baseline_overall
    assert base is not None
    clock, base_clock = each.machine.values.clock_hz, each.baseline.values.clock_hz if each.baseline else float("nan")
    assert base.shares["compute"] / base_clock / (overall.shares["compute"] / clock) == pytest.approx(
        each.total.speedup
    )
    assert (computing, waiting) == pytest.approx(
        (overall.shares["compute"] / clock * 1e3, (overall.cycles - overall.shares["compute"]) / clock * 1e3),
        abs=5.1e-4,
    )
    assert (base_computing, base_waiting) == pytest.approx(
        (base.shares["compute"] / base_clock * 1e3, (base.cycles - base.shares["compute"]) / base_clock * 1e3),
        abs=5.1e-4,
    )
    assert f"Why {each.total.overall_speedup:.3f}x with memories and {each.total.speedup:.3f}x without" in why


def test_waiting_and_bounds_are_shares_of_the_time() -> None:
    each = result()
    overall = each.total.overall
    bound, _, energy = memory_explanation(each)
    assert f"the tiles wait {1 - overall.shares['compute'] / overall.cycles:.1%} of the time" in bound
    shares = [int(number) for number in re.findall(r"(\d+)%", bound.partition("bound by each:")[2])]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=len(shares))
    assert (
        f"memories take {1 - overall.groups['core'].mid / overall.energy_j.mid:.1%} of the machine's energy" in energy
    )


def test_without_a_baseline_only_the_bound_is_said() -> None:
    (line,) = memory_explanation(result("bitparallel"))
    assert "bound by" in line


def test_traffic_that_differs_is_named_on_both_sides() -> None:
    assert "both move the same" in memory_explanation(result(baseline_compression="same"))[1]
    other = result(baseline=load_machine("bitparallel", **{"memory.compression": "none"}))
    total = other.total
    assert total.baseline_overall is not None
    assert total.baseline_overall.off_chip_bytes > total.overall.off_chip_bytes
    assert "MB off chip against" in memory_explanation(other)[1]


def test_memories_that_are_not_alike_are_a_caution() -> None:
    def differing(each: Results) -> list[str]:
        return [line for line in each.memory_cautions if "different memories" in line]

    assert differing(result()) == []
    assert differing(simulated(**{"memory.compression": "none"})) == []
    (line,) = differing(result(baseline=load_machine("bitparallel", **{"memory.model": "ideal"})))
    assert "(modelled against ideal)" in line


def test_compression_that_is_not_alike_is_a_caution_and_a_fact() -> None:
    def told(each: Results) -> tuple[str, list[str]]:
        cautions = [line for line in each.memory_cautions if "off-chip compression is" in line]
        return dict(machine_facts(each, "it"))["off chip"], cautions

    fact, (caution,) = told(result())
    assert fact == "base-delta compression of the machine, no compression of the baseline"
    assert "off-chip compression is bdc on the machine and none on its baseline" in caution
    assert told(result(baseline_compression="same")) == ("base-delta compression, of the machine and its baseline", [])
    assert told(result("tensordash")) == ("zero compression, of the machine and its baseline", [])
    assert told(result("bitparallel")) == ("base-delta compression of the machine", [])
    assert "off chip" not in dict(machine_facts(simulated(**{"memory.model": "ideal"}), "it"))


def simulated(**overrides: object) -> Results:
    each = load_machine("fpraker", **overrides)
    return simulate(Trace([product("linear", (4, 64), (96, 64), (4, 96))]), each, progress=False)


def test_ideal_memories_need_no_cautions_and_have_no_tables() -> None:
    ideal = simulated(**{"memory.model": "ideal"})
    assert not has_memories(ideal)
    assert ideal.memory_cautions == []
    assert "overall speed-up" not in {
        heading for sheet in (performance_sheet(ideal), layer_sheet(ideal)) for heading, _ in sheet.columns
    }


def test_memories_of_the_baseline_alone_are_shown_too() -> None:
    mixed = simulate(
        Trace([product("linear", (4, 64), (96, 64), (4, 96))]),
        load_machine("fpraker", **{"memory.model": "ideal"}),
        progress=False,
        baseline=load_machine("bitparallel"),
    )
    assert has_memories(mixed)
    assert any("(ideal against modelled)" in line for line in mixed.memory_cautions)
    assert all(len(row) == len(layer_sheet(mixed).columns) for row in layer_sheet(mixed).rows)
    assert [row[-3:-1] for row in layer_sheet(mixed).rows] == [["-", "-"]] * 3


def test_outputs_that_are_taken_to_compress_are_a_caution() -> None:
    assert any("(bdc)" in line for line in simulated().memory_cautions)
    assert not any("taken to compress" in line for line in simulated(**{"memory.compression": "none"}).memory_cautions)


def test_weights_of_a_small_batch_are_a_caution() -> None:
    # Uncompressed: A is 4 x 64, G 4 x 96, W 64 x 96; each of the three operations moves each tensor once.
    each = simulated(**{"memory.compression": "none"})
    assert weight_share(each.operations) == pytest.approx(64 * 96 / (64 * 96 + 4 * (64 + 96)))
    (line,) = each.memory_cautions
    assert line.startswith(f"Caution: {64 * 96 / (64 * 96 + 4 * (64 + 96)):.0%} of the off-chip bytes")
    large = simulate(Trace([product("linear", (4, 64), (96, 64), (4, 96))]), each.machine, progress=False, batch=512)
    assert weight_share(large.operations) < SMALL_BATCH_SHARE
    assert large.memory_cautions == []
    named = replace(each, provenance=each.provenance | {"batch": 4})
    assert "the batch of 4 is small" in named.memory_cautions[0]


def test_the_second_operand_of_a_matmul_is_no_weight() -> None:
    trace = Trace([product("matmul", (2, 8, 32), (2, 32, 64), (2, 8, 64))])
    assert weight_share(simulate(trace, "fpraker", progress=False).operations) == 0


@pytest.mark.parametrize("machine", MACHINES)
def test_energy_components_add_up_to_their_total(machine: str) -> None:
    each = result(machine)
    sheet = energy_sheet(each)
    assert [row[0] for row in sheet.rows if row[0]] == [*GROUP_NAMES.values(), "total"]
    assert [row[1] for row in sheet.rows[:-1]] == [
        component_name(component) for group in GROUPS.values() for component in group
    ]
    for index, (_, overall) in enumerate(sides(each)):
        column = 2 + 3 * index
        # Each cell has four digits.
        assert sum(float(row[column]) for row in sheet.rows[:-1]) == pytest.approx(overall.energy_j.mid * 1e3, rel=1e-3)
        low, high = (float(number) for number in sheet.rows[-1][column + 2].split(" to "))
        assert (low, high) == pytest.approx((overall.energy_j.low * 1e3, overall.energy_j.high * 1e3), rel=6e-3)


@pytest.mark.parametrize("machine", MACHINES)
def test_shares_of_time_add_up(machine: str) -> None:
    for row in time_sheet(result(machine)).rows:
        assert sum(float(cell.rstrip("%")) for cell in row[3:9]) == pytest.approx(100, abs=0.31)


@pytest.mark.parametrize("machine", MACHINES)
def test_tables_fit_a_terminal_of_120_columns(machine: str) -> None:
    each = result(machine, sample=0.05)
    for sheet in (performance_sheet(each), time_sheet(each), energy_sheet(each)):
        assert width(sheet) <= 120


def test_a_part_of_nothing_has_no_share() -> None:
    assert np.isnan(share(0.0, 0.0))
