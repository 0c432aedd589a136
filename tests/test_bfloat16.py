"""bfloat16 bit patterns: how numbers become them, which of them are no numbers, and where those are found."""

import numpy as np
import pytest

from simhw.bfloat16 import PIECE_VALUES, from_float32, has_nonfinite, is_nonfinite, nonfinite_values, to_float32

EVERY = np.arange(1 << 16).astype(np.uint16)


def test_every_bit_pattern_is_finite_or_not_as_its_float_is():
    expected = ~np.isfinite(to_float32(EVERY))
    assert (is_nonfinite(EVERY) == expected).all()
    assert [has_nonfinite(EVERY[index : index + 1]) for index in range(EVERY.size)] == expected.tolist()
    # Among all the finite ones.
    finite = EVERY[~expected]
    assert not has_nonfinite(finite)
    assert nonfinite_values(finite) is None
    for bad in (0x7F80, 0xFF80, 0x7FFF, 0xFFFF, 0x7F81, 0xFFC0):
        assert has_nonfinite(np.append(finite, np.uint16(bad)))


@pytest.mark.parametrize("place", [0, 1, PIECE_VALUES - 1, PIECE_VALUES, 2 * PIECE_VALUES, 2 * PIECE_VALUES + 4])
@pytest.mark.parametrize("bad", [0x7F80, 0xFFC0])
def test_one_value_that_is_not_finite_is_found_wherever_it_is(place, bad):
    values = np.zeros(2 * PIECE_VALUES + 5, np.uint16)
    assert not has_nonfinite(values)
    values[place] = bad
    assert has_nonfinite(values)
    assert nonfinite_values(values) == f"1 NaN or infinite values (first at index ({place},))"


def test_the_first_place_is_that_of_the_array_as_it_is_indexed():
    values = np.zeros((5, 6), np.uint16)
    values[1, 4], values[3, 0] = 0x7FC0, 0xFF80
    for same in (values, np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2]):
        assert nonfinite_values(same) == "2 NaN or infinite values (first at index (1, 4))"
    assert nonfinite_values(values.T) == "2 NaN or infinite values (first at index (0, 3))"
    assert nonfinite_values(values[:0]) is None


@pytest.mark.parametrize("rounding", ["rne", "truncate"])
def test_a_large_array_is_rounded_as_its_values_are(rounding):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 1 << 32, (3, PIECE_VALUES - 1), dtype=np.uint32).view(np.float32)  # NaN among them
    rounded = from_float32(values, rounding)
    assert rounded.shape == values.shape
    # The ends of the pieces, and some values that lie anywhere.
    near = np.arange(-2, 3) + PIECE_VALUES * np.arange(4)[:, None]
    for index in [*near.ravel() % values.size, *rng.integers(0, values.size, 200)]:
        assert rounded.flat[index] == from_float32(values.reshape(-1)[index : index + 1], rounding)[0]
    assert from_float32(np.float32(1.0), rounding).tolist() == [0x3F80]
    assert from_float32(np.zeros((0, 4), np.float32), rounding).shape == (0, 4)
