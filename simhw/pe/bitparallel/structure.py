"""What a bit-parallel tile consists of, as `simhw.rtl.bitparallel` builds it: multipliers, aligners, adders.

A product is aligned to any of `align_range` places, summed over all of its bits, and joins an accumulator.  A dense
tile of floats of 32 bits is MAC lanes: its accumulators are not those of these parameters.
"""

from math import log2

from simhw.pe.bitparallel.parameters import BitParallelPE, BitParallelValues
from simhw.pe.structure import Quantities, Structure, times

PRODUCT_BITS = 16
BFLOAT16_BYTES = 2
COUNTED = frozenset({"pe.lanes", "tile.rows", "tile.cols", "tile.x_on"})
"""Values that say no more than how many there are, and which side is called X."""


def element(pe: BitParallelPE) -> dict[str, float]:
    """Quantities of a PE."""
    lanes, fraction_bits = pe.lanes, pe.accumulator_fraction_bits
    aligned_bits = PRODUCT_BITS + pe.align_range + 1
    sum_bits = max(PRODUCT_BITS - 2 + pe.align_range, fraction_bits) + 3 + log2(lanes)
    return {
        "multipliers": float(lanes),
        "product_aligner_places": lanes * aligned_bits * log2(1 + pe.align_range),
        "product_adder_bits": (lanes - 1) * aligned_bits,
        "accumulator_bits": sum_bits,
        "normaliser_places": (fraction_bits + 2) * log2(fraction_bits + 3),
        "running_sums": float(pe.chunk != "off"),
    }


def structure(values: BitParallelValues) -> Structure:
    """Of a tile; its file calls the PEs ``pe_array`` or ``cores``."""
    pe, pes = values.pe, values.tile.rows * values.tile.cols
    bfloat16 = values.memory is None or values.memory.value_bytes == BFLOAT16_BYTES
    elements: Quantities = times(pes, element(pe)) if bfloat16 else {"mac_lanes": float(pes * pe.lanes)}
    names = COUNTED | {"pe.accumulator_fraction_bits", "pe.align_range", "pe.chunk"} if bfloat16 else COUNTED
    return Structure({"pe_array": elements, "cores": elements, "transposers": {"transposers": 1.0}}, names)
