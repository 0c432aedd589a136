"""Which tensor of an operation takes the machine's X side: the serial (FPRaker) or scheduled (TensorDash) operand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.lowering import Family
from simhw.machine.machine import Machine
from simhw.pe.fpraker.kernel import FPRakerPE
from simhw.pe.tensordash.kernel import TensorDashPE
from simhw.trace.layer import OPERANDS, Layer, Operation, TensorName
from simhw.trace.statistics import statistics_of


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


def choose_operands(layer: Layer, operation: Operation, machine: Machine) -> list[OperandChoice]:
    """What the machine's file asks for: one choice, or for ``oracle`` both.

    ``auto`` takes for FPRaker the operand with fewer terms per value of its encoder, layer by layer; for TensorDash the
    one with the larger fraction of zeros, image by image where both operation and tensor have images.  A tensor that
    the operation does not have falls back to ``auto``.  Source: spec pages fpraker.md section 4, tensordash.md section
    2.
    """
    x, y = OPERANDS[operation]
    canonical, other = OperandChoice(x, False), OperandChoice(y, True)
    wanted = machine.values.lowering.x_operand
    if wanted == "oracle":
        return [canonical, other]
    if wanted in (x, y):
        return [canonical if wanted == x else other]
    pe = machine.values.pe
    if isinstance(pe, FPRakerPE):
        fewer = statistics_of(layer, y).terms_per_value(pe.encoder) < statistics_of(layer, x).terms_per_value(
            pe.encoder
        )
        return [other if fewer else canonical]
    if isinstance(pe, TensorDashPE):
        return [_by_zeros(layer, operation)]
    return [canonical]


def _by_zeros(layer: Layer, operation: Operation) -> OperandChoice:
    """The operand with the larger fraction of zeros, the first of the two where they are equal."""
    x, y = OPERANDS[operation]
    # Where the reduction or the product runs over all images, one operand is scheduled for the whole layer.
    more = statistics_of(layer, y).zero_fraction > statistics_of(layer, x).zero_fraction
    whole = OperandChoice(y if more else x, more)
    if operation == "weight_grad" or layer.kind == "linear" or (layer.kind == "matmul" and len(layer.shapes[x]) == 2):
        return whole
    swapped = _zero_fractions(layer, y) > _zero_fractions(layer, x)
    if swapped.all() or not swapped.any():
        return OperandChoice(y if swapped.all() else x, bool(swapped.all()))
    return OperandChoice(whole.tensor, more, swapped)


def _zero_fractions(layer: Layer, tensor: TensorName) -> npt.NDArray[np.float64]:
    """Fraction of zeros of each image; a single entry for a tensor without images."""
    statistics = statistics_of(layer, tensor)
    return statistics.zeros_per_image.astype(np.float64) * (len(statistics.zeros_per_image) / statistics.size)
