"""What a TensorDash tile consists of, as `simhw.rtl.tensordash` builds it: schedulers, multiplexers, MAC lanes.

Its staging buffers are not among its published parts, and are not counted.  A dense tile has none of them but the MAC
lanes, and neither has one of depth 1, whose lanes have their own pair as the only option.
"""

from simhw.pe.structure import Structure, both, times
from simhw.pe.tensordash.kernel import LANES, OPTIONS
from simhw.pe.tensordash.parameters import TensorDashPE, TensorDashValues

BFLOAT16_BITS = 16


def scheduler(pe: TensorDashPE) -> dict[str, float]:
    """Quantities of a scheduler."""
    return {"scheduler_options": float(LANES * _options(pe))}


def multiplexers(pe: TensorDashPE, width: int) -> dict[str, float]:
    """Quantities of the multiplexers of one operand of one PE, whose values have `width` bits."""
    options = _options(pe)
    return {"multiplexer_inputs": float(LANES * width * options), "multiplexer_selects": float(LANES * options)}


def structure(values: TensorDashValues) -> Structure:
    """Of a tile."""
    pe, tile = values.pe, values.tile
    width = BFLOAT16_BITS if values.memory is None else 8 * values.memory.value_bytes
    pes = tile.rows * tile.cols
    # A row shares its scheduler and the multiplexers of the scheduled operand; where either operand is, none can.
    schedulers = tile.rows if pe.sides == "one" else pes
    parts = {
        "cores": {"mac_lanes": float(pes * LANES)},
        "schedulers_and_multiplexers": both(
            times(schedulers, scheduler(pe)), times(schedulers + pes, multiplexers(pe, width))
        ),
        "transposers": {"transposer_bits": float(LANES * LANES * width)},
    }
    names = {"pe.lanes", "pe.depth", "pe.order", "pe.sides", "pe.gate", "tile.rows", "tile.cols"}
    return Structure(parts, frozenset(names - ({"pe.order"} if pe.order == "any" else set())))


def _options(pe: TensorDashPE) -> int:
    """Among how many places a lane chooses its pair, 0 where there is no choice; no hardware has wires from any to
    any.
    """
    order = "paper" if pe.order == "any" else pe.order
    places = sum(step < pe.depth for step, _ in OPTIONS[order])
    return places if places > 1 else 0
