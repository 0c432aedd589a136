"""How long a prediction takes: whole networks, whose layers repeat, and one layer's staircase, whose ranks do not."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simhw.roofline.compression.ranks import rank_latency
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Conv
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run


@pytest.mark.parametrize("device", ["v100", "ascend910"])
@pytest.mark.parametrize("network", ["resnet50", "bert-large", "llama-7b"])
def test_training_step_of_a_network(benchmark: BenchmarkFixture, device: str, network: str) -> None:
    made = benchmark(estimate, load_network(network), load_device(device), Run(32, "training", "amp"))
    benchmark.extra_info["operators"] = len(made.work)


@pytest.mark.parametrize("device", ["v100", "ascend910"])
def test_staircase_of_a_layer(benchmark: BenchmarkFixture, device: str) -> None:
    layer = Conv("c", 512, 512, (14, 14), (3, 3), (1, 1), (1, 1), (1, 1))
    frame = benchmark.pedantic(
        rank_latency, (layer, range(128, 257), load_device(device), Run(32, "training", "amp")), rounds=3
    )
    assert len(frame) == 129
