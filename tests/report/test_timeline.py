"""Timelines: the file is read back by a schema of the Trace Event Format, and its events tell the operation's own
figures.
"""

import argparse
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from vcdvcd import VCDVCD

from simhw import Trace, load_machine, simulate
from simhw.cli import options
from simhw.errors import SimhwError, TraceError
from simhw.memory.activity import Activity
from simhw.memory.model import MemoryCost
from simhw.report.outputs import every as outputs
from simhw.report.outputs.output import Finished
from simhw.report.timeline import BINS, write_timeline
from simhw.results.step import Results
from simhw.simulation.timeline import timeline
from simhw.trace.operation import OPERATIONS
from tests.cli_runs import some_trace
from tests.memory.test_model import convolution

PLENTY = 1 << 20
NUMBER, TEXT, TIME = {"type": "number"}, {"type": "string", "minLength": 1}, {"type": "number", "minimum": 0}
ID = {"type": "integer", "minimum": 0}


def event_schema(phase: str, **fields: Any) -> dict[str, Any]:
    """Of events of one phase, as the Trace Event Format asks for them; nothing else may stand in one."""
    properties = {"ph": {"const": phase}, "name": TEXT, "pid": ID, "tid": ID, **fields}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def named(names: list[str], key: str, kind: dict[str, Any]) -> dict[str, Any]:
    args = {"type": "object", "properties": {key: kind}, "required": [key], "additionalProperties": False}
    return event_schema("M", args=args) | {
        "properties": event_schema("M", args=args)["properties"] | {"name": {"enum": names}}
    }


SCALARS = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
EVENTS = [
    event_schema("X", cat=TEXT, ts=TIME, dur=TIME, args=SCALARS),
    event_schema("C", ts=TIME, args={"type": "object", "additionalProperties": NUMBER, "minProperties": 1}),
    event_schema("i", s={"enum": ["g", "p", "t"]}, ts=TIME),
    named(["process_name", "thread_name"], "name", TEXT),
    named(["process_sort_index", "thread_sort_index"], "sort_index", {"type": "integer"}),
]
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "traceEvents": {"type": "array", "items": {"oneOf": EVENTS}},
        "displayTimeUnit": {"enum": ["ms", "ns"]},
        "otherData": {"type": "object"},
    },
    "required": ["traceEvents"],
    "additionalProperties": False,
}


class File:
    """A timeline as a viewer sees it: events by phase, complete ones by the names of their process and track."""

    def __init__(self, path: Path) -> None:
        content = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(f"{word} is no JSON")
        )
        jsonschema.Draft202012Validator(SCHEMA).validate(content)
        self.about = content["otherData"]
        self.phases: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event in content["traceEvents"]:
            self.phases[event["ph"]].append(event)
        names = {(e["pid"], e["tid"], e["name"]): e["args"] for e in self.phases["M"]}
        assert len(names) == len(self.phases["M"]), "a track is named twice"
        self.tracks: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for event in self.phases["X"]:
            process = names[event["pid"], 0, "process_name"]["name"].partition(":")[0]
            self.tracks[process, names[event["pid"], event["tid"], "thread_name"]["name"]].append(event)
        assert len({event["tid"] for event in self.phases["X"]}) == len(self.tracks), (
            "viewers take a thread's number to be its own"
        )

    def of(self, process: str) -> dict[str, list[dict[str, Any]]]:
        return {name: events for (each, name), events in self.tracks.items() if each == process}


def whole_ns(event: dict[str, Any]) -> tuple[int, int]:
    """Start and end as Perfetto reads them: start and duration each to whole nanoseconds."""
    start = round(event["ts"] * 1000)
    return start, start + round(event["dur"] * 1000)


