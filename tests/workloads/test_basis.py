"""Basis convolutions: filters that span the layer, others mixed from them, and only where a layer bears it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw.roofline.from_model import network_of
from simhw_workloads.lowrank.basis import BasisConv2d, sensitivities, spanning, with_bases
from simhw_workloads.models.resnet import resnet18
from simhw_workloads.techniques.basis import SHARE, noted_bases, wide_paths
from tests.workloads import by_shape
from tests.workloads.smoke_runs import smoke_run


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def spanned(outputs: int, inputs: int, rank: int) -> nn.Conv2d:
    """A 3x3 layer whose filters are all mixes of so many."""
    layer = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("or,rikl->oikl", torch.randn(outputs, rank), torch.randn(rank, inputs, 3, 3)))
    return layer


def test_a_layer_that_its_basis_spans_computes_the_same():
    layer = spanned(10, 4, 3)
    based, x = BasisConv2d(layer, 3), torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(based(x), layer(x), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(based.to_dense(), layer.weight, rtol=1e-3, atol=1e-4)


def test_basis_filters_stay_where_they_were_and_the_others_are_mixed():
    layer = nn.Conv2d(5, 12, 3, padding=1, bias=False)
    based, x = BasisConv2d(layer, 4), torch.randn(2, 5, 6, 6)
    same = [bool(torch.equal(a, b)) for a, b in zip(based.to_dense(), layer.weight.detach(), strict=True)]
    assert sum(same) == 4
    torch.testing.assert_close(based(x), nn.functional.conv2d(x, based.to_dense(), padding=1), rtol=1e-4, atol=1e-5)


def test_the_mix_is_the_least_squares_fit():
    filters = torch.randn(9, 30).double().numpy()
    order, mix = spanning(filters, 4)
    assert sorted(order) == list(range(9))
    rest = filters[order[4:]] - mix @ filters[order[:4]]
    # What is left has nothing of the basis in it.
    assert np.abs(rest @ filters[order[:4]].T).max() < 1e-9


def test_a_layer_that_its_basis_does_not_span_is_the_sensitive_one():
    model = nn.Sequential(spanned(8, 3, 2), nn.Conv2d(8, 8, 3, bias=False))
    x = torch.randn(4, 3, 15, 15)
    target = model(x).detach()
    cost = sensitivities(model, ["0", "1"], 0.25, lambda each: float((each(x).detach() - target).square().mean()))
    assert cost["0"] < 1e-6 < cost["1"]
    assert isinstance(model[0], nn.Conv2d)


@pytest.mark.parametrize("count", [0, 8])
def test_what_has_no_basis_is_told(count: int):
    with pytest.raises(WorkloadError, match=f"no basis of {count}"):
        BasisConv2d(nn.Conv2d(3, 8, 3, bias=False), count)


def test_the_least_sensitive_half_is_replaced_and_the_trace_has_its_quarter_of_filters():
    smoke = smoke_run("basis-convolutions")
    prefix = "loss rises, "
    cost = {name.removeprefix(prefix): rise for name, rise in smoke.record.notes.items() if name.startswith(prefix)}
    chosen = [path for path, each in smoke.model.named_modules() if isinstance(each, BasisConv2d)]
    assert len(chosen) == len(cost) / 2 == 8
    assert max(cost[path] for path in chosen) <= min(rise for path, rise in cost.items() if path not in chosen)
    shapes = {layer.name: layer.shapes["w"] for layer in smoke.trace.layers}
    for path in chosen:
        outputs = smoke.model.get_submodule(path).places.numel()
        assert shapes[f"{path}.basis"][0] == max(1, round(SHARE * outputs))
        assert shapes[f"{path}.mix"] == (outputs - shapes[f"{path}.basis"][0], shapes[f"{path}.basis"][0], 1, 1)
        assert path not in shapes


def test_all_layers_can_be_replaced():
    model = with_bases(smoke_run("resnet18-dense").model, [], SHARE)
    assert len(wide_paths(model)) == 16


def test_the_full_size_network_has_bases_where_training_put_them():
    record = smoke_run("basis-convolutions").record
    narrow = resnet18(10, 0.0625, 1, small_input=True)
    with_bases(narrow, noted_bases(narrow, record), SHARE)
    products = by_shape.products(network_of(narrow, torch.zeros(1, 1, 8, 8)))
    assert products == by_shape.captured_products("basis-convolutions")
    left = by_shape.share_left("basis-convolutions")
    assert left == pytest.approx(by_shape.captured_share_left("basis-convolutions"), rel=0.05)
    assert left < 0.9
    by_shape.step_of("basis-convolutions")
    with pytest.raises(WorkloadError, match="'bases' names 'fc'"):
        noted_bases(resnet18(10, 0.0625), replace(record, notes={"bases": "layer1.0.conv1, fc"}))
