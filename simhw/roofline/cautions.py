"""What a prediction has to be read with: what its network's file says otherwise, and what its device cannot do."""

from math import prod

from simhw.roofline.device import Device
from simhw.roofline.layers.network import Conv, Linear, Network, NetworkLayer
from simhw.roofline.numbers import BYTES
from simhw.roofline.step.step import Run

STATES = {"sgd": 1, "adam": 2}
"""Values that an optimizer keeps per parameter: momentum; mean and square."""


def cautions(network: Network, device: Device, run: Run) -> tuple[str, ...]:
    """Cautions of a network's step on a device, a sentence each."""
    found = list(network.cautions)
    if run.mode == "training" and not device.values.trains:
        found.append(
            f"{device.name} is sold for inference alone; the time is what training would take if it could be run there"
        )
    memory, needed = device.values.hardware.memory_bytes, needed_bytes(network, run)
    if memory is not None and needed > memory:
        what = (
            "parameters, their gradients and state, and the inputs of products"
            if run.mode == "training"
            else "parameters and a layer's data"
        )
        found.append(
            f"{what} alone need {needed / 1e9:,.3g} GB at batch {run.batch}; {device.name} has {memory / 1e9:,.3g} GB"
        )
    return tuple(found)


def needed_bytes(network: Network, run: Run) -> int:
    """Bytes that a step needs at least of a device's memory, but for tensors that several layers read.

    Inference: the weights, and the input and output of one layer at a time.  Training: weights, gradients and the
    optimizer's state, and the inputs of all convolutions and linear layers, which their weights' gradients need again.
    What other layers keep, work space and the framework's own come on top.
    """
    value, weight = BYTES[run.numbers.products], BYTES[run.numbers.weights]
    if run.mode == "inference":
        data = max((sum(_values(layer)) for layer in network.layers), default=0)
        return weight * network.parameters + value * run.batch * data
    trained = sum(layer.parameters for layer in network.layers if getattr(layer, "trainable", False))
    kept = sum(_values(layer)[0] for layer in network.layers if getattr(layer, "trainable", False))
    return weight * (network.parameters + (1 + STATES[run.optimizer]) * trained) + value * run.batch * kept


def _values(layer: NetworkLayer) -> tuple[int, int]:
    """Values of the input and of the output of a convolution or linear layer, per sample."""
    match layer:
        case Conv():
            return layer.in_channels * prod(layer.size), layer.out_channels * prod(layer.out_size)
        case Linear():
            return layer.rows * layer.in_features, layer.rows * layer.out_features
    return 0, 0
