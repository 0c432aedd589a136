"""Forward products that activation checkpointing runs again are told, as a share of the step."""

from pathlib import Path

import numpy as np
import pytest

import simhw
from simhw.cli import main
from simhw.report.result_tables import trace_facts
from simhw.trace.metadata import Metadata
from simhw.trace.recomputation import recomputed_share
from simhw.trace.trace import Trace


@pytest.fixture
def trace() -> Trace:
    """Two forward products of 2 x 3 x 4 multiply-accumulates, one of them run again, and the gradients of
    it: 24 of 96.
    """
    a, w, g = np.ones((2, 3), np.float32), np.ones((4, 3), np.float32), np.ones((2, 4), np.float32)
    layers = [
        simhw.Layer("fc", "linear", a=a, w=w, operations=("forward",)),
        simhw.Layer("fc#2", "linear", a=a, w=w, g=g),
    ]
    return Trace(layers, Metadata(extra={"recomputed": ["fc#2"]}))


EXPECTED = "1 forward product, 25.0% of the multiply-accumulates, run again within the backward pass"


def test_the_report_of_a_run_says_the_share_of_recomputation(trace: Trace):
    assert ("recomputed", EXPECTED) in trace_facts(trace, simhw.simulate(trace, "bf16", progress=False))


def test_the_information_on_a_trace_says_it_too(trace: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    trace.save(tmp_path / "step.npz")
    assert main(["trace", "info", str(tmp_path / "step.npz")]) == 0
    assert EXPECTED in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("record", [None, "fc", 3, [], [1, {}], ["another"]])
def test_a_record_that_names_no_layer_says_nothing(trace: Trace, record: object):
    trace = Trace(trace.layers, Metadata(extra={} if record is None else {"recomputed": record}))
    assert recomputed_share(trace, {("fc", "forward"): 24}) == ""
