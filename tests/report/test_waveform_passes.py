"""The tile pass that a waveform is asked for: all passes of a trace's operation are those that the engine runs."""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from simhw.bfloat16 import BF16Array
from simhw.errors import SimhwError, TraceError
from simhw.machine.machine import Machine, load_machine
from simhw.report.waveform import one_pass
from simhw.simulation.engine import exact_items, run_unit
from simhw.simulation.strata import plan_operation
from simhw.trace.layer import OPERATIONS, Layer
from simhw.trace.trace import Trace
from tests.cli_runs import some_trace
from tests.kernel_runs import run, whole_sets
from tests.report.test_waveform import KINDS, assert_true
from tests.trace_files import sampled_trace, values


def passes_of(trace: Trace, name: str, operation: Any, machine: Machine) -> Iterator[tuple[BF16Array, BF16Array]]:
    """Every pass that `one_pass` has, one that has nothing to execute as rows of no columns."""
    for index in itertools.count():
        try:
            yield one_pass(trace, name, operation, machine, index)
            continue
        except TraceError as error:
            message = str(error)
        if "nothing to execute" in message:
            yield np.zeros((1, 0), np.uint16), np.zeros((1, 0), np.uint16)
        else:
            assert f"no tile pass {index}; there are {index} " in message
            return


def assert_passes_are_the_runs(trace: Trace, machine: Machine) -> int:
    """All passes of `one_pass` together take the cycles and have the counters of what the engine runs; gives their
    number.
    """
    total = 0
    for number, layer in enumerate(trace.layers):
        for operation in layer.operations:
            durations: list[int] = []
            counters: Counter[str] = Counter()
            for stratum in (
                plan_operation(layer, operation, machine, exact=True, layer_index=number).candidates[0].strata
            ):
                for unit in (unit for _, units in exact_items(stratum, 40_000_000) for unit in units):
                    cycles, counts = run_unit(stratum.plan, unit)
                    durations.extend(cycles.tolist())
                    counters.update(counts)
            mine: list[int] = []
            counted: Counter[str] = Counter()
            for x, y in passes_of(trace, layer.name, operation, machine):
                if x.shape[1]:
                    passes = run(machine, x, [y], outputs=False)
                    assert passes.passes == 1
                    assert whole_sets(x, machine.tile.lanes).shape == x.shape
                    counted.update(passes.counters)
                    mine.extend(passes.durations.tolist())
                else:
                    mine.append(0)
            assert sorted(mine) == sorted(durations), (layer.name, operation)
            assert counted == counters, (layer.name, operation)
            total += len(mine)
    return total


@pytest.mark.parametrize(
    ("name", "switches"),
    [
        ("fpraker", {}),
        ("fpraker", {"lowering.padding": "skip", "tile.cols": 2}),
        ("tensordash", {}),
        ("bitparallel", {}),
    ],
)
def test_the_passes_of_a_trace_are_those_that_the_engine_runs(name, switches):
    assert assert_passes_are_the_runs(some_trace(), load_machine(name, **switches)) > 50


def test_a_pass_of_padding_alone_is_refused():
    # A 1 x 1 kernel and padding of 1: the output at the corner reads nothing but padding.
    layer = Layer(
        "corner", "conv2d", {"padding": 1}, a=values(1, 1, 8, 3, 3), w=values(2, 8, 8, 1, 1), g=values(3, 1, 8, 5, 5)
    )
    machine = load_machine("fpraker", **{"lowering.padding": "skip", "lowering.serial": "a", "tile.cols": 1})
    with pytest.raises(
        TraceError, match=r"layer 'corner', operation forward: tile pass 0 has nothing to execute: all of it is padding"
    ):
        one_pass(Trace([layer]), "corner", "forward", machine)
    x, _ = one_pass(Trace([layer]), "corner", "forward", machine, 6)  # output (1, 1), the first inside
    assert x.tolist() == layer.source("a").read()[:, :, 0, 0].tolist()


@pytest.mark.parametrize("name", KINDS)
def test_the_passes_of_a_sampled_trace_are_those_of_its_blocks(tmp_path, name):
    trace, machine = sampled_trace(), load_machine(name)
    assert trace.sampled
    assert assert_passes_are_the_runs(trace, machine) > 3
    layer = next(layer for layer in trace.layers if layer.sampled)
    x, y = one_pass(trace, layer.name, layer.operations[0], machine)
    assert_true(tmp_path / "pass.vcd", machine, x, y, layer.name)
    with pytest.raises(TraceError, match=r"no tile pass 100000; there are \d+ sampled tile passes, numbered from 0"):
        one_pass(trace, layer.name, layer.operations[0], machine, 100000)


def test_a_pass_that_is_not_there_is_refused_with_what_there_is():
    trace, machine = some_trace(), load_machine("fpraker")
    long_name = trace.layers[1].name
    with pytest.raises(TraceError, match=r"no layer 'conv9'; there are conv, a\.layer"):
        one_pass(trace, "conv9", "forward", machine)
    with pytest.raises(TraceError, match=r"input_grad: training did not run it; the layer has forward, weight_grad"):
        one_pass(trace, long_name, "input_grad", machine)
    with pytest.raises(SimhwError, match=f"no operation 'backward'; there are {', '.join(OPERATIONS)}"):
        one_pass(trace, "conv", "backward", machine)  # type: ignore[arg-type]
    for index in (-1, 10**6):
        with pytest.raises(
            TraceError, match=rf"layer 'conv', operation forward: no tile pass {index}; there are \d+ tile passes"
        ):
            one_pass(trace, "conv", "forward", machine, index)
    many = Trace([replace_name(trace, f"layer{number}") for number in range(20)])
    with pytest.raises(TraceError, match=r"layer4 and 15 more$"):
        one_pass(many, "conv", "forward", machine)


def replace_name(trace: Trace, name: str) -> Layer:
    layer = trace.layers[0]
    tensors = {tensor: layer.source(tensor).read() for tensor in "awg"}
    return Layer(name, "conv2d", {"padding": 1}, **tensors)
