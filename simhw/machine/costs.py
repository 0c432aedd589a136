"""Costs of events, as machine files state them, and quantities that are uncertain.

Source: spec page energy.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from simhw.machine.described import Section


@dataclass(frozen=True)
class Range:
    """A quantity with the ends of its uncertainty."""

    low: float
    mid: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def times(self, factor: float) -> "Range":
        """The quantity multiplied by something certain."""
        return Range(self.low * factor, self.mid * factor, self.high * factor)

    @staticmethod
    def total(parts: Iterable["Range"]) -> "Range":
        """Sum, end by end."""
        return sum(parts, Range(0.0, 0.0, 0.0))


Cost = Annotated[float, Field(ge=0, le=1e12)]
Cells = Literal["hp", "lop", "lstp"]


class SramCosts(Section):
    """Of one access and of one memory, by CACTI."""

    read_pj: Cost
    write_pj: Cost
    leakage_mw: Cost
    area_mm2: Cost


class DramCosts(Section):
    """Of the events of a DRAM channel.

    Attributes
    ----------
    model : {"split", "flat"}
        Whether events are costed apart, or every bit that moves costs the same, everything included.
    """

    model: Literal["split", "flat"]
    flat_pj_per_bit: Cost
    activate_pj: Cost
    read_core_pj_per_byte: Cost
    read_io_pj_per_byte: Cost
    write_core_pj_per_byte: Cost
    write_io_pj_per_byte: Cost
    refresh_pj: Cost
    background_mw: Cost


class EnergyParameters(Section):
    """Switches and costs of the energy model.

    Attributes
    ----------
    compute : {"tile_cycle", "lane_cycle", "pe_cycle"}
        Whether tiles draw their power all the time that they compute, each lane only where it is useful, or each PE
        less where it waits for its next set.
    idle_lane : float
        Under ``lane_cycle``, the share of its power that any other lane draws.
    waiting_pe : float
        Under ``pe_cycle``, what a PE draws in a cycle in which it waits, as a share of one in which it works.
    published_waiting : float
        Share of the PEs' cycles that was waiting when the tiles' power was as the file says.
    stall_power : float
        Share of their power that tiles draw while they wait for memory.
    cells : {"hp", "lop", "lstp"}
        Transistors of the SRAMs: high performance, low operating power, low standby power.
    """

    compute: Literal["tile_cycle", "lane_cycle", "pe_cycle"]
    idle_lane: Annotated[float, Field(ge=0, le=1)]
    waiting_pe: Annotated[float, Field(ge=0, le=1)]
    published_waiting: Annotated[float, Field(ge=0, lt=1)]
    stall_power: Annotated[float, Field(ge=0, le=1)]
    cells: Cells
    dram: DramCosts
