"""Pointers reach the elements of contiguous arrays, and refuse arrays with gaps, which they would misread."""

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pytest
from numba.core.errors import TypingError

from simhw.pointers import data, onward, pointers


class Two(NamedTuple):
    words: npt.NDArray[Any]
    factor: int


@numba.njit
def _read(elements: Any, at: int, index: int) -> Any:
    return onward(data(elements), at)[index]


@numba.njit
def _read_of_tuple(two: Two, index: int) -> Any:
    return pointers(two).words[index] * two.factor


def test_pointers_reach_the_elements_of_contiguous_arrays() -> None:
    words = np.arange(24, dtype=np.uint16)
    assert [_read(words, at, 3) for at in (0, 5, 20)] == [3, 8, 23]
    assert _read(words[4:], 1, 2) == 7
    assert _read_of_tuple(Two(words, 10), 6) == 60


@pytest.mark.parametrize("gaps", [slice(None, None, 2), slice(None, None, -1)])
def test_arrays_with_gaps_are_refused(gaps: slice) -> None:
    words = np.arange(24, dtype=np.uint16)[gaps]
    with pytest.raises(TypingError, match="contiguous"):
        _read(words, 0, 1)
    with pytest.raises(TypingError, match="contiguous"):
        _read_of_tuple(Two(words, 1), 1)
