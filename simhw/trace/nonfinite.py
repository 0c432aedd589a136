"""NaN and infinity in tensors that come from files: refused with where they are, or taken as 0."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from simhw.bfloat16 import BF16Array, has_nonfinite, is_nonfinite, to_float32
from simhw.errors import TraceError

NonFinite = Literal["error", "zero"]
SCAN_VALUES = 1 << 20
"""Values that are looked at together: what is found out of them is small beside the tensor."""


def finite(
    values: BF16Array,
    nonfinite: NonFinite,
    problem: Callable[[str], TraceError],
    seen: Callable[[BF16Array], None] = lambda _: None,
) -> BF16Array:
    """The values themselves where all are finite; else a copy in which the others are 0, if that was asked for.

    `seen` is told of every piece that was looked at.

    Raises
    ------
    TraceError
        What `problem` makes of the number of NaN and infinities and the first one's place, where they are an error.
    """
    flat = values.reshape(-1)
    bad = []
    for start in range(0, flat.size, SCAN_VALUES):
        piece = flat[start : start + SCAN_VALUES]
        if has_nonfinite(piece):
            bad.append(start)
        seen(piece)
    if not bad:
        return values
    if nonfinite == "error":
        raise problem(_told(values, bad))
    zeroed = values.copy()
    flat = zeroed.reshape(-1)
    for start in bad:
        piece = flat[start : start + SCAN_VALUES]
        piece[is_nonfinite(piece)] = 0
    return zeroed


def _told(values: BF16Array, pieces: list[int]) -> str:
    flat = values.reshape(-1)
    nan = infinite = 0
    for start in pieces:
        piece = to_float32(flat[start : start + SCAN_VALUES])
        nan += int(np.isnan(piece).sum())
        infinite += int(np.isinf(piece).sum())
    first = pieces[0] + int(np.argmax(is_nonfinite(flat[pieces[0] : pieces[0] + SCAN_VALUES])))
    index = tuple(int(axis) for axis in np.unravel_index(first, values.shape))
    counts = " and ".join(f"{count} {what}" for count, what in ((nan, "NaN"), (infinite, "Inf")) if count)
    return f"{counts} (first at index {index}); training diverged? use --nonfinite zero to treat them as 0"
