"""The hardware of a machine: which of the units here stands for its tile."""

from dataclasses import dataclass

from simhw.errors import MachineError
from simhw.machine.values import MachineValues
from simhw.pe.bitparallel.parameters import BitParallelValues
from simhw.pe.fpraker.parameters import FPRakerValues
from simhw.pe.tensordash.parameters import TensorDashValues
from simhw.rtl.bitparallel import BitParallel
from simhw.rtl.fpraker.tile import FPRakerTile
from simhw.rtl.tensordash import TensorDashTile

Component = FPRakerTile | BitParallel | TensorDashTile


@dataclass(frozen=True)
class Twin:
    """A machine's hardware.

    Attributes
    ----------
    name : str
        Of its top module.
    component : Component
    told : str
        What it is, for a user.
    """

    name: str
    component: Component
    told: str


def twin_of(values: MachineValues) -> Twin:
    """The hardware of a machine: a column of FPRaker PEs with its buffers, a bit-parallel PE, or a TensorDash tile.

    The columns of an FPRaker tile are alike, and so are bit-parallel PEs.

    Raises
    ------
    MachineError
        The machine's PE has no hardware here, or not with these switches.
    """
    if isinstance(values, FPRakerValues):
        tile = values.tile.model_copy(update={"cols": 1})
        told = f"a column of {tile.rows} FPRaker PEs with its buffers"
        return Twin("fpraker_column", FPRakerTile(values.pe, tile), told)
    if isinstance(values, BitParallelValues):
        return Twin("bitparallel_pe", BitParallel(values.pe), f"a bit-parallel PE of {values.pe.lanes} lanes")
    if isinstance(values, TensorDashValues):
        if values.pe.order == "any":
            raise MachineError("pe.order=any has no hardware: give pe.order=paper or pe.order=dnnsim")
        grid = f"{values.tile.rows} x {values.tile.cols}"
        told = f"a TensorDash tile of {grid} PEs up to their multipliers"
        return Twin("tensordash_tile", TensorDashTile(values.pe, values.tile), told)
    raise MachineError(f"pe.kind={values.pe.kind} has no hardware here: give a machine of simhw's own PEs")
