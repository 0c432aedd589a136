"""Power of an Ascend: no kernel's watts are published, so an operator's lie between what its events must cost and the
TDP.

A part of the TDP is drawn whatever runs; arithmetic and off-chip traffic add published energies per event, with a
factor for what moves operands to the units.  The ends of the range are wide, and stated with the constants.
"""

from typing import Annotated

from pydantic import Field

from simhw.machine.costs import Cost, Range
from simhw.machine.described import Section
from simhw.roofline.operators import Streaming
from simhw.roofline.prediction import Prediction
from simhw.roofline.quantities import ByNumber, Factor


class Power(Section):
    """Costs of an Ascend.

    Attributes
    ----------
    tdp_w : float
        The most that a chip draws for long.
    idle_share : float
        Part of it that is drawn whatever runs.
    cube_pj_per_flop, vector_pj_per_flop : dict of number to float
        Of arithmetic, with its operands' way through the buffers.
    dram_pj_per_byte : float
        Of off-chip traffic.
    factor : float
        Every cost lies between its value over, and times, this.
    """

    tdp_w: Annotated[float, Field(gt=0, le=1e9)]
    idle_share: Annotated[float, Field(ge=0, le=1)]
    cube_pj_per_flop: ByNumber[Cost]
    vector_pj_per_flop: ByNumber[Cost]
    dram_pj_per_byte: Cost
    factor: Factor


def energy_on_ascend(prediction: Prediction, power: Power) -> Range:
    """Energy [J] of one operator, low to high; its power is at most the TDP."""
    operator = prediction.operator
    costs = power.vector_pj_per_flop if isinstance(operator, Streaming) else power.cube_pj_per_flop
    events_j = 1e-12 * (operator.flops * costs[operator.number] + prediction.dram_bytes * power.dram_pj_per_byte)
    if not prediction.seconds:
        return Range(events_j / power.factor, events_j, events_j * power.factor)

    def energy(factor: float) -> float:
        watts = power.tdp_w * power.idle_share * factor + events_j * factor / prediction.seconds
        return min(watts, power.tdp_w) * prediction.seconds

    return Range(energy(1 / power.factor), energy(1.0), energy(power.factor))
