"""Statistics of a network's tensors over its captured steps: zeros, terms and compressed sizes of A, W and G."""

from collections.abc import Iterable
from dataclasses import dataclass

from simhw.reproduce.networks import Step
from simhw.results.operation import quotient
from simhw.trace.layer import TENSORS, TensorName
from simhw.trace.reader import load_trace
from simhw.trace.statistics import statistics_of

BITS = 16
SLOTS = 8
"""Bits of a significand, each of which could be a term."""


@dataclass(frozen=True)
class TensorSums:
    """Sums over the tensors of one kind.

    Attributes
    ----------
    values, zeros : int
    terms : float
        Signed powers of two.
    bdc_bytes : int
        Under exponent base-delta compression.
    """

    values: int
    zeros: int
    terms: float
    bdc_bytes: int

    @property
    def value_sparsity(self) -> float:
        """Share of the values that are zero."""
        return quotient(self.zeros, self.values)

    @property
    def term_sparsity(self) -> float:
        """Share of the bit slots of all significands that hold no term."""
        return 1 - quotient(self.terms, SLOTS * self.values)

    @property
    def exponent_footprint(self) -> float:
        """Bits of compressed exponents over 8 a value; signs and fractions take theirs as they are."""
        return quotient(8 * self.bdc_bytes - 8 * self.values, 8 * self.values)

    @property
    def footprint(self) -> float:
        """Compressed over raw bytes."""
        return quotient(8 * self.bdc_bytes, BITS * self.values)


def tensor_sums(steps: Iterable[Step]) -> dict[TensorName, TensorSums]:
    """Sums over the layers of some captured steps; a tensor that several layers hold counts once for each."""
    found = {tensor: TensorSums(0, 0, 0.0, 0) for tensor in TENSORS}
    for step in steps:
        for layer in load_trace(step.path).layers:
            for tensor in TENSORS:
                if tensor not in layer.shapes:
                    continue
                each, so_far = statistics_of(layer, tensor), found[tensor]
                found[tensor] = TensorSums(
                    so_far.values + each.size,
                    so_far.zeros + each.zeros,
                    so_far.terms + each.terms_per_value() * each.size,
                    so_far.bdc_bytes + each.compressed_bytes["bdc"],
                )
    return {tensor: sums for tensor, sums in found.items() if sums.values}
