"""Which tensor of an operation takes a machine's X side: the operand that its PE treats apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from simhw.lowering import Family
from simhw.trace.layer import OPERANDS, Operation, TensorName

XOperand = Literal["auto", "a", "w", "g", "oracle"]
"""What a machine's file may say of its X operand: the PE's own choice, a tensor, or both one after the other."""


@dataclass(frozen=True)
class OperandChoice:
    """The X operand of an operation: `tensor` for all products, or one per image.

    `swapped` is True where the machine's X is the lowering's Y; `per_image` overrules it, image by image of the batch,
    for products that come from one image.
    """

    tensor: TensorName
    swapped: bool
    per_image: npt.NDArray[np.bool_] | None = None

    @property
    def label(self) -> str:
        """The tensor, or "mixed" where images differ."""
        return self.tensor if self.per_image is None else "mixed"

    def flipped(self, operation: Operation) -> "OperandChoice":
        """The other operand in the place of X."""
        other = both_choices(operation)[not self.swapped]
        return other if self.per_image is None else replace(other, per_image=~self.per_image)

    def grown(self, family: Family, larger: Family) -> list[tuple[bool, int]]:
        """How many products of a family choose what, as (swapped, products), in a step that repeats the images that
        were captured.
        """
        return [(swapped, len(products) * larger.count // family.count) for swapped, products in self.split(family)]

    def split(self, family: Family) -> list[tuple[bool, Sequence[int]]]:
        """The family's products by what they choose, as (swapped, products)."""
        products = range(family.count)
        if self.per_image is None:
            return [(self.swapped, products)]
        chosen: dict[bool, list[int]] = {}
        for product in products:
            image = family.image(product)
            choice = self.swapped if image is None else bool(self.per_image[image])
            chosen.setdefault(choice, []).append(product)
        return [(swapped, tuple(group)) for swapped, group in chosen.items()]


def both_choices(operation: Operation) -> tuple[OperandChoice, OperandChoice]:
    """The lowering's own X operand, and its Y operand in the place of X."""
    x, y = OPERANDS[operation]
    return OperandChoice(x, False), OperandChoice(y, True)


def requested_choices(wanted: XOperand, operation: Operation) -> list[OperandChoice]:
    """What a machine's file asks for whatever the values: both for ``oracle``, one for a tensor that the operation has.

    Empty where the choice is the PE's own: for ``auto``, and for a tensor that the operation does not have.
    """
    both = both_choices(operation)
    if wanted == "oracle":
        return list(both)
    return [choice for choice in both if choice.tensor == wanted]
