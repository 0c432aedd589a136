"""Headers of ``.npy`` files: every spelling that the format allows is read as NumPy reads it, and nothing else is."""

import time
from io import BytesIO

import numpy as np
import pytest

from simhw.files.npy import npy_header


def file(text: bytes, version: tuple[int, int] = (1, 0)) -> BytesIO:
    return BytesIO(b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2 * version[0], "little") + text)


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n",
        b'{"shape":(2,3),"fortran_order":True,"descr":">u2"}',  # readers must not depend on the order
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (), }\n",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (7,), }\n",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 4), }\n",
    ],
)
def test_a_header_is_read_as_numpy_reads_it(text: bytes) -> None:
    for version, read in (((1, 0), np.lib.format.read_array_header_1_0), ((2, 0), np.lib.format.read_array_header_2_0)):
        ours, theirs = npy_header(file(text, version)), file(text, version)
        np.lib.format.read_magic(theirs)
        assert (ours.shape, ours.fortran_order, ours.dtype) == read(theirs)
        assert ours.begin == theirs.tell()


def test_a_large_number_of_python_2_is_read() -> None:
    assert npy_header(file(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }")).shape == (2, 3)


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '<f4,<f4', 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '<q9', 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2 + 1,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': 'f', }",
        b"{'descr': '<f4', 'fortran_order': (1,), 'shape': (2,), }",
        b"{'descr': '<f4', 'shape': (2,), 'shape': (2,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 3000 + b",), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b" " * 4000 + b"x",
        b"{" + b" " * 4000,
        b"(" * 4000,
        b"",
    ],
)
def test_what_is_no_header_of_plain_values_is_refused_at_once(text: bytes) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=r"header|type"):
        npy_header(file(text))
    # Far more than it takes; a pattern that tries every way to share 4,000 blanks takes minutes.
    assert time.process_time() - started < 0.5
