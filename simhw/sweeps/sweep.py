"""Running a sweep: what is known already is kept, the rest runs, and every outcome is written as it comes."""

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simhw.errors import SimhwError, quoted
from simhw.progress import tell, track
from simhw.simulation.engine import MOST_WORKERS, cores
from simhw.sources import made_by
from simhw.sweeps.cluster import on_cluster
from simhw.sweeps.description import read_description
from simhw.sweeps.points import Point, Points, missing
from simhw.sweeps.processes import Processes
from simhw.sweeps.store import Store, canonical
from simhw.sweeps.work import Outcome, Task, failed, run_task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finished:
    """A sweep that has run.

    Attributes
    ----------
    store : Path
    frame : DataFrame
        A row per point; see `simhw.sweeps.store.read_store`.
    points, equal, known, run : int
        Points; how many more the file asks for that are equal to them; of how many the result was there; how many ran.
    """

    store: Path
    frame: "pd.DataFrame"
    points: int
    equal: int
    known: int
    run: int

    @property
    def failed(self) -> int:
        """Points without a result."""
        return int((self.frame["status"] != "done").sum())


def sweep(
    description: str | os.PathLike[str] | Mapping[str, Any],
    store: str | os.PathLike[str] | None = None,
    *,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> "pd.DataFrame":
    """Run the points of a sweep that a store has no result of; see docs/sweeps.md.

    Parameters
    ----------
    description : path or mapping
        A sweep file, or what such a file holds.
    store : path, optional
        Where results are kept; by default the file's name with ``.db``, in the current folder.
    jobs : int, optional
        Processes, by default one per processor core.  0 runs all in this one.  In a script, processes can only be
        started under ``if __name__ == "__main__":``.
    scheduler : str, optional
        The address of a Dask scheduler, whose workers run the points.
    progress : bool
        Show a bar with the time left where standard error is a terminal.

    Returns
    -------
    DataFrame
        A row per point: what it is, its ``status`` (``done`` or ``failed``), the figures of the whole step with units
        in their names, and the ``error`` of one that failed.

    Raises
    ------
    SimhwError
        The file, the store or an option cannot be used.  What is wrong with a single point becomes its ``error``.
    """
    return run_sweep(description, store, jobs, scheduler, progress).frame


def default_store(description: str | os.PathLike[str] | Mapping[str, Any]) -> Path:
    """The store of a sweep file, in the current folder."""
    return Path("sweep.db" if isinstance(description, Mapping) else f"{Path(description).stem}.db")


def run_sweep(
    description: str | os.PathLike[str] | Mapping[str, Any],
    store: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Finished:
    """What `sweep` does, with the counts of what was done."""
    if jobs is not None and not (isinstance(jobs, int) and 0 <= jobs <= MOST_WORKERS):
        raise SimhwError(f"jobs {quoted(jobs)}: give from 1 to {MOST_WORKERS}, or 0 for none but this process")
    read = read_description(description)
    where = "sweep" if isinstance(description, Mapping) else str(Path(description))
    points = Points(read, where)
    processes = Processes(jobs or cores() if scheduler is None and jobs != 0 else 0)
    # Processes end before the store is closed.
    with Store(store if store is not None else default_store(description)) as kept, closing(processes):
        known = kept.hashes()
        to_run: list[Point] = []
        begun = 0
        for point in points.plan(progress):
            if missing(point, known):
                to_run.append(point)
                begun += processes.begin(partial(points.task, point))
        text = canonical(read)
        _tell_of_another(kept, points, known, text, where)
        kept.plan(points, text)
        kept.keep(failed(point.hash, point.error) for point in points.found if point.error is not None)
        tasks = map(points.task, to_run[begun:])
        done = 0
        # Where there is nothing to run, no scheduler needs to be there.
        with closing(_outcomes(tasks, processes, jobs, scheduler if to_run else None)) as outcomes:
            shown = track(outcomes, "points", len(to_run)) if progress else outcomes
            try:
                for outcome in shown:
                    kept.keep([outcome])
                    done += 1
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"{len(points.found) - len(to_run) + done} of {len(points.found)} points are in {kept.path}, and "
                    "the same command goes on"
                ) from None
        there = sum(point.hash in known for point in points.found)
        return Finished(kept.path, kept.frame(), len(points.found), points.equal, there, len(to_run))


def _outcomes(
    tasks: Iterator[Task], processes: Processes, jobs: int | None, scheduler: str | None
) -> Generator[Outcome, None, None]:
    """Run tasks wherever they are to be run."""
    if scheduler is not None:
        yield from on_cluster(tasks, scheduler)
    elif jobs == 0:
        yield from map(run_task, tasks)
    else:
        yield from processes.run(tasks)


def _tell_of_another(store: Store, points: Points, known: set[str], description: str, where: str) -> None:
    """Say what happens to a store that another simhw or another sweep has written."""
    before = store.about
    if not before.made_by:
        return
    if before.made_by != made_by():
        tell(
            f"{store.path}: was written by {before.made_by}, this is {made_by()}; a result counts for the simhw that "
            f"gave it, so all points run anew; its {len(known):,} results stay in the store"
        )
    elif before.description != description:
        hashes = {point.hash for point in points.found}
        tell(
            f"{store.path}: was written for another sweep than {where} is now; of {len(hashes):,} points "
            f"{len(hashes & known):,} have a result there, the others run; {len(known - hashes):,} results that are of "
            "no point any more stay in the store"
        )
