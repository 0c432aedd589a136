"""`simhw roofline ranks`: low-rank decomposition for a device: latency against rank, the ranks that suit it, the layers
that pay.
"""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.cli.roofline_options import add_network_options, add_run_options, chosen_device, chosen_network, chosen_run
from simhw.errors import ShapeError, SimhwError, quoted

if TYPE_CHECKING:
    from simhw.report.sheet import Sheet
    from simhw.roofline.compression.choice import Choice, LayerCost
    from simhw.roofline.compression.ranks import LayerTimer
    from simhw.roofline.layers.network import Conv, Linear, Network

BUDGETS = ("removed", "parameters", "energy")


def add_parser(actions: Any) -> None:
    """Add this command to the parser of `simhw roofline`."""
    parser = actions.add_parser(
        "ranks",
        help="ranks and layers of a low-rank decomposition that pay on a device",
        description="Predict what low-rank decomposition gains on a device: vanilla, with ranks that suit it, and "
        "with the layers that "
        "pay.  With --layer: latency against rank, the staircase.",
        epilog="Example: simhw roofline ranks --model resnet50 --device ascend910 --layer layer4.1.conv2 --plot "
        "staircase.png",
    )
    add_network_options(parser)
    add_run_options(parser)
    parser.add_argument(
        "--compression", metavar="X", type=float, default=2.0, help="how many times fewer weights (default: 2)"
    )
    parser.add_argument("--layer", metavar="NAME", help="one layer: its latency against its rank")
    parser.add_argument(
        "--budget",
        metavar="KIND=X",
        help="of the choice of layers: removed=0.2 (share of all parameters that may go), parameters=20e6 (that may "
        "stay), "
        "energy=0.01 (share of the weights' energy that may go; needs --trace)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="write a row per layer, or per rank of --layer, to a .csv, .json or .parquet file"
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="draw latency against rank of --layer to a .png, .svg or .pdf file"
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from simhw.cli.terminal import facts, show
    from simhw.files.writing import PICTURE_SUFFIXES, TABLE_SUFFIXES, check_targets
    from simhw.report.roofline_tables import caution_lines, run_words
    from simhw.roofline.cautions import cautions
    from simhw.roofline.compression.ranks import LayerTimer

    if arguments.plot and not arguments.layer:
        raise SimhwError("--plot draws one layer's latency against its rank: name it with --layer")
    check_targets((arguments.out, TABLE_SUFFIXES), (arguments.plot, PICTURE_SUFFIXES))
    if 0 < arguments.compression < 1:
        raise SimhwError(
            f"--compression {arguments.compression:g}: that is more weights, not fewer; give a number of at least 1"
        )
    network = chosen_network(arguments)
    device = chosen_device(arguments.device, arguments.set)
    run = chosen_run(arguments, device, network)
    timer = LayerTimer(device, run)
    if arguments.layer:
        told = _layer(arguments, network, timer)
    else:
        told = _network(arguments, network, timer)
    head = [
        ("network", f"{network.name}; {network.source}"),
        ("device", f"{device.label}, hash {device.content_hash}"),
        ("run", run_words(run)),
    ]
    show(*facts(head), *caution_lines(cautions(network, device, run)), *told)
    return 0


def _layer(arguments: argparse.Namespace, network: "Network", timer: "LayerTimer") -> "list[str | Sheet]":
    """The staircase of one layer."""
    from simhw.files.writing import write_frame
    from simhw.report.rank_tables import staircase_sheet
    from simhw.roofline.compression.decompose import decomposable, full_rank
    from simhw.roofline.compression.ranks import optimised_rank, rank_latency

    known = {layer.name: layer for layer in _decomposable_layers(network)}
    if arguments.layer not in known:
        published = ", ".join(layer.name for layer in decomposable(network))
        raise ShapeError(
            f"{network.name} has no layer {arguments.layer!r} that can be decomposed; there are {published}"
        )
    layer = known[arguments.layer]
    _announce([layer], full_rank(layer), timer)
    frame = rank_latency(layer, range(1, full_rank(layer) + 1), timer.device, timer.run)
    choice = optimised_rank(layer, timer, arguments.compression)
    fewer = f"{arguments.compression:g} times fewer weights"
    vanilla = f"no rank has {fewer}: the layer stays whole"
    if choice.vanilla_rank is not None:
        vanilla = f"rank {choice.vanilla_rank} ({fewer}), {choice.vanilla_seconds * 1e3:,.4g} ms"
    kept = f"rank {choice.rank}" if choice.rank is not None else "the whole layer: no factors are faster"
    lines: list[str | Sheet] = [f"whole    {choice.original_seconds * 1e3:,.4g} ms", f"vanilla  {vanilla}"]
    if choice.vanilla_rank is not None:
        lines.append(
            f"chosen   {kept}; the cheap side of the largest step below the vanilla rank: "
            f"{choice.seconds * 1e3:,.4g} ms"
        )
    lines.append(staircase_sheet(frame))
    if arguments.out:
        write_frame(frame, arguments.out)
        lines.append(f"table written to {arguments.out}")
    if arguments.plot:
        from simhw.report.rank_plots import plot_staircase

        plot_staircase(frame, choice, timer, arguments.plot)
        lines.append(f"plot written to {arguments.plot}")
    return lines


def _announce(layers: "list[Conv | Linear]", ranks: int, timer: "LayerTimer") -> None:
    """Say how long timing so many ranks takes, where that is minutes, by the time of one rank of the largest layer."""
    import time

    from simhw.progress import announce
    from simhw.roofline.compression.decompose import factors, full_rank

    if not layers:
        return
    largest = max(layers, key=full_rank)
    timer.seconds([largest])  # the first asks for more than its ranks do
    started = time.perf_counter()
    timer.seconds(factors(largest, (full_rank(largest) + 1) // 2))
    announce(f"timing {ranks:,} ranks", ranks * (time.perf_counter() - started))


def _decomposable_layers(network: "Network") -> "list[Conv | Linear]":
    """Every layer with factors, those that the published tables leave whole too."""
    from simhw.roofline.layers.network import Conv, Linear

    return [
        layer
        for layer in network.layers
        if isinstance(layer, Linear) or (isinstance(layer, Conv) and layer.groups == 1)
    ]


def _network(arguments: argparse.Namespace, network: "Network", timer: "LayerTimer") -> "list[str | Sheet]":
    """Whole networks: vanilla, optimised, chosen."""
    from dataclasses import replace

    from simhw.files.writing import write_frame
    from simhw.progress import track
    from simhw.report.rank_tables import choice_sheet, rank_sheet, variant_sheet, whole_line
    from simhw.roofline.compression.choice import choose, options, removed_share
    from simhw.roofline.compression.decompose import decomposable, decomposed, highest_rank
    from simhw.roofline.compression.ranks import rank_choices, rank_frame
    from simhw.roofline.compression.variants import vanilla

    layers = decomposable(network)
    # Layers of one shape are timed once.
    shapes = list({replace(layer, name=""): layer for layer in layers}.values())
    _announce(
        shapes, sum((highest_rank(layer, 4 / 3) or 0) - (highest_rank(layer, 4.0) or 0) for layer in shapes), timer
    )
    for layer in track(shapes, "timing ranks", len(shapes)):
        # The timer remembers: what follows asks for the same ranks again.
        options(layer, timer, removed_share(network))
    frame = rank_frame(rank_choices(network, timer, arguments.compression))
    ranks = {row["layer"]: int(row["rank"]) for row in frame.to_dict("records") if not row["kept_whole"]}
    choice = choose(network, timer, *_budget(arguments, network))
    variants = {
        "original": network,
        f"vanilla, {arguments.compression:g}x": vanilla(network, arguments.compression),
        "optimised ranks": decomposed(network, ranks),
        _chosen(arguments.budget): choice.network,
    }
    lines: list[str | Sheet] = [
        variant_sheet(variants, timer.device, timer.run),
        rank_sheet(frame),
        *([whole_line(frame, arguments.compression)] if frame["vanilla_rank"].isna().any() else []),
        _choice_line(choice),
        choice_sheet(choice),
    ]
    if arguments.out:
        write_frame(frame, arguments.out)
        lines.append(f"table written to {arguments.out}")
    return lines


def _chosen(budget: str | None) -> str:
    return f"chosen layers, {budget}" if budget else "chosen layers"


def _choice_line(choice: "Choice") -> str:
    found = f"{len(choice.ranks)} layers, {choice.gain_percent:+.2f}% throughput"
    return f"Chosen layers: the least predicted time among ranks of 4/3 to 4 times fewer weights; {found}."


def _budget(arguments: argparse.Namespace, network: "Network") -> "tuple[LayerCost | None, float]":
    """Cost and budget of the choice.

    Raises
    ------
    SimhwError
        The budget is not of the form KIND=X, or needs weights that are not there.
    """
    from simhw.roofline.compression.choice import lost_energy, parameters_left, removed_share

    if arguments.budget is None:
        return None, float("inf")
    kind, _, text = arguments.budget.partition("=")
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if kind not in BUDGETS or not 0 <= amount < float("inf"):
        raise SimhwError(
            f"--budget {quoted(arguments.budget)[1:-1]}: give {'=X, '.join(BUDGETS)}=X with a number of at least 0"
        )
    if kind != "parameters" and amount > 1:
        raise SimhwError(f"--budget {kind}={amount:g}: a share is at most 1; 20% is {kind}=0.2")
    if kind == "parameters":
        from simhw.roofline.compression.decompose import decomposable

        # What is not decomposed stays.
        fixed = network.parameters - sum(layer.parameters for layer in decomposable(network))
        return parameters_left, amount - fixed
    if kind == "removed":
        return removed_share(network), amount
    if arguments.trace is None:
        raise SimhwError("--budget energy needs the weights: give a --trace that holds them whole")
    return lost_energy(_weights(arguments.trace)), amount


def _weights(path: str) -> dict[str, Any]:
    """Weights of a trace by layer, as float32."""
    from simhw.bfloat16 import to_float32
    from simhw.trace.reader import load_trace

    layers = [layer for layer in load_trace(path).layers if layer.holds("w")]
    if not layers:
        raise SimhwError(
            f"{path}: a sample holds no whole weights; --budget energy needs a trace that was captured whole"
        )
    return {layer.name: to_float32(layer.source("w").read()) for layer in layers}
