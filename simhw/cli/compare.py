"""`simhw compare`: variants of machines side by side on one training step."""

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
        "compare",
        help="put machines and variants of them side by side",
        description="Simulate a training step on machines and variants of them, and put them side by side.",
        epilog="Example: simhw compare --trace resnet50.npz --pe fpraker --pe tensordash --pe "
        "fpraker:pe.oob_threshold=9",
    )
    add_options(parser, "compare")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    request = checked(arguments)
    from simhw.cli.terminal import SCREEN_WIDTH, show
    from simhw.report.result_tables import layer_comparison_sheet
    from simhw.report.screen import screen

    results = simulated(arguments, request)
    written = outputs.write(Finished(arguments, request.trace, results))
    if arguments.details:
        _show_details(request.trace, results, arguments.per_layer)
    else:
        show(*screen(results), widest=SCREEN_WIDTH)
        if arguments.per_layer:
            show(layer_comparison_sheet(results))
        show(more(arguments), widest=SCREEN_WIDTH)
    show(*written)
    return 0


def _show_details(trace: "Trace", results: "list[Results]", per_layer: bool) -> None:
    """Every table of machines side by side, and what their columns mean."""
    from simhw.cli.terminal import facts, show
    from simhw.report.memory_reasons import memory_legend
    from simhw.report.memory_tables import breakdown_sheet, overall_comparison_sheet
    from simhw.report.result_reasons import legend, sampling_error
    from simhw.report.result_tables import (
        comparison_sheet,
        has_memories,
        labels,
        layer_comparison_sheet,
        machine_facts,
        trace_facts,
    )

    named = list(zip(labels(results), results, strict=True))
    show(*facts(trace_facts(trace, results[0])))
    for label, each in named:
        show("", *facts(machine_facts(each, label)), sampling_error(each), *each.cautions)
    show("", "Compute only, that is with ideal memories:", comparison_sheet(results))
    modelled = [(label, each) for label, each in named if has_memories(each)]
    if modelled:
        names, with_memories = [label for label, _ in modelled], [each for _, each in modelled]
        show("With memories:", overall_comparison_sheet(with_memories, names))
        show("Where their time and energy go:", breakdown_sheet(with_memories, names))
    if len({each.baseline.content_hash if each.baseline else "" for each in results}) > 1:
        show("The machines have different baselines: each speed-up and efficiency is against the baseline of its row.")
    if per_layer:
        show(layer_comparison_sheet(results))
    show(
        "forward, input_grad, weight_grad, total: speed-up over the baseline.  useful: share of the lane-cycles.",
        *legend(results),
    )
    show(*(memory_legend() if modelled else []))
