"""When everything of an operation ends that runs through the memory hierarchy by some protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
import numpy.typing as npt

from simhw.memory.activity import Activity
from simhw.memory.dram import Dram
from simhw.memory.hierarchy import Hierarchy
from simhw.memory.protocol import Protocol, double_buffering
from simhw.memory.schedule_kernel import BURSTS
from simhw.memory.steps import BlockSteps, Step
from simhw.trace.layer import TensorName


@dataclass
class Schedule:
    """When everything of an operation ended.

    Attributes
    ----------
    first_ready_ns : float
        The first step's blocks were there: what the tiles waited for at the start.
    last_computed_ns, end_ns : float
        The tiles ended, and the last output was off chip.
    transfers, tile_work : list of Activity
        What DMA engines and tiles did, where it was asked for.
    """

    first_ready_ns: float
    last_computed_ns: float
    end_ns: float
    transfers: list[Activity] = field(default_factory=list)
    tile_work: list[Activity] = field(default_factory=list)


def run_schedule(
    steps: Sequence[Step],
    ratios: Mapping[TensorName, float],
    tile_ns: npt.NDArray[np.float64],
    dram: Dram,
    record: bool = False,
    protocol: Protocol = double_buffering,
) -> Schedule:
    """Run an operation's steps.

    Double buffering that nobody looks at needs no processes: `simhw.memory.schedule_kernel` has it as sums and maxima.

    Parameters
    ----------
    steps, ratios, tile_ns, dram, record
        As in `Hierarchy`.
    protocol : callable
        Starts the processes.

    Raises
    ------
    SimhwError
        The protocol leaves steps undone, or reads partial sums that it has not written.
    """
    if protocol is double_buffering and isinstance(steps, BlockSteps) and not (record or dram.records):
        ends = _double_buffered(steps, ratios, float(tile_ns.max()), dram)
        if isfinite(ends.end_ns):
            return ends
        dram = Dram(dram.parameters, dram.container_bytes)  # which refuses a job that is handed over too late
    hierarchy = Hierarchy(list(steps), ratios, tile_ns, dram, record)
    protocol(hierarchy)
    end_ns = hierarchy.run()
    return Schedule(
        hierarchy.first_ready_ns, hierarchy.last_computed_ns, end_ns, hierarchy.transfers, hierarchy.tile_work
    )


def _double_buffered(steps: BlockSteps, ratios: Mapping[TensorName, float], busy_ns: float, dram: Dram) -> Schedule:
    transfers = steps.transfers.copy()
    transfers[:, BURSTS] = -(-steps.jobs.payload_bytes(ratios) // (steps.containers * dram.parameters.burst_bytes))
    return Schedule(*dram.double_buffered(transfers, steps.places, steps.shares, busy_ns))
