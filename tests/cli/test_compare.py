"""`simhw compare`: a row per machine, and what it says of them."""

from pathlib import Path

import pandas as pd
import pytest

from simhw import load_machine, simulate
from simhw.quantities import percent, ratio
from simhw.report.result_tables import BOUND_NAMES, labels
from tests.cli_runs import details, result, rows, some_trace

pytestmark = pytest.mark.usefixtures("folder")


def test_compare_has_a_row_per_variant(capsys: pytest.CaptureFixture[str]) -> None:
    text = details(
        capsys,
        "compare",
        "--pe",
        "fpraker",
        "--pe",
        "tensordash",
        "--pe",
        "fpraker:pe.oob_threshold=9",
        "--out",
        "o.csv",
    )
    for machine, baseline in (
        ("fpraker", "bitparallel:memory.compression=none"),
        ("tensordash", "tensordash-dense"),
        ("fpraker:pe.oob_threshold=9", "bitparallel:memory.compression=none"),
    ):
        name, _, override = machine.partition(":")
        each = simulate(
            some_trace(), load_machine(name, **({"pe.oob_threshold": 9} if override else {})), progress=False
        )
        row, overall_row, breakdown = rows(text, machine)
        summaries = [*each.by_operation().values(), each.total]
        assert row[:2] == [machine, baseline]
        assert row[2:6] == [ratio(summary.speedup) for summary in summaries]
        assert row[6:8] == [ratio(each.total.energy_efficiency), ratio(each.total.cycles_per_set)]
        assert row[8] == percent(each.total.busy)
        overall = each.total.overall
        assert overall_row[1:5] == [ratio(summary.overall_speedup) for summary in summaries]
        bound, traffic = BOUND_NAMES[overall.bound_by], f"{overall.off_chip_bytes / 1e6:,.1f}"
        assert overall_row[5:] == [ratio(each.total.overall_energy_efficiency), bound, traffic]
        assert breakdown[1] == f"{overall.time_s * 1e3:.4g}"
        assert breakdown[2:8] == [percent(cycles / overall.cycles) for cycles in overall.shares.values()]
        assert breakdown[8] == f"{overall.energy_j.mid * 1e3:.4g}"
        assert breakdown[-3:] == [percent(part.mid / overall.energy_j.mid) for part in overall.groups.values()]
    assert "different baselines" in text
    assert len(pd.read_csv("o.csv")) == 15


def test_compare_with_one_baseline_does_not_warn_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    assert "different baselines" not in details(
        capsys, "compare", "--pe", "fpraker", "--pe", "tensordash", "--baseline", "bitparallel"
    )


def test_machines_of_the_same_name_are_told_apart_by_hash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text("extends: fpraker\nname: fpraker\ntiles: 18\n")
    text = details(capsys, "compare", "--pe", "fpraker", "--pe", "mine.yaml")
    results = [result(), simulate(some_trace(), load_machine("mine.yaml"), progress=False)]
    assert len(set(labels(results))) == 2
    for label, each in zip(labels(results), results, strict=True):
        assert each.machine.content_hash[:8] in label
        assert label in text


def test_compare_leaves_memories_out_where_they_are_ideal(capsys: pytest.CaptureFixture[str]) -> None:
    ideal = details(capsys, "compare", "--pe", "fpraker", "--pe", "tensordash", "--memory", "ideal")
    assert "With memories:" not in ideal
    assert "DRAM" not in ideal
    # Of several machines those are listed that have them.
    text = details(capsys, "compare", "--pe", "tensordash", "--pe", "fpraker:memory.model=ideal")
    assert len(rows(text, "tensordash")) == 3
    assert len(rows(text, "fpraker:memory.model=ideal")) == 1
