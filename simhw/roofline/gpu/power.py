"""Power of a GPU while it runs a kernel: what an active chip takes at least, and an energy for each operation and byte.

Measured kernels tell the watts of each, not what it executed; so costs are known to a factor, which a result carries.
"""

from simhw.machine.costs import Cost, Range
from simhw.machine.described import Section
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.operators import Streaming
from simhw.roofline.prediction import Prediction
from simhw.roofline.quantities import ByNumber, Factor, Rate


class PowerParameters(Section):
    """Costs of a GPU.

    Attributes
    ----------
    constant_w, idle_sm_w : float
        Of the board, and of a multiprocessor that does nothing.
    active_w : float
        Of the board while any kernel runs: clocks, schedulers and leakage of all multiprocessors.
    matrix_pj_per_flop, vector_pj_per_flop : dict of number to float
        Of arithmetic in the unit for products and in the FMA units, operands' way to it included.
    dram_pj_per_byte : float
        Of off-chip traffic, its way through the L2 included.
    tdp_w : float
        Above which the clock would fall.
    active_factor, event_factor : float
        Costs lie between theirs over, and times, this.
    """

    constant_w: Cost
    idle_sm_w: Cost
    active_w: Rate
    matrix_pj_per_flop: ByNumber[Cost]
    vector_pj_per_flop: ByNumber[Cost]
    dram_pj_per_byte: Cost
    tdp_w: Rate
    active_factor: Factor
    event_factor: Factor


def energy_on_gpu(prediction: Prediction, hardware: GpuHardware, parameters: PowerParameters) -> Range:
    """Energy [J] of one operator, low to high; its power is at least that of an idle board and at most the TDP."""
    operator = prediction.operator
    costs = parameters.vector_pj_per_flop if isinstance(operator, Streaming) else parameters.matrix_pj_per_flop
    events_j = 1e-12 * (operator.flops * costs[operator.number] + prediction.dram_bytes * parameters.dram_pj_per_byte)
    idle_w = parameters.constant_w + parameters.idle_sm_w * hardware.sms

    def energy(active: float, events: float) -> float:
        power = parameters.active_w * active + events_j * events / prediction.seconds
        return min(max(power, idle_w), parameters.tdp_w) * prediction.seconds

    active, event = parameters.active_factor, parameters.event_factor
    return Range(energy(1 / active, 1 / event), energy(1.0, 1.0), energy(active, event))
