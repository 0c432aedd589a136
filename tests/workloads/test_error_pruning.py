"""Error-map pruning: which channels of an error map come back, and what the others do."""

import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.error_pruning import PrunedErrors, important_channels, prune_errors
from simhw_workloads.techniques.digits import untrained
from simhw_workloads.techniques.error_prune import KEPT
from simhw_workloads.train import Run
from tests.captured_steps import values
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_importance_is_twice_the_gradient_and_once_the_weights() -> None:
    gradient = torch.zeros(2, 3, 1, 2)
    gradient[:, 0] = 1.0
    gradient[0, 1] = -1.5
    weight = torch.zeros(3, 1, 1, 1)
    weight[1:, 0, 0, 0] = torch.tensor([-1.5, 8.5])
    # Gradients 4, 3 and 0, weights 0, 1.5 and 8.5: 8, 7.5 and 8.5.
    assert sorted(important_channels(gradient, weight, 0.6).tolist()) == [0, 2]
    assert important_channels(gradient, weight, 0.1).tolist() == [2]


def test_channels_that_are_left_out_do_nothing_for_either_gradient() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    pruned = PrunedErrors(layer, 0.5)
    x, upstream = torch.randn(2, 3, 6, 6, requires_grad=True), torch.randn(2, 8, 6, 6)
    output = pruned(layer(x))
    assert torch.equal(output, layer(x))
    output.backward(upstream)
    kept = important_channels(upstream, layer.weight.detach(), 0.5)
    assert len(kept) == 4
    # The compacted products: four channels alone.
    narrow, y = nn.Conv2d(3, 4, 3, padding=1, bias=False), x.detach().clone().requires_grad_()
    narrow.weight.data = layer.weight.data[kept]
    narrow(y).backward(upstream[:, kept])
    torch.testing.assert_close(x.grad, y.grad)
    expected = torch.zeros_like(layer.weight)
    expected[kept] = narrow.weight.grad
    torch.testing.assert_close(layer.weight.grad, expected)
    assert int((layer.weight.grad != 0).flatten(1).any(1).sum()) == 4


def test_half_of_the_channels_of_every_convolutions_gradient_are_zero_and_the_rest_is_dense() -> None:
    for layer in smoke_run("error-prune").trace.layers:
        if layer.kind == "conv2d":
            zero = values(layer.g) == 0
            whole = zero.transpose(0, 1).flatten(1).all(1)
            assert int(whole.sum()) == round((1 - KEPT) * len(whole))
            assert not zero.transpose(0, 1)[~whole].all()
        else:
            assert not (values(layer.g) == 0).all(0).all()


def test_the_parameters_stay_where_they_were() -> None:
    run = Run(scale="smoke")
    model, _ = untrained(run)
    before = dict(model.named_parameters())
    prune_errors(model, 0.5)
    assert {id(each) for each in before.values()} == {id(each) for each in model.parameters()}
    assert len(list(model.parameters())) == len(before)
    assert sum(isinstance(each, PrunedErrors) for each in model.modules()) == 3
    with pytest.raises(WorkloadError, match="give 0 < share <= 1"):
        PrunedErrors(nn.Conv2d(1, 1, 1), 0.0)
