"""A step's kernels are those that PyTorch dispatches: counted in real forward and backward passes."""

import math
from collections import Counter

import pytest

from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.operators import Gemm, Streaming
from simhw.roofline.step.run import Run
from simhw.roofline.step.step import Work, step

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - torch may be absent
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402


class Dispatched(TorchDispatchMode):
    """Counts the operators that PyTorch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        self.counts[str(function).removeprefix("aten.")] += 1
        return function(*arguments, **(keywords or {}))


def kernels(work: list[Work]) -> Counter[str]:
    """How often each function or product runs; batched products apart."""
    names: Counter[str] = Counter()
    for each in work:
        operator = each.operator
        if isinstance(operator, Streaming):
            names[operator.name] += 1
        elif isinstance(operator, Gemm):
            names["gemm" if operator.batch == 1 else "batched gemm"] += 1
        else:
            names[operator.operation] += 1
    return names


def test_a_resnet50_step_runs_what_pytorch_runs() -> None:
    from simhw_workloads.models.resnet import resnet50

    with torch.device("meta"):
        model, images, labels = resnet50(), torch.empty(2, 3, 224, 224), torch.zeros(2, dtype=torch.long)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, foreach=True)
        for _ in range(2):  # the first step only starts the momentum
            with Dispatched() as log:
                nn.functional.cross_entropy(model(images), labels).backward()
                optimizer.step()
            optimizer.zero_grad()
    ran, run = log.counts, kernels(step(load_network("resnet50"), Run(2)))
    assert run["forward"] == ran["convolution.default"]
    assert run["weight_grad"] == run["input_grad"] + 1 == ran["convolution_backward.default"]
    assert run["batchnorm"] == ran["native_batch_norm.default"]
    assert run["batchnorm_grad"] == ran["native_batch_norm_backward.default"]
    assert run["relu"] == ran["relu_.default"]
    assert run["relu_grad"] == ran["threshold_backward.default"]
    assert (
        run["add"] == ran["add_.Tensor"] - run["batchnorm"]
    )  # batch norm counts its batches with an add_ of one value
    assert run["gradient_sum"] == ran["add.Tensor"]
    assert run["max_pool"] == ran["max_pool2d_with_indices.default"]
    assert run["gemm"] == ran["addmm.default"] + ran["mm.default"]
    assert run["bias_grad"] == ran["sum.dim_IntList"]
    assert run["log_softmax"] + run["nll_loss"] == ran["_log_softmax.default"] + ran["nll_loss_forward.default"]
    updates = sum(count for name, count in ran.items() if name.startswith("_foreach_"))
    assert sum(count for name, count in run.items() if name.startswith("sgd_")) == updates


class EncoderLayer(nn.Module):
    """A transformer's encoder layer as BERT has it, with attention in plain products."""

    def __init__(self, hidden: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.merged = (nn.Linear(hidden, hidden) for _ in range(4))
        self.up, self.down = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.norm1, self.norm2, self.dropout = nn.LayerNorm(hidden), nn.LayerNorm(hidden), nn.Dropout(0.1)

    def split(self, x: "torch.Tensor") -> "torch.Tensor":
        return x.view(*x.shape[:2], self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, x: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
        query, key, value = (self.split(each(x)) for each in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        used = torch.matmul(self.dropout(torch.softmax(scores + mask, -1)), value)
        merged = used.permute(0, 2, 1, 3).contiguous().view(x.shape)
        x = self.norm1(self.dropout(self.merged(merged)) + x)
        return self.norm2(self.dropout(self.down(nn.functional.gelu(self.up(x)))) + x)


def test_an_encoder_layer_of_bert_runs_what_pytorch_runs() -> None:
    layer, x = EncoderLayer(16, 2, 64), torch.zeros(2, 5, 16, requires_grad=True)
    with Dispatched() as forward:
        output = layer(x, torch.zeros(2, 1, 1, 5))
    with Dispatched() as backward:
        output.backward(torch.ones_like(output))
    sizes = {"hidden": 16, "heads": 2, "head": 8, "inner": 64, "layers": 1, "sequence": 5}
    work = [
        each
        for each in step(load_network("bert-base", sizes=sizes), Run(2))
        if each.layer.startswith("encoder.layer.0.")
    ]
    run, ran = kernels([each for each in work if each.phase == "forward"]), forward.counts
    assert run["gemm"] == ran["addmm.default"]
    assert run["batched gemm"] == ran["bmm.default"]
    assert run["copy"] == ran["clone.default"]
    assert run["scale"] == ran["div.Tensor"]
    assert run["add"] + run["mask"] == ran["add.Tensor"]
    assert run["softmax"] == ran["_softmax.default"]
    assert run["dropout"] == ran["bernoulli_.float"]
    assert run["gelu"] == ran["gelu.default"]
    assert run["layernorm"] == ran["native_layer_norm.default"]
    run, ran = kernels([each for each in work if each.phase != "forward"]), backward.counts
    assert run["gemm"] == ran["mm.default"]
    assert run["batched gemm"] == ran["bmm.default"]
    assert run["bias_grad"] == ran["sum.dim_IntList"]
    assert run["copy_grad"] == ran["clone.default"]
    assert run["scale_grad"] == ran["div.Tensor"]
    assert run["gradient_sum"] == ran["add.Tensor"]
    assert run["softmax_grad"] == ran["_softmax_backward_data.default"]
    assert run["dropout_grad"] == ran["mul.Tensor"]
    assert run["gelu_grad"] == ran["gelu_backward.default"]
    assert run["layernorm_grad"] == ran["native_layer_norm_backward.default"]
