"""Tensors without plain storage: sparse, nested, lazy, without values, and subclasses of tensors, in a
captured step.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._pytree import tree_map

from simhw.bfloat16 import from_float32
from simhw.errors import CaptureError
from simhw.trace.layer import Layer
from tests.captured_steps import ALL, captured, coarse, coarsened, products, values

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested", "ignore:Sparse")


def assert_is(layer: Layer, x: Tensor, linear: nn.Linear, g: Tensor) -> None:
    """A linear layer holds these very tensors, up to how its leading axes are laid out."""
    np.testing.assert_array_equal(
        layer.a.reshape(-1, x.shape[-1]), from_float32(x.detach().numpy().reshape(-1, x.shape[-1]))
    )
    np.testing.assert_array_equal(layer.w, from_float32(linear.weight.detach().numpy()))
    np.testing.assert_array_equal(layer.g.reshape(-1, g.shape[-1]), from_float32(g.numpy().reshape(-1, g.shape[-1])))


def linear_macs(layer: Layer) -> int:
    """Multiply-accumulates of each operation: rows x in x out."""
    outputs, inputs = layer.shapes["w"]
    return math.prod(layer.shapes["a"][:-1]) * inputs * outputs


# Sparse gradients: nothing of them is a product


def embedding() -> tuple[nn.Module, Tensor]:
    return nn.Embedding(10, 4, sparse=True), torch.tensor([1, 2, 2])


def bag() -> tuple[nn.Module, Tensor]:
    return nn.EmbeddingBag(10, 4, sparse=True, mode="sum"), torch.tensor([[1, 2, 2], [0, 1, 1], [3, 3, 3]])


@pytest.mark.parametrize("make", [embedding, bag])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.SparseAdam])
def test_sparse_embeddings_train_as_without_capture(make: Callable[[], Any], optimizer: Any, tmp_path: Path):
    """One linear layer of 3 x 4 x 2 behind the table: 24 multiply-accumulates in each of its three operations, none of
    the table's.
    """

    def trained(capture: bool) -> tuple[Tensor, Any]:
        torch.manual_seed(1)
        table, index = make()
        head = nn.Linear(4, 2)
        model = nn.Sequential(table, head)
        # SparseAdam takes sparse gradients alone.
        steps = [optimizer(table.parameters(), lr=0.1), torch.optim.SGD(head.parameters(), lr=0.1)]

        def step() -> None:
            for _ in range(2):
                model(index).square().sum().backward()
                for each in steps:
                    each.step()
                    each.zero_grad()

        trace = captured(model, step, tmp_path) if capture else step()
        return table.weight.detach().clone(), trace

    weight, trace = trained(capture=True)
    assert torch.equal(weight, trained(capture=False)[0])
    assert [(layer.name, layer.operations) for layer in trace.layers] == [("1", ALL), ("1#2", ALL)]
    assert [linear_macs(layer) for layer in trace.layers] == [24, 24]


def test_a_gather_with_a_sparse_gradient_is_no_product(tmp_path: Path):
    model, x = coarsened(nn.Linear(4, 2)), coarse(3, 5).requires_grad_()
    index = torch.tensor([[0, 1, 1, 4]] * 3)
    (layer,) = captured(
        model, lambda: model(torch.gather(x, 1, index, sparse_grad=True)).sum().backward(), tmp_path
    ).layers
    assert_is(layer, x.gather(1, index), model, torch.ones(3, 2))
    assert x.grad.is_sparse


def test_sparse_tensors_beside_the_products_are_let_pass_and_their_writes_are_seen(tmp_path: Path):
    sparse = torch.eye(4).to_sparse_csr()

    def step() -> None:
        coo = torch.eye(4).to_sparse()
        coo.mul_(2).coalesce().to_dense()
        for _ in range(2):
            torch.mm(sparse.values()[None], torch.ones(4, 1))
            sparse.mul_(2)

    first, second = captured(nn.Identity(), step, tmp_path).layers
    assert (values(first.a) == 1).all()
    assert (values(second.a) == 2).all()


@pytest.mark.parametrize("place", ["buffer", "parameter"])
def test_a_model_may_hold_sparse_tensors(place: str, tmp_path: Path):
    model = coarsened(nn.Linear(4, 2))
    if place == "buffer":
        model.register_buffer("adjacency", torch.eye(4).to_sparse())
    else:
        model.adjacency = nn.Parameter(torch.eye(4).to_sparse_csr())
    assert len(captured(model, lambda: model(coarse(3, 4)).sum().backward(), tmp_path).layers) == 1


# Lazy modules


def test_lazy_modules_are_captured_at_their_first_step(tmp_path: Path):
    model = nn.Sequential(
        nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.ModuleDict({"head": nn.LazyLinear(2)})["head"]
    )
    trace = captured(model, lambda: model(coarse(2, 3, 4, 4)).sum().backward(), tmp_path)
    assert [(layer.name, layer.kind, layer.shapes["w"]) for layer in trace.layers] == [
        ("0", "conv2d", (4, 3, 3, 3)),
        ("3", "linear", (2, 16)),
    ]


def test_parameters_that_stay_without_memory_do_no_harm(tmp_path: Path):
    model = nn.ModuleDict({"used": nn.Linear(4, 2), "unused": nn.LazyLinear(3)})
    assert [layer.name for layer in captured(model, lambda: model["used"](coarse(3, 4)), tmp_path).layers] == ["used"]


# Tensors without values


def test_products_of_tensors_without_values_multiply_nothing_and_are_noted(tmp_path: Path):
    model, shapes, fake = nn.Linear(4, 2), nn.Conv1d(1, 3, 2, device="meta"), FakeTensorMode()
    with fake:
        pretended, x = nn.Linear(4, 4), torch.ones(2, 4)

    def step() -> None:
        shapes(torch.empty(2, 1, 4, device="meta")).sum().backward()
        with fake:
            pretended(x)
        with FakeTensorMode():
            torch.ones(3, 4) @ torch.ones(4, 3)
        model(coarse(3, 4))

    trace = captured(model, step, tmp_path)
    assert [layer.name for layer in trace.layers] == ["linear"]
    assert trace.metadata.extra["not_captured"] == {
        "aten::convolution of tensors without values": 1,
        "aten::convolution_backward of tensors without values": 1,
        "aten::addmm of tensors without values": 1,
        "aten::mm of tensors without values": 1,
    }


def test_a_model_without_values_is_refused_and_says_why(tmp_path: Path):
    model = nn.Linear(4, 2, device="meta")
    with pytest.raises(CaptureError, match=r"no layer ran.*aten::addmm of tensors without values"):
        captured(model, lambda: model(torch.empty(3, 4, device="meta")).sum().backward(), tmp_path)


# Nested tensors


def test_a_jagged_tensor_s_products_are_those_of_its_values(tmp_path: Path):
    """Sequences of 2 and 3: five rows, 5 x 4 x 2 = 40 multiply-accumulates an operation, none for padding."""
    model = coarsened(nn.Linear(4, 2))
    parts = [coarse(2, 4).requires_grad_(), coarse(3, 4).requires_grad_()]

    def step() -> None:
        model(torch.nested.as_nested_tensor(parts, layout=torch.jagged)).values().sum().backward()

    (layer,) = captured(model, step, tmp_path).layers
    assert (layer.name, layer.kind, layer.operations) == ("linear", "linear", ALL)
    assert_is(layer, torch.cat(parts), model, torch.ones(5, 2))
    assert linear_macs(layer) == 40
    _, input_grad, weight_grad = products(layer)
    torch.testing.assert_close(input_grad, torch.cat([part.grad for part in parts]))
    torch.testing.assert_close(weight_grad, model.weight.grad)


# Subclasses


class Wrapped(Tensor):
    """A tensor that holds another and runs every operator on it."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapped":
        return Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype, requires_grad=inner.requires_grad)

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        bare = tree_map(lambda t: t.inner if isinstance(t, Wrapped) else t, (args, kwargs or {}))
        return tree_map(lambda t: Wrapped(t) if isinstance(t, Tensor) else t, func(*bare[0], **bare[1]))


