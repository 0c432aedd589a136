"""What a machine of TensorDash PEs states."""

from typing import Literal

from simhw.machine.values import Lowering, MachineValues, PEParameters, TileParameters
from simhw.pe.operand import XOperand


class TensorDashPE(PEParameters):
    """Parameters of a TensorDash PE; the machine file gives every one with its source."""

    kind: Literal["tensordash"]
    lanes: Literal[16]
    depth: Literal[1, 2, 3]
    order: Literal["paper", "dnnsim"]
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
