"""Simulations that figures need, and what is kept of them, so that a run goes on where another one was stopped.

What is kept lies in a file per simulation, whose name covers all that can change its result: the trace's content, the
values of the machine and its baseline, and simhw's own sources.  What a machine is called changes no result, so a
machine of a name and its like by overrides are simulated once.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from simhw.errors import SimhwError
from simhw.files.reading import parse_json, read_text
from simhw.files.writing import replacing
from simhw.machine.machine import Machine, baseline_of, load_machine
from simhw.machine.overrides import split_machine
from simhw.progress import track
from simhw.reproduce.networks import Step
from simhw.reproduce.readings import what_counts
from simhw.reproduce.sums import Measured
from simhw.sources import code_hash
from simhw.version import __version__

MAX_KEPT_BYTES = 64 << 20
AT_A_TIME = 6
"""Machines that a process runs on a trace that it has read."""


@dataclass(frozen=True)
class Simulation:
    """A step on a machine.

    Attributes
    ----------
    step : Step
    machine : str
        As the command line names it.
    memories : bool
        Whether memories count; then the step is grown to the batch that trained.
    baseline : str or None
        In place of the one that the machine's file names.
    """

    step: Step
    machine: str
    memories: bool = False
    baseline: str | None = None

    @property
    def command(self) -> str:
        """What prints the same figures."""
        memories = f" --batch {self.step.batch}" if self.step.batch else ""
        rest = memories if self.memories else " --memory ideal"
        baseline = f" --baseline {self.baseline}" if self.baseline else ""
        return f"simhw run --trace {self.step.path} --pe {self.machine}{baseline}{rest}"


def run(simulation: Simulation) -> Measured:
    """Simulate a step; on one thread, since others run beside it."""
    (found,) = _run([simulation])
    return found


def _run(simulations: list[Simulation]) -> Iterator[Measured]:
    """Simulate machines on one trace, which is read once."""
    from simhw.simulation.api import simulate
    from simhw.trace.reader import load_trace

    trace = load_trace(simulations[0].step.path)
    for each in simulations:
        machine = _loaded(each.machine, each.memories)
        baseline = _loaded(each.baseline, each.memories) if each.baseline else None
        batch = each.step.batch if each.memories else None
        yield Measured.of(simulate(trace, machine, progress=False, baseline=baseline, workers=1, batch=batch))


def _loaded(machine: str, memories: bool) -> Machine:
    name, overrides = split_machine(machine)
    return load_machine(name, **({} if memories else {"memory.model": "ideal"}), **overrides)


class Store:
    """Simulations that were run, in a folder.

    Parameters
    ----------
    folder : Path
        Made when the first is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Simulation, Measured] = {}

    def path(self, simulation: Simulation) -> Path:
        """Where a simulation's result lies."""
        parts = (simulation.step.hash, str(simulation.step.batch) if simulation.memories else "ideal")
        hashes = _machine_hashes(simulation.machine, simulation.baseline, simulation.memories)
        text = " ".join([*parts, *hashes, code_hash(), __version__])
        stem = Path(simulation.step.path).stem
        return self._folder / f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def __contains__(self, simulation: Simulation) -> bool:
        return simulation in self._known or self.path(simulation).is_file()

    def __getitem__(self, simulation: Simulation) -> Measured:
        """What a simulation gave; it is run where it was not yet."""
        if simulation not in self._known:
            path = self.path(simulation)
            if not path.is_file():
                self.keep(simulation, run(simulation))
            told = parse_json(read_text(path, MAX_KEPT_BYTES, SimhwError, "a kept simulation"), str(path), SimhwError)
            try:
                self._known[simulation] = Measured.read(told)
            except (KeyError, TypeError, IndexError, AttributeError):
                raise SimhwError(f"{path}: not a kept simulation; remove it, and it is run anew") from None
        return self._known[simulation]

    def keep(self, simulation: Simulation, measured: Measured) -> None:
        """Write a result; whoever reads it gets what the file holds, whether it was run now or before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.path(simulation)) as temporary:
            temporary.write_text(json.dumps(measured.written(), allow_nan=False) + "\n", encoding="utf-8")

    def run_missing(self, simulations: Iterable[Simulation], jobs: int = 1) -> int:
        """Run what is not there yet, `jobs` at a time, and keep each at once; gives how many were run."""
        # By path: a machine of a name may be another's like.
        missing = {self.path(each): each for each in dict.fromkeys(simulations) if each not in self}
        by_trace: dict[str, list[Simulation]] = {}
        for each in missing.values():
            by_trace.setdefault(each.step.path, []).append(each)
        parts = [
            found[start : start + AT_A_TIME] for found in by_trace.values() for start in range(0, len(found), AT_A_TIME)
        ]
        if jobs == 1:
            for part in track(parts, "simulations", len(parts)):
                _run_and_keep(self._folder, part)
        elif parts:
            self._in_processes(parts, jobs)
        return len(missing)

    def _in_processes(self, parts: list[list[Simulation]], jobs: int) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, as_completed

        # Spawned: a fork of a process that runs threads may hang.
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(_run_and_keep, self._folder, part) for part in parts]
            try:
                for future in track(as_completed(futures), "simulations", len(futures)):
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _run_and_keep(folder: Path, simulations: list[Simulation]) -> None:
    store = Store(folder)
    for simulation, measured in zip(simulations, _run(simulations), strict=True):
        store.keep(simulation, measured)


@lru_cache(maxsize=4096)
def _machine_hashes(machine: str, baseline: str | None, memories: bool) -> tuple[str, str]:
    """Hashes of a machine and of its baseline, as they are run; empty where it has none."""
    made = _loaded(machine, memories)
    beside = baseline_of(made) if baseline is None else _loaded(baseline, memories)
    return _hash(made), _hash(beside) if beside else ""


def _hash(machine: Machine) -> str:
    # Machines of the same values draw different power where their costs are of different tiles.
    counts = {**what_counts(machine), "tile_powers_mw": machine.tile_powers_mw}
    return hashlib.sha256(json.dumps(counts, sort_keys=True).encode()).hexdigest()[:16]
