"""DRAM requests: a file has every burst that the memory model counted and timed, in two simulators' formats."""

import re
from argparse import Namespace
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from simhw.memory.activity import Activity
from simhw.memory.parameters import Memory
from simhw.memory.requests import CONTAINERS_AT_ONCE, Requests, requests
from simhw.memory.steps import Job
from simhw.report.outputs.output import Finished
from simhw.report.outputs.requests import REQUESTS
from simhw.report.requests import write_requests
from simhw.results.step import Results
from simhw.simulation.timeline import timeline
from tests.cli_runs import fails, result, some_trace

DRAMSIM3 = re.compile(r"0x[0-9A-F]+ (READ|WRITE) \d+")
RAMULATOR2 = re.compile(r"(LD|ST) 0x[0-9A-F]+")


@pytest.fixture(scope="module")
def results() -> Results:
    return result()


@pytest.fixture(scope="module")
def memory(results: Results) -> Memory:
    memory = results.machine.modelled_memory
    assert memory is not None
    return memory


def test_bytes_are_those_that_the_run_counted_operation_by_operation(results: Results, memory: Memory) -> None:
    for item in results.operations:
        moved = Counter[bool]()
        for some in requests(timeline(some_trace(), results, item.layer, item.operation, 1).activities, memory):
            moved[some.write] += len(some.addresses) * memory.dram.burst_bytes
        cost = item.cost.memory
        assert cost is not None
        assert (moved[False], moved[True]) == (cost.dram.read_bytes, cost.dram.write_bytes)
        # Whole bursts hold what is to be moved, with less than a burst a container to spare.
        assert cost.off_chip_bytes <= moved.total()


def test_addresses_are_of_the_banks_that_the_model_used_and_starts_those_of_its_transfers(
    results: Results, memory: Memory
) -> None:
    dram, per_row = memory.dram, memory.dram.row_bytes
    for item in results.operations:
        activities = timeline(some_trace(), results, item.layer, item.operation, 1 << 20).activities
        found = list(requests(activities, memory))
        # Containers in the order of service; the model says where each lay (rows go round channels, then banks).
        places = []
        for some in found:
            containers = list(dict.fromkeys((some.addresses // memory.container_bytes).tolist()))
            rows = [container * memory.container_bytes // per_row for container in containers]
            places += [(f"channel {row % dram.channels}", row // dram.channels % dram.banks) for row in rows]
        served = [(each.unit, each.facts["bank"]) for each in activities if each.unit.startswith("channel")]
        assert places == served
        starts = [some.start_ns for some in found]
        assert starts == sorted(starts)
        assert set(starts) == {each.start_ns for each in activities if each.unit == "DMA"}


def test_a_large_job_comes_in_pieces_with_every_burst_once(memory: Memory) -> None:
    # Three runs that do not divide into pieces, with gaps between; two bursts a container.
    run = CONTAINERS_AT_ONCE // 2 + 3
    job = Job("a", 5, 3, run, run + 2, 0, write=True)
    payload = 3 * run * (memory.dram.burst_bytes + 1)
    pieces = list(requests([Activity("DMA", "", 7.0, 9.0, {"bytes": payload}, job)], memory))
    assert len(pieces) > 1
    assert max(len(piece.addresses) for piece in pieces) <= 2 * CONTAINERS_AT_ONCE
    expected = [
        (5 + r * (run + 2) + k) * memory.container_bytes + burst * memory.dram.burst_bytes
        for r in range(3)
        for k in range(run)
        for burst in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate([piece.addresses for piece in pieces]), expected)


def test_cycles_count_the_dram_clock_and_none_comes_early(tmp_path: Path) -> None:
    some = [Requests(np.array([0, 64]), False, 0.0), Requests(np.array([1 << 40]), True, 10.1)]
    written = write_requests(tmp_path / "a.trace", some, 1.6, "dramsim3")
    assert (tmp_path / "a.trace").read_text() == "0x0 READ 0\n0x40 READ 0\n0x10000000000 WRITE 17\n"  # 16.16 cycles
    assert (written.reads, written.writes, written.file_bytes) == (2, 1, (tmp_path / "a.trace").stat().st_size)
    write_requests(tmp_path / "a.trace", some, 1.6, "ramulator2")
    assert (tmp_path / "a.trace").read_text() == "LD 0x0\nLD 0x40\nST 0x10000000000\n"


def written(path: Path, results: Results, layer=None, operation=None, form=None) -> tuple[list[str], str]:
    """The lines of a file, and what is said of it."""
    options = Namespace(requests_layer=layer, requests_operation=operation, requests_format=form)
    said = REQUESTS.write(str(path), Finished(options, some_trace(), [results], results))
    return path.read_text().splitlines(), said


def test_a_file_has_the_step_one_operation_after_the_other(results: Results, tmp_path: Path) -> None:
    lines, said = written(tmp_path / "r.trace", results)
    assert all(DRAMSIM3.fullmatch(line) for line in lines)
    reads, writes = (sum(f" {way} " in line for line in lines) for way in ("READ", "WRITE"))
    assert f"(dramsim3): {reads:,} reads and {writes:,} writes of 32 bytes" in said
    costs = [item.cost.memory for item in results.operations]
    assert 32 * reads == sum(cost.dram.read_bytes for cost in costs if cost)
    assert 32 * writes == sum(cost.dram.write_bytes for cost in costs if cost)
    cycles = [int(line.split()[-1]) for line in lines]
    assert cycles == sorted(cycles)
    # 1.6 GHz: LPDDR4-3200 moves twice in a cycle.
    assert cycles[-1] / 1.6e9 < sum(item.cost.overall_time_s for item in results.operations)
    forward, _ = written(tmp_path / "r.trace", results, "conv", "forward", "ramulator2")
    assert all(RAMULATOR2.fullmatch(line) for line in forward)
    first = [line.replace("READ", "LD").replace("WRITE", "ST").split()[:2] for line in lines[: len(forward)]]
    assert [line.split()[::-1] for line in forward] == first


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_written_is_refused_before_anything_is_simulated(capsys) -> None:
    given = ("run", "--trace", "some", "--pe", "fpraker")
    assert "give --requests FILE too" in fails(capsys, *given, "--requests-format", "dramsim3")
    assert "memories of fpraker" in fails(capsys, *given, "--requests", "r.trace", "--memory", "ideal")
    assert "give one --pe" in fails(capsys, *given, "--pe", "tensordash", "--requests", "r.trace")
    assert "must end in one of .trace" in fails(capsys, *given, "--requests", "r.txt")
    wanted = ("--requests", "r.trace", "--requests-layer", "cnov")
    assert "--requests-layer: some.npz has no layer 'cnov'; near names are conv" in fails(capsys, *given, *wanted)
