"""DRAM in plain Python: every container asks the whole history of its channel when it may go on.

The rules are those of `simhw.memory.dram`; here nothing is remembered but what happened, no rule relies on another, and
the pauses for refresh are counted one by one.  Times are whole picoseconds; inside, live time (pauses for refresh left
out).
"""

from dataclasses import dataclass, field
from itertools import pairwise

from simhw.memory.dram import DramParameters


def ps(time_ns: float) -> int:
    return round(time_ns * 1000)


@dataclass
class Access:
    """Data of one container in live time; `act` is the activate that opened its row, `precharge` what came
    before it.
    """

    bank: int
    row: int
    write: bool
    data: int
    end: int
    act: int
    precharge: int | None
    opened: bool
    """True where this access issued `act`."""
    activates: int = 0
    row_hit: bool = False


@dataclass
class DramOracle:
    """Takes the jobs of `Dram.transfer`; gives its finish times and counters."""

    parameters: DramParameters
    container_bytes: int
    accesses: dict[int, list[Access]] = field(default_factory=dict)
    order: list[tuple[int, Access]] = field(default_factory=list)

    @property
    def live(self) -> int:
        """Live time of a tREFI."""
        p = self.parameters
        return ps(p.t_refi) - self.pause

    @property
    def pause(self) -> int:
        p = self.parameters
        return ps(p.t_rp) + ps(p.t_rfc) + ps(p.t_rcd)

    @property
    def burst_bytes(self) -> int:
        return self.parameters.channel_bits // 8 * self.parameters.burst_length

    @property
    def burst(self) -> int:
        return round(1e12 * self.parameters.burst_length / self.parameters.transfers_per_s)

    def transfer(
        self, first: int, runs: int, run: int, stride: int, payload_bytes: int, write: bool, start_ns: float
    ) -> float:
        p = self.parameters
        containers = [first + r * stride + k for r in range(runs) for k in range(run)]
        payload = payload_bytes / len(containers)
        bursts = 1
        while bursts * self.burst_bytes < payload:
            bursts += 1
        start = self.to_live(ps(start_ns)) + ps(p.controller_latency_ns)
        last = max(self.serve(container, bursts, write, start) for container in containers)
        return self.to_time(last, ends=True) / 1000

    def serve(self, container: int, bursts: int, write: bool, start: int) -> int:
        p = self.parameters
        row_of_all = container * self.container_bytes // p.row_bytes
        channel = row_of_all % p.channels
        bank = row_of_all // p.channels % p.banks
        row = row_of_all // p.channels // p.banks
        history = self.accesses.setdefault(channel, [])
        of_bank = [access for access in history if access.bank == bank]
        acts = [access.act for access in history if access.opened]

        opened = not of_bank or of_bank[-1].row != row
        precharge = None
        if opened:
            seen = max([start] + [access.data for access in history[: max(0, len(history) - p.queue_depth + 1)]])
            allowed = [seen]
            if of_bank:
                waits = [seen]
                for access in of_bank:
                    waits.append(access.act + ps(p.t_ras))
                    if access.write:
                        waits.append(access.end + ps(p.t_wr))
                    else:
                        waits.append(access.end - self.burst - ps(p.read_latency) + ps(p.t_rtp))
                precharge = max(waits)
                allowed.append(precharge + ps(p.t_rp))
            allowed += [act + ps(p.t_rrd) for act in acts]
            allowed += [act + ps(p.t_faw) for act in acts[:-3]]  # the fourth before, and those before it
            act = max(allowed)
        else:
            act = of_bank[-1].act

        latency = ps(p.write_latency) if write else ps(p.read_latency)
        moves = [max(start, act + ps(p.t_rcd)) + latency]
        for access in history:
            if access.write == write:
                moves.append(access.end)
            elif write:
                moves.append(access.end + ps(p.t_rtw))
            else:
                moves.append(access.end + ps(p.t_wtr) + latency)
        data = max(moves)
        access = Access(bank, row, write, data, data + bursts * self.burst, act, precharge, opened)

        last_open = act if opened else of_bank[-1].end - 1
        closed = bool(self.refreshes(last_open, data))
        access.activates = opened + closed + self.refreshes(data, access.end - 1)
        access.row_hit = not opened and not closed
        history.append(access)
        self.order.append((channel, access))
        return access.end

    def refreshes(self, after: int, until: int) -> int:
        """Refreshes later than `after` and no later than `until`."""
        return sum(1 for moment in range(self.live, until + 1, self.live) if moment > after)

    def to_live(self, time: int) -> int:
        live = 0
        while time >= self.live + self.pause:
            time -= self.live + self.pause
            live += self.live
        return live + min(time, self.live)

    def to_time(self, live: int, ends: bool) -> int:
        """What ends at the moment of a refresh ends before it, what starts then starts after it."""
        return live + self.pause * self.refreshes(0, live - 1 if ends else live)

    @property
    def counters(self) -> dict[str, object]:
        every = [access for _, access in self.order]
        bursts = {access.write: 0 for access in every} | {True: 0, False: 0}
        for access in every:
            bursts[access.write] += (access.end - access.data) // self.burst
        turnarounds = 0
        for history in self.accesses.values():
            turnarounds += sum(a.write != b.write for a, b in pairwise(history))
        last = max((access.end for access in every), default=0)
        channels = self.parameters.channels
        return {
            "activates": sum(access.activates for access in every),
            "row_hits": sum(access.row_hit for access in every),
            "row_misses": sum(not access.row_hit for access in every),
            "read_bytes": bursts[False] * self.burst_bytes,
            "write_bytes": bursts[True] * self.burst_bytes,
            "turnarounds": turnarounds,
            "refreshes": channels * self.refreshes(0, last - 1),
            "busy_ns": tuple(
                sum(access.end - access.data for access in self.accesses.get(channel, [])) / 1000
                for channel in range(channels)
            ),
        }

    @property
    def intervals(self) -> list[tuple[int, float, float, bool, int, bool]]:
        """As `Dram.intervals`."""
        return [
            (
                channel,
                self.to_time(access.data, ends=False) / 1000,
                self.to_time(access.end, ends=True) / 1000,
                access.write,
                access.bank,
                access.row_hit,
            )
            for channel, access in self.order
        ]
