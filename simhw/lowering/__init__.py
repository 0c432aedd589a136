"""Lowering: from a layer and an operation to the operand streams that a machine consumes.

Every operation of every kind of layer becomes a set of products ``X Y^T`` whose reduction runs in sets of `lanes`
values in a documented order.  Source: spec page lowering.md.
"""

from simhw.lowering.blocks import BlockClass, block_classes
from simhw.lowering.family import Family, SampledBlock, Side
from simhw.lowering.lower import lower
from simhw.lowering.operand import LanePadding, Operand, Padding, Reduction
from simhw.lowering.runnable import check_runnable
from simhw.lowering.view import multiply_accumulates

__all__ = [
    "BlockClass",
    "Family",
    "LanePadding",
    "Operand",
    "Padding",
    "Reduction",
    "SampledBlock",
    "Side",
    "block_classes",
    "check_runnable",
    "lower",
    "multiply_accumulates",
]
