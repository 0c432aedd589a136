"""`simhw run` and `simhw compare`: what they print, write and refuse."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from simhw import Layer, Trace, load_machine, simulate
from simhw.bfloat16 import from_float32
from simhw.cli import main
from simhw.report.result_reasons import CLASS_MEANINGS, cautions, factors, lane_count, least_cycles_per_set
from simhw.report.result_tables import labels, percent, ratio
from simhw.results import Results
from simhw.trace.format import trace_hash, write_trace
from simhw.trace.metadata import Metadata
from tests.trace_files import convolution, sampled_trace

LONG_NAME = "a.layer.[bold]whose[/bold].name." + "is.long." * 12 + "indeed"
SUBCOMMANDS = ("run", "compare")


def some_trace() -> Trace:
    """A convolution and a linear layer with half of the activations zero."""
    rng = np.random.default_rng(5)

    def relu(*shape: int) -> np.ndarray:
        return from_float32(np.maximum(rng.standard_normal(shape, dtype=np.float32), 0))

    def normal(*shape: int) -> np.ndarray:
        return from_float32(rng.standard_normal(shape, dtype=np.float32))

    conv = Layer("conv", "conv2d", {"padding": 1}, a=relu(2, 8, 6, 6), w=normal(12, 8, 3, 3), g=normal(2, 12, 6, 6))
    linear = Layer(LONG_NAME, "linear", a=relu(24, 40), w=normal(16, 40), g=normal(24, 16), operations=["forward", "weight_grad"])
    return Trace([conv, linear], Metadata("net", "digits", "dense", step=7, batch=2))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_trace(some_trace(), "some.npz")
    return tmp_path


def output(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    assert main([command, "--trace", "some", *arguments]) == 0
    return capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command leaves on standard error with exit code 2."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("simhw: ")
    return line


def rows(text: str, first: str) -> list[list[str]]:
    """Cells of the table rows that begin so, an estimate and its interval as one cell."""
    found = [line for line in text.splitlines() if line.strip().startswith(f"{first} ")]
    return [re.split(r"(?<!±) +(?!±)", line.strip().replace(" G ", "G ").replace(" M ", "M ").replace(" K ", "K ")) for line in found]


def result(machine: str = "fpraker", **options: object) -> Results:
    return simulate(some_trace(), load_machine(machine), progress=False, **options)  # type: ignore[arg-type]


def test_header_tells_trace_machine_baseline_and_hashes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "run", "--pe", "fpraker:pe.oob_threshold=9")
    machine = load_machine("fpraker", **{"pe.oob_threshold": 9})
    for word in (
        trace_hash(folder / "some.npz"),
        "net, digits, dense, step 7, batch 2",
        "2 layers, 5 operations, whole tensors",
        f"fpraker:pe.oob_threshold=9, hash {machine.content_hash}",
        "pe.oob_threshold = 9",
        f"bitparallel, hash {load_machine('bitparallel').content_hash}",
        "exactly, every tile pass",
        "simhw 0.1.0",
    ):
        assert word in text


@pytest.mark.parametrize("machine", ["fpraker", "tensordash", "bitparallel"])
def test_tables_hold_the_numbers_of_the_results(machine: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "run", "--pe", machine)
    expected = result(machine)
    for name, summary in {**expected.by_operation(), "total": expected.total}.items():
        performance, lane_cycles = rows(text, name)
        cells = [ratio(summary.speedup), ratio(summary.energy_efficiency), ratio(summary.cycles_per_set)]
        assert performance[2:] == [*cells, percent(summary.busy), percent(summary.occupancy)]
        assert lane_cycles[2:] == [percent(share) for share in summary.class_shares.values()]


def test_a_dense_machine_has_the_figures_of_its_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    # forward: conv 2 images x 36 positions x 12 channels x 72, linear 24 x 16 x 40 MACs; in tiles of 8 x 8 and sets of 8
    # conv 2 x ceil(36/8) x ceil(12/8) x 9 = 180 sets, linear 3 x 2 x 5 = 30.
    macs, sets = 2 * 36 * 12 * 72 + 24 * 16 * 40, 180 + 30
    (performance, lane_cycles) = rows(output(capsys, "run", "--pe", "bitparallel"), "forward")
    assert performance[1] == f"{macs / 1e3:.4g}K"
    assert performance[2:5] == ["-", "-", "1.000"]
    assert performance[6] == percent(macs / (sets * 512))
    assert lane_cycles[1] == f"{sets * 512 / 1e3:.4g}K"


def test_lane_cycle_shares_add_up_and_cover_all_lanes() -> None:
    for machine in ("fpraker", "tensordash", "bitparallel"):
        total = result(machine).total
        assert sum(total.class_shares.values()) == pytest.approx(1)
        tile_cycles = sum(item.tile_cycles for item in result(machine).operations)
        lanes = lane_count(load_machine(machine)) / load_machine(machine).values.tiles
        assert sum(total.counters[name].value for name in total.classes) == lanes * tile_cycles


def test_every_class_of_every_machine_has_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    for machine in ("fpraker", "tensordash", "bitparallel"):
        assert tuple(CLASS_MEANINGS[machine]) == load_machine(machine).tile.lane_cycle_classes
    text = output(capsys, "run", "--pe", "fpraker", "--pe", "tensordash")
    for machine in ("fpraker", "tensordash"):
        for name, meaning in CLASS_MEANINGS[machine].items():
            assert f"{name}: {meaning}" in text


@pytest.mark.parametrize(
    ("machine", "baseline"),
    [("fpraker", None), ("tensordash", None), ("fpraker", "tensordash"), ("tensordash", "fpraker"), ("bitparallel", "fpraker")],
)
def test_the_factors_of_a_speedup_multiply_to_it(machine: str, baseline: str | None) -> None:
    each = result(machine, baseline=baseline)
    made_of = factors(each)
    assert made_of is not None
    assert made_of.speedup == pytest.approx(each.total.speedup, rel=1e-12)


def test_bounds_come_from_the_machine() -> None:
    assert least_cycles_per_set(load_machine("fpraker")) == 2  # two PEs share an exponent block
    assert least_cycles_per_set(load_machine("fpraker", exponent_sharing=1)) == 1
    assert least_cycles_per_set(load_machine("tensordash")) == pytest.approx(1 / 3)  # three steps are staged
    assert least_cycles_per_set(load_machine("tensordash-dense")) == 1
    # The spec: 36 tiles of 8x8 PEs of 8 lanes, 4.5 times the 4,096 of the baseline.
    assert lane_count(load_machine("fpraker")) == 36 * 64 * 8 == 4.5 * lane_count(load_machine("bitparallel"))


def test_explanation_says_the_arithmetic_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    each = result()
    text = output(capsys, "run", "--pe", "fpraker")
    assert (
        f"Why {each.total.speedup:.3f}x: 18,432 lanes / 4,096 of bitparallel = 4.500, / {each.total.cycles_per_set:.3f} cycles/set" in text
    )
    assert "at most 4.500 / 2 = 2.250x" in text
    assert "Serial operand, and how many layers took it: forward A 2; input_grad " in text
    assert ("SLOWER" in text) == (each.total.speedup < 1)
    # At most 20 passes an operation cannot keep 36 tiles busy; TensorDash is never slower than its dense machine.
    assert each.total.speedup < 1
    assert "SLOWER" not in output(capsys, "run", "--pe", "tensordash")


def test_without_a_baseline_ratios_are_dashes_and_one_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none; --baseline names one" in output(capsys, "run", "--pe", "bitparallel")
    text = output(capsys, "run", "--pe", "bitparallel", "--baseline", "bitparallel:tiles=4")
    assert rows(text, "total")[0][2] == ratio(result("bitparallel", baseline=load_machine("bitparallel", tiles=4)).total.speedup)
    assert "bitparallel:tiles=4" in text


def test_exact_runs_have_no_interval_and_samples_have_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    exact = output(capsys, "run", "--pe", "fpraker", "--exact")
    assert "±" not in exact
    assert "Sampling error of the total: none" in exact
    sampled = output(capsys, "run", "--pe", "fpraker", "--sample", "0.05", "--seed", "3")
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
    write_trace(sampled_trace(), "blocks.npz")
    assert main(["run", "--trace", "blocks", "--pe", "fpraker"]) == 0
    text = capsys.readouterr().out
    assert "a sample of random blocks" in text
    # Of 5 x 3 tiles of 8 x 8 in a product of 40 x 20 the blocks of 8 x 4 and of 16 x 16 hold 1 and 4.
    assert f"the blocks that the trace holds, {5 / 15:.2%} of the tile passes" in text
    assert "±" in text


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_a_pipe_gets_rows_whole_and_plain(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = output(capsys, command, "--pe", "fpraker", "--per-layer")
    assert "\x1b" not in text
    assert "…" not in text
    assert [row[0] for row in rows(text, LONG_NAME)] == [LONG_NAME] * 2
    assert [row[:2] for row in rows(text, "conv")] == [["conv", name] for name in ("forward", "input_grad", "weight_grad")]


def test_a_file_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    write_trace(Trace([convolution()], Metadata(model="\x1b[31mred", dataset="[blue]x")), "evil.npz")
    Path("evil.yaml").write_text('extends: tensordash\nname: "evil\\e[2J"\n')
    assert main(["compare", "--trace", "evil", "--pe", "evil.yaml"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "[blue]x" in text
    assert rows(text, "evil?[2J")


def test_per_layer_has_a_row_per_layer_and_operation(capsys: pytest.CaptureFixture[str]) -> None:
    each = result()
    table = rows(output(capsys, "run", "--pe", "fpraker", "--per-layer"), "conv")
    expected = [item for item in each.operations if item.layer == "conv"]
    assert [row[4] for row in table] == [ratio(item.speedup) for item in expected]
    assert [row[6] for row in table] == [ratio(item.cycles_per_set) for item in expected]
    assert [row[-1] for row in table] == [item.operand.upper() for item in expected]
    times = [float(row[3].rstrip("%")) for row in table + rows(output(capsys, "run", "--pe", "fpraker", "--per-layer"), LONG_NAME)]
    assert sum(times) == pytest.approx(100, abs=0.3)


def test_set_reaches_every_machine_that_has_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(
        capsys, "run", "--pe", "fpraker", "--pe", "tensordash", "--set", "oob_threshold=9", "--set", "tile.rows=2", "--out", "o.csv"
    )
    frame = pd.read_csv("o.csv")
    assert set(frame.machine) == {"fpraker:pe.oob_threshold=9,tile.rows=2", "tensordash:tile.rows=2"}
    # Baselines stay as they are.
    assert set(frame.baseline) == {"bitparallel", "tensordash-dense"}
    assert text.count("Caution: area and power") == 2


def test_a_machines_own_override_prevails_over_set(capsys: pytest.CaptureFixture[str]) -> None:
    output(
        capsys,
        "run",
        "--pe",
        "fpraker:pe.oob_threshold=6",
        "--pe",
        "fpraker:oob_threshold=7",
        "--set",
        "pe.oob_threshold=9",
        "--out",
        "o.csv",
    )
    assert set(pd.read_csv("o.csv").machine) == {"fpraker:pe.oob_threshold=6", "fpraker:pe.oob_threshold=7"}


def test_cautions_where_the_comparison_is_not_fair() -> None:
    assert cautions(result()) == []
    (lowering,) = cautions(simulate(some_trace(), load_machine("fpraker", fc_windows="image"), progress=False, baseline="bitparallel"))
    assert "fc_windows image against batch" in lowering
    (costs,) = cautions(simulate(some_trace(), load_machine("fpraker", **{"tile.rows": 4}), progress=False))
    assert "they do not follow tile.rows" in costs


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_out_holds_the_results_of_every_machine(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"o{suffix}"
    text = output(capsys, "run", "--pe", "fpraker", "--pe", "tensordash", "--out", path)
    assert f"table written to {path}" in text
    read = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}[suffix](path)
    assert len(read) == 2 * 5
    for machine in ("fpraker", "tensordash"):
        expected = result(machine).frame
        mine = read[read.machine == machine].reset_index(drop=True)
        assert list(mine.layer) == list(expected.layer)
        for column in ("macs", "cycles", "speedup", "energy_j", "useful"):
            np.testing.assert_allclose(mine[column].astype(float), expected[column].astype(float), rtol=1e-9)
        assert set(mine.trace_hash) == {trace_hash("some.npz")}
    assert set(os.listdir()) == {"some.npz", path}


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_plot_is_written_in_the_format_of_its_name(command: str, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    output(capsys, command, "--pe", "fpraker", "--pe", "bitparallel", "--sample", "0.05", "--plot", f"p{suffix}")
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert Path(f"p{suffix}").read_bytes().startswith(begins)


def test_a_failed_write_leaves_the_old_file(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("p.png").write_bytes(b"old")

    def full(_: Figure, path: Path, **__: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    assert main(["run", "--trace", "some", "--pe", "tensordash", "--plot", "p.png"]) == 2
    assert capsys.readouterr().err == "simhw: p.png: cannot be written: No space left on device\n"
    assert Path("p.png").read_bytes() == b"old"
    assert set(os.listdir()) == {"some.npz", "p.png"}


def test_check_replays_every_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert "every tile pass was replayed" in output(capsys, "run", "--pe", "tensordash", "--check")
    assert "every tile pass was replayed" not in output(capsys, "run", "--pe", "tensordash")


def test_nonfinite_values_are_an_error_or_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    bad = some_trace()
    a = np.array(bad.layers[1].a)
    a[0, 3] = 0x7FC0
    linear = Layer("fc", "linear", a=a, w=bad.layers[1].w, g=bad.layers[1].g)
    write_trace(Trace([linear]), "bad.npz")
    assert "NaN" in fails(capsys, "run", "--trace", "bad", "--pe", "fpraker")
    assert main(["run", "--trace", "bad", "--pe", "fpraker", "--nonfinite", "zero"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pe", "nope"], ["no machine 'nope'", "fpraker"]),
        (["--pe", "fpraker:rows=9"], ["tile.rows", "given 9"]),
        (["--pe", "fpraker:tiles"], ["no machine 'fpraker:tiles'"]),
        (["--pe", "fpraker", "--pe", "fpraker"], ["--pe fpraker", "twice"]),
        (["--pe", "fpraker", "--set", "nope=1"], ["--set nope", "machine show fpraker"]),
        (["--pe", "tensordash", "--set", "pe.oob_threshold=9"], ["--set pe.oob_threshold"]),
        (["--pe", "fpraker", "--set", "tile.rows"], ["key=value"]),
        (["--pe", "fpraker", "--set", "pe_array=3"], ["tile_area_um2.pe_array", "tile_power_mw.pe_array"]),
        (["--pe", "fpraker", "--set", "pe.rounding=never"], ["pe.rounding"]),
        (["--pe", "fpraker", "--baseline", "nope"], ["no machine 'nope'"]),
        (["--pe", "fpraker:baseline=nope"], ["no machine 'nope'"]),
        (["--pe", "fpraker", "--sample", "0"], ["--sample 0"]),
        (["--pe", "fpraker", "--sample", "1.5"], ["--sample 1.5"]),
        (["--pe", "fpraker", "--sample", "nan"], ["--sample nan"]),
        (["--pe", "fpraker", "--seed", "-1"], ["--seed -1"]),
        (["--pe", "fpraker", "--workers", "0"], ["--workers 0"]),
        (["--pe", "fpraker", "--out", "o.txt"], ["o.txt", ".parquet"]),
        (["--pe", "fpraker", "--plot", "p.jpg"], ["p.jpg", ".svg"]),
        (["--pe", "fpraker", "--out", "none/o.csv"], ["there is no folder none"]),
        (["--pe", "fpraker", "--plot", "folder.png"], ["folder.png", "is a folder"]),
        (["--pe", "fpraker", "--trace", "nope"], ["nope: no such trace"]),
    ],
)
@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_bad_options_are_refused_before_any_work(
    command: str, arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulate(*_: object, **__: object) -> None:
        raise AssertionError("simulated")

    monkeypatch.setattr("simhw.simulator.simulate", simulate)
    Path("folder.png").mkdir()
    line = fails(capsys, command, *([] if "--trace" in arguments else ["--trace", "some"]), *arguments)
    for word in words:
        assert word in line


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_without_write_permission_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert "cannot be written to" in fails(capsys, "run", "--trace", "some", "--pe", "fpraker", "--out", "locked/o.csv")


def test_a_folder_that_the_system_reports_as_unwritable_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written to" in fails(capsys, "run", "--trace", "some", "--pe", "fpraker", "--out", "o.csv")


def test_a_trace_whose_training_ran_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write_trace(Trace([Layer("fc", "linear", a=some_trace().layers[1].a, w=some_trace().layers[1].w, operations=[])]), "idle.npz")
    assert "no operation" in fails(capsys, "run", "--trace", "idle", "--pe", "fpraker")


def test_compare_has_a_row_per_variant(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "compare", "--pe", "fpraker", "--pe", "tensordash", "--pe", "fpraker:pe.oob_threshold=9", "--out", "o.csv")
    for machine, baseline in (
        ("fpraker", "bitparallel"),
        ("tensordash", "tensordash-dense"),
        ("fpraker:pe.oob_threshold=9", "bitparallel"),
    ):
        name, _, override = machine.partition(":")
        each = simulate(some_trace(), load_machine(name, **({"pe.oob_threshold": 9} if override else {})), progress=False)
        (row,) = rows(text, machine)
        summaries = [*each.by_operation().values(), each.total]
        assert row[:2] == [machine, baseline]
        assert row[2:6] == [ratio(summary.speedup) for summary in summaries]
        assert row[6:8] == [ratio(each.total.energy_efficiency), ratio(each.total.cycles_per_set)]
        assert row[8] == percent(each.total.busy)
    assert "different baselines" in text
    assert len(pd.read_csv("o.csv")) == 15


def test_compare_with_one_baseline_does_not_warn_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    assert "different baselines" not in output(capsys, "compare", "--pe", "fpraker", "--pe", "tensordash", "--baseline", "bitparallel")


def test_machines_of_the_same_name_are_told_apart_by_hash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text("extends: fpraker\nname: fpraker\ntiles: 18\n")
    text = output(capsys, "compare", "--pe", "fpraker", "--pe", "mine.yaml")
    results = [result(), simulate(some_trace(), load_machine("mine.yaml"), progress=False)]
    assert len(set(labels(results))) == 2
    for label, each in zip(labels(results), results, strict=True):
        assert each.machine.content_hash[:8] in label
        assert label in text


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
    page = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert {"--trace", "--pe", "--set", "--sample"} <= options
    assert [option for option in options if option not in page] == []
    for meanings in CLASS_MEANINGS.values():
        for name, meaning in meanings.items():
            assert f"`{name}` | {meaning} |" in page


def test_files_are_written_even_when_the_reader_of_the_output_has_left(folder: Path) -> None:
    command = [sys.executable, "-m", "simhw", "run", "--trace", "some", "--pe", "bitparallel", "--out", "results.csv"]
    reader, writer = os.pipe()
    os.close(reader)  # what `simhw run ... | true` leaves
    with os.fdopen(writer, "w") as closed:
        finished = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert finished.stderr == ""
    assert (folder / "results.csv").read_text().startswith("machine,")
