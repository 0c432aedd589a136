"""Whole training steps of full-size networks, whose simulation the benchmarks time: real tensors, nothing sampled.

``python -m tests.benchmarks.whole_steps FOLDER`` trains each network for a few steps on random images or tokens and
captures the last one (needs PyTorch; some three minutes, 1.1 GB).  Values are those of an early step: half of
what follows a ReLU is zero, and nine tenths of VGG16's gradients.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 6
"""Steps to train: ResNet-50's blocks begin as identities, whose inner gradients are zero at first."""
WHOLE_STEPS = {
    "resnet50_64_b4": 4.0e9,
    "resnet50_224_b1": 12.2e9,
    "bert_128_b1": 33.5e9,
    "bert_128_b4": 134e9,
    "vgg16": 46.3e9,
}
"""The steps by name, and the multiply-accumulates of each, about."""


def network(name: str) -> "tuple[nn.Module, Callable[[], Tensor], int, float]":
    """(model, what draws its inputs, classes, learning rate) of a step."""
    import torch

    from simhw_workloads.models.bert import Bert
    from simhw_workloads.models.resnet import resnet50
    from simhw_workloads.models.vgg import VGG

    if name.startswith("resnet50"):
        size, batch = (64, 4) if name.endswith("b4") else (224, 1)
        return resnet50(), lambda: torch.randn(batch, 3, size, size), 1000, 0.01
    if name == "vgg16":
        return VGG(), lambda: torch.randn(1, 3, 224, 224), 1000, 1e-5
    batch = int(name[-1])
    return Bert(classes=2), lambda: torch.randint(1, 30522, (batch, 128)), 2, 1e-3


def capture_step(name: str, folder: Path) -> Path:
    """Train the network of a step and write its trace into a folder; gives the trace's path."""
    import torch
    from torch import nn

    from simhw.capture import Capture

    torch.manual_seed(0)
    model, draw, classes, rate = network(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    path = folder / f"{name}.npz"
    with Capture(model, path, steps=[STEPS], batch=len(draw()), model_name=name) as capture:
        for _ in range(STEPS):
            # New inputs in each step: gradients of those that are known by heart are zero.
            inputs = draw()
            labels = torch.randint(0, classes, (len(inputs),))
            with capture.step():
                loss = nn.functional.cross_entropy(model(inputs), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            print(f"{name}: loss {loss.item():.3f}", file=sys.stderr)
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for each in sys.argv[2:] or WHOLE_STEPS:
        print(capture_step(each, target))
