"""The signals of a tile pass: the set that each row of PEs works on."""

from collections.abc import Iterator

import numpy as np

from simhw.bfloat16 import BF16Array, is_zero
from simhw.pe.signals import NOTHING, Signals
from toy_pe.parameters import ToyParameters


def pass_signals(pe: ToyParameters, x: BF16Array, cycles: int) -> Iterator[Signals]:
    for row, values in enumerate(x):
        full = ~is_zero(values).reshape(-1, pe.lanes).all(axis=1)
        order = np.flatnonzero(full | bool(pe.empty_set_cycles))[:cycles]
        at = np.full((cycles, 1), NOTHING, np.int64)
        at[: len(order), 0] = order
        yield Signals([[("tile", f"row_{row}", "set")]], at, max(1, int(len(full) - 1).bit_length()))
