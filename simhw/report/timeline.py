"""The timeline of one operation, for a viewer such as Perfetto: what tiles, DMA engine and DRAM channels did, and when.

The file is JSON in the Trace Event Format: complete events ("X") on tracks, metadata events that name them, counters.
Viewers read times to whole nanoseconds and drop events that overlap on a track, so starts and ends are rounded to that.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from simhw.files.writing import replacing
from simhw.memory.activity import Activity
from simhw.memory.model import MemoryCost
from simhw.results.step import Results
from simhw.version import __version__

MOST_EVENTS = 100_000
"""Events in a file at the most: about 20 MB of text, and enough for 200 MB of traffic in containers of 2 KB."""
BINS = 256
"""Values of each counter over the length of the file, about as many as a screen shows apart."""
PROCESSES = {"DMA": 1, "DRAM": 2, "tiles": 3}
"""The groups of tracks, in the order of the screen."""
CATEGORIES = {"DMA": "transfer", "DRAM": "memory", "tiles": "compute"}

Event = dict[str, Any]


@dataclass(frozen=True)
class Timeline:
    """What was written.

    Attributes
    ----------
    events : int
        Complete events; metadata and counters come on top.
    complete_ns : float
        Up to here everything that began is in the file; infinite where nothing was cut.
    """

    events: int
    complete_ns: float


def write_timeline(
    path: str | os.PathLike[str],
    cost: MemoryCost,
    results: Results,
    layer: str,
    operation: str,
    limit: int = MOST_EVENTS,
) -> Timeline:
    """Write the timeline of an operation; the same operation gives the same file.

    Parameters
    ----------
    path : path
        The caller checks its suffix.
    cost : MemoryCost
        Of a recorded run: `simhw.simulation.timeline.timeline`.
    results : Results
        Of the whole step: its machine and provenance are named in the file.
    layer, operation : str
    limit : int
        Most events; what begins later than those is cut, on all tracks alike.

    Raises
    ------
    SimhwError
        The file cannot be written.
    """
    intervals = sorted([*cost.activities, *_moving(cost.activities)], key=lambda each: (each.start_ns, -each.end_ns))
    complete_ns = min(cost.recorded_ns, intervals[limit].start_ns if len(intervals) > limit else inf)
    kept = [each for each in intervals if each.start_ns < complete_ns]
    end_ns = cost.cycles * 1e9 / results.machine.values.clock_hz
    tracks = {
        track: number for number, track in enumerate(sorted({_track(each) for each in kept}, key=_order), start=1)
    }
    about = _about(cost, results, layer, operation, end_ns) | {"events": len(kept), "cut": "no"}
    marks: list[Event] = []
    if complete_ns < inf:
        about["cut"] = f"the first {len(kept)} events: complete up to {complete_ns / 1e3:.3f} of {end_ns / 1e3:.3f} us"
        marks = [
            {"ph": "i", "s": "g", "name": "cut here", "pid": PROCESSES["DMA"], "tid": 1, "ts": round(complete_ns) / 1e3}
        ]
    events = [
        *_names(tracks, f"{layer} {operation}"),
        *(_event(each, tracks) for each in kept),
        *_counters(kept, min(complete_ns, end_ns)),
        *marks,
    ]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f'{{"displayTimeUnit": "ns", "otherData": {json.dumps(about)}, "traceEvents": [\n')
        file.write(",\n".join(json.dumps(event, allow_nan=False) for event in events))
        file.write("\n]}\n")
    return Timeline(len(kept), complete_ns)


def _about(cost: MemoryCost, results: Results, layer: str, operation: str, end_ns: float) -> dict[str, Any]:
    return {
        "simhw": __version__,
        **{
            name: results.provenance[name]
            for name in ("machine", "machine_hash", "trace", "trace_hash", "sampling", "grown_to")
        },
        "layer": layer,
        "operation": operation,
        "nanoseconds": end_ns,
        "cycles": cost.cycles,
        "bound_by": cost.bound_by,
        "cycles_by_cause": cost.shares,
        "blocking": str(cost.blocking),
        "off_chip_bytes": cost.off_chip_bytes,
    }


def _moving(intervals: Sequence[Activity]) -> Iterator[Activity]:
    """The part of each job in which its data move; before that it waits for the jobs ahead of it."""
    first: dict[tuple[Any, ...], float] = {}
    for each in intervals:
        if each.unit.startswith("channel"):
            job = (each.facts["step"], each.facts["tensor"], each.facts["way"] == "write")
            first[job] = min(each.start_ns, first.get(job, inf))
    for each in intervals:
        if each.unit == "DMA":
            job = (each.facts["step"], each.facts["tensor"], each.facts["way"] == "store")
            if job in first:
                yield Activity(each.unit, "moving", first[job], each.end_ns, each.facts)


def _track(interval: Activity) -> tuple[str, str]:
    """(process, track) of an interval, so that what shares a track never overlaps.

    A tensor's blocks of even and of odd steps are held by the two halves of its buffer; those of a half follow one
    another.
    """
    if interval.unit == "DMA":
        half = "odd" if int(interval.facts["step"]) % 2 else "even"
        return "DMA", f"{interval.facts['way']} {interval.facts['tensor']}, {half} steps"
    return ("tiles" if interval.unit.startswith("tile") else "DRAM"), interval.unit


def _order(track: tuple[str, str]) -> tuple[int, list[str | int]]:
    """By process, and numbers in a track's name by their value."""
    process, name = track
    return PROCESSES[process], [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _names(tracks: dict[tuple[str, str], int], operation: str) -> Iterator[Event]:
    """Metadata events."""
    for process, pid in PROCESSES.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": f"{process}: {operation}"}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
    for (process, name), tid in tracks.items():
        yield {"ph": "M", "name": "thread_name", "pid": PROCESSES[process], "tid": tid, "args": {"name": name}}
        yield {
            "ph": "M",
            "name": "thread_sort_index",
            "pid": PROCESSES[process],
            "tid": tid,
            "args": {"sort_index": tid},
        }


def _event(interval: Activity, tracks: dict[tuple[str, str], int]) -> Event:
    """A complete event; both ends are rounded, so that what follows without a gap does so in the file."""
    track = _track(interval)
    start, end = round(interval.start_ns), round(interval.end_ns)
    place = {"pid": PROCESSES[track[0]], "tid": tracks[track], "ts": start / 1e3, "dur": (end - start) / 1e3}
    return {"ph": "X", "name": interval.name, "cat": CATEGORIES[track[0]], **place, "args": interval.facts}


def _counters(intervals: Sequence[Activity], end_ns: float) -> Iterator[Event]:
    """Tiles at work, and what the DRAM reads and writes: means of equal stretches of time."""
    edges = np.linspace(0, end_ns, BINS + 1)
    tiles = [each for each in intervals if each.unit.startswith("tile")]
    data = [each for each in intervals if each.unit.startswith("channel")]
    lines = {("tiles", "tiles at work", "tiles"): _rates(tiles, [each.end_ns - each.start_ns for each in tiles], edges)}
    for way in ("read", "write"):
        part = [each for each in data if each.facts["way"] == way]
        lines["DRAM", f"{way} GB/s", way] = _rates(part, [float(each.facts["bytes"]) for each in part], edges)
    for (process, name, series), values in lines.items():
        for (start, _), value in zip(pairwise(edges), values, strict=True):
            yield _count(process, name, series, start, value)
        yield _count(process, name, series, end_ns, 0.0)


def _count(process: str, name: str, series: str, time_ns: float, value: float) -> Event:
    counter = {"ph": "C", "name": name, "pid": PROCESSES[process], "tid": 0, "ts": round(time_ns) / 1e3}
    return counter | {"args": {series: round(float(value), 3)}}


def _rates(
    intervals: Sequence[Activity], amounts: Sequence[float], edges: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Amount per ns between the edges, where each interval brings its amount evenly from start to end."""
    total = np.zeros(len(edges))
    for each, amount in zip(intervals, amounts, strict=True):
        # All of it lies before later edges, and none before earlier ones.
        first, last = np.searchsorted(edges, (each.start_ns, each.end_ns))
        total[last:] += amount
        if last > first:
            total[first:last] += amount * (edges[first:last] - each.start_ns) / (each.end_ns - each.start_ns)
    steps: npt.NDArray[np.float64] = np.diff(total) / np.diff(edges)
    return steps
