"""The memory hierarchy at work, under SimPy: the units of which a protocol is made.  Times are in ns.

A `Hierarchy` is one operation on its way through the memories: its block steps, its tiles, and for each step the
moments at which its blocks are there, its tiles may start, they have ended and its outputs are off chip.  Processes
wait for these moments and bring them about.  A `MemoryController` times transfers on the DRAM in the order in which DMA
engines hand them over; an engine that finds no place in it waits in its queue.  A `StepBuffer` has room for the blocks
of some steps.  Who waits for whom is the protocol: `simhw.memory.protocol` has ours, and docs/memory.md shows how to
write another one.
"""

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy
from simpy.resources.resource import PriorityRequest

from simhw.errors import SimhwError
from simhw.memory.activity import Activity, Facts
from simhw.memory.dram import Dram
from simhw.memory.steps import Job, Step
from simhw.trace.layer import TensorName

Process = Generator[simpy.Event, Any, None]
"""What SimPy runs: a generator that yields the events for which it waits."""


class Moment(simpy.Event):
    """An event that is brought about now (`succeed`) or for a time that is known ahead (`come_at`)."""

    def come_at(self, time_ns: float) -> None:
        """Come at a time that is not yet past, exact to the last bit.

        SimPy schedules by delays, and ``now + (time - now)`` may miss the time by a rounding.
        """
        environment = self.env
        delay = time_ns - environment.now
        if environment.now + delay == time_ns:
            self._ok, self._value = True, None
            environment.schedule(self, delay=delay)
        else:
            # Between half of a time and the time itself the delay is exact (Sterbenz): go there first.
            stop = environment.timeout(0.75 * time_ns - environment.now)
            stop.callbacks.append(lambda _: self.come_at(time_ns))


