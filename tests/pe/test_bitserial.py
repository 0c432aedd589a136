"""The bit-serial PE: cycles by hand, and every pass, counter and output bit equal to the oracle's."""

import numpy as np
import pytest

from simhw import load_machine, simulate_gemm

pytestmark = pytest.mark.usefixtures("bitserial")  # puts the package on the path; an installed one needs no fixture


def test_a_set_takes_as_many_cycles_as_its_longest_significand_has_bits():
    # Sets of eight: 1.5 has two bits, 1 + 1/128 all eight, 0 none; a set takes a cycle at least.
    x = np.zeros((2, 24), np.float32)
    x[0, 0], x[0, 9] = 1.5, 1 + 1 / 128
    x[1, :8] = 1
    result = simulate_gemm(x, np.ones((3, 24), np.float32), "bitserial", output=True, check=True)
    # Row 0 takes 2 + 8 + 1 cycles, row 1 takes 3; three rows of Y fit one tile, which waits for row 0.
    assert (result.passes, result.cycles) == (1, 11)
    # Two bits of 1.5, two of 1 + 1/128 and eight ones, for each row of Y.
    assert result.counters["useful"] == (2 + 2 + 8) * 3
    assert result.counters["no_bit"] == (11 + 3) * 8 * 3 - (2 + 2 + 8) * 3
    assert sum(result.counters.values()) == 8 * 8 * 8 * 11
    assert result.output.tolist() == [[2.5] * 3, [8.0] * 3]  # 1.5 + 1 + 1/128 is nearer to 2.5 than to 2.515625


@pytest.mark.parametrize("lanes", [4, 8])
def test_the_kernel_equals_the_oracle(lanes: int):
    # check=True compares each pass with the oracle: cycles, counters and output bits.
    rng = np.random.default_rng(lanes)
    x, y = (np.ldexp(rng.standard_normal((9, 40)), rng.integers(-9, 9, (9, 40))).astype(np.float32) for _ in range(2))
    x[rng.random(x.shape) < 0.4] = 0
    x[0, :3], y[0, :3] = 3e38, 3e38  # beyond the largest number
    x[1, :3], y[1, :3] = 1e-39, 1e-39  # subnormal: zeros to the hardware
    result = simulate_gemm(x, y, load_machine("bitserial", lanes=lanes), output=True, check=True)
    assert result.counters["overflows"] > 0
