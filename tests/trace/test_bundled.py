"""The traces that come with simhw are what their page says: late steps of workloads, small, within their techniques'
signatures.
"""

import pytest
from torch import nn

import simhw
from simhw.bfloat16 import is_zero
from simhw_workloads.models.resnet import resnet50
from simhw_workloads.signature import measured
from simhw_workloads.table import FAMILIES, workload
from tests.places import ROOT

TRACES = ROOT / "traces"
FAMILY_TRACES = {
    "resnet50_lrd_merged": "lrd-merged",
    "vit_skipvit": "skipvit",
    "bert_swiftlearn": "swiftlearn",
    "resnet9_haet": "resnet9-haet",
    "ecolite_prop_add": "video-prop-add",
    "ssd_adaptive": "ssd-adaptive",
    "sign_autoencoder": "sign-autoencoder",
    "admm_nn_powers": "admm-nn-powers",
    "lstm_structured_dropout": "lstm-structured-dropout",
}
"""One for every family of techniques but the plain ones, by model and technique."""


@pytest.mark.parametrize("name", FAMILY_TRACES)
def test_a_family_s_trace_is_a_late_step_within_its_signature(name: str):
    trace, row = simhw.load_trace(TRACES / f"{name}.npz"), workload(FAMILY_TRACES[name])
    assert (TRACES / f"{name}.npz").stat().st_size <= 1_500_000
    about = trace.metadata
    assert (about.model, about.dataset, about.technique) == (row.model, row.dataset, row.technique)
    assert about.capture_command is not None
    assert about.capture_command.startswith(f"simhw workloads run {row.name} --capture traces/{name}.npz")
    found = measured(trace)
    assert not {
        key: found[key] for key, bounds in row.signature.bounds.items() if key != "macs" and found[key] not in bounds
    }
    assert row.signature.kinds <= {layer.kind for layer in trace.layers}


def test_every_family_has_a_trace_and_all_are_small_together():
    # The networks of the papers are many, and trained where they are wanted.
    assert {workload(name).family for name in FAMILY_TRACES.values()} == set(FAMILIES) - {"dense", "papers"}
    assert sum((TRACES / f"{name}.npz").stat().st_size for name in FAMILY_TRACES) <= 12_000_000


def test_the_bundled_resnet_trace_is_a_late_sampled_step_of_the_workload():
    trace, row = simhw.load_trace(TRACES / "resnet50.npz"), workload("resnet50-fashion")
    assert (TRACES / "resnet50.npz").stat().st_size <= 12_000_000
    about = trace.metadata
    assert (about.model, about.dataset, about.step, about.batch) == (row.model, row.dataset, 1850, 4)
    # Two blocks of a product are the fewest from which its sampling error can be told.
    assert min(len(blocks) for layer in trace.layers for blocks in layer.blocks.values()) >= 2
    # 53 convolutions and the linear layer; biases and batch norm are the parameters that are not weights of a layer.
    assert len(trace.layers) == 54
    assert all(layer.sampled for layer in trace.layers)
    convolutions = {
        name: m.weight.shape for name, m in resnet50().named_modules() if isinstance(m, nn.Conv2d | nn.Linear)
    }
    assert {layer.name: layer.shapes["w"] for layer in trace.layers} == convolutions
    assert trace.layers[0].operations == ("forward", "weight_grad")
    assert all(len(layer.operations) == 3 for layer in trace.layers[1:])


def test_the_bundled_small_trace_is_whole_and_shows_both_kinds_of_gradient():
    trace = simhw.load_trace(TRACES / "small_cnn.npz")
    assert (TRACES / "small_cnn.npz").stat().st_size <= 1_000_000
    assert all(layer.holds(tensor) for layer in trace.layers for tensor in ("a", "w", "g"))
    zeros = {layer.name: float(is_zero(layer.g).mean()) for layer in trace.layers}
    assert zeros["conv2"] == 0
    assert zeros["conv1"] == pytest.approx(0.565, abs=0.0005)
    # conv2 is followed by batch norm and ReLU, conv3 by ReLU alone: A of the next layer has the ReLU's zeros either
    # way.
    assert min(float(is_zero(layer.a).mean()) for layer in trace.layers[1:]) > 0.3
