"""Tensor trains of layers: what they compute, and that their cores are those of the published algorithm."""

import pytest
import tensorly
import torch
from tensorly.decomposition import tensor_train
from torch import Tensor, nn
from torch.nn import functional

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.tensor_train import TensorTrain, TrainShape, cores_of, to_tensor_train, truncated

LAYERS = {
    "linear": (lambda: nn.Linear(12, 8), (5, 12), TrainShape((2, 4), (3, 4), (2, 5, 3))),
    "linear of three factors": (lambda: nn.Linear(8, 12), (5, 8), TrainShape((2, 3, 2), (2, 2, 2), (2, 4, 5, 3, 2))),
    "3x3": (lambda: nn.Conv2d(6, 10, 3, padding=1), (2, 6, 7, 7), TrainShape((10,), (6,), (5, 4))),
    "3x3 of stride 2, in factors": (
        lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
        (2, 6, 7, 7),
        TrainShape((2, 4), (3, 2), (2, 6, 5, 2)),
    ),
}


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def applied(layer: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, layer.bias)
    assert isinstance(layer, nn.Conv2d)
    return functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)


@pytest.mark.parametrize("case", LAYERS)
def test_a_tensor_train_computes_what_its_truncated_weights_compute(case: str):
    make, size, shape = LAYERS[case]
    layer, x = make(), torch.randn(size)
    near = truncated(layer.weight.detach(), shape)
    assert 0.01 < float((near - layer.weight.detach()).norm() / layer.weight.detach().norm()) < 1
    torch.testing.assert_close(TensorTrain(layer, shape)(x), applied(layer, near, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
def test_at_full_ranks_it_computes_what_the_layer_did(case: str):
    make, size, shape = LAYERS[case]
    layer, x = make(), torch.randn(size)
    full = TrainShape(shape.outputs, shape.inputs, tuple(10_000 for _ in shape.ranks))
    torch.testing.assert_close(TensorTrain(layer, full)(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
def test_the_cores_compose_to_what_tensorly_s_do(case: str):
    make, _, shape = LAYERS[case]
    weight = make().weight.detach()
    axes = shape.axes(weight)
    tensor = (weight.flatten(2).transpose(1, 2) if weight.dim() > 2 else weight).reshape(axes).double().numpy()
    theirs = tensor_train(tensor, rank=[1, *shape.ranks, 1])
    assert [tuple(core.shape) for core in cores_of(weight, shape)] == [core.shape for core in theirs.factors]
    ours = truncated(weight, shape)
    other = torch.from_numpy(tensorly.tt_to_tensor(theirs)).float()
    if weight.dim() > 2:
        other = other.reshape(weight.shape[0], -1, weight.shape[1]).transpose(1, 2)
    torch.testing.assert_close(ours, other.reshape(weight.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", LAYERS)
def test_shapes_alone_are_those_of_values(case: str):
    make, _, shape = LAYERS[case]
    with torch.device("meta"):
        bare = TensorTrain(make(), shape)
    whole = TensorTrain(make(), shape)
    assert [p.shape for p in bare.parameters()] == [p.shape for p in whole.parameters()]


def test_factors_and_ranks_that_do_not_fit_are_refused():
    model = nn.Sequential(nn.Linear(12, 8), nn.ReLU())
    with pytest.raises(WorkloadError, match=r"weights \(8, 12\) are no tensor train of outputs \(2, 2\)"):
        to_tensor_train(model, {"0": TrainShape((2, 2), (12,), (2, 2))})
    with pytest.raises(WorkloadError, match="one rank stands between two cores"):
        to_tensor_train(model, {"0": TrainShape((2, 4), (12,), (2,))})
    with pytest.raises(WorkloadError, match="no linear layer or convolution '1'"):
        to_tensor_train(model, {"1": TrainShape((2, 4), (12,), (2, 2))})
    with pytest.raises(WorkloadError, match="2 groups"):
        TensorTrain(nn.Conv2d(8, 4, 3, groups=2), TrainShape((4,), (4,), (2, 2)))