def overlaps(events: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Neighbours that overlap."""
    times = sorted(map(whole_ns, events))
    return [(one[1], other[0]) for one, other in pairwise(times) if one[1] > other[0]]


VARIANTS = {
    "fpraker": ("fpraker", {}),
    "partial sums go out and come back": (
        "fpraker",
        {"memory.blocking": "gcpo:1x2x18x2", "memory.buffers.g.bank_bytes": 512},
    ),
    "slow buffers": ("fpraker", {"memory.buffers.w.banks": 1, "memory.transposers.count": 1}),
    "tensordash": ("tensordash", {}),
}


@pytest.fixture(scope="module")
def trace() -> Trace:
    return Trace([convolution(channels=64, filters=64)])


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS.keys())
def results(request: pytest.FixtureRequest, trace: Trace) -> Results:
    name, overrides = request.param
    return simulate(trace, load_machine(name, **overrides), progress=False)


@pytest.fixture(scope="module", params=OPERATIONS)
def operation(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def cost(trace: Trace, results: Results, operation: str) -> MemoryCost:
    return timeline(trace, results, "conv", operation, PLENTY)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, cost: MemoryCost, results: Results, operation: str) -> File:
    path = tmp_path_factory.mktemp("timeline") / "some.json"
    write_timeline(path, cost, results, "conv", operation)
    return File(path)


def of(cost: MemoryCost, unit: str) -> list[Activity]:
    return [each for each in cost.activities if each.unit.partition(" ")[0] == unit]


def test_a_recorded_run_costs_what_the_simulation_found(cost: MemoryCost, results: Results, operation: str) -> None:
    found = next(item.cost.memory for item in results.operations if item.operation == operation)
    assert found.activities == []
    for name in ("cycles", "shares", "traffic_bytes", "raw_bytes", "dram", "blocking"):
        assert getattr(cost, name) == getattr(found, name)


@pytest.mark.parametrize("options", [{"sample": 0.05, "seed": 3}, {"batch": 4}, {"batch": 6, "sample": 0.5}])
def test_sampled_and_grown_runs_are_followed_as_they_are(options: dict[str, Any]) -> None:
    trace = some_trace()
    results = simulate(trace, "fpraker", progress=False, **options)
    for item in results.operations:
        found = timeline(trace, results, item.layer, item.operation, 100)
        assert found.cycles == item.cost.overall_cycles
        assert found.traffic_bytes == item.cost.memory.traffic_bytes


def test_channels_move_the_bytes_and_open_the_rows_of_the_operation(cost: MemoryCost) -> None:
    data = of(cost, "channel")
    for way, expected in (("read", cost.dram.read_bytes), ("write", cost.dram.write_bytes)):
        assert sum(each.facts["bytes"] for each in data if each.facts["way"] == way) == expected
    assert sum(each.facts["row"] == "hit" for each in data) == cost.dram.row_hits
    assert len(data) == cost.dram.row_hits + cost.dram.row_misses
    burst = load_machine("fpraker").values.memory.dram
    for each in data:  # no faster than the bus: bytes over bytes a burst, bursts of so many ns
        assert each.end_ns - each.start_ns >= each.facts["bytes"] / burst.burst_bytes * burst.burst_ps / 1000 - 1e-6


def test_jobs_move_the_traffic_of_each_tensor(cost: MemoryCost) -> None:
    jobs = of(cost, "DMA")
    for tensor in "awg":
        for way, name in (("load", "in"), ("store", "out")):
            mine = [each.facts for each in jobs if (each.facts["tensor"], each.facts["way"]) == (tensor.upper(), way)]
            assert sum(each["bytes"] for each in mine) == cost.traffic_bytes[f"{tensor}_{name}"]
            assert sum(each["raw_bytes"] for each in mine) == cost.raw_bytes[f"{tensor}_{name}"]


def test_every_job_ends_with_its_last_container(cost: MemoryCost) -> None:
    last: dict[tuple[Any, ...], float] = {}
    for each in of(cost, "channel"):
        job = (each.facts["step"], each.facts["tensor"], each.facts["way"] == "write")
        last[job] = max(each.end_ns, last.get(job, 0))
    assert last == {(e.facts["step"], e.facts["tensor"], e.facts["way"] == "store"): e.end_ns for e in of(cost, "DMA")}


def test_a_tiles_busy_time_adds_up_to_its_load(cost: MemoryCost, results: Results, file: File) -> None:
    # All tiles wait alike for buffers and transposers: the longest load takes as long as the slowest of the three.
    longest = max(cost.tile_cycles.max(), cost.on_chip.buffer_cycles, cost.on_chip.transposer_cycles)
    loads_ns = cost.tile_cycles * longest / cost.tile_cycles.max() * 1e9 / results.machine.values.clock_hz
    busy = np.zeros(len(loads_ns))
    for each in of(cost, "tile"):
        busy[int(each.unit.split()[1])] += each.end_ns - each.start_ns
    assert busy == pytest.approx(loads_ns)
    shown = {int(name.split()[1]): events for name, events in file.of("tiles").items()}
    assert set(shown) == set(np.flatnonzero(loads_ns))
    for number, events in shown.items():  # either end is off by half a nanosecond at the most
        assert sum(end - start for start, end in map(whole_ns, events)) == pytest.approx(
            loads_ns[number], abs=len(events)
        )
        assert sum(event["args"]["share of the work"] for event in events) == pytest.approx(1)


def test_events_of_a_track_never_overlap(file: File) -> None:
    for (process, name), events in file.tracks.items():
        whole = [event for event in events if event["name"] != "moving"]
        assert overlaps(whole) == [], name
        if process == "DMA":  # what moves does so inside its job
            jobs = sorted(map(whole_ns, whole))
            moving = sorted(whole_ns(event) for event in events if event["name"] == "moving")
            assert len(moving) == len(jobs)
            assert all(job[0] <= part[0] <= part[1] == job[1] for job, part in zip(jobs, moving, strict=True))


def test_partial_sums_are_told_apart(cost: MemoryCost) -> None:
    spilled = [each.facts for each in of(cost, "DMA") if each.facts["values"] == "partial sums"]
    assert bool(spilled) == (
        str(cost.blocking) == "gcpo:1x2x18x2" and cost.raw_bytes["g_in"] * cost.raw_bytes["g_out"] > 0
    )
    assert all(each["bytes"] == each["raw_bytes"] for each in spilled)  # they go out as they are


def test_tiles_start_a_step_when_its_blocks_are_there(cost: MemoryCost) -> None:
    loaded: dict[int, float] = defaultdict(float)
    for each in of(cost, "DMA"):
        if each.facts["way"] == "load":
            loaded[int(each.facts["step"])] = max(loaded[int(each.facts["step"])], each.end_ns)
    for each in of(cost, "tile"):
        assert each.start_ns >= loaded[int(each.facts["step"])]


def test_the_last_event_ends_with_the_operation(cost: MemoryCost, results: Results, file: File) -> None:
    end_ns = cost.cycles * 1e9 / results.machine.values.clock_hz
    assert max(each.end_ns for each in cost.activities) == pytest.approx(end_ns, rel=1e-12)
    assert max(whole_ns(event)[1] for event in file.phases["X"]) == pytest.approx(end_ns, abs=0.5)
    assert file.about["nanoseconds"] == end_ns
    assert sum(file.about["cycles_by_cause"].values()) == pytest.approx(cost.cycles)
    assert (file.about["events"], file.about["cut"]) == (len(file.phases["X"]), "no")


def test_no_data_begin_in_a_refresh(cost: MemoryCost) -> None:
    pauses = of(cost, "refresh")
    dram = load_machine("fpraker").values.memory.dram
    assert len(pauses) == int(max(each.end_ns for each in cost.activities) // dram.t_refi) > 0
    for pause in pauses:
        assert pause.end_ns - pause.start_ns == pytest.approx(dram.t_rp + dram.t_rfc + dram.t_rcd)
        assert not [each for each in of(cost, "channel") if pause.start_ns <= each.start_ns < pause.end_ns]


def test_counters_add_up_to_bytes_and_busy_time(cost: MemoryCost, results: Results, file: File) -> None:
    width = file.about["nanoseconds"] / BINS
    counters: dict[str, list[float]] = defaultdict(list)
    for event in file.phases["C"]:
        counters[event["name"]].extend(event["args"].values())
    assert {len(values) for values in counters.values()} == {BINS + 1}
    rounding = BINS * width * 0.0005
    assert sum(counters["read GB/s"]) * width == pytest.approx(cost.dram.read_bytes, abs=rounding)
    assert sum(counters["write GB/s"]) * width == pytest.approx(cost.dram.write_bytes, abs=rounding)
    busy = sum(each.end_ns - each.start_ns for each in of(cost, "tile"))
    assert sum(counters["tiles at work"]) * width == pytest.approx(busy, abs=rounding)
    assert max(counters["tiles at work"]) <= results.machine.values.tiles
    peak = load_machine("fpraker").values.memory.dram.peak_bytes_per_s / 1e9
    assert 0 < max(counters["read GB/s"]) <= peak + 0.001


def shown(path: Path) -> list[tuple[Any, ...]]:
    return sorted((e["pid"], e["ts"], e["dur"], e["name"], e["args"].get("bank", -1)) for e in File(path).phases["X"])


@pytest.mark.parametrize("limit", [150, 300])
def test_over_the_limit_a_file_holds_what_began_first_and_says_so(tmp_path: Path, trace: Trace, limit: int) -> None:
    results = simulate(trace, "fpraker", progress=False)
    cost = timeline(trace, results, "conv", "forward", PLENTY)
    whole = write_timeline(tmp_path / "whole.json", cost, results, "conv", "forward")
    cut = write_timeline(tmp_path / "cut.json", cost, results, "conv", "forward", limit)
    assert whole.complete_ns == float("inf")
    assert 0 < cut.events <= limit < whole.events
    assert shown(tmp_path / "cut.json") == [
        each for each in shown(tmp_path / "whole.json") if each[1] * 1000 < round(cut.complete_ns)
    ]
    about, marks = File(tmp_path / "cut.json").about, File(tmp_path / "cut.json").phases["i"]
    assert about["cut"].startswith(f"the first {cut.events} events: complete up to {cut.complete_ns / 1e3:.3f} of ")
    assert [mark["ts"] * 1000 for mark in marks] == [round(cut.complete_ns)]
    assert File(tmp_path / "whole.json").phases["i"] == []


def test_a_full_record_of_the_dram_cuts_before_the_first_data_that_are_missing(tmp_path: Path, trace: Trace) -> None:
    results = simulate(trace, "fpraker", progress=False)
    whole, part = (timeline(trace, results, "conv", "forward", record) for record in (PLENTY, 10))
    first = [each for each in of(whole, "channel") if each.start_ns < part.recorded_ns]
    assert 0 < len(first) <= 10
    assert [each for each in of(part, "channel") if each.start_ns < part.recorded_ns] == first
    assert whole.recorded_ns == float("inf")
    cut = write_timeline(tmp_path / "cut.json", part, results, "conv", "forward")
    assert cut.complete_ns == part.recorded_ns
    assert max(event["ts"] for event in File(tmp_path / "cut.json").phases["X"]) < part.recorded_ns / 1000


def test_the_same_operation_gives_the_same_file(tmp_path: Path, trace: Trace) -> None:
    for name in ("one.json", "other.json"):
        results = simulate(trace, "fpraker", progress=False)
        write_timeline(tmp_path / name, timeline(trace, results, "conv", "forward", PLENTY), results, "conv", "forward")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()


def test_what_cannot_be_shown_is_refused(trace: Trace) -> None:
    results = simulate(trace, "fpraker", progress=False)
    with pytest.raises(TraceError, match="training ran no forward of a layer 'fc'"):
        timeline(trace, results, "fc", "forward", 1)
    ideal = simulate(trace, load_machine("fpraker", **{"memory.model": "ideal"}), progress=False)
    with pytest.raises(SimhwError, match="memories are ideal"):
        timeline(trace, ideal, "conv", "forward", 1)


def run(*arguments: str) -> list[str]:
    """What the command line does with the options of a timeline; the lines that it prints of it."""
    parser = argparse.ArgumentParser()
    parser.set_defaults(command="run")
    options.add_options(parser, "run")
    parsed = parser.parse_args(["--trace", "some", *arguments])
    request = options.checked(parsed)
    results = options.simulated(parsed, request)
    return outputs.write(Finished(parsed, request.trace, results, results[0]))


def test_without_the_option_nothing_is_written(folder: Path) -> None:
    assert run("--pe", "fpraker") == []
    assert [path.name for path in folder.iterdir()] == ["some.npz"]


def test_the_longest_operation_is_shown_unless_others_are_asked_for(folder: Path) -> None:
    found = simulate(some_trace(), "fpraker", progress=False).operations

    def longest(layer: str | None = None, operation: str | None = None) -> tuple[str, str]:
        fitting = [each for each in found if layer in (None, each.layer) and operation in (None, each.operation)]
        best = max(fitting, key=lambda each: each.cost.overall_cycles)
        return best.layer, best.operation

    for chosen in ({}, {"layer": "conv"}, {"operation": "forward"}, {"layer": "conv", "operation": "input_grad"}):
        wanted = [word for name, value in chosen.items() for word in (f"--timeline-{name}", value)]
        (line,) = run("--pe", "fpraker", "--timeline", "Some.JSON", *wanted)
        about = File(folder / "Some.JSON").about
        assert (about["layer"], about["operation"]) == longest(**chosen)
        assert line.startswith(f"timeline of {about['operation']} of {about['layer']} written to Some.JSON")
        assert f"{about['events']:,} events" in line
        assert "cut" not in line


def test_the_line_says_when_a_file_was_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simhw.report.timeline.MOST_EVENTS", 60)
    (line,) = run("--pe", "fpraker", "--timeline", "some.json")
    assert "; cut after " in line
    assert File(folder / "some.json").about["cut"].startswith("the first ")


def test_a_vcd_holds_the_tile_pass_that_was_asked_for(folder: Path) -> None:
    place = ["--timeline-layer", "conv", "--timeline-operation", "forward"]
    (line,) = run("--pe", "fpraker", "--timeline", "some.vcd", *place)
    (other,) = run("--pe", "fpraker", "--timeline", "other.vcd", *place, "--timeline-pass", "1")
    assert "waveform of forward of conv, tile pass 0 written to some.vcd" in line
    assert "tile pass 1 written to other.vcd" in other
    for name, said in (("some.vcd", line), ("other.vcd", other)):
        assert f"{last_cycle(folder / name):,} cycles" in said


def last_cycle(path: Path) -> int:
    """Where the cycle counter of a waveform ends."""
    waves = VCDVCD(str(path))
    (signal,) = [name for name in waves.signals if name.startswith("tile.cycle")]
    return int(waves[signal].tv[-1][1], 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timeline", "a.txt"], r"a\.txt: the name must end in one of \.json, \.vcd"),
        (["--timeline", "nowhere/a.json"], "there is no folder nowhere"),
        (["--timeline-layer", "conv"], "--timeline-layer: .* give --timeline FILE too"),
        (["--timeline", "a.json", "--pe", "tensordash"], "shows one machine, and 2 are given; give one --pe"),
        (["--timeline", "a.json", "--timeline-layer", "conv1"], "has no layer 'conv1'; near names are conv$"),
        (["--timeline", "a.json", "--timeline-layer", "zzz"], "has no layer 'zzz'; there are conv, a.layer"),
        (
            ["--timeline", "a.json", "--memory", "ideal"],
            r"memories of .* are ideal.* --memory modelled, or name a \.vcd",
        ),
        (
            ["--timeline", "a.json", "--timeline-pass", "1"],
            r"a\.json shows a whole operation; a \.vcd shows one tile pass",
        ),
        (["--timeline", "a.vcd", "--timeline-pass", "1"], "give --timeline-layer and --timeline-operation too"),
        (
            [
                "--timeline",
                "a.vcd",
                "--timeline-pass",
                "99",
                "--timeline-layer",
                "conv",
                "--timeline-operation",
                "forward",
            ],
            "no tile pass 99; there are 20 tile passes",  # 2 images x 5 tiles of 36 positions x 2 tiles of 12 filters
        ),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_simulated(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(options, "simulated", lambda *_: pytest.fail("was simulated"))
    with pytest.raises(SimhwError, match=message):
        run("--pe", "fpraker", *arguments)
    assert [path.name for path in folder.iterdir()] == ["some.npz"]


def test_an_operation_that_training_did_not_run_is_refused(folder: Path) -> None:
    linear = some_trace().layers[1]
    Trace([linear]).save(folder / "some.npz")
    with pytest.raises(SimhwError, match="training ran no input_grad; it ran forward, weight_grad"):
        run("--pe", "fpraker", "--timeline", "a.json", "--timeline-operation", "input_grad")


def test_ideal_memories_leave_the_waveform(folder: Path) -> None:
    (line,) = run("--pe", "fpraker", "--memory", "ideal", "--timeline", "a.vcd")
    assert (folder / "a.vcd").is_file()
    assert "cycles" in line


def test_a_file_that_cannot_be_written_leaves_the_old_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.json").write_text("old")

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("simhw.report.timeline.json", SimpleNamespace(dumps=full))
    with pytest.raises(SimhwError, match=r"a\.json: cannot be written: No space left"):
        run("--pe", "fpraker", "--timeline", "a.json")
    assert (folder / "a.json").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "some.npz"]
