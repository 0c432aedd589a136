"""`simhw run`: a training step on one or more machines, each beside its baseline, with the reasons for the result."""

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from simhw.cli import timeline
from simhw.cli.options import Request, add_options, checked, simulated, write_files

if TYPE_CHECKING:
    from simhw.results.step import Results


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "run",
        help="simulate a training step on machines, each beside its baseline",
        description="Simulate a training step on machines, each beside its baseline, and say where the time goes.",
        epilog="Example: simhw run --trace resnet50.npz --pe fpraker --plot fpraker.png",
    )
    add_options(parser)
    timeline.add_options(parser)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    request = checked(arguments)
    timeline.check(arguments, request)
    from simhw.cli.terminal import facts, show
    from simhw.report.memory_reasons import memory_explanation, memory_legend
    from simhw.report.memory_tables import energy_sheet, time_sheet
    from simhw.report.result_reasons import explanation, legend
    from simhw.report.result_tables import (
        has_memories,
        labels,
        lane_cycle_sheet,
        layer_sheet,
        machine_facts,
        performance_sheet,
        trace_facts,
    )

    results = simulated(arguments, request)
    written = write_files(arguments, results, partial(_plot, request, results)) + timeline.write(
        arguments, request, results
    )
    show(*facts(trace_facts(request.trace, results[0])))
    for label, each in zip(labels(results), results, strict=True):
        show(
            "", *facts(machine_facts(each, label)), performance_sheet(each), lane_cycle_sheet(each), *explanation(each)
        )
        show(*each.compute_cautions)
        if has_memories(each):
            show(time_sheet(each), energy_sheet(each), *memory_explanation(each), *each.memory_cautions)
        if arguments.per_layer:
            show(layer_sheet(each))
    show("", *legend(results), *(memory_legend() if any(map(has_memories, results)) else []))
    show(*written)
    return 0


def _plot(request: Request, results: "list[Results]", path: str) -> None:
    from simhw.report.result_plots import plot_results

    plot_results(request.trace, results, path)