@pytest.mark.parametrize("what", ["input", "weight", "both"])
def test_a_subclass_that_wraps_a_tensor_is_captured_by_what_it_holds(what: str, tmp_path: Path):
    model, plain, x = coarsened(nn.Linear(4, 2)), nn.Linear(4, 2), coarse(3, 4)
    plain.load_state_dict(model.state_dict())
    if what != "input":
        model.weight = nn.Parameter(Wrapped(model.weight.detach()))
    given = (Wrapped(x) if what != "weight" else x).requires_grad_()
    (layer,) = captured(nn.Sequential(model), lambda: model(given).sum().backward(), tmp_path).layers
    assert (layer.name, layer.operations) == ("0", ALL)
    assert_is(layer, x, plain, torch.ones(3, 2))


@pytest.fixture
def mesh() -> Any:
    from torch import distributed

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield distributed.device_mesh.init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_distributed_tensors_are_captured_by_their_own_shard(mesh: Any, tmp_path: Path):
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    model = coarsened(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    x = coarse(3, 4)
    (tmp_path / "plain").mkdir()
    expected = captured(model, lambda: model(x).sum().backward(), tmp_path / "plain").layers
    parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        model(x).sum().backward()
        optimizer.step()

    found = captured(model, step, tmp_path).layers
    assert [(layer.name, layer.kind, layer.operations) for layer in found] == [
        ("0", "linear", ("forward", "weight_grad")),
        ("2", "linear", ALL),
    ]
    for ours, plain in zip(found, expected, strict=True):
        for tensor in ("a", "w", "g"):
            np.testing.assert_array_equal(getattr(ours, tensor), getattr(plain, tensor))


def test_fully_sharded_modules_are_captured_under_their_names(mesh: Any, tmp_path: Path):
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for part in (model[0], model[2], model):
        fully_shard(part, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters())

    def step() -> None:
        model(coarse(3, 4)).sum().backward()
        optimizer.step()

    assert [(layer.name, layer.operations) for layer in captured(model, step, tmp_path).layers] == [
        ("0", ("forward", "weight_grad")),
        ("2", ALL),
    ]


def test_the_operators_of_fully_sharded_modules_are_those_that_only_copy():
    """A new one has to be looked at: `simhw.capture.operators` takes all of the name space for copies."""
    import torch.distributed.fsdp  # defines them

    known = {
        name.partition(".")[0].removeprefix("fsdp::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("fsdp::")
    }
    assert known == {"all_gather_copy_in", "chunk_cat", "copy_", "split_with_sizes_copy"}


def test_attention_on_jagged_tensors_is_refused_rather_than_lost(tmp_path: Path):
    x = torch.nested.nested_tensor([coarse(2, 4), coarse(3, 4)], layout=torch.jagged).unsqueeze(2).transpose(1, 2)
    with pytest.raises(CaptureError, match=r"aten::matmul.*to_padded_tensor"):
        captured(nn.Identity(), lambda: functional.scaled_dot_product_attention(x, x, x), tmp_path)
