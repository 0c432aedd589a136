"""Points on this computer: processes that each run one at a time, and are replaced when they die.

A process is spawned, since a fork of one that runs threads may hang.  It ends when the one that began it is gone,
however that ended: its end of the pipe is then closed.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from simhw.errors import SimhwError
from simhw.sweeps.work import Outcome, Task, failed, run_task

ATTEMPTS = 2
"""Times that a point is begun whose process is killed; the system may have killed it for what another one took."""


@dataclass
class _Worker:
    """A process and what it runs; not `ready` until it has loaded what it needs."""

    process: BaseProcess
    task: Task | None = None
    ready: bool = False


def in_processes(tasks: Iterator[Task], jobs: int) -> Iterator[Outcome]:
    """Run tasks, so many at a time, and give the outcome of each as it ends.

    A task whose process dies is begun anew once if a signal killed it, and has failed otherwise.

    Raises
    ------
    SimhwError
        A process ends before it can run anything.
    """
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, _Worker] = {}
    finished: list[BaseProcess] = []
    again: deque[Task] = deque()
    begun: dict[str, int] = {}

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        # Else this process would hold the other end too, and never see it closed.
        theirs.close()
        workers[ours] = _Worker(process)

    def hand_out(connection: Connection) -> None:
        worker = workers[connection]
        worker.task = again.popleft() if again else next(tasks, None)
        if worker.task is None:
            del workers[connection]
            # It reads the end of the pipe, and ends.
            connection.close()
            finished.append(worker.process)
            return
        begun[worker.task.hash] = begun.get(worker.task.hash, 0) + 1
        try:
            connection.send(worker.task)
        except OSError:
            """It has just died, which the next look at its end of the pipe tells."""

    def bury(connection: Connection) -> Outcome | None:
        """Replace a worker that died; the outcome of its task, unless it is begun anew."""
        worker = workers.pop(connection)
        connection.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        if not worker.ready:
            raise SimhwError(
                f"a process of the sweep ended before it began ({_ending(code)}); in a script, call simhw.sweep under "
                'if __name__ == "__main__":'
            )
        start()
        if worker.task is None:
            return None
        if code < 0 and begun[worker.task.hash] < ATTEMPTS:
            again.append(worker.task)
            return None
        return failed(worker.task.hash, f"the process that ran it ended ({_ending(code)}), maybe for want of memory")

    try:
        for _ in range(jobs):
            start()
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    outcome = bury(connection)
                else:
                    workers[connection].ready = True
                    # Before the outcome is kept, which takes a while.
                    hand_out(connection)
                if outcome is not None:
                    yield outcome
    finally:
        for connection, worker in workers.items():
            worker.process.terminate()
            connection.close()
            finished.append(worker.process)
        for process in finished:
            process.join()


def _ending(code: int) -> str:
    """How a process ended."""
    if code >= 0:
        return f"exit code {code}; what it said stands above"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _serve(connection: Connection) -> None:
    """Run tasks until there are no more: the other end is closed, or its process is gone."""
    # Ctrl-C reaches all processes of a terminal: the one that writes the store decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        connection.send(None)  # loaded, and ready
        while True:
            connection.send(run_task(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
