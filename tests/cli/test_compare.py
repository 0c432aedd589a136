"""`simhw compare`: a row per machine, and what it says of them."""

from pathlib import Path

import pandas as pd
import pytest

from simhw import compare_traces, load_machine, simulate
from simhw.cli import main
from simhw.errors import SimhwError
from simhw.quantities import percent, ratio
from simhw.report.result_tables import BOUND_NAMES, labels
from simhw.results.matching import matched
from tests.cli_runs import details, factorised, fails, output, result, rows, some_trace

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


def test_two_traces_stand_beside_each_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    factorised().save(folder / "lrd.npz")
    given = ("--trace", "lowrank=lrd", "--pe", "small=fpraker:tiles=4", "--out", "o.csv", "--plot", "p.svg")
    text = output(capsys, "compare", *given)
    machine = load_machine("fpraker", tiles=4)
    first, other = (simulate(trace, machine, progress=False) for trace in (some_trace(), factorised()))
    before, after = (each.total.overall for each in (first, other))
    # The factors have 24 x (40 x 4 + 4 x 16) products forward, and the second 24 x 4 x 16 for its weights.
    saved = 2 * 24 * 40 * 16 - 24 * (40 * 4 + 4 * 16) - 24 * 4 * 16
    assert first.total.macs - other.total.macs == saved
    # The machine's row; the baseline's follows it.
    row = next(row for row in rows(text, "lowrank") if row[1].endswith("K"))
    assert row[2:4] == [f"{after.time_s * 1e3:.4g}", f"{after.energy_j.mid * 1e3:.4g}"]
    assert row[5:7] == [ratio(before.time_s / after.time_s), ratio(before.energy_j.mid / after.energy_j.mid)]
    # Where it comes from: the convolution is the same layer, and the factors belong to the layer that they make up.
    assert rows(text, "conv")[0][1:3] == ["0", "0"]
    total = rows(text, "total")[-1]
    assert total[1:4] == [
        f"{saved / 1e3:.4g}K",
        f"{(before.time_s - after.time_s) * 1e3:.4g}",
        percent(1 - after.time_s / before.time_s),
    ]
    frame = pd.read_csv("o.csv")
    assert set(zip(frame.trace_name, frame.machine, strict=True)) == {("some", "small"), ("lowrank", "small")}
    assert Path("p.svg").read_text().startswith("<?xml")
    assert max(map(len, text.splitlines())) <= 100


def test_traces_in_python_have_the_figures_and_the_differences() -> None:
    traces = {"dense": some_trace(), "lowrank": factorised()}
    both = compare_traces(traces, ["tensordash", "fpraker:tiles=4"], progress=False)
    summary = both.summary.set_index(["trace_name", "hardware"])
    # Baselines are hardware as well.
    hardware = ["tensordash", "fpraker:tiles=4", "tensordash-dense", "bitparallel:memory.compression=none"]
    assert list(dict.fromkeys(both.summary.hardware)) == hardware
    saved = both.differences.groupby("hardware")
    for name in hardware:
        before, after = summary.loc[("dense", name)], summary.loc[("lowrank", name)]
        assert after.times_as_fast == pytest.approx(before.overall_time_s / after.overall_time_s)
        assert after.times_less_energy == pytest.approx(before.overall_energy_j / after.overall_energy_j)
        parts = saved.get_group(name)
        assert parts.saved_time_s.sum() == pytest.approx(before.overall_time_s - after.overall_time_s)
        assert parts.saved_energy_j.sum() == pytest.approx(before.overall_energy_j - after.overall_energy_j)
        assert parts.saved_macs.sum() == before.macs - after.macs
        assert set(parts.layer) == {layer.name for layer in some_trace().layers}
    assert "dense, lowrank" in repr(both)
    assert "times as fast on tensordash" in str(both)


def test_traces_and_machines_that_cannot_be_told_apart_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    twice = ("compare", "--trace", "some", "--trace", "some.npz", "--pe", "fpraker")
    assert "two traces are called some" in fails(capsys, *twice)
    named = ("compare", "--trace", "some", "--pe", "mine=fpraker", "--pe", "mine=tensordash")
    assert "another machine is called mine already" in fails(capsys, *named)
    with pytest.raises(SimhwError, match="at least two"):
        compare_traces([some_trace()], ["fpraker"])
    with pytest.raises(SimhwError, match="give a list"):
        compare_traces("some", ["fpraker"])


def test_a_file_with_an_equals_sign_in_its_name_is_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "some.npz").rename(folder / "seed=3.npz")
    assert main(["compare", "--trace", "seed=3.npz", "--pe", "tensordash", "--memory", "ideal"]) == 0
    assert "seed=3.npz: net" in capsys.readouterr().out


def test_layers_are_matched_by_name_and_by_the_layer_that_they_are_part_of() -> None:
    first = ["stem", "block.conv", "block.attn.q", "block.attn.k", "head"]
    other = ["stem", "block.conv.0", "block.conv.1", "block.attn", "tail"]
    assert matched(first, other) == {
        "stem": "stem",
        "block.conv": "block.conv",
        "block.conv.0": "block.conv",
        "block.conv.1": "block.conv",
        "block.attn": "block.attn",
        "block.attn.q": "block.attn",
        "block.attn.k": "block.attn",
        "head": "head",
        "tail": "tail",
    }
    # A name that merely begins alike is another layer.
    assert matched(["conv1"], ["conv10"]) == {"conv1": "conv1", "conv10": "conv10"}
