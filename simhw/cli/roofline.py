"""`simhw roofline`: how long a network's step takes on a V100 or an Ascend by shapes alone, layer by layer, and what binds it."""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli import calibrate
from simhw.errors import SimhwError

if TYPE_CHECKING:
    from simhw.roofline.device import Device
    from simhw.roofline.estimate import Estimate
    from simhw.roofline.layers import Network
    from simhw.roofline.step import Run

MOST_LAYERS = 12
"""Layers that are printed where no one asked for all."""


def add_parser(commands: Any) -> None:
    """Add this command to the top parser."""
    parser = commands.add_parser(
        "roofline",
        help="predict a network's step on a V100 or an Ascend, by shapes alone",
        description="Predict how long a step of a network takes on a device, layer by layer, and what binds it.",
        epilog="Example: simhw roofline --model resnet50 --device v100 --precision amp --batch 128 --mode training --plot roofline.png",
    )
    add_network_options(parser)
    add_run_options(parser)
    parser.add_argument(
        "--compare", metavar="OTHER", help="a second device, model or layer list: the same step with it instead, and the speed-up"
    )
    parser.add_argument("--per-layer", action="store_true", help=f"a row per layer (default: the {MOST_LAYERS} that take longest)")
    parser.add_argument("--out", metavar="FILE", help="write a row per operator to a .csv, .json or .parquet file")
    parser.add_argument("--plot", metavar="FILE", help="draw the roofline to a .png, .svg or .pdf file")
    parser.set_defaults(execute=execute)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="other actions")
    calibrate.add_parser(actions)


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which network."""
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--model", metavar="NAME", help="a network that comes with simhw; `simhw roofline --model list` names them")
    network.add_argument("--layers", metavar="FILE", help="a layer list: .yaml, .csv, or a SCALE-Sim topology")
    network.add_argument("--trace", metavar="TRACE", help="the product layers of a trace, by their shapes")
    parser.add_argument("--sequence", metavar="N", type=int, help="tokens of a sample (transformers; default: as the layer list has it)")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the network is run, and on what."""
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        default="v100",
        help="a device of `simhw machine list` or a .yaml file, maybe with overrides (default: v100)",
    )
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override a value of the device; may be repeated")
    parser.add_argument("--mode", choices=("training", "inference"), default="training", help="default: training")
    parser.add_argument(
        "--precision", choices=("fp32", "amp", "fp16", "int8"), help="default: amp for training, fp16 for inference; amp keeps fp32 weights"
    )
    parser.add_argument("--batch", metavar="N", type=int, help="samples of a step (default: 32; of a trace, as it was captured)")
    parser.add_argument(
        "--fusion",
        choices=("eager", "fused"),
        help="whether elementwise functions are kernels of their own (default: eager on a GPU, fused elsewhere)",
    )
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd", help="default: sgd")


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.options import check_target
    from simhw.cli.terminal import show
    from simhw.output import PICTURE_SUFFIXES, TABLE_SUFFIXES, write_frame
    from simhw.report.roofline_plots import plot_estimates
    from simhw.report.roofline_tables import comparison_sheet, layer_comparison_sheet

    for path, suffixes in ((arguments.out, TABLE_SUFFIXES), (arguments.plot, PICTURE_SUFFIXES)):
        if path:
            check_target(path, suffixes)
    if arguments.model == "list":
        return _list()
    estimates = _estimates(arguments)
    written = []
    if arguments.out:
        write_frame(_frame(estimates), arguments.out)
        written.append(f"table written to {arguments.out}")
    if arguments.plot:
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


def _estimates(arguments: argparse.Namespace) -> "list[Estimate]":
    """The prediction that was asked for, and the one to compare it with."""
    from simhw.roofline.device import device_names
    from simhw.roofline.estimate import estimate

    network, captured = chosen_network(arguments)
    device = chosen_device(arguments.device, arguments.set)
    found = [estimate(network, device, chosen_run(arguments, device, captured))]
    other = arguments.compare
    if (other is not None and other.rpartition(":")[0] in device_names()) or other in device_names():
        second = chosen_device(other, arguments.set)
        found.append(estimate(network, second, chosen_run(arguments, second, captured)))
    elif other is not None:
        from simhw.roofline.networks import load_network

        found.append(estimate(load_network(other, sequence=arguments.sequence), device, found[0].run))
    return found


def chosen_network(arguments: argparse.Namespace) -> "tuple[Network, int | None]":
    """The network that the options name, and the batch that its trace was captured with.

    Raises
    ------
    SimhwError
        None is named, or it cannot be read.
    """
    from simhw.roofline.networks import load_network

    if arguments.trace is not None:
        from simhw.roofline.from_trace import network_from_trace, trace_batch
        from simhw.trace.format import load_trace

        trace = load_trace(arguments.trace)
        return network_from_trace(trace), trace_batch(trace)
    name = arguments.model if arguments.model is not None else arguments.layers
    if name is None:
        raise SimhwError("no network: give --model, --layers or --trace; `simhw roofline --model list` names the models")
    return load_network(name, sequence=arguments.sequence), None


def chosen_device(text: str, settings: list[str]) -> "Device":
    """The device that the options name, with their overrides."""
    from simhw.machine_file import parse_overrides
    from simhw.roofline.device import load_device, parse_device

    device = parse_device(text)
    return load_device(device.name, **(parse_overrides(settings) | dict(device.overrides))) if settings else device


def chosen_run(arguments: argparse.Namespace, device: "Device", captured: int | None) -> "Run":
    """How the options say that the network is run."""
    from simhw.roofline.step import Fusion, Precision, Run

    batch = arguments.batch if arguments.batch is not None else captured or 32
    precision: Precision = arguments.precision or ("amp" if arguments.mode == "training" else "fp16")
    fusion: Fusion = arguments.fusion or ("eager" if device.values.kind == "gpu" else "fused")
    return Run(batch, arguments.mode, precision, fusion, arguments.optimizer)


def _told(each: "Estimate", most: int | None) -> "list[Any]":
    from simhw.cli.terminal import facts
    from simhw.report.roofline_tables import estimate_facts, kind_sheet, layer_sheet, limit_line, phase_sheet

    lines: list[Any] = [*facts(estimate_facts(each)), kind_sheet(each), limit_line(each)]
    if each.run.mode == "training":
        lines.append(phase_sheet(each))
    return [*lines, layer_sheet(each, most)]


def _frame(estimates: "list[Estimate]") -> Any:
    import pandas as pd

    from simhw import __version__

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
            version=__version__,
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _list() -> int:
    """Print a line per network that comes with simhw."""
    from simhw.cli.terminal import show
    from simhw.report.result_tables import count
    from simhw.report.sheet import Sheet
    from simhw.roofline.networks import load_network, network_names

    columns = [("name", False), ("parameters", True), ("MACs a sample", True), ("layers", True), ("source", False)]
    rows = []
    for name in network_names():
        network = load_network(name)
        rows.append([name, count(network.parameters), count(network.macs), f"{len(network.layers):,}", network.source])
    show(Sheet(columns, rows))
    return 0
