"""What an FPRaker tile consists of, as `simhw.rtl.fpraker` builds it: its widths follow from the PE's parameters.

An offset K is carried as K + 1, up to T + 1 where it is in bounds.  A lane's shifter reaches as far as offsets of lanes
may lie apart that fire together; one more shifter behind the adder tree moves their sum.  Under ``rounding: set`` the
sum of a set keeps all of its fraction bits to the end.
"""

from math import log2

from simhw.pe.fpraker.parameters import FPRakerPE, FPRakerValues
from simhw.pe.structure import Structure, both, times

POSITIONS = 9
"""Places of a serial value's digits, from 2**-7 to 2**1."""
EXPONENT_BITS = 10
SIGNIFICAND_BITS = FIELD_BITS = 8
BFLOAT16_BITS = 16
FOLLOWED = frozenset(
    {
        *("pe.lanes", "pe.encoder", "pe.shift_window", "pe.window_on", "pe.oob_threshold", "pe.oob"),
        *("pe.accumulator_fraction_bits", "pe.rounding", "pe.chunk", "tile.rows", "tile.cols", "tile.sync"),
        *("tile.run_ahead", "tile.buffers.a", "tile.buffers.b", "tile.exponent_sharing"),
    }
)


def element(pe: FPRakerPE) -> dict[str, float]:
    """Quantities of a PE without what it shares with others."""
    lanes, last = pe.lanes, pe.threshold + 1
    # A window on positions says nothing of the offsets: lanes are shifted from the top alone, without a base.
    on_offset = pe.window_on == "offset"
    reach = min(pe.shift_window, last) if on_offset else last
    addend_bits = SIGNIFICAND_BITS + reach + 1
    fraction_bits = pe.accumulator_fraction_bits
    product_bits = SIGNIFICAND_BITS - 1 + pe.threshold
    sum_bits = fraction_bits if pe.rounding == "cycle" else max(fraction_bits, product_bits)
    return {
        "pe_lanes": float(lanes),
        "in_bounds_comparators": float(lanes * min(last + 1, POSITIONS)),
        "lane_shifter_places": float(lanes * addend_bits * stages(reach)),
        "base_shifter_places": (addend_bits + log2(lanes)) * stages(last) if on_offset else 0.0,
        "set_sum_bits": float(sum_bits + (4 * lanes + 1).bit_length() + 1),
        "accumulator_bits": float(fraction_bits),
        "running_sums": float(pe.chunk != "off"),
    }


def stages(reach: int) -> int:
    """Of a shifter by 0 to `reach` places."""
    return reach.bit_length()


def set_buffer(depth: int, bits: int, readers: int) -> dict[str, float]:
    """Quantities of a buffer of sets: a slot more than its depth, and what reads any of them for each reader."""
    slots = depth + 1
    return {
        "buffered_set_bits": float(bits),
        "buffer_bits": float(slots * bits),
        "buffer_inputs": float(readers * depth * bits),
        "buffer_stages": float(readers * bits * stages(depth)),
        "buffer_readers": float(readers),
    }


def exponents(lanes: int, blocks: float, kept: float) -> dict[str, float]:
    """Quantities of exponent blocks, and of what keeps a set's exponents for a PE until it takes them."""
    return {
        "exponent_adders": blocks * lanes,
        "exponent_comparators": blocks * (lanes - 1),
        "kept_exponent_bits": kept * (lanes * (EXPONENT_BITS + 1) + EXPONENT_BITS),
    }


def encoders(pe: FPRakerPE) -> dict[str, float]:
    """Quantities of the encoders of a column: one a lane."""
    return {f"{pe.encoder}_encoders": float(pe.lanes)}


def structure(values: FPRakerValues) -> Structure:
    """Of a tile."""
    pe, tile = values.pe, values.tile
    pes = tile.rows * tile.cols
    serial_bits = pe.lanes * (2 * POSITIONS + 1 + FIELD_BITS) + 2
    parallel_bits = pe.lanes * BFLOAT16_BITS
    blocks = pes / tile.exponent_sharing
    if tile.sync == "pe":
        buffers = both(
            times(tile.cols, set_buffer(tile.buffers.a, serial_bits, tile.rows)),
            times(tile.rows, set_buffer(tile.buffers.b, parallel_bits, tile.cols)),
        )
        kept = float(pes)
    else:
        # Columns share a buffer of B.  The last PE of a block takes its exponents as they come.
        buffers = set_buffer(tile.run_ahead, tile.rows * parallel_bits, tile.cols)
        kept = pes - blocks
    parts = {
        "pe_array": both(times(pes, element(pe)), exponents(pe.lanes, blocks, kept), buffers),
        "term_encoders": times(tile.cols, encoders(pe)),
    }
    return Structure(parts, FOLLOWED - _without_hardware(values))


def _without_hardware(values: FPRakerValues) -> set[str]:
    """Names of values as which nothing is built: who waits for a term, or leaves no term out."""
    names = {"pe.oob": values.pe.oob != "pe", "tile.sync": values.tile.sync == "term"}
    return {name for name, none in names.items() if none}
