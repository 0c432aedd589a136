"""What a machine of toy PEs states."""

from typing import Literal

from simhw.machine.values import MachineValues, PEParameters


class ToyParameters(PEParameters):
    """Four lanes, and what a set costs whose values of X are all zero."""

    kind: Literal["toy"]
    lanes: Literal[4]
    empty_set_cycles: Literal[0, 1]


class ToyValues(MachineValues):
    """A machine of toy PEs."""

    pe: ToyParameters
