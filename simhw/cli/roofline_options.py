"""What `simhw roofline` and its actions have in common: which network, on what, and how it is run."""

import argparse
from typing import TYPE_CHECKING

from simhw.errors import SimhwError
from simhw.roofline.numbers import PRECISIONS, Precision

if TYPE_CHECKING:
    from simhw.roofline.device import Device
    from simhw.roofline.layers.network import Network
    from simhw.roofline.step.step import Run


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which network."""
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--model", metavar="NETWORK", help="a network that comes with simhw; `simhw roofline --model list` names them"
    )
    network.add_argument("--layers", metavar="FILE", help="a layer list: .yaml, .csv, or a SCALE-Sim topology")
    network.add_argument("--trace", metavar="TRACE", help="the product layers of a trace, by their shapes")
    parser.add_argument(
        "--sequence", metavar="N", type=int, help="tokens of a sample (transformers; default: as the layer list has it)"
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the network is run, and on what."""
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
    parser.add_argument("--optimizer", choices=("sgd", "adam"), default="sgd", help="default: sgd")


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

        if arguments.sequence is not None:
            raise SimhwError(
                "--sequence sets a size of a layer list; the layers of a --trace are as they were captured"
            )
        return network_from_trace(load_trace(arguments.trace))
    name = arguments.model if arguments.model is not None else arguments.layers
    if name is None:
        raise SimhwError(
            "no network: give --model, --layers or --trace; `simhw roofline --model list` names the models"
        )
    return load_network(name, sequence=arguments.sequence)


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
    from simhw.roofline.step.step import Fusion, Run

    batch = arguments.batch if arguments.batch is not None else network.batch or 32
    precision: Precision = arguments.precision or _usual_precision(arguments.mode, device)
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
    )


def _usual_precision(mode: str, device: "Device") -> Precision:
    """Mixed in training, narrow in inference; with bf16 where a device has no rates for fp16."""
    narrow = "fp16" in device.values.hardware.numbers
    if mode == "training":
        return "amp" if narrow else "bf16-amp"
    return "fp16" if narrow else "bf16"
