"""`simhw run`: a training step on one or more machines, each beside its baseline, with the reasons for the result."""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli.options import add_options, checked, more, simulated
from simhw.report.outputs import every as outputs
from simhw.report.outputs.output import Finished

if TYPE_CHECKING:
    from simhw.results.step import Results
    from simhw.trace.trace import Trace


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "run",
        help="simulate a training step on machines, each beside its baseline",
        description="Simulate a training step on machines, each beside its baseline, and say where the time goes.",
        epilog="Example: simhw run --trace resnet50.npz --pe fpraker --plot fpraker.png",
    )
    add_options(parser, "run")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    request = checked(arguments)
    from simhw.cli.terminal import show
    from simhw.report.result_tables import layer_sheet
    from simhw.report.screen import SCREEN_WIDTH, screen
    from simhw.results.comparison import Comparison

    results = simulated(arguments, request)
    shown = results[0] if len(results) == 1 else Comparison(results)
    written = outputs.write(Finished(arguments, request.trace, results, shown))
    if arguments.details:
        _show_details(request.trace, results, arguments.per_layer)
    else:
        show(*screen(results), widest=SCREEN_WIDTH)
        if arguments.per_layer:
            show(*map(layer_sheet, results))
        show(more(arguments), widest=SCREEN_WIDTH)
    show(*written)
    return 0


def _show_details(trace: "Trace", results: "list[Results]", per_layer: bool) -> None:
    """Every table of every machine, and what their columns mean."""
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

    show(*facts(trace_facts(trace, results[0])))
    for label, each in zip(labels(results), results, strict=True):
        show(
            "", *facts(machine_facts(each, label)), performance_sheet(each), lane_cycle_sheet(each), *explanation(each)
        )
        show(*each.compute_cautions)
        if has_memories(each):
            show(time_sheet(each), energy_sheet(each), *memory_explanation(each), *each.memory_cautions)
        if per_layer:
            show(layer_sheet(each))
    show("", *legend(results), *(memory_legend() if any(map(has_memories, results)) else []))