class Hierarchy:
    """An operation on its way through the memories: what the processes of a protocol share.

    Parameters
    ----------
    steps : sequence of Step
        At least one.
    ratios : mapping of tensor name to float
        Compressed size over size.
    tile_ns : (tiles,) float64
        Time that each tile is busy with the whole operation, memories aside [ns].
    dram : Dram
        In the state in which the operation finds it; keeps its counters.
    record : bool
        Keep what units do.

    Attributes
    ----------
    environment : simpy.Environment
        Where processes are started; its ``now`` is the time.
    steps, ratios, tile_ns, dram, record
        As given.
    working : tuple of int
        Tiles that need a process: all of them where activities are recorded, else the busiest alone.  Every tile takes
        the same share of its work in a step, so none is later than the busiest.
    loaded, ready, computed, stored : list of Moment
        Of each step: its blocks are there, its tiles may start, they have ended, its outputs are off chip.
    first_ready_ns, last_computed_ns : float
        When the first step was loaded and the last one computed.
    transfers : list of Activity
        What was handed over to the DRAM, in that order, where activities are recorded.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        ratios: Mapping[TensorName, float],
        tile_ns: npt.NDArray[np.float64],
        dram: Dram,
        record: bool = False,
    ) -> None:
        self.environment = environment = simpy.Environment()
        self.steps, self.ratios, self.dram, self.record = steps, ratios, dram, record
        self.tile_ns: list[float] = tile_ns.tolist()
        self.working = tuple(range(len(tile_ns))) if record else (int(tile_ns.argmax()),)
        self.loaded, self.ready, self.computed, self.stored = ([Moment(environment) for _ in steps] for _ in range(4))
        self.first_ready_ns = self.last_computed_ns = 0.0
        self.transfers: list[Activity] = []
        self._work: dict[tuple[int, int], Activity] = {}
        self._to_start = [len(self.working)] * len(steps)
        self._end_ns = [0.0] * len(steps)
        self._spilled: set[int] = set()

    def run(self) -> float:
        """Run the processes that were started until every step is computed and stored; gives the time.

        Raises
        ------
        SimhwError
            Steps are left, and no process goes on.
        """
        done, left = Moment(self.environment), 2 * len(self.steps)

        def passed(_: simpy.Event) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.succeed()

        for moment in (*self.computed, *self.stored):
            moment.callbacks.append(passed)
        self.loaded[0].callbacks.append(self._first_ready)
        self.computed[-1].callbacks.append(self._last_computed)
        try:
            self.environment.run(until=done)
        except RuntimeError as error:
            # SimPy says so when no event is left; an error of a process has the process's own as its cause.
            if self.environment.peek() < inf or error.__cause__ is not None:
                raise
            raise SimhwError(f"memory protocol: {self._stuck()}, and no process goes on") from error
        return float(self.environment.now)

    def work(self, tile: int, index: int, duration_ns: float) -> Process:
        """Let a tile work on a step; when all that are `working` have ended, the step is computed."""
        environment, computed = self.environment, self.computed[index]
        start = float(environment.now)
        end = start + duration_ns
        last = self._end_ns[index] = max(self._end_ns[index], end)
        self._to_start[index] -= 1
        if self.record and end > start:
            facts: Facts = {"step": index, "share of the work": self.steps[index].share}
            self._work[index, tile] = Activity(f"tile {tile}", f"step {index}", start, end, facts)
        # The last one to start knows when all have ended, which is most often when it has.
        if not self._to_start[index]:
            computed.come_at(last)
            if end == last:
                yield computed
                return
        own = Moment(environment)
        own.come_at(end)
        yield own

    @property
    def tile_work(self) -> list[Activity]:
        """Tiles at work, by step and tile, where activities are recorded."""
        return [self._work[key] for key in sorted(self._work)]

    def transfer(self, jobs: Sequence[Job], index: int) -> float:
        """Move jobs of a step, all handed over to the DRAM now; gives the time at which the last has moved.

        Raises
        ------
        SimhwError
            Partial sums are read that were not written before.
        """
        start = end = float(self.environment.now)
        for job in jobs:
            if job.partial:
                self._spill(job)
            payload = job.payload_bytes(self.ratios)
            moved = self.dram.transfer(job.first, job.runs, job.run, job.stride, payload, job.write, start)
            if self.record:
                self.transfers.append(_transfer(job, index, payload, start, moved))
            end = max(end, moved)
        return end

    def _spill(self, job: Job) -> None:
        if job.write:
            self._spilled.add(job.first)
        elif job.first not in self._spilled:
            raise SimhwError(
                f"memory protocol: partial sums of {job.tensor.upper()} are read at {self.environment.now:g} ns, "
                "before they were written; store the step that they come from first"
            )

    def _first_ready(self, _: simpy.Event) -> None:
        self.first_ready_ns = float(self.environment.now)

    def _last_computed(self, _: simpy.Event) -> None:
        self.last_computed_ns = float(self.environment.now)

    def _stuck(self) -> str:
        for index in range(len(self.steps)):
            for name in ("loaded", "ready", "computed", "stored"):
                if not getattr(self, name)[index].triggered:
                    return f"step {index} is never {name}"
        return "the end never comes"


class MemoryController:
    """Takes transfers from DMA engines in the order in which they come, and times their containers on the DRAM.

    What it holds is served in order of arrival, and the DRAM opens rows for it ahead of the data: nothing that comes
    later can delay it, so the end of a transfer is known when it is taken.

    Parameters
    ----------
    hierarchy : Hierarchy
    places : int, optional
        Transfers that it holds at a time.  Engines wait in a queue for a place, those of a lower `priority` ahead of
        others, then the first to come.  None has room for all, so that no engine ever waits.
    """

    def __init__(self, hierarchy: Hierarchy, places: int | None = None) -> None:
        self._hierarchy = hierarchy
        self._places = None if places is None else simpy.PriorityResource(hierarchy.environment, places)

    def load(self, index: int, priority: int = 0) -> Process:
        """Hand over a step's blocks, waiting until they are taken; the step is loaded when all of them are there."""
        return self.hand_over(self._hierarchy.steps[index].loads, index, self._hierarchy.loaded[index], priority)

    def store(self, index: int, priority: int = 0) -> Process:
        """Hand over a step's outputs, waiting until they are taken; the step is stored when they are off chip."""
        return self.hand_over(self._hierarchy.steps[index].stores, index, self._hierarchy.stored[index], priority)

    def hand_over(self, jobs: Sequence[Job], index: int, moved: Moment, priority: int = 0) -> Process:
        """Hand over jobs of a step as one transfer, waiting until it is taken.

        Parameters
        ----------
        jobs : sequence of Job
        index : int
            The step.
        moved : Moment
            Comes when all of them have moved; now where there are none.
        priority : int
            In the queue for a place.
        """
        if not jobs:
            moved.succeed()
            return
        if self._places is not None:
            place = self._places.request(priority)
            yield place
            moved.callbacks.append(partial(_release, self._places, place))
        moved.come_at(self._hierarchy.transfer(jobs, index))


class StepBuffer:
    """Room for the blocks of `depth` steps: a step takes the place that the one `depth` steps before it leaves.

    A wait for a moment costs nothing beside it; a place that anyone may take and leave at any time is a `simpy.Store`
    or `simpy.Container`, whose every use is an event more.

    Parameters
    ----------
    depth : int
        2 for double buffering.
    left : sequence of Moment
        When each step leaves its place.
    """

    def __init__(self, hierarchy: Hierarchy, depth: int, left: Sequence[Moment]) -> None:
        self.depth = depth
        empty = Moment(hierarchy.environment)
        empty.succeed()
        self._left = [*[empty] * depth, *left]

    def take(self, index: int) -> Moment:
        """When a step has its place."""
        return self._left[index]


def _release(places: simpy.PriorityResource, place: PriorityRequest, _: simpy.Event) -> None:
    places.release(place)


def _transfer(job: Job, index: int, payload_bytes: int, start_ns: float, end_ns: float) -> Activity:
    way = "store" if job.write else "load"
    facts: Facts = {
        "step": index,
        "way": way,
        "tensor": job.tensor.upper(),
        "bytes": payload_bytes,
        "raw_bytes": job.raw_bytes,
        "containers": job.runs * job.run,
        "values": "partial sums" if job.partial else "values",
    }
    return Activity("DMA", f"step {index}: {way} {job.tensor.upper()}", start_ns, end_ns, facts, job)
