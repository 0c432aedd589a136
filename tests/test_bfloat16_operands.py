"""Operands may be arrays of NumPy or tensors of PyTorch, of bfloat16 too; what is no plain array is refused in one
line.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

import simhw
from simhw.bfloat16 import as_bfloat16, from_float32, to_float32
from simhw.errors import ShapeError
from simhw.trace.layer import Layer

VALUES = torch.tensor([[1.0, -0.5, 3.0, 0.0, 2.5, 1.25, -8.0, 7.0]] * 3)
BITS = from_float32(VALUES.numpy())


@pytest.mark.parametrize(
    "given",
    [
        VALUES.bfloat16(),
        VALUES.bfloat16().requires_grad_(),
        torch.nn.Parameter(VALUES.bfloat16()),
        VALUES.bfloat16().T.contiguous().T,
        VALUES.double().requires_grad_(),
        VALUES.half(),
        VALUES.numpy(),
        VALUES.tolist(),
        BITS,
    ],
)
def test_any_floating_operand_gives_its_bit_patterns(given: object):
    np.testing.assert_array_equal(as_bfloat16(given), BITS)
    np.testing.assert_array_equal(Layer(name="l", kind="linear", a=given, w=BITS).a, BITS)
    plain = simhw.simulate_gemm(BITS, BITS, "fpraker", output=True)
    found = simhw.simulate_gemm(given, given, "fpraker", output=True)
    assert found.cycles == plain.cycles
    np.testing.assert_array_equal(found.output, plain.output)


def test_a_bfloat16_tensor_s_bits_are_kept_also_where_they_are_no_number():
    bits = np.array([0x7F81, 0xFFC1, 0x0001, 0x8000], np.uint16)  # signalling and quiet NaN, the least subnormal, -0
    tensor = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    np.testing.assert_array_equal(as_bfloat16(tensor), bits)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (torch.eye(3).to_sparse(), "a is no plain array"),
        (torch.empty(3, 8, device="meta"), "a is no plain array"),
        (torch.empty(3, 8, device="meta", dtype=torch.bfloat16), "a is no plain array"),
        (torch.ones(3, 8, dtype=torch.int32), "a is int32"),
        (torch.ones(3, 8, dtype=torch.complex64), "a is complex64"),
        ([[1.0], [1.0, 2.0]], "a is no plain array"),
        ("words", "a is <U5"),
        (None, "a is object"),
        (torch.ones(8, dtype=torch.bfloat16), r"a has shape \(8,\)"),
        (np.full((2, 8), 1e300), r"a: 16 NaN or infinite values"),
    ],
)
def test_what_is_no_operand_is_refused(given: object, problem: str):
    with pytest.raises(ShapeError, match=problem):
        simhw.simulate_gemm(given, BITS, "fpraker")


def test_operands_of_numpy_do_not_import_pytorch():
    code = (
        "import sys, numpy, simhw; simhw.simulate_gemm(numpy.ones((1, 8)), numpy.ones((1, 8)), 'fpraker'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_bfloat16_operands_are_exact():
    assert (to_float32(as_bfloat16(VALUES.bfloat16())) == VALUES.numpy()).all()
