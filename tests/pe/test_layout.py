"""Rows of Y side by side: every value at its place, for any number of rows and length, on cache lines."""

import itertools

import numpy as np
import pytest

from simhw.pe.accumulator import EXPONENT_OFFSET, NO_EXPONENT
from simhw.pe.layout import CACHE_LINE_BYTES, lay_out
from simhw.pe.passes import ParallelRows
from simhw.pe.vector import WIDTH
from tests.oracles.inputs import any_finite, zeros_and_subnormals


@pytest.mark.parametrize("word", [np.uint16, np.uint32])
def test_every_value_lies_at_its_place_in_words_of_either_width(word):
    rng = np.random.default_rng(1)
    # Fewer rows than a vector has lanes, as many and more; lengths below, at and above a block's, and not its multiple.
    for count, k in itertools.product((1, 31, 32, 33, 70), (8, 24, 32, 40, 72)):
        rows = np.where(rng.random((count, k)) < 0.5, any_finite(rng, count, k), zeros_and_subnormals(rng, count, k))
        prepared = lay_out(ParallelRows(rows, np.ones(count, np.bool_)), word)
        whole = np.zeros((prepared.groups * WIDTH, k), np.int64)
        whole[:count] = rows
        field = whole >> 7 & 0xFF
        exponents = np.where(field > 0, field + EXPONENT_OFFSET, NO_EXPONENT)
        significands = np.where(field > 0, (whole & 0x7F | 0x80) * np.where(whole >> 15, -1, 1), 0)
        for got, expected in ((prepared.exponents, exponents), (prepared.significands, significands)):
            by_lane = expected.reshape(prepared.groups, WIDTH, k).transpose(0, 2, 1).astype(word)
            assert (got.reshape(prepared.groups, k, WIDTH) == by_lane).all(), (count, k)
            assert got.flags.c_contiguous
            assert got.ctypes.data % CACHE_LINE_BYTES == 0
        assert prepared.nonzero_rows.tolist()[0] == (field > 0).sum(axis=0).tolist()
