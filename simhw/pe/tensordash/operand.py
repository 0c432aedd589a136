"""Which operand TensorDash schedules: the one with the larger fraction of zeros."""

import numpy as np
import numpy.typing as npt

from simhw.pe.operand import OperandChoice
from simhw.trace.layer import OPERANDS, Layer, Operation, TensorName
from simhw.trace.statistics import statistics_of


def choose_by_zeros(layer: Layer, operation: Operation) -> OperandChoice:
    """The operand with the larger fraction of zeros, the first of the two where they are equal.

    Image by image where both the operation and the tensor have images.  Source: spec page tensordash.md, section 2.
    """
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
