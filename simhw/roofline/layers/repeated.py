"""Blocks of a network, told by the names of its layers."""

import re
from collections.abc import Sequence

from simhw.roofline.layers.network import NetworkLayer

_BLOCK = re.compile(r"^(.*?\.\d+)\.")


def blocks_of(layers: Sequence[NetworkLayer]) -> list[tuple[int, int]]:
    """Runs of layers that are repetitions of a block (``encoder.layer.3.``, ``layer1.0.``): first, and one past the
    last.
    """
    found: list[tuple[int, int]] = []
    before = None
    for index, layer in enumerate(layers):
        match = _BLOCK.match(layer.name)
        name = match.group(1) if match else None
        if name is not None and name == before:
            found[-1] = (found[-1][0], index + 1)
        elif name is not None:
            found.append((index, index + 1))
        before = name
    return [(start, end) for start, end in found if end - start > 1]
