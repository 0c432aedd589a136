"""What capturing a step costs, beside the same step without capture, in alternation; writing the file is not counted.

Run with ``pytest tests/benchmarks/test_capture_cost.py --benchmark-only --benchmark-disable-gc`` on an idle machine.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from simhw.capture import Capture  # noqa: E402
from simhw_workloads.models.lstm import LstmModel  # noqa: E402
from simhw_workloads.models.resnet import resnet50  # noqa: E402
from simhw_workloads.models.vgg import VGG  # noqa: E402


class Unwritten(Capture):
    """A capture up to the point where it would write."""

    def _write(self, *_captured: object) -> None:
        pass


def resnet() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    x, y = torch.randn(4, 3, 64, 64), torch.randint(0, 10, (4,))
    return resnet50(), lambda model: nn.functional.cross_entropy(model(x), y)


def bert_block() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    # BERT-base: width 768, 12 heads, 3072 in between; 128 tokens, batch 4.
    x = torch.randn(4, 128, 768)
    model = nn.TransformerEncoderLayer(768, 12, 3072, activation="gelu", batch_first=True)
    return model, lambda model: model(x).square().mean()


def vgg16() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    # 138 M weights, which are all copied, beside 15 G multiply-accumulates forward.
    x, y = torch.randn(1, 3, 224, 224), torch.randint(0, 1000, (1,))
    return VGG(), lambda model: nn.functional.cross_entropy(model(x), y)


def lstm_cells() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    # The medium model of Zaremba et al.: width 650, batch 20, 35 tokens.
    return LstmModel(10_000, 650, 650), _next_token


def lstm_layer() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    # One fused operator in a plain step; a captured one runs the products of each time step, 1.8 times as long by
    # itself.
    x = torch.randn(35, 20, 650)
    return nn.LSTM(650, 650, 2), lambda model: model(x)[0].square().mean()


def _next_token(model: nn.Module) -> torch.Tensor:
    tokens = torch.arange(20 * 36).reshape(20, 36) * 7919 % 10_000
    return nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


@pytest.mark.parametrize("case", [resnet, bert_block, vgg16, lstm_cells, lstm_layer])
def test_captured_step_beside_a_plain_one(case: Callable, benchmark: BenchmarkFixture, tmp_path: Path):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, loss = case()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    capture = Unwritten(model, tmp_path / "{step}.npz", steps=range(2, 1000, 2))
    plain, captured = [], []

    def step() -> None:
        steps = captured if (len(plain) + len(captured)) % 2 else plain
        start = time.perf_counter()
        with capture.step():
            loss(model).backward()
            optimizer.step()
            optimizer.zero_grad()
        steps.append(time.perf_counter() - start)

    # Every round is preceded by a plain step: whatever else the machine does meets both alike.
    benchmark.pedantic(step, setup=step, rounds=15, warmup_rounds=2)
    ratio = statistics.median(captured[2:]) / statistics.median(plain[2:])
    benchmark.extra_info["plain_step_s"] = statistics.median(plain[2:])
    benchmark.extra_info["captured_over_plain"] = ratio
    print(f"\n{case.__name__}: plain {statistics.median(plain[2:]):.3f} s, captured / plain {ratio:.2f}")
