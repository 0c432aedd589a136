"""`simhw run`: the tables and the reasons it prints, and the traces it refuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from simhw import Layer, Trace, load_machine
from simhw.cli import main
from simhw.pe.registry import OWN, processing_element
from simhw.quantities import percent, ratio
from simhw.report.memory_tables import component_name
from simhw.report.result_tables import BOUND_NAMES
from simhw.trace.reader import trace_hash
from tests.cli_runs import LONG_NAME, details, fails, result, rows, some_trace
from tests.places import ROOT
from tests.trace_files import sampled_trace

pytestmark = pytest.mark.usefixtures("folder")


def test_header_tells_trace_machine_baseline_and_hashes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = details(capsys, "run", "--pe", "fpraker:pe.oob_threshold=9")
    machine = load_machine("fpraker", **{"pe.oob_threshold": 9})
    plain = load_machine("bitparallel", **{"memory.compression": "none"})
    for word in (
        trace_hash(folder / "some.npz"),
        "net, digits, dense, step 7, batch 2",
        "2 layers, 5 operations, whole tensors",
        f"fpraker:pe.oob_threshold=9, hash {machine.content_hash}",
        "pe.oob_threshold = 9",
        f"bitparallel:memory.compression=none, hash {plain.content_hash}",
        "off chip    base-delta compression of the machine, no compression of the baseline",
        "exactly, every tile pass",
        "simhw 0.1.0",
    ):
        assert word in text


@pytest.mark.parametrize("machine", ["fpraker", "tensordash", "bitparallel"])
def test_tables_hold_the_numbers_of_the_results(machine: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = details(capsys, "run", "--pe", machine)
    expected = result(machine)
    for name, summary in {**expected.by_operation(), "total": expected.total}.items():
        performance, lane_cycles, time, *energy = rows(text, name)
        whole = summary.overall
        cells = [ratio(summary.speedup), ratio(summary.overall_speedup), ratio(summary.energy_efficiency)]
        cells += [
            ratio(summary.overall_energy_efficiency),
            ratio(summary.cycles_per_set),
            percent(summary.busy),
            percent(summary.occupancy),
        ]
        assert performance[2:] == [*cells, BOUND_NAMES[whole.bound_by]]
        assert lane_cycles[2:] == [percent(share) for share in summary.class_shares.values()]
        assert time[1:3] == [machine, f"{whole.time_s * 1e3:.4g}"]
        assert time[3:9] == [percent(cycles / whole.cycles) for cycles in whole.shares.values()]
        assert time[9:11] == [
            f"{whole.off_chip_bytes / 1e6:,.1f}",
            percent(whole.off_chip_bytes / whole.raw_off_chip_bytes),
        ]
        assert bool(energy) == (name == "total")
        if energy:
            assert energy[0][1] == f"{whole.energy_j.mid * 1e3:.4g}"


def test_energy_has_a_row_per_component_that_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    text = details(capsys, "run", "--pe", "fpraker")
    energy = result().total.overall.energy
    for component, part in energy.items():
        (row,) = [line for line in text.splitlines() if f" {component_name(component)} " in line and " to " in line]
        assert f" {part.mid * 1e3:.4g} " in row
    assert "low to high" in text


def test_ideal_memories_leave_their_tables_out(capsys: pytest.CaptureFixture[str]) -> None:
    text = details(capsys, "run", "--pe", "fpraker", "--memory", "ideal")
    assert "fpraker:memory.model=ideal" in text
    assert "bitparallel:memory.model=ideal" in text
    assert "overall" not in text
    assert "DRAM" not in text
    total = result().total
    assert rows(text, "total")[0][2] == ratio(total.speedup)
    named = details(capsys, "run", "--pe", "fpraker", "--baseline", "tensordash-dense", "--memory", "ideal")
    assert "tensordash-dense:memory.model=ideal" in named


def test_memories_that_a_file_does_not_have_cannot_be_modelled(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = load_machine("bitparallel").values.model_dump(exclude={"memory", "energy", "sram", "memory_area_mm2"})
    (folder / "bare.yaml").write_text(yaml.safe_dump(values | {"name": "bare"}))
    assert "overall" not in details(capsys, "run", "--pe", "bare.yaml")
    line = fails(capsys, "run", "--trace", "some", "--pe", "bare.yaml", "--memory", "modelled")
    assert "the file of bare.yaml has no memory section" in line


def test_a_grown_step_says_so_and_does_more_work(capsys: pytest.CaptureFixture[str]) -> None:
    text = details(capsys, "run", "--pe", "fpraker", "--batch", "8")
    assert "8 images, whose values are those of the captured ones again and again" in text
    plain, grown = result().total, result(batch=8).total
    assert grown.macs == 4 * plain.macs
    assert rows(text, "total")[0][2] == ratio(grown.speedup)
    assert "batch 7: give a multiple of the 2 images" in fails(
        capsys, "run", "--trace", "some", "--pe", "fpraker", "--batch", "7"
    )


def test_a_dense_machine_has_the_figures_of_its_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    # forward: conv 2 images x 36 positions x 12 channels x 72, linear 24 x 16 x 40 MACs; in tiles of 8 x 8 and sets of
    # 8 conv 2 x ceil(36/8) x ceil(12/8) x 9 = 180 sets, linear 3 x 2 x 5 = 30.
    macs, sets = 2 * 36 * 12 * 72 + 24 * 16 * 40, 180 + 30
    performance, lane_cycles, _ = rows(details(capsys, "run", "--pe", "bitparallel"), "forward")
    assert performance[1] == f"{macs / 1e3:.4g}K"
    assert performance[2:7] == ["-", "-", "-", "-", "1.000"]
    assert performance[8] == percent(macs / (sets * 512))
    assert lane_cycles[1] == f"{sets * 512 / 1e3:.4g}K"


def test_every_class_of_every_machine_has_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    text = details(capsys, "run", "--pe", "fpraker", "--pe", "tensordash")
    for machine in ("fpraker", "tensordash"):
        for lane in load_machine(machine).pe.lane_classes:
            assert f"{lane.name}: {lane.meaning}" in text


def test_explanation_says_the_arithmetic_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    each = result()
    text = details(capsys, "run", "--pe", "fpraker")
    assert (
        f"Why {each.total.speedup:.3f}x: 18,432 lanes / 4,096 of bitparallel = 4.500, / "
        f"{each.total.cycles_per_set:.3f} cycles/set" in text
    )
    assert "at most 4.500 / 2 = 2.250x" in text
    assert "Serial operand, and how many layers took it: forward A 2; input_grad " in text
    assert ("SLOWER" in text) == (each.total.speedup < 1)
    # At most 20 passes an operation cannot keep 36 tiles busy; TensorDash is never slower than its dense machine.
    assert each.total.speedup < 1
    assert "SLOWER" not in details(capsys, "run", "--pe", "tensordash")


def test_without_a_baseline_ratios_are_dashes_and_one_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none; --baseline names one" in details(capsys, "run", "--pe", "bitparallel")
    text = details(capsys, "run", "--pe", "bitparallel", "--baseline", "bitparallel:tiles=4")
    assert rows(text, "total")[0][2] == ratio(
        result("bitparallel", baseline=load_machine("bitparallel", tiles=4)).total.speedup
    )
    assert "bitparallel:tiles=4" in text


def test_exact_runs_have_no_interval_and_samples_have_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    exact = details(capsys, "run", "--pe", "fpraker", "--exact")
    assert "±" not in exact
    assert "Sampling error of the total: none" in exact
    sampled = details(capsys, "run", "--pe", "fpraker", "--sample", "0.05", "--seed", "3")
    total = result(sample=0.05, seed=3).total
    assert total.speedup_half_width > 0
    assert rows(sampled, "total")[0][2] == f"{total.speedup:.3f} ± {total.speedup_half_width:.3f}"
    assert "random, 0.05 of all passes, seed 3: " in sampled
    assert f"±{total.cycles.relative_half_width:.2%}" in sampled


def test_a_sampled_baseline_widens_the_interval() -> None:
    each = result(sample=0.05, baseline=load_machine("fpraker", oob_threshold=9)).total
    own, base = each.cycles.relative_half_width, each.baseline_cycles.relative_half_width
    assert min(own, base) > 0
    assert each.speedup_half_width == pytest.approx(each.speedup * np.hypot(own, base))


def test_a_sampled_trace_says_what_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    sampled_trace().save("blocks.npz")
    assert main(["run", "--trace", "blocks", "--pe", "fpraker", "--details"]) == 0
    text = capsys.readouterr().out
    assert "a sample of random blocks" in text
    # Of 5 x 3 tiles of 8 x 8 in a product of 40 x 20 the blocks of 8 x 4 and of 16 x 16 hold 1 and 4.
    assert f"the blocks that the trace holds, {5 / 15:.2%} of the tile passes" in text
    assert "±" in text


def test_per_layer_has_a_row_per_layer_and_operation(capsys: pytest.CaptureFixture[str]) -> None:
    each = result()
    table = rows(details(capsys, "run", "--pe", "fpraker", "--per-layer"), "conv")
    expected = [item for item in each.operations if item.layer == "conv"]
    assert [row[4] for row in table] == [ratio(item.speedup) for item in expected]
    assert [row[6] for row in table] == [ratio(item.cycles_per_set) for item in expected]
    assert [row[-1] for row in table] == [item.operand.upper() for item in expected]
    times = [
        float(row[3].rstrip("%"))
        for row in table + rows(details(capsys, "run", "--pe", "fpraker", "--per-layer"), LONG_NAME)
    ]
    assert sum(times) == pytest.approx(100, abs=0.3)


def test_check_replays_every_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert "every tile pass was replayed" in details(capsys, "run", "--pe", "tensordash", "--check")
    assert "every tile pass was replayed" not in details(capsys, "run", "--pe", "tensordash")


def test_nonfinite_values_are_an_error_or_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    bad = some_trace()
    a = np.array(bad.layers[1].a)
    a[0, 3] = 0x7FC0
    linear = Layer("fc", "linear", a=a, w=bad.layers[1].w, g=bad.layers[1].g)
    Trace([linear]).save("bad.npz")
    assert "NaN" in fails(capsys, "run", "--trace", "bad", "--pe", "fpraker")
    assert main(["run", "--trace", "bad", "--pe", "fpraker", "--nonfinite", "zero"]) == 0


def test_a_trace_whose_training_ran_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Trace([Layer("fc", "linear", a=some_trace().layers[1].a, w=some_trace().layers[1].w, operations=[])]).save(
        "idle.npz"
    )
    assert "no operation" in fails(capsys, "run", "--trace", "idle", "--pe", "fpraker")


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["compare", "--help"], ["machine", "--help"]])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; from simhw.cli import main\n"
        f"try: main({command!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'numpy', 'numba', 'pandas', 'matplotlib', 'rich', 'yaml', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout


def test_the_page_of_the_command_line_knows_every_option_and_class(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert {"--trace", "--pe", "--set", "--sample"} <= options
    assert [option for option in options if option not in page] == []
    for kind in OWN:
        for lane in processing_element(kind).lane_classes:
            assert f"`{lane.name}` | {lane.meaning} |" in page


def test_timeline_shows_the_operation_that_takes_longest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    longest = max(result().operations, key=lambda item: item.cost.overall_cycles)
    text = details(capsys, "run", "--pe", "fpraker", "--timeline", "t.json")
    assert f"timeline of {longest.operation} of {longest.layer}" in text
    events = json.loads((folder / "t.json").read_text())["traceEvents"]
    assert max(event["ts"] + event["dur"] for event in events if event["ph"] == "X") == pytest.approx(
        longest.cost.overall_time_s * 1e6, rel=1e-3
    )
    named = details(
        capsys,
        "run",
        "--pe",
        "fpraker",
        "--timeline",
        "t.vcd",
        "--timeline-layer",
        "conv",
        "--timeline-operation",
        "forward",
    )
    assert "waveform of forward of conv, tile pass 0" in named
    assert (folder / "t.vcd").read_text().startswith("$")


def test_timeline_of_what_is_not_there_is_refused_before_anything_is_simulated(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ("run", "--trace", "some", "--pe", "fpraker", "--timeline", "t.json")
    assert "has no layer 'cnov'; near names are conv" in fails(capsys, *run, "--timeline-layer", "cnov")
    assert "memories of fpraker:memory.model=ideal are ideal" in fails(capsys, *run, "--memory", "ideal")
    assert "shows one machine, and 2 are given" in fails(capsys, *run, "--pe", "tensordash")
    assert not (folder / "t.json").exists()
