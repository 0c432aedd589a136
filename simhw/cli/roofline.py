"""`simhw roofline`: how long a network's step takes on a V100 or an Ascend by shapes alone, layer by layer, and what
binds it.
"""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli import calibrate, ranks, score
from simhw.cli.roofline_options import (
    add_network_options,
    add_run_options,
    chosen_device,
    chosen_network,
    chosen_run,
    tokens_of,
)

if TYPE_CHECKING:
    from simhw.roofline.estimate import StepEstimate

MOST_LAYERS = 12
"""Layers that are printed where no one asked for all."""


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "roofline",
        help="predict a network's step on a V100 or an Ascend, by shapes alone",
        description="Predict how long a step of a network takes on a device, layer by layer, and what binds it.",
        epilog="Example: simhw roofline --model resnet50 --device v100 --precision amp --batch 128 --mode training "
        "--plot roofline.png",
    )
    add_network_options(parser)
    add_run_options(parser)
    parser.add_argument(
        "--compare",
        metavar="OTHER",
        help="a second device, model or layer list: the same step with it instead, and the speed-up",
    )
    parser.add_argument(
        "--per-layer", action="store_true", help=f"a row per layer (default: the {MOST_LAYERS} that take longest)"
    )
    parser.add_argument("--out", metavar="FILE", help="write a row per operator to a .csv, .json or .parquet file")
    parser.add_argument("--plot", metavar="FILE", help="draw the roofline to a .png, .svg or .pdf file")
    parser.set_defaults(execute=execute)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="other actions")
    ranks.add_parser(actions)
    calibrate.add_parser(actions)
    score.add_parser(actions)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.terminal import show
    from simhw.files.writing import PICTURE_SUFFIXES, TABLE_SUFFIXES, check_targets, write_frame
    from simhw.report.roofline_tables import comparison_sheet, layer_comparison_sheet

    check_targets((arguments.out, TABLE_SUFFIXES), (arguments.plot, PICTURE_SUFFIXES))
    if arguments.model == "list":
        return _list()
    estimates = _estimates(arguments)
    written = []
    if arguments.out:
        write_frame(_frame(estimates), arguments.out)
        written.append(f"table written to {arguments.out}")
    if arguments.plot:
        # matplotlib takes half a second to load.
        from simhw.report.roofline_plots import plot_estimates

        plot_estimates(estimates, arguments.plot)
        written.append(f"plot written to {arguments.plot}")
    most = None if arguments.per_layer else MOST_LAYERS
    for each in estimates:
        show(*_told(each, most), "")
    if len(estimates) > 1:
        first, second = estimates
        show(comparison_sheet(first, second), layer_comparison_sheet(first, second, most))
    show(*written)
    return 0


def _estimates(arguments: argparse.Namespace) -> "list[StepEstimate]":
    """The prediction that was asked for, and the one to compare it with."""
    from simhw.machine.overrides import split_machine
    from simhw.roofline.device import is_device
    from simhw.roofline.estimate import estimate

    network = chosen_network(arguments)
    device = chosen_device(arguments.device, arguments.set)
    found = [estimate(network, device, chosen_run(arguments, device, network))]
    other = arguments.compare
    if other is not None and is_device(split_machine(other)[0]):
        second = chosen_device(other, arguments.set)
        found.append(estimate(network, second, chosen_run(arguments, second, network)))
    elif other is not None:
        from simhw.roofline.networks.catalogue import load_network

        found.append(estimate(load_network(other, **tokens_of(arguments)), device, found[0].run))
    return found


def _told(each: "StepEstimate", most: int | None) -> "list[Any]":
    from simhw.cli.terminal import facts
    from simhw.report.roofline_tables import (
        caution_lines,
        estimate_facts,
        kind_sheet,
        layer_sheet,
        limit_line,
        phase_sheet,
    )

    lines: list[Any] = [*facts(estimate_facts(each)), *caution_lines(each.cautions), kind_sheet(each), limit_line(each)]
    if each.run.mode == "training":
        lines.append(phase_sheet(each))
    return [*lines, layer_sheet(each, most)]


def _frame(estimates: "list[StepEstimate]") -> Any:
    import pandas as pd

    from simhw.version import __version__

    frames = []
    for each in estimates:
        run = each.run
        frame = each.frame.assign(
            network=each.network.name,
            device=each.device.label,
            device_hash=each.device.content_hash,
            batch=run.batch,
            mode=run.mode,
            precision=run.precision,
            fusion=run.fusion,
            optimizer=run.optimizer,
            launch=run.launch,
            layout=run.layout,
            attention=run.attention,
            accumulate=run.accumulate,
            checkpoint=run.checkpoint,
            shards=run.shards,
            zero=run.zero,
            version=__version__,
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _list() -> int:
    """Print a line per network that comes with simhw."""
    from simhw.cli.terminal import show
    from simhw.quantities import count
    from simhw.report.sheet import Sheet
    from simhw.roofline.networks.catalogue import load_network, network_names

    columns = [("name", False), ("parameters", True), ("MACs a sample", True), ("layers", True), ("source", False)]
    rows = []
    for name in network_names():
        network = load_network(name)
        rows.append([name, count(network.parameters), count(network.macs), f"{len(network.layers):,}", network.source])
    show(Sheet(columns, rows, name="networks"))
    return 0
