"""Sweeps run: points equal single simulations, failures are kept, and a store goes on where it was."""

import pickle
import re
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

import simhw
from simhw import load_machine, simulate
from simhw.errors import SimhwError
from simhw.results.table import totals_row
from simhw.sweeps import sweep as sweeps
from simhw.sweeps import work
from tests.cli_runs import fails, some_trace
from tests.sweeps.runs import SWEEP, grown, rows, sweep, written


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep that has run."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        some_trace().save("some.npz")
        assert sweep(str(written()), "--jobs", "0") == 0
    return folder


@pytest.fixture
def there(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in."""
    for file in finished.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("there")
def test_a_point_is_a_simulation() -> None:
    with sqlite3.connect("sweep.db") as connection:
        frame = pd.read_sql("SELECT * FROM sweep", connection)
        operations = pd.read_sql("SELECT * FROM totals", connection).set_index(["hash", "operation"])
    connection.close()
    done = frame[frame["status"] == "done"]
    # Two thresholds of fpraker, and tensordash once; the batch of 4 fits the two images of the trace.
    assert list(frame["machine"]) == [
        *[f"fpraker:memory.model=ideal,pe.oob_threshold={each}" if ideal else f"fpraker:pe.oob_threshold={each}"
          for each in (6, 9) for ideal in (True, False)],
        "tensordash:memory.model=ideal", "tensordash",
    ]  # fmt: skip
    assert len(done) == 6
    for _, row in done.iterrows():
        overrides = {} if pd.isna(row["pe.oob_threshold"]) else {"pe.oob_threshold": int(row["pe.oob_threshold"])}
        overrides |= {"memory.model": "ideal"} if row["memory"] == "ideal" else {}
        batch = None if pd.isna(row["batch"]) else int(row["batch"])
        machine = load_machine(row["machine"].partition(":")[0], **overrides)
        results = simulate(some_trace(), machine, progress=False, batch=batch)
        expected = totals_row(results.total)
        assert {name: row[name] for name in expected} == expected
        assert row["compute_area_mm2"] == machine.compute_area_mm2
        for name, totals in results.by_operation().items():
            assert operations.loc[row["hash"], name]["overall_speedup"] == totals.overall_speedup


@pytest.mark.usefixtures("there")
def test_what_is_known_is_not_run_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows("sweep.db")
    monkeypatch.setattr(sweeps, "run_task", lambda _: pytest.fail("a point ran again"))
    assert sweep("sweep.yaml", "--jobs", "0") == 0
    captured = capsys.readouterr()
    assert "0 points run, 6 known before" in captured.out
    assert captured.err == ""
    assert rows("sweep.db") == before


@pytest.mark.usefixtures("there")
def test_another_sweep_keeps_what_both_have(capsys: pytest.CaptureFixture[str]) -> None:
    written(SWEEP.replace("[6, 9]", "[9, 12]").replace("[fpraker, tensordash]", "fpraker"))
    assert sweep("sweep.yaml", "--jobs", "0") == 0
    captured = capsys.readouterr()
    assert "2 points run, 2 known before" in captured.out
    assert captured.err == (
        "simhw: sweep.db: was written for another sweep than sweep.yaml is now; of 4 points 2 have a result there, the "
        "others run; 4 results that are of no point any more stay in the store\n"
    )
    written()
    assert sweep("sweep.yaml", "--jobs", "0") == 0
    assert "0 points run, 6 known before" in capsys.readouterr().out


@pytest.mark.usefixtures("there")
def test_another_simhw_runs_all_anew(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows("sweep.db")
    for module in ("points", "store", "sweep", "work"):
        monkeypatch.setattr(f"simhw.sweeps.{module}.made_by", lambda: "simhw 9, sources f")
    assert sweep("sweep.yaml", "--jobs", "0") == 0
    captured = capsys.readouterr()
    assert "6 points run, 0 known before" in captured.out
    assert "a result counts for the simhw that gave it, so all points run anew; its 6 results stay" in captured.err
    after = rows("sweep.db")
    assert len(after["outcomes"]) == 12
    assert [row[2:] for row in after["sweep"]] == [row[2:] for row in before["sweep"]]  # but number and hash


@pytest.mark.usefixtures("folder")
def test_a_failing_point_is_kept_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written("traces: some\nmachines: fpraker\ngrid: {memory: ideal, tile.rows: [0, 8], batch: [2, 3]}\n")
    assert sweep("sweep.yaml", "--jobs", "0", "--out", "sweep.csv") == 1
    out = capsys.readouterr().out
    assert "points  4: 1 done, 3 failed" in out
    assert "2 points failed: fpraker: tile.rows: Input should be 1, 2, 4, 8, 16 or 32, given 0" in out
    assert "1 point failed: batch 3: give a multiple of the 2 images that the trace holds" in out
    frame = pd.read_csv("sweep.csv")
    assert list(frame["status"]) == ["failed", "failed", "done", "failed"]
    assert frame["machine"][0] == "fpraker:tile.rows=0"
    # What failed is tried anew: the reason may be gone.
    tried: list[str] = []
    monkeypatch.setattr(sweeps, "run_task", lambda task: tried.append(task.hash) or work.run_task(task))
    assert sweep("sweep.yaml", "--jobs", "0") == 1
    assert tried == [frame["hash"][3]]


@pytest.mark.usefixtures("folder")
def test_machines_without_a_baseline_have_no_speed_up(capsys: pytest.CaptureFixture[str]) -> None:
    written("traces: some\nmachines: bitparallel\ngrid: {memory: ideal, tiles: [4, 8]}\n")
    assert sweep("sweep.yaml", "--jobs", "0") == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +1 bitparallel:memory.model=ideal,tiles=4 +- +- +- ", out, re.MULTILINE)
    assert "no point has a speed-up over a baseline" in fails(capsys, "sweep", "show", "sweep.db", "--plot", "s.png")


@pytest.mark.usefixtures("folder")
def test_an_outcome_with_cautions_crosses_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[work.Outcome] = []

    def crossing(task: work.Task) -> work.Outcome:
        sent.append(work.run_task(task))
        return pickle.loads(pickle.dumps(sent[-1]))

    monkeypatch.setattr(sweeps, "run_task", crossing)
    frame = simhw.sweep({"traces": "some", "machines": "fpraker"}, "s.db", jobs=0)
    assert sent[0].cautions
    assert frame["cautions"][0].splitlines() == list(sent[0].cautions)


@pytest.mark.usefixtures("folder")
def test_a_trace_that_changes_meanwhile_gives_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def changing(task: work.Task) -> work.Outcome:
        trace = some_trace()
        trace.layers.pop()
        trace.save("some.npz")
        return work.run_task(task)

    monkeypatch.setattr(sweeps, "run_task", changing)
    frame = simhw.sweep({"traces": "some", "machines": "fpraker"}, "s.db", jobs=0)
    assert frame["status"][0] == "failed"
    assert "some.npz: changed since the sweep began" in frame["error"][0]


@pytest.mark.usefixtures("folder")
def test_a_machine_file_that_changes_meanwhile_changes_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    file, tiles = Path("mine.yaml"), []
    file.write_text("extends: fpraker\nname: mine\ntiles: 8\n", encoding="utf-8")

    def changing(task: work.Task) -> work.Outcome:
        file.write_text("extends: fpraker\nname: mine\ntiles: 9\n", encoding="utf-8")
        tiles.append(task.machine.value("tiles"))
        return work.failed(task.hash, "not run")

    monkeypatch.setattr(sweeps, "run_task", changing)
    monkeypatch.setattr("simhw.sweeps.variants.KEPT", 1)  # so that the machines are built once more
    simhw.sweep({"traces": "some", "machines": str(file), "grid": {"oob_threshold": [6, 9, 12]}}, "s.db", jobs=0)
    assert tiles == [8, 8, 8]


@pytest.mark.usefixtures("there")
def test_without_anything_to_run_no_scheduler_is_asked() -> None:
    assert sweep("sweep.yaml", "--scheduler", "tcp://127.0.0.1:9") == 0


@pytest.mark.usefixtures("folder")
def test_an_interrupted_sweep_says_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written()
    number = 0

    def stopped(task: work.Task) -> work.Outcome:
        nonlocal number
        number += 1
        if number == 3:
            raise KeyboardInterrupt
        return work.run_task(task)

    monkeypatch.setattr(sweeps, "run_task", stopped)
    assert sweep("sweep.yaml", "--jobs", "0") == 130
    told = "simhw: interrupted; 2 of 6 points are in sweep.db, and the same command goes on\n"
    assert capsys.readouterr().err == told
    assert sweep("show", "sweep.db") == 0
    assert "points  6: 2 done, 4 not run yet" in capsys.readouterr().out


@pytest.mark.usefixtures("there")
def test_a_store_has_one_writer_and_any_readers(capsys: pytest.CaptureFixture[str]) -> None:
    from simhw.sweeps.store import Store, read_store

    with Store("sweep.db"):
        assert "another sweep is writing to it" in fails(capsys, "sweep", "sweep.yaml", "--jobs", "0")
        assert len(read_store("sweep.db")) == 6
    assert not Path("sweep.db.lock").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a text", "sweep.db: file is not a database"), (None, "sweep.db: a database, but no store of a sweep")],
)
@pytest.mark.usefixtures("folder")
def test_another_file_is_left_alone(content: bytes | None, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    if content is None:
        with sqlite3.connect("sweep.db") as connection:
            connection.execute("CREATE TABLE mine (x)")
        connection.close()
        content = Path("sweep.db").read_bytes()
    else:
        Path("sweep.db").write_bytes(content)
    assert told in fails(capsys, "sweep", str(written()), "--jobs", "0")
    assert told in fails(capsys, "sweep", "show", "sweep.db")
    assert Path("sweep.db").read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show",), "sweep show: give the store, such as sweep.db"),
        (("show", "nowhere.db"), "nowhere.db: no such store; `simhw sweep FILE` makes one"),
        (("show", "s.db", "--jobs", "2"), "sweep show runs nothing; leave --jobs and --scheduler out"),
        (("sweep.yaml", "--jobs", "-1"), "--jobs -1: give a number of processes"),
        (("sweep.yaml", "s.csv"), "s.csv: the name must end in one of .db, .sqlite"),
        (("sweep.yaml", "no/s.db"), "no/s.db: cannot be written: No such file or directory"),
        (("nowhere.yaml",), "nowhere.yaml: cannot be read: No such file or directory; give a sweep file"),
        (("sweep.yaml", "--plot", "s.txt"), "s.txt: the name must end in one of .png, .svg, .pdf"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_options_that_cannot_be_used_are_refused(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    written()
    assert told in fails(capsys, "sweep", *arguments)


def test_python_refuses_jobs_that_there_cannot_be() -> None:
    with pytest.raises(SimhwError, match="jobs -1: give from 1 to 1024, or 0 for none but this process"):
        simhw.sweep(grown(1), jobs=-1)
