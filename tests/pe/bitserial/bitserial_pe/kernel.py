"""How long sets of bit-serial values take."""

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel


@kernel
def set_cycles(x: BF16Array, lanes: int) -> npt.NDArray[np.int64]:
    """Cycles of each set of each row (n, K): bits of its longest significand, trailing zeros left out; 1 at least."""
    cycles = np.ones((x.shape[0], x.shape[1] // lanes), np.int64)
    for row in range(x.shape[0]):
        for k in range(x.shape[1]):
            if x[row, k] & 0x7F80:
                significand, bits = 0x80 | (x[row, k] & 0x7F), 8
                while not significand & 1:
                    significand, bits = significand >> 1, bits - 1
                cycles[row, k // lanes] = max(cycles[row, k // lanes], bits)
    return cycles
