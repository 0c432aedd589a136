"""What an operation needs to be simulated: its operands whole, or sampled cells and the statistics of the whole
tensors.
"""

from collections.abc import Sequence
from math import prod

from simhw.errors import TraceError
from simhw.lowering.blocks import block_classes
from simhw.lowering.family import Family
from simhw.trace.layer import BLOCK_ROWS, OPERANDS, Layer, Operation

SAMPLED_CELLS, CELLS_PER_VALUE = 1 << 16, 256
"""Cells of a sampled family at the most, and how many more for each value sampled: the stem of a ResNet-50 with a batch
of 256 has 802,816, and two of them hold 9,408 values.
"""


def check_runnable(layer: Layer, operation: Operation, families: Sequence[Family]) -> None:
    """See that a layer holds what simulating an operation reads.

    Parameters
    ----------
    layer : Layer
    operation : {"forward", "input_grad", "weight_grad"}
    families : sequence of Family
        What the operation was lowered to.

    Raises
    ------
    TraceError
        It holds neither whole operands nor a sample, a family has no sampled cell, a sampled operand no
        statistics, or a sample claims to stand for more cells than it can.
    """
    where = f"layer {layer.name!r}, operation {operation}"
    if operation not in layer.blocks:
        missing = [tensor.upper() for tensor in OPERANDS[operation] if not layer.holds(tensor)]
        if missing:
            raise TraceError(
                f"{where}: the trace holds neither tensor {' nor '.join(missing)} nor a sample; capture it anew"
            )
        return
    unmeasured = [
        tensor.upper() for tensor in OPERANDS[operation] if not layer.holds(tensor) and tensor not in layer.statistics
    ]
    if unmeasured:
        raise TraceError(
            f"{where}: sampled, but without statistics of tensor {' and '.join(unmeasured)}; sample the whole trace "
            "again"
        )
    if any(block.family >= len(families) for block in layer.blocks[operation]):
        raise TraceError(
            f"{where}: a block's family does not exist, there are {len(families)}; sample the whole trace again"
        )
    if not all(family.blocks for family in families):
        raise TraceError(f"{where}: the trace holds no block of some of its products; sample the whole trace again")
    strata = [(family, alike) for family in families for alike in block_classes(family)] if layer.blocks_by_size else []
    if not all(any(map(alike.holds, family.blocks)) for family, alike in strata):
        raise TraceError(
            f"{where}: the trace holds no block of some size of its products; sample the whole trace again"
        )
    for family in families:
        cells = family.population(BLOCK_ROWS, BLOCK_ROWS)
        held = sum(prod(block.source.x.shape) + prod(block.source.y.shape) for block in family.blocks)
        # The timing keeps a number for every tile pass.
        if cells > SAMPLED_CELLS + CELLS_PER_VALUE * held:
            stand = (
                f"claims {cells} cells of {BLOCK_ROWS} x {BLOCK_ROWS} rows, far more than {len(family.blocks)} "
                "sampled blocks can stand for"
            )
            raise TraceError(f"{where}: {stand}; sample the whole trace again with more")
