"""What a machine of TensorDash PEs states."""

from typing import Literal

from simhw.machine.values import Lowering, MachineValues, PEParameters, TileParameters
from simhw.pe.operand import XOperand


class TensorDashPE(PEParameters):
    """Parameters of a TensorDash PE; the machine file gives every one with its source.

    With ``order: any`` a multiplier takes any pair of the staging buffer, lane after lane: no hardware, but what wires
    to everywhere would give.
    """

    kind: Literal["tensordash"]
    lanes: Literal[16]
    depth: Literal[1, 2, 3]
    order: Literal["paper", "dnnsim", "any"]
    sides: Literal["one", "two"]
    gate: Literal["on", "off"]


class ScheduledLowering(Lowering):
    """Lowering with a choice of TensorDash's scheduled operand."""

    scheduled: XOperand


class TensorDashValues(MachineValues):
    """A machine of TensorDash PEs."""

    pe: TensorDashPE
    tile: TileParameters
    lowering: ScheduledLowering
