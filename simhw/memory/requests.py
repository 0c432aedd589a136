"""The requests that an operation makes of the DRAM, burst by burst, for simulators of DRAMs.

They are those that the memory model times: the same transfers, handed over at the same times and in the same order,
every container of a transfer in the same whole bursts.  A container's address is its number times its bytes; so
addresses count bytes before compression, and a compressed container leaves the end of its place unused.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.memory.activity import Activity
from simhw.memory.parameters import Memory

CONTAINERS_AT_ONCE = 1 << 12
"""Requests are made of so many containers at a time: a job may have millions."""


@dataclass(frozen=True)
class Requests:
    """Some requests of one transfer, in the order of service.

    Attributes
    ----------
    addresses : (n,) int64
        First byte of each [byte].
    write : bool
    start_ns : float
        When the memory controller gets them [ns].
    """

    addresses: npt.NDArray[np.int64]
    write: bool
    start_ns: float


def requests(activities: Iterable[Activity], memory: Memory) -> Iterator[Requests]:
    """Requests of the transfers among some activities; each moves `burst_bytes` of the DRAM.

    Parameters
    ----------
    activities : iterable of Activity
        Of an operation that ran with this memory (`simhw.memory.model.MemoryCost.activities`).
    memory : Memory
    """
    burst_bytes = memory.dram.burst_bytes
    for activity in activities:
        job = activity.job
        if job is None:
            continue
        containers = job.runs * job.run
        bursts = -(-int(activity.facts["bytes"]) // (containers * burst_bytes))
        within = np.arange(bursts, dtype=np.int64) * burst_bytes
        for start in range(0, containers, CONTAINERS_AT_ONCE):
            run, column = np.divmod(np.arange(start, min(start + CONTAINERS_AT_ONCE, containers)), job.run)
            places = (job.first + run * job.stride + column) * memory.container_bytes
            yield Requests((places[:, None] + within).ravel(), job.write, activity.start_ns)
