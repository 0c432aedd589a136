"""`simhw compare`: machines and variants of them side by side on a training step, or training steps beside each
other.
"""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli.options import Request, add_options, checked, more, simulated
from simhw.report.outputs import every as outputs
from simhw.report.outputs.output import Finished

if TYPE_CHECKING:
    from simhw.results.step import Results
    from simhw.trace.trace import Trace


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "compare",
        help="put machines, variants of them, or traces side by side",
        description="Simulate a training step on machines and variants of them, and put them side by side; or several "
        "training steps on the same machines, beside the first of them.",
        epilog="Example: simhw compare --trace resnet50.npz --pe fpraker --pe tensordash --pe "
        "fpraker:pe.oob_threshold=9",
    )
    add_options(parser, "compare")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    requests = [checked(argparse.Namespace(**{**vars(arguments), "trace": text})) for text in arguments.trace]
    if len(requests) > 1:
        return _compare_traces(arguments, requests)
    (request,) = requests
    from simhw.cli.terminal import show
    from simhw.report.result_tables import layer_comparison_sheet
    from simhw.report.screen import SCREEN_WIDTH, screen
    from simhw.results.comparison import Comparison

    results = simulated(arguments, request)
    written = outputs.write(Finished(arguments, request.trace, results, Comparison(results)))
    if arguments.details:
        _show_details(request.trace, results, arguments.per_layer)
    else:
        show(*screen(results), widest=SCREEN_WIDTH)
        if arguments.per_layer:
            show(layer_comparison_sheet(results))
        show(more(arguments), widest=SCREEN_WIDTH)
    show(*written)
    return 0


def _compare_traces(arguments: argparse.Namespace, requests: "list[Request]") -> int:
    """Training steps beside each other on the same machines."""
    from simhw.results.traces import check_names

    check_names([request.name for request in requests])
    from simhw.cli.terminal import show
    from simhw.report.screen import SCREEN_WIDTH
    from simhw.report.trace_screen import MOST_LAYERS, trace_screen
    from simhw.results.comparison import Comparison
    from simhw.results.traces import TraceComparison

    found = {request.name: Comparison(simulated(arguments, request)) for request in requests}
    comparison = TraceComparison(found)
    written = outputs.write(Finished(arguments, requests[0].trace, comparison.results, comparison))
    whole = arguments.per_layer or arguments.details
    show(*trace_screen(comparison, None if whole else MOST_LAYERS), widest=None if whole else SCREEN_WIDTH)
    if arguments.details:
        for request, each in zip(requests, found.values(), strict=True):
            show("", f"{request.name}:")
            _show_details(request.trace, each.results, False)
    else:
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
