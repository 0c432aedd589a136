"""What the DRAM did in an operation, for a timeline: data on its channels, each with the job that moved it, and
refreshes.
"""

from collections.abc import Iterator
from itertools import chain, repeat

from simhw.memory.dram import PS_PER_NS, Dram
from simhw.memory.hierarchy import Facts, Interval, Schedule


def dram_intervals(schedule: Schedule, dram: Dram) -> Iterator[Interval]:
    """Data on the DRAM's channels, each container's with the job that it belongs to, and refreshes up to the end."""
    burst_bytes = dram.parameters.burst_bytes
    jobs = [each for each in schedule.intervals if each.unit == "DMA"]
    # Containers are recorded in the order of service: job by job.
    owners = chain.from_iterable(repeat(job, int(job.facts["containers"])) for job in jobs)
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
        yield Interval(f"channel {data.channel}", f"{way} {tensor}", data.start_ns, data.end_ns, facts)
    period, pause = dram.parameters.t_refi, dram.parameters.refresh_pause_ps / PS_PER_NS
    for number in range(1, int(schedule.end_ns // period) + 1):
        yield Interval("refresh", "refresh", number * period - pause, number * period)


def recorded_ns(dram: Dram) -> float:
    """Before this no container's data began that was not recorded: data of a channel come one after another."""
    if not dram.intervals_dropped:
        return float("inf")
    last = dict.fromkeys(range(dram.parameters.channels), 0.0)
    for data in dram.intervals:
        last[data.channel] = data.end_ns
    return min(last.values())
