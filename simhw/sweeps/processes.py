"""Points on this computer: processes that each run one at a time, and are replaced when they die.

A process is spawned, since a fork of one that runs threads may hang.  It ends when the one that began it is gone,
however that ended: its end of the pipe is then closed.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from simhw.errors import SimhwError
from simhw.sweeps.work import Outcome, Task, failed, run_task

ATTEMPTS = 2
"""Times that a point is begun whose process is killed; the system may have killed it for what another one took."""


@dataclass
class _Worker:
    """A process and what it is to run; not `ready` until it has loaded what it needs."""

    process: BaseProcess
    task: Task
    ready: bool = False


class Processes:
    """Processes of this computer, each of which runs a task at a time.

    A process is started by its first task, so that it loads what it needs while other tasks are still made.

    Parameters
    ----------
    jobs : int
        How many there are at most.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, _Worker] = {}
        self._finished: list[BaseProcess] = []
        self._again: deque[Task] = deque()
        self._begun: dict[str, int] = {}

    def begin(self, task: Callable[[], Task]) -> bool:
        """Run a task in one more process; gives whether there was to be one more."""
        if len(self._workers) >= self._jobs:
            return False
        self._start(task())
        return True

    def run(self, tasks: Iterator[Task]) -> Iterator[Outcome]:
        """Run what was begun and more tasks, and give the outcome of each as it ends.

        A task whose process dies is begun anew once if a signal killed it, and has failed otherwise.

        Raises
        ------
        SimhwError
            A process ends before it can run anything.
        """
        while len(self._workers) < self._jobs and (task := next(tasks, None)) is not None:
            self._start(task)
        while self._workers:
            for connection in wait(list(self._workers)):
                assert isinstance(connection, Connection)
                worker = self._workers[connection]
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    outcome = self._bury(connection, tasks)
                else:
                    if not worker.ready:  # it has its task
                        worker.ready = True
                        continue
                    # Before the outcome is kept, which takes a while.
                    self._hand_out(connection, tasks)
                if outcome is not None:
                    yield outcome

    def close(self) -> None:
        """End all processes, whatever they run."""
        for connection in list(self._workers):
            self._end(connection)
        for process in self._finished:
            process.join()

    def _start(self, task: Task) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        # Else this process would hold the other end too, and never see it closed.
        theirs.close()
        self._workers[ours] = _Worker(process, task)
        self._give(ours, task)

    def _end(self, connection: Connection) -> None:
        """End a process that has nothing to lose: by itself it would take a third of a second over it."""
        worker = self._workers.pop(connection)
        worker.process.terminate()
        connection.close()
        self._finished.append(worker.process)

    def _hand_out(self, connection: Connection, tasks: Iterator[Task]) -> None:
        task = self._next(tasks)
        if task is None:
            self._end(connection)
        else:
            self._give(connection, task)

    def _next(self, tasks: Iterator[Task]) -> Task | None:
        return self._again.popleft() if self._again else next(tasks, None)

    def _give(self, connection: Connection, task: Task) -> None:
        self._workers[connection].task = task
        self._begun[task.hash] = self._begun.get(task.hash, 0) + 1
        try:
            connection.send(task)
        except OSError:
            """It has just died, which the next look at its end of the pipe tells."""

    def _bury(self, connection: Connection, tasks: Iterator[Task]) -> Outcome | None:
        """Replace a worker that died; the outcome of its task, unless it is begun anew."""
        worker = self._workers.pop(connection)
        connection.close()
        worker.process.join()
        code = worker.process.exitcode or 0
        if not worker.ready:
            raise SimhwError(
                f"a process of the sweep ended before it began ({_ending(code)}); in a script, call simhw.sweep under "
                'if __name__ == "__main__":'
            )
        outcome = None
        if code < 0 and self._begun[worker.task.hash] < ATTEMPTS:
            self._again.append(worker.task)
        else:
            told = f"the process that ran it ended ({_ending(code)}), maybe for want of memory"
            outcome = failed(worker.task.hash, told)
        if (task := self._next(tasks)) is not None:
            self._start(task)
        return outcome


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
