"""What units did in an operation, for a timeline: tiles, DMA engines, the DRAM's channels and its refreshes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat

from simhw.memory.dram import PS_PER_NS, Dram
from simhw.memory.steps import Job

Facts = dict[str, str | int | float]


@dataclass(frozen=True)
class Activity:
    """Something that a unit did [ns].

    Attributes
    ----------
    unit : str
        "tile 3", "DMA", "channel 0" or "refresh".
    facts : dict
        What more there is to say of it: its step, its tensor, its bytes ...
    job : Job or None
        What a DMA engine moved.
    """

    unit: str
    name: str
    start_ns: float
    end_ns: float
    facts: Facts = field(default_factory=dict)
    job: Job | None = None


def dram_activities(transfers: Iterable[Activity], dram: Dram, end_ns: float) -> Iterator[Activity]:
    """Data on the DRAM's channels, each container's with the transfer that it belongs to, and refreshes up to the end.

    Parameters
    ----------
    transfers : iterable of Activity
        Of the DMA engines, in the order of service.
    dram : Dram
        That served them and nothing else.
    end_ns : float
    """
    burst_bytes = dram.parameters.burst_bytes
    # Containers are recorded in the order of service: job by job.
    owners = chain.from_iterable(repeat(job, int(job.facts["containers"])) for job in transfers)
    for data, job in zip(dram.intervals, owners, strict=False):
        way, tensor, containers = "write" if data.write else "read", job.facts["tensor"], int(job.facts["containers"])
        facts: Facts = {
            "step": job.facts["step"],
            "tensor": tensor,
            "way": way,
            "bytes": -(-int(job.facts["bytes"]) // (containers * burst_bytes)) * burst_bytes,
            "bank": data.bank,
            "row": "hit" if data.row_hit else "opened",
        }
        yield Activity(f"channel {data.channel}", f"{way} {tensor}", data.start_ns, data.end_ns, facts)
    period, pause = dram.parameters.t_refi, dram.parameters.refresh_pause_ps / PS_PER_NS
    for number in range(1, int(end_ns // period) + 1):
        yield Activity("refresh", "refresh", number * period - pause, number * period)


def recorded_ns(dram: Dram) -> float:
    """Before this no container's data began that was not recorded: data of a channel come one after another."""
    if not dram.intervals_dropped:
        return float("inf")
    last = dict.fromkeys(range(dram.parameters.channels), 0.0)
    for data in dram.intervals:
        last[data.channel] = data.end_ns
    return min(last.values())
