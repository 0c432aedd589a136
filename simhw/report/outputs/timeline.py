"""`simhw run --timeline`: one operation of the step as a timeline (.json), or the lanes of one of its tile passes
(.vcd).
"""

import argparse
from typing import TYPE_CHECKING, cast

from simhw.errors import MachineError, SimhwError
from simhw.report.outputs.operations import add_choice, check_choice, choice, chosen
from simhw.report.outputs.output import Finished, Output
from simhw.trace.operation import Operation

if TYPE_CHECKING:
    from simhw.machine.machine import Machine
    from simhw.results.operation import OperationResult
    from simhw.results.step import Results
    from simhw.trace.trace import Trace

OPTION = "--timeline"


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_choice(parser, OPTION, "with the operation that takes longest", "the one that takes longest")
    parser.add_argument(
        "--timeline-pass", metavar="N", type=int, help="which tile pass the .vcd shows, numbered from 0 (default: 0)"
    )


def _check(arguments: argparse.Namespace, trace: "Trace", machines: "list[Machine]") -> None:
    given = [name for name in ("layer", "operation", "pass") if getattr(arguments, f"timeline_{name}") is not None]
    path = arguments.timeline
    if path is None:
        if given:
            raise SimhwError(f"--timeline-{given[0]}: says what --timeline shows; give --timeline FILE too")
        return
    if len(machines) > 1:
        raise SimhwError(f"--timeline: shows one machine, and {len(machines)} are given; give one --pe")
    (machine,) = machines
    check_choice(arguments, OPTION, trace)
    if _waveform(path):
        _check_pass(arguments, trace, machine)
    elif "pass" in given:
        raise SimhwError(f"--timeline-pass: {path} shows a whole operation; a .vcd shows one tile pass")
    elif machine.modelled_memory is None:
        raise MachineError(
            f"--timeline {path}: memories of {machine.label} are ideal, so there is nothing to see but tiles; "
            "use --memory modelled, or name a .vcd file for the lanes of a tile pass"
        )


def _check_pass(arguments: argparse.Namespace, trace: "Trace", machine: "Machine") -> None:
    """Raise where there is no such tile pass."""
    if arguments.timeline_pass is None:
        return
    layer, operation = choice(arguments, OPTION)
    if layer is None or operation is None:
        raise SimhwError(
            "--timeline-pass: numbers the tile passes of one operation; give --timeline-layer and "
            "--timeline-operation too"
        )
    from simhw.report.waveform import one_pass

    one_pass(trace, layer, operation, machine, arguments.timeline_pass)


def _write(path: str, finished: Finished) -> str:
    (results,) = finished.results
    shown = _shown(finished.arguments, results)
    return (_write_waveform if _waveform(path) else _write_timeline)(path, finished, results, shown)


def _write_timeline(path: str, finished: Finished, results: "Results", shown: "OperationResult") -> str:
    from simhw.report.timeline import MOST_EVENTS, write_timeline
    from simhw.simulation.timeline import timeline

    cost = timeline(finished.trace, results, shown.layer, cast(Operation, shown.operation), MOST_EVENTS)
    written = write_timeline(path, cost, results, shown.layer, shown.operation, MOST_EVENTS)
    end_us = shown.cost.overall_time_s * 1e6
    cut = (
        f"; cut after {written.complete_ns / 1e3:.4g} us, the limit of a file"
        if written.complete_ns < float("inf")
        else ""
    )
    events = f"{written.events:,} events in {end_us:.4g} us{cut}"
    return f"timeline of {shown.operation} of {shown.layer} written to {path} (open it at ui.perfetto.dev): {events}"


def _write_waveform(path: str, finished: Finished, results: "Results", shown: "OperationResult") -> str:
    from simhw.report.waveform import one_pass, write_waveform

    number = finished.arguments.timeline_pass or 0
    x, y = one_pass(finished.trace, shown.layer, cast(Operation, shown.operation), results.machine, number)
    title = f"{shown.operation} of {shown.layer}, tile pass {number}"
    written = write_waveform(path, results.machine, x, y, title=title)
    cut = f"; cut after {written.written:,}, the limit of a file" if written.written < written.cycles else ""
    return f"waveform of {title} written to {path} (open it with GTKWave): {written.cycles:,} cycles{cut}"


def _shown(arguments: argparse.Namespace, results: "Results") -> "OperationResult":
    """The operation that takes longest, of those that the options leave."""
    return max(chosen(arguments, OPTION, results), key=lambda each: each.cost.overall_cycles)


def _waveform(path: str) -> bool:
    return path.lower().endswith(".vcd")


TIMELINE = Output(
    OPTION,
    (".json", ".vcd"),
    "of one layer and operation: what tiles, DMA and DRAM channels did as a Perfetto trace (.json), "
    "or the lanes of one tile pass as a waveform (.vcd)",
    _write,
    commands=("run",),
    add_options=_add_options,
    check=_check,
)
