"""Every workload runs at smoke scale, and the step that is captured of it looks as its row of the table says."""

import math

import numpy as np
import pytest
import torch

from simhw.bfloat16 import is_zero
from simhw_workloads.signature import Bounds, Signature, forward_macs, measured
from simhw_workloads.table import ROWS
from simhw_workloads.workload import Workload
from tests.workloads.smoke_runs import smoke_run

# The one workload without a smoke scale: ResNet-50 at its full width; tests/trace/test_bundled.py looks at its bundled
# trace.
SMOKED = [row for row in ROWS if row.name != "resnet50-fashion"]


@pytest.mark.parametrize("row", SMOKED, ids=lambda row: row.name)
def test_a_workload_runs_through_its_phases_and_scores(row: Workload):
    record = smoke_run(row.name).record
    assert tuple(phase.name for phase in record.phases) == row.phases
    for phase in record.phases:
        assert len(phase.losses) == phase.steps
        assert phase.step_macs > 0
    assert math.isfinite(record.result.value)
    if row.baseline is not None:
        assert record.result.metric == smoke_run(row.baseline).record.result.metric
    if row.work is not None:
        assert 0 < row.work(record) <= len(row.phases)


@pytest.mark.parametrize("row", SMOKED, ids=lambda row: row.name)
def test_the_captured_step_looks_as_the_signature_says(row: Workload):
    trace = smoke_run(row.name).trace
    found = measured(trace, smoke_run(row.baseline).trace if row.baseline else None)
    outside = {
        name: (found[name], bounds) for name, bounds in row.signature.bounds.items() if found[name] not in bounds
    }
    assert not outside, f"{row.name}: {outside}; all: {found}"
    kinds = {layer.kind for layer in trace.layers}
    assert row.signature.kinds <= kinds
    assert not row.signature.absent & kinds


@pytest.mark.parametrize("row", SMOKED, ids=lambda row: row.name)
def test_the_captured_products_are_those_that_ran(row: Workload):
    """The multiply-accumulates of the trace, by its shapes, are those that PyTorch's own counter saw in the step."""
    smoke = smoke_run(row.name)
    phase, trace = smoke.record.phase(row.captured), smoke.trace
    caught = sum(forward_macs(layer) * len(layer.operations) for layer in trace.layers)
    # The first step is counted, the last one captured: where a hook takes fewer samples later on, freezes others, or
    # draws a rank or each image's resolution, they differ.
    if row.work is None and row.name not in {"lrd-sequential", "decompose-train", "maestro", "dynamic-resolution"}:
        assert caught == phase.step_macs * trace.metadata.batch / phase.batch


def test_a_signature_is_measured_as_its_docstring_says():
    trace = smoke_run("small-cnn-digits").trace
    found = measured(trace, trace)
    for tensor in ("a", "w", "g"):
        zeros = np.concatenate([is_zero(getattr(layer, tensor)).ravel() for layer in trace.layers])
        assert found[f"zeros_{tensor}"] == pytest.approx(zeros.mean())
    # Input gradients are left out of the first layer alone: conv1 of 8x8 images, 3x3, one channel to 16.
    forward = sum(forward_macs(layer) for layer in trace.layers)
    assert forward_macs(trace.layers[0]) == 8 * 64 * 16 * 9
    assert found["input_grad"] == pytest.approx(1 - 8 * 64 * 16 * 9 / forward)
    assert found["weight_grad"] == 1
    assert found["macs"] == 1
    assert Signature(zeros_a=Bounds(0, 1), kinds=frozenset({"linear"})).bounds == {"zeros_a": Bounds(0, 1)}
    assert torch.get_num_threads() == 1
