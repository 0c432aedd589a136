"""A sweep that is killed (SIGKILL) at random moments and started again, until its store is whole.

``python -m tests.sweeps.kills 20`` kills it twenty times, and says what it found.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.sweeps.runs import grown, rows

POINTS = 120
"""With memories modelled: so many that most of a run goes into points, not into starting."""
ORPHANS_SECONDS = 120
"""Time for what a killed process has begun to end by itself."""


@dataclass
class Kills:
    """What was seen.

    Attributes
    ----------
    moments : list of float
        Of each kill, the seconds since the process was started.
    kept : list of int
        The points that the store then had an outcome of.
    whole : int
        Runs that ended before their kill.
    """

    moments: list[float] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    whole: int = 0


def started(folder: Path, store: str) -> "subprocess.Popen[bytes]":
    """A sweep in a session of its own, by two processes."""
    command = [sys.executable, "-m", "simhw", "sweep", "sweep.yaml", store, "--jobs", "2"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)


def in_group(group: int) -> bool:
    """Whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def kill_and_resume(folder: Path, number: int, seed: int = 0) -> Kills:
    """Kill a sweep so many times at random moments; whatever its store then holds is what an uninterrupted run gives.

    The moments are spread evenly from a run's start to its end.  A store that becomes whole is taken away.
    """
    (folder / "sweep.yaml").write_text(yaml.safe_dump(dict(grown(POINTS, "modelled"))), encoding="utf-8")
    begun = time.monotonic()
    assert started(folder, "whole.db").wait() == 0
    duration = time.monotonic() - begun
    whole, store, rng, seen = rows(folder / "whole.db"), folder / "killed.db", random.Random(seed), Kills()
    assert len(whole["outcomes"]) == POINTS
    while len(seen.kept) < number:
        fresh, begun = not store.exists(), time.monotonic()
        process = started(folder, store.name)
        try:
            assert process.wait(rng.uniform(0, duration)) == 0
            if fresh:
                # Later ones are to be killed while they run, on a computer that is less busy now too.
                duration = time.monotonic() - begun
            assert rows(store) == whole
            store.unlink()
            seen.whole += 1
            continue
        except subprocess.TimeoutExpired:
            process.kill()
            moment = time.monotonic() - begun
            assert process.wait() == -signal.SIGKILL
            seen.moments.append(moment)
        deadline = time.monotonic() + ORPHANS_SECONDS
        while in_group(process.pid):
            assert time.monotonic() < deadline, "a process of the killed sweep is still there"
            time.sleep(0.05)
        seen.kept.append(check_part(store, whole))
        if seen.kept[-1] == POINTS:
            store.unlink()
    assert started(folder, store.name).wait() == 0
    assert rows(store) == whole
    return seen


def check_part(store: Path, whole: dict[str, list[tuple[object, ...]]]) -> int:
    """Check that a store holds nothing but rows of the whole one; gives how many outcomes it has."""
    if not store.exists() or not store.stat().st_size:
        return 0  # killed before it was made
    found = rows(store) if planned(store) else {}
    for table in ("points", "outcomes", "totals"):
        assert set(found.get(table, ())) <= set(whole[table])
    outcomes = found.get("outcomes", ())
    # An outcome is there with all of its figures, or not at all.
    assert len(found.get("totals", ())) * len(whole["outcomes"]) == len(whole["totals"]) * len(outcomes)
    assert len(found.get("points", whole["points"])) == len(whole["points"])
    return len(outcomes)


def planned(store: Path) -> bool:
    """Whether the points were written."""
    import sqlite3

    connection = sqlite3.connect(store)
    try:
        return bool(connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'points'").fetchone()[0])
    finally:
        connection.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = kill_and_resume(Path(scratch), int(sys.argv[1]))
    for moment, kept in zip(found.moments, found.kept, strict=True):
        print(f"killed after {moment:5.2f} s: {kept:3} of {POINTS} points in the store")
    print(f"{len(found.kept)} kills; {found.whole} runs ended before theirs")
    print("every store was a part of the uninterrupted one, and the last one equals it row for row")
