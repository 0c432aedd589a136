"""A recorded function does what Numba would make of it, and says so where it cannot be recorded."""

from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from simhw.pe.stack import load_next, sum_over
from simhw.pe.straight import straight
from simhw.pe.vector import WIDTH, any_lane, lane_bits, load, spread, store
from simhw.pointers import data


def _mixed(depth, vector, setup, count):
    bits = lane_bits(vector)
    raised = (vector << spread(2 * depth, vector)) - spread(count, vector)
    kept = ~(-raised) ^ spread(3 - setup.shift, vector) | vector & spread(bits - 1, vector)
    return kept >> spread(setup.shift, vector), (bits - count) * (1 << depth)


_recorded, _inlined = straight(_mixed), numba.njit(inline="always")(_mixed)


class Mixed(NamedTuple):
    flag: bool
    shift: int


class Alike(NamedTuple):
    """Members of one type are another type to Numba."""

    other: int
    shift: int


@numba.njit
def _both(words, setup, out):
    first, one = _recorded(3, load(words, 0), setup, 5)
    second, two = _inlined(3, load(words, 0), setup, 5)
    store(out, 0, first)
    store(out, WIDTH, second)
    return one, two


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int32, np.int64])
@pytest.mark.parametrize("setup", [Mixed(True, 2), Alike(9, 2)])
def test_a_recorded_function_equals_the_same_function_inlined(kind, setup):
    words = np.random.default_rng(0).integers(0, 1 << 15, WIDTH).astype(kind)
    out = np.zeros(2 * WIDTH, kind)
    one, two = _both(words, setup, out)
    assert (out[:WIDTH] == out[WIDTH:]).all()
    assert out.any()
    assert one == two == (words.itemsize * 8 - 5) * 8


@straight
def _inner(depth, elements, absent):
    return (sum_over(load_next(elements, 0, depth)), 7 if absent is None else 8)[0]


@straight
def _outer(depth, elements, absent):
    return _inner(depth, elements, absent) + _inner(1, elements, absent)


@numba.njit
def _nested(words, out):
    store(out, 0, _outer(2, data(words), None))


def test_recorded_functions_call_each_other_and_see_literals_and_none_as_python_does():
    words = np.arange(2 * WIDTH, dtype=np.uint16)
    out = np.zeros(WIDTH, np.uint16)
    _nested(words, out)
    assert (out == 2 * words[:WIDTH] + words[WIDTH:]).all()


@straight
def _branching(vector: Any) -> Any:
    return vector if any_lane(vector) else -vector


@numba.njit
def _branch(words):
    store(words, 0, _branching(load(words, 0)))


def test_a_branch_cannot_be_recorded():
    with pytest.raises(TypeError, match="no branches"):
        _branch(np.zeros(WIDTH, np.uint16))
