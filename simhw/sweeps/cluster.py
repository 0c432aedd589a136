"""Points on a Dask cluster: workers anywhere that see the same files and have the same simhw."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from simhw.errors import SimhwError, quoted
from simhw.sources import made_by
from simhw.sweeps.work import Outcome, Task, failed, run_task

CONNECT_SECONDS = 30
AHEAD = 2
"""Tasks that wait for each thread of the cluster: enough that none is idle, few enough for the scheduler's memory."""
LEAST_AHEAD = 64
"""For workers that are still to come."""


def on_cluster(tasks: Iterator[Task], address: str) -> Iterator[Outcome]:
    """Run tasks on the workers of a scheduler, and give the outcome of each as it ends.

    Dask begins the task of a worker that is lost anew, on another one.

    Parameters
    ----------
    tasks : iterator of Task
    address : str
        Of the scheduler: ``tcp://host:8786``.

    Raises
    ------
    SimhwError
        Dask is not installed, there is no scheduler or it is lost, or a worker has another simhw.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise SimhwError("--scheduler needs Dask: pip install 'simhw[cluster]'") from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise SimhwError(
            f"--scheduler {quoted(address)[1:-1]}: no scheduler answers there ({error}); start one by `dask scheduler`"
        ) from None
    with client:
        _check_workers(client, address)

        def submit(task: Task) -> Any:
            return client.submit(run_task, task, key=f"simhw-{task.hash}", pure=False)

        threads = sum(client.ncores().values())
        hashes: dict[str, str] = {}
        running = as_completed(loop=client.loop)
        for task in islice(tasks, max(LEAST_AHEAD, AHEAD * threads)):
            hashes[f"simhw-{task.hash}"] = task.hash
            running.add(submit(task))
        for future in running:
            if (more := next(tasks, None)) is not None:
                hashes[f"simhw-{more.hash}"] = more.hash
                running.add(submit(more))
            yield _outcome(future, hashes.pop(future.key), address)


def _outcome(future: Any, point_hash: str, address: str) -> Outcome:
    """What a task gave, or why it gave nothing.

    Raises
    ------
    SimhwError
        It was lost with the scheduler, or came from another simhw.
    """
    if future.status == "error":
        error = future.exception()
        return failed(point_hash, f"{type(error).__name__}: {error}")
    if future.status != "finished":
        raise SimhwError(f"--scheduler {address}: it is gone; start it again, and the same command goes on")
    outcome: Outcome = future.result()
    _check_make(outcome.made_by, address)
    return outcome


def _check_workers(client: Any, address: str) -> None:
    """Ask the workers that are there for their simhw."""
    try:
        found = client.run(made_by)
    except ImportError as error:
        raise SimhwError(f"--scheduler {address}: its workers lack something: {error}; install simhw there") from None
    for make in found.values():
        _check_make(make, address)


def _check_make(make: str, address: str) -> None:
    if make != made_by():
        raise SimhwError(f"--scheduler {address}: a worker has {make}, this is {made_by()}; install the same on both")
