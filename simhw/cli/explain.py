"""`simhw explain`: what each limit of a machine costs on a training step."""

import argparse
from typing import Any

from simhw.cli.options import add_simulation_options, checked
from simhw.files.writing import PAGE_SUFFIXES, PICTURE_SUFFIXES, TABLE_SUFFIXES, check_targets


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "explain",
        help="tell what each limit of a machine costs, from the ideal down to what is measured",
        description="Switch the limits of machines off, and on again one after another: from an ideal in which values "
        "alone count, down to the time that is measured.",
        epilog="Example: simhw explain --trace resnet50.npz --pe fpraker --pe tensordash --plot limits.png",
    )
    add_simulation_options(parser)
    parser.add_argument("--layer", metavar="NAME", help="one layer (default: all of the step)")
    parser.add_argument(
        "--out", metavar="FILE", help="write a row per machine, layer, operation and limit to a .csv, .json or .parquet"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the limits as a waterfall to a .png, .svg or .pdf file")
    parser.add_argument("--html", metavar="FILE", help="write the limits as a page for the browser, in one .html file")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    check_targets((arguments.out, TABLE_SUFFIXES), (arguments.plot, PICTURE_SUFFIXES), (arguments.html, PAGE_SUFFIXES))
    request = checked(arguments)
    from simhw.cli.terminal import facts, show
    from simhw.errors import SimhwError, TraceError
    from simhw.report.limit_screen import machine_limits, side_by_side
    from simhw.report.limit_tables import meanings
    from simhw.report.result_tables import labels, machine_facts, trace_facts
    from simhw.results.attribution import Explanation
    from simhw.simulation.explain import explain
    from simhw.trace.named import layers_named

    if arguments.layer is not None:
        try:
            layers = layers_named(request.trace, arguments.layer)
        except TraceError as error:
            raise SimhwError(f"--layer: {error}") from None
        if not any(layer.operations for layer in layers):
            raise SimhwError(f"--layer: {request.trace.path}: training ran no operation of layer {arguments.layer!r}")
    explanation = Explanation(
        [
            attribution
            for machine, baseline in request.pairs
            for attribution in explain(
                request.trace,
                machine,
                layer=arguments.layer,
                sample=request.sample,
                seed=arguments.seed,
                baseline=baseline,
                check=arguments.check,
                workers=arguments.workers,
                batch=request.batch,
            ).attributions
        ]
    )
    written = []
    if arguments.out is not None:
        explanation.write(arguments.out)
        written.append(f"table written to {arguments.out}")
    if arguments.plot is not None:
        from simhw.report.limit_plots import plot_limits

        plot_limits(explanation, arguments.plot, arguments.layer)
        written.append(f"plot written to {arguments.plot}")
    if arguments.html is not None:
        from simhw.report.page.limits import limits_page
        from simhw.report.page.write import write_page

        write_page(limits_page(explanation, arguments.layer, [arguments.command_line]), arguments.html)
        written.append(f"page written to {arguments.html}")
    results = [each.results for each in explanation.attributions]
    names = labels(results)
    show(*facts(trace_facts(request.trace, results[0])))
    if arguments.layer is not None:
        show(*facts([("layer", arguments.layer)]))
    for name, each in zip(names, explanation.attributions, strict=True):
        show("", *facts(machine_facts(each.results, name)), *machine_limits(each))
    together = side_by_side(explanation, names)
    if together:
        show("", *together)
    show("", *meanings(explanation))
    show(*written)
    return 0
