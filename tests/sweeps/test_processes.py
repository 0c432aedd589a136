"""Sweeps on several processes and on a cluster: the same rows, whatever is killed."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType

import pytest

import simhw
from simhw.errors import SimhwError
from simhw.sweeps.processes import Processes
from simhw.sweeps.store import Store
from simhw.sweeps.work import Outcome
from tests.places import ROOT
from tests.sweeps.kills import kill_and_resume
from tests.sweeps.runs import grown, rows

pytestmark = pytest.mark.slow
POINTS = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, ...]]]:
    """What a run in one process gives."""
    store = tmp_path_factory.mktemp("whole") / "s.db"
    simhw.sweep(grown(POINTS), store, jobs=0)
    return rows(store)


def at_half(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Do something once half of the points are in the store."""
    keep, number = Store.keep, 0

    def counted(store: Store, outcomes: list[Outcome]) -> None:
        nonlocal number
        kept = list(outcomes)
        keep(store, kept)
        before, number = number, number + len(kept)
        if before < POINTS // 2 <= number:
            action()

    monkeypatch.setattr(Store, "keep", counted)


def test_processes_give_the_same_rows(tmp_path: Path, whole: dict[str, list[tuple[object, ...]]]) -> None:
    simhw.sweep(grown(POINTS), tmp_path / "s.db", jobs=2)
    assert rows(tmp_path / "s.db") == whole
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_loses_nothing(
    tmp_path: Path, whole: dict[str, list[tuple[object, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = []

    def kill() -> None:
        victim = multiprocessing.active_children()[0].pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    at_half(monkeypatch, kill)
    simhw.sweep(grown(POINTS), tmp_path / "s.db", jobs=2)
    assert len(killed) == 1
    assert rows(tmp_path / "s.db") == whole


class Deadly:
    """A task that ends the process which unpacks it."""

    def __init__(self, name: str, *end: object) -> None:
        self.hash, self.end = name, end

    def __reduce__(self) -> tuple[object, ...]:
        return (self.end[0], self.end[1:])


def test_a_task_that_ends_its_process_has_failed() -> None:
    tasks = [Deadly("exits", os._exit, 3), Deadly("killed", signal.raise_signal, signal.SIGKILL)]
    with closing(Processes(1)) as processes:
        outcomes = {outcome.hash: outcome.error for outcome in processes.run(iter(tasks))}  # type: ignore[arg-type]
    assert outcomes == {
        "exits": "the process that ran it ended (exit code 3; what it said stands above), maybe for want of memory",
        "killed": "the process that ran it ended (SIGKILL), maybe for want of memory",
    }


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import simhw\nsimhw.sweep({dict(grown(2))!r}, 's.db', jobs=1)\n")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 1
    assert 'in a script, call simhw.sweep under if __name__ == "__main__":' in done.stderr


def test_a_sweep_that_is_killed_goes_on(tmp_path: Path) -> None:
    found = kill_and_resume(tmp_path, 4)
    assert len(found.kept) == 4


@pytest.fixture
def alarm() -> None:
    """A cluster that hangs is an error after ten minutes."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TimeoutError("the cluster hangs")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(600)
    yield
    signal.alarm(0)


@pytest.mark.usefixtures("alarm")
def test_a_cluster_that_loses_a_worker_gives_the_same_rows(
    tmp_path: Path, whole: dict[str, list[tuple[object, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    options = {"n_workers": 2, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        before = client.run(os.getpid)
        assert len(set(before.values())) == 2
        at_half(monkeypatch, lambda: os.kill(next(iter(before.values())), signal.SIGKILL))
        simhw.sweep(grown(POINTS), tmp_path / "s.db", scheduler=cluster.scheduler_address)
        assert next(iter(before)) not in client.run(os.getpid)
    assert rows(tmp_path / "s.db") == whole


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """The address of a scheduler, and its two workers, which nothing starts anew."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    file = tmp_path / "scheduler.json"
    local = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    worker = ["worker", *local, "--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path)]
    started = [
        subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]])
        for arguments in (["scheduler", *local, "--port", "0"], worker, worker)
    ]
    try:
        while not file.exists():
            assert started[0].poll() is None
            time.sleep(0.05)
        yield json.loads(file.read_text(encoding="utf-8"))["address"], started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


@pytest.mark.usefixtures("alarm")
def test_a_worker_that_is_lost_for_good_leaves_its_points_to_the_other(
    cluster: tuple[str, list["subprocess.Popen[bytes]"]],
    tmp_path: Path,
    whole: dict[str, list[tuple[object, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from distributed import Client

    address, workers = cluster
    with Client(address) as client:
        client.wait_for_workers(2)
        at_half(monkeypatch, workers[0].kill)
        simhw.sweep(grown(POINTS), tmp_path / "s.db", scheduler=address)
        assert workers[0].wait() == -signal.SIGKILL
        assert list(client.run(os.getpid).values()) == [workers[1].pid]
    assert rows(tmp_path / "s.db") == whole


@pytest.mark.usefixtures("alarm")
def test_a_scheduler_that_is_not_there_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("simhw.sweeps.cluster.CONNECT_SECONDS", 1)
    with pytest.raises(SimhwError, match=r"--scheduler tcp://127.0.0.1:9: no scheduler answers there"):
        simhw.sweep(grown(1), tmp_path / "s.db", scheduler="tcp://127.0.0.1:9")
