"""What `simhw roofline` and its actions have in common: which network, on what, and how it is run."""

import argparse
from typing import TYPE_CHECKING, Any

from simhw.errors import SimhwError
from simhw.roofline.numbers import PRECISIONS, Precision

if TYPE_CHECKING:
    from simhw.roofline.device import Device
    from simhw.roofline.layers.network import Network
    from simhw.roofline.step.run import Run


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which network."""
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--model", metavar="NETWORK", help="a network that comes with simhw; `simhw roofline --model list` names them"
    )
    network.add_argument("--layers", metavar="FILE", help="a layer list: .yaml, .csv, or a SCALE-Sim topology")
    network.add_argument("--trace", metavar="TRACE", help="the product layers of a trace, by their shapes")
    parser.add_argument(
        "--cache",
        metavar="N",
        type=int,
        help="tokens whose keys and values are kept from before: --sequence more are decoded (default: 1 more)",
    )
    parser.add_argument(
        "--sequence", metavar="N", type=int, help="tokens of a sample (transformers; default: as the layer list has it)"
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which device."""
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        default="v100",
        help="a device of `simhw machine list` or a .yaml file, maybe with overrides (default: v100)",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a value of the device; may be repeated",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the network is run, and on what."""
    add_device_options(parser)
    parser.add_argument("--mode", choices=("training", "inference"), default="training", help="default: training")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="default: amp for training, fp16 for inference (with bf16 where the device is known for that); both keep "
        "fp32 weights in training",
    )
    parser.add_argument(
        "--batch", metavar="N", type=int, help="samples of a step (default: as the trace or topology has it, else 32)"
    )
    parser.add_argument(
        "--fusion",
        choices=("eager", "fused"),
        help="whether elementwise functions are kernels of their own (default: eager on a GPU, fused elsewhere)",
    )
    parser.add_argument(
        "--launch",
        choices=("eager", "graph"),
        default="eager",
        help="whether the framework issues every kernel or the device replays a graph of them (default: eager)",
    )
    parser.add_argument(
        "--attention",
        choices=("products", "fused"),
        help="whether attention is two products and a softmax or one kernel (default: one, where the device has it)",
    )
    parser.add_argument(
        "--layout", choices=("nchw", "nhwc"), default="nchw", help="of images in memory (default: nchw)"
    )
    parser.add_argument("--optimizer", choices=("sgd", "adam", "lamb"), default="sgd", help="default: sgd")
    parser.add_argument(
        "--accumulate", metavar="N", type=int, default=1, help="passes whose gradients are added up before an update"
    )
    parser.add_argument(
        "--checkpoint", action="store_true", help="keep the inputs of blocks alone, and run each forward again"
    )
    parser.add_argument(
        "--shards", metavar="N", type=int, default=1, help="devices that share the optimizer's state (ZeRO)"
    )
    parser.add_argument(
        "--zero",
        metavar="STAGE",
        type=int,
        choices=(1, 2, 3),
        default=1,
        help="what else they share: 2 gradients, 3 weights too (default: 1)",
    )


def chosen_network(arguments: argparse.Namespace) -> "Network":
    """The network that the options name.

    Raises
    ------
    SimhwError
        None is named, or it cannot be read, or a trace's tokens are to be changed.
    """
    from simhw.roofline.networks.catalogue import load_network

    if arguments.trace is not None:
        from simhw.roofline.layers.from_trace import network_from_trace
        from simhw.trace.reader import load_trace

        if arguments.sequence is not None or arguments.cache is not None:
            raise SimhwError(
                "--sequence and --cache set sizes of a layer list; the layers of a --trace are as they were captured"
            )
        return network_from_trace(load_trace(arguments.trace))
    name = arguments.model if arguments.model is not None else arguments.layers
    if name is None:
        raise SimhwError(
            "no network: give --model, --layers or --trace; `simhw roofline --model list` names the models"
        )
    return load_network(name, **tokens_of(arguments))


def tokens_of(arguments: argparse.Namespace) -> "dict[str, Any]":
    """How many tokens a sample has, and how many came before: what `load_network` takes.

    Raises
    ------
    SimhwError
        Tokens were kept in training, or are fewer than none.
    """
    if arguments.cache is None:
        return {"sequence": arguments.sequence}
    if arguments.mode == "training":
        raise SimhwError("--cache is for inference: training has all tokens at once; give --mode inference")
    if arguments.cache < 0:
        raise SimhwError(f"--cache is {arguments.cache}; give the number of tokens before, 0 or more")
    sequence = 1 if arguments.sequence is None else arguments.sequence
    return {"sequence": sequence, "sizes": {"context": arguments.cache + sequence}}


def chosen_device(text: str, settings: list[str]) -> "Device":
    """The device that the options name, with their overrides."""
    from simhw.machine.dotted import leaf_names
    from simhw.machine.overrides import parse_overrides, resolve, split_machine
    from simhw.roofline.device import load_device

    name, own = split_machine(text)
    names = leaf_names(load_device(name).values.model_dump())
    # A device's own overrides come last and so prevail, whichever way they are named.
    chosen = {
        resolve(key, names, name): value for given in (parse_overrides(settings), own) for key, value in given.items()
    }
    return load_device(name, **chosen)


def chosen_run(arguments: argparse.Namespace, device: "Device", network: "Network") -> "Run":
    """How the options say that the network is run."""
    from simhw.roofline.step.attention import Attend
    from simhw.roofline.step.run import Fusion, Run, usual_precision

    batch = arguments.batch if arguments.batch is not None else network.batch or 32
    precision: Precision = arguments.precision or usual_precision(arguments.mode, device.values.hardware.numbers)
    fusion: Fusion = arguments.fusion or device.values.usual_fusion
    attention: Attend = arguments.attention or ("fused" if device.values.fuses_attention else "products")
    return Run(
        batch,
        arguments.mode,
        precision,
        fusion,
        arguments.optimizer,
        arguments.launch,
        arguments.layout,
        attention,
        arguments.accumulate,
        arguments.checkpoint,
        arguments.shards,
        arguments.zero,
    )
