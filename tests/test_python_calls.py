"""What the public calls do with what they cannot use: one line that says what was wrong, or the right result."""

from pathlib import Path

import numpy as np
import pytest

from simhw import compare, simulate, simulate_gemm, simulate_layer
from simhw.errors import LONGEST_MESSAGE, SimhwError
from simhw.machine.machine import load_machine
from simhw.trace.layer import InMemory, Layer
from simhw.trace.statistics import tensor_statistics
from simhw.trace.trace import Trace

RNG = np.random.default_rng(0)
A, W, G = (RNG.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 4, 4), (4, 3, 3, 3), (2, 4, 2, 2)))
X, Y = (RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 8), (2, 8)))
NAN, INFINITY = float("nan"), float("inf")


def layer(**changed):
    return Layer(**{"name": "c", "kind": "conv", "geometry": None, "a": A, "w": W, "g": G, **changed})


def step(*layers):
    return Trace(list(layers) or [layer()])


def run(trace=None, machine="tensordash", **options):
    return simulate(trace or step(), machine, progress=False, **options).total.cycles.value


def refused(call):
    """The one line that a call is refused with."""
    with pytest.raises(SimhwError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= LONGEST_MESSAGE
    return message


@pytest.mark.parametrize(
    "changed",
    [
        {"name": 3},
        {"name": None},
        {"kind": None},
        {"kind": []},
        {"geometry": 5},
        {"geometry": "stride"},
        {"geometry": {1: 1, "x": 2}},
        {"geometry": {"groups": "x"}},
        {"geometry": {"groups": None}},
        {"geometry": {"groups": NAN}},
        {"geometry": {"groups": INFINITY}},
        {"geometry": {"groups": 1.5}},  # not 1
        {"geometry": {"stride": (NAN, 1)}},
        {"geometry": {"stride": (1.5, 1)}},  # not (1, 1)
        {"geometry": {"stride": ("a", "b")}},
        {"geometry": {"stride": b"\1\1"}},  # no (1, 1) of its bytes' values
        {"geometry": {"stride": (None, 1)}},
        {"operations": 3},
        {"operations": "forward"},
        {"operations": [None]},
        {"operations": [[]]},
        {"shapes": 3},
        {"shapes": {"a": None}},
        {"shapes": {"q": (1, 2)}},
        {"a": None, "shapes": {"a": (2.5, 3, 4, 4)}},  # not 2 images
        {"a": None, "shapes": {"a": "2344"}},
        {"statistics": 3},
        {"statistics": {"a": 3}},
        {"statistics": {"a": tensor_statistics(np.zeros(3, np.uint16), 0)}},  # of another tensor
        {"blocks": 3},
        {"blocks": {"forward": 3}},
        {"blocks": {"forward": [3]}},
        {"blocks": {"sideways": []}},
        {"a": np.full(A.shape, NAN)},
        {"a": np.zeros(A.shape, int)},
        {"a": np.zeros((0, 3, 4, 4))},
        {"a": np.ma.masked_greater(A, 0)},
    ],
)
def test_a_layer_that_is_none_is_refused(changed):
    refused(lambda: run(step(layer(**changed))))


def test_the_layer_of_an_odd_geometry_is_named():
    assert (
        refused(lambda: layer(geometry={"stride": "x"}))
        == "layer 'c': geometry stride='x': give an integer or 2 integers"
    )


@pytest.mark.parametrize("stride", [np.array([1, 1]), [1, 1], np.int32(1), True])
def test_integers_of_any_kind_are_taken(stride):
    assert layer(geometry={"stride": stride}).geometry.stride == (1, 1)


def test_values_in_memory_are_bit_patterns():
    assert "float32: give bit patterns" in refused(lambda: layer(a=InMemory(A)))


def test_the_byte_order_of_an_array_does_not_matter():
    bits = layer().a
    assert (layer(a=bits.astype(">u2")).a == bits).all()
    assert (layer(a=A.astype(">f4")).a == bits).all()


@pytest.mark.parametrize("trace", [None, 3, [layer()], layer(), b"\0", "", "no such"])
def test_what_is_no_trace_is_refused(trace):
    refused(lambda: simulate(trace, "tensordash", progress=False))


@pytest.mark.parametrize("arguments", [(None,), (3,), ([1],), ("ab",), ([layer()], {"model": "x"})])
def test_a_trace_is_a_list_of_layers_and_metadata(arguments):
    refused(lambda: Trace(*arguments))


@pytest.mark.parametrize("machine", [None, 3, ["fpraker"], Path("no.yaml"), "", "v100", "fpraker:tiles"])
def test_what_is_no_machine_is_refused(machine):
    refused(lambda: run(machine=machine))
    refused(lambda: simulate_gemm(X, Y, machine))
    refused(lambda: simulate_layer(layer(), "forward", machine))
    if machine is not None:  # that of the machine's file
        refused(lambda: run(baseline=machine))


def test_a_machine_may_be_given_with_overrides_or_by_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tensordash\nname: mine\ntiles: 4\n")
    expected = run(machine=load_machine("tensordash", tiles=4))
    assert run(machine="tensordash:tiles=4") == run(machine=path) == run(machine=str(path)) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"sample": "0.5"},
        {"sample": NAN},
        {"sample": 0},
        {"sample": [0.5]},
        {"sample": np.array([0.5, 0.6])},
        {"seed": -1},
        {"seed": None},
        {"seed": 1.5},
        {"seed": "x"},
        {"workers": 0},
        {"workers": -1},
        {"workers": "2"},
        {"workers": 10**6},
        {"batch": 0},
        {"batch": "4"},
        {"batch": 4.5},
        {"batch": NAN},
        {"batch": 10**18},
    ],
)
def test_options_that_are_no_numbers_or_too_large_are_refused(options):
    refused(lambda: run(**options))


def test_numbers_of_numpy_are_as_good_as_python_s():
    sampled = {"sample": 0.5, "seed": 3, "batch": 4, "workers": 1}
    assert run(sample=np.float32(0.5), seed=np.int64(3), batch=np.int64(4), workers=np.int8(1)) == run(**sampled)
    assert load_machine("fpraker", tiles=np.array(4)).content_hash == load_machine("fpraker", tiles=4).content_hash


@pytest.mark.parametrize("machines", ["fpraker", [], None, 3, load_machine("fpraker")])
def test_a_comparison_wants_a_list_of_machines(machines):
    assert "give a list" in refused(lambda: compare(step(), machines, progress=False))


@pytest.mark.parametrize("part", [None, 3, step()])
def test_what_is_no_layer_is_not_simulated(part):
    refused(lambda: simulate_layer(part, "forward", "tensordash"))


@pytest.mark.parametrize(
    "overrides",
    [
        {"tile.rows": None},
        {"tile.rows": True},  # equals the choice 1
        {"tile.rows": np.bool_(True)},
        {"tile.rows": 4.0},
        {"tile.rows": np.array([4, 5])},
        {"tiles": object()},
        {"clock_hz": NAN},
        {"": 1},
        {"pe": {}},
        {"oob_threshold": 5, "pe.oob_threshold": 7},
    ],
)
def test_overrides_that_fit_no_value_are_refused(overrides):
    refused(lambda: load_machine("fpraker", **overrides))
