"""Which sets a PE cannot skip."""

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.jit import kernel


@kernel
def full_sets(x: BF16Array, lanes: int) -> npt.NDArray[np.int64]:
    """How many sets of each row (n, K) have a value that is not zero."""
    full = np.zeros(x.shape[0], np.int64)
    for row in range(x.shape[0]):
        for first in range(0, x.shape[1], lanes):
            for k in range(first, first + lanes):
                if x[row, k] & 0x7F80:
                    full[row] += 1
                    break
    return full
