"""How long a prediction takes: whole networks, whose layers repeat, one layer's staircase, whose ranks do not, and the
choice of ranks for a whole network by the command.

What was remembered of products is forgotten before each round, so that a round is what a command pays.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from simhw.cli import main
from simhw.roofline.ascend.cube import best_plan
from simhw.roofline.compression.ranks import rank_latency
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Conv
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.step.run import Run


@pytest.mark.parametrize("device", ["v100", "ascend910"])
@pytest.mark.parametrize("network", ["resnet50", "bert-large", "llama-7b"])
def test_training_step_of_a_network(benchmark: BenchmarkFixture, device: str, network: str) -> None:
    asked = load_network(network), load_device(device), Run(32, "training", "amp")
    made = benchmark.pedantic(estimate, asked, setup=best_plan.cache_clear, rounds=20)
    benchmark.extra_info["operators"] = len(made.work)


@pytest.mark.parametrize("device", ["v100", "ascend910"])
def test_staircase_of_a_layer(benchmark: BenchmarkFixture, device: str) -> None:
    layer = Conv("c", 512, 512, (14, 14), (3, 3), (1, 1), (1, 1), (1, 1))
    asked = layer, range(128, 257), load_device(device), Run(32, "training", "amp")
    frame = benchmark.pedantic(rank_latency, asked, setup=best_plan.cache_clear, rounds=3)
    assert len(frame) == 129


@pytest.mark.parametrize("device", ["v100", "ascend910", "h200"])
def test_ranks_for_a_network(benchmark: BenchmarkFixture, device: str) -> None:
    command = ["roofline", "ranks", "--model", "resnet50", "--device", device]
    assert benchmark.pedantic(main, (command,), setup=best_plan.cache_clear, rounds=3) == 0
