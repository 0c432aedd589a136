"""Networks by shape beside captured steps."""

from functools import cache
from math import prod

from simhw.lowering import multiply_accumulates
from simhw.roofline.layers.network import Conv, Linear, Network
from simhw.trace.trace import Trace
from simhw_workloads.full_size import full_size_step
from simhw_workloads.table import workload
from simhw_workloads.train import Run
from tests.workloads.smoke_runs import smoke_run


@cache
def full_network(name: str) -> Network:
    """The full-size network of a workload, with the ranks of its smoke run."""
    shapes = workload(name).shapes
    assert shapes is not None
    return shapes(Run(record=smoke_run(name).record))


def step_of(name: str) -> Trace:
    """The full-size step of one sample that is made of the smoke run's values; it has all products of the network."""
    network = full_network(name)
    step = full_size_step(smoke_run(name).trace, network, 1, 0)
    assert sum(multiply_accumulates(layer, "forward") for layer in step.layers) == network.macs
    return step


def products(network: Network) -> dict[str, tuple[int, ...]]:
    """The weights of convolutions and linear layers."""
    found: dict[str, tuple[int, ...]] = {}
    for layer in network.layers:
        if isinstance(layer, Conv):
            found[layer.name] = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel)
        elif isinstance(layer, Linear):
            found[layer.name] = (layer.out_features, layer.in_features)
    return found


def captured_products(name: str) -> dict[str, tuple[int, ...]]:
    """Those of the smoke run's captured step; of several passes those of the first."""
    return {layer.name: layer.shapes["w"] for layer in smoke_run(name).trace.layers if "#" not in layer.name}


def share_left(name: str) -> float:
    """Multiply-accumulates of the full-size network over those of the uncompressed one."""
    baseline = workload(name).baseline
    assert baseline is not None
    return full_network(name).macs / full_network(baseline).macs


def captured_share_left(name: str) -> float:
    """That of the smoke runs: of the forward passes of their captured steps, the first ones."""

    def macs(of: str) -> int:
        layers = [layer for layer in smoke_run(of).trace.layers if "#" not in layer.name]
        samples = {layer.shapes["a"][0] for layer in layers}
        assert len(samples) == 1
        return sum(multiply_accumulates(layer, "forward") for layer in layers) // prod(samples)

    baseline = workload(name).baseline
    assert baseline is not None
    return macs(name) / macs(baseline)
