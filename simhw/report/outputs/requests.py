"""`simhw run --requests`: what the step asks of the DRAM, as Ramulator 2 or DRAMsim3 read it."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from simhw.errors import MachineError, SimhwError
from simhw.report.outputs.operations import add_choice, check_choice, choice, chosen
from simhw.report.outputs.output import Finished, Output
from simhw.trace.operation import Operation

if TYPE_CHECKING:
    from simhw.machine.machine import Machine
    from simhw.memory.requests import Requests
    from simhw.trace.trace import Trace

OPTION = "--requests"


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, OPTION, "all", "all")
    parser.add_argument(
        "--requests-format",
        choices=("dramsim3", "ramulator2"),
        help="who reads the file: DRAMsim3 (default), with the cycle of each request, or Ramulator 2",
    )


def _check(arguments: argparse.Namespace, trace: "Trace", machines: "list[Machine]") -> None:
    path = arguments.requests
    if path is None:
        given = [*choice(arguments, OPTION), arguments.requests_format]
        for name, value in zip(("layer", "operation", "format"), given, strict=True):
            if value is not None:
                raise SimhwError(f"{OPTION}-{name}: says what {OPTION} writes; give {OPTION} FILE too")
        return
    if len(machines) > 1:
        raise SimhwError(f"{OPTION}: is of one machine, and {len(machines)} are given; give one --pe")
    if machines[0].modelled_memory is None:
        raise MachineError(
            f"{OPTION} {path}: memories of {machines[0].label} are ideal, so nothing is asked of a DRAM; use --memory "
            "modelled"
        )
    check_choice(arguments, OPTION, trace)


def _write(path: str, finished: Finished) -> str:
    from simhw.report.requests import write_requests

    (results,) = finished.results
    form = finished.arguments.requests_format or "dramsim3"
    memory = results.machine.modelled_memory
    assert memory is not None
    # A DRAM of double data rate makes two transfers in a cycle of its clock.
    written = write_requests(path, _requests(finished), memory.dram.transfers_per_s / 2e9, form)
    sizes = f"{written.reads:,} reads and {written.writes:,} writes of {memory.dram.burst_bytes} bytes"
    return f"DRAM requests written to {path} ({form}): {sizes}; {written.file_bytes / 1e6:.1f} MB"


def _requests(finished: Finished) -> "Iterator[Requests]":
    """Of all operations that are asked for, one after another; each begins when the one before it has ended."""
    from dataclasses import replace

    from simhw.memory.requests import requests
    from simhw.simulation.timeline import timeline

    (results,) = finished.results
    memory = results.machine.modelled_memory
    assert memory is not None
    begin_ns = 0.0
    for item in chosen(finished.arguments, OPTION, results):
        cost = timeline(finished.trace, results, item.layer, cast(Operation, item.operation), record=1)
        for some in requests(cost.activities, memory):
            yield replace(some, start_ns=begin_ns + some.start_ns)
        begin_ns += cost.cycles * 1e9 / results.machine.values.clock_hz


REQUESTS = Output(
    OPTION,
    (".trace",),
    "every burst that the step asks of the DRAM, for DRAMsim3 or Ramulator 2; a .trace file",
    _write,
    commands=("run",),
    add_options=_add_options,
    check=_check,
)
