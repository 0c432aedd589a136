"""LPDDR4: channels of banks behind a controller that opens rows ahead of the data it moves in order.

A job (one DMA transfer) is a set of containers, which the controller serves in the order of their numbers, container
by container on each channel and the channels side by side.

- **Addresses.**  As many consecutive containers as fill a row share it; rows go round the channels, then round the
  banks.  So channels interleave row by row: a 2 KB container is a row of its own, four of 512 B share one.
- **Rows** stay open until another row of the bank is wanted or a refresh closes them (open page).  A row may be opened
  ahead of its data, once the data of the container `queue_depth` places before have begun.  Precharge waits for tRAS,
  tRTP after a read and tWR after written data, an activate for tRP, tRRD and tFAW.
- **Data** move burst by burst without gaps within a container.  Between reads and writes the bus turns around: read
  commands wait tWTR after written data, written data `t_rtw` after read data.  Writes are posted: one is finished
  when its data have moved.  The command bus is not modelled; a burst takes longer than the commands it needs.
- **Refresh.**  At the end of every tREFI all channels stand still for tRP + tRFC + tRCD, at fixed times: rows are
  closed, refreshed and those in use opened anew.  All that is under way goes on after the pause.  Live time is time
  without these pauses.

A later start, more bytes, fewer channels, narrower channels or a lower rate therefore never finish earlier.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from simhw.errors import MachineError, ShapeError
from simhw.memory import dram_kernel as columns
from simhw.memory.dram_kernel import Job, end_time, live_time, serve, serve_recorded
from simhw.memory.schedule_kernel import Floats, double_buffered

PS_PER_NS = 1000
LATEST_NS = 1e12
"""The latest start: up to here a time in ns is exact to the ps, and sums of times fit 64 bits."""
LAST_CONTAINER = 1 << 48


class DramParameters(BaseModel):
    """Parameters of the DRAM and its controller; the machine file gives every one with its source.  All times are in
    ns.

    The `t_*` are JEDEC's; the latencies are those from a read or write command to its first data.  `t_rtw` is the time
    that the data bus stays idle between read and written data, `controller_latency_ns` that from a job's start to its
    first command.  `queue_depth` is how many containers of a channel the controller sees beyond the one in transfer.

    `row_bytes` is what one row of a channel holds: 2,048 for 16 bits of LPDDR4.  A 32-bit channel is two such devices
    side by side, whose rows together hold twice that.  Leave `row_bytes` where only `channel_bits` is switched:
    containers then keep their places, and a wider channel is never slower (the other half of a pair of rows belongs to
    addresses in the upper half of the memory).  With 4,096 containers move to other rows and banks, and nothing is
    promised.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(ge=1, le=1024)
    channel_bits: Literal[16, 32]
    transfers_per_s: float = Field(ge=1e3, le=1e12)
    burst_length: int = Field(ge=1, le=1024)
    banks: int = Field(ge=1, le=256)
    row_bytes: int = Field(ge=1, le=1 << 24)
    queue_depth: int = Field(ge=1, le=1024)
    t_rcd: float = Field(ge=0, le=1e6)
    t_rp: float = Field(ge=0, le=1e6)
    t_ras: float = Field(ge=0, le=1e6)
    t_rrd: float = Field(ge=0, le=1e6)
    t_faw: float = Field(ge=0, le=1e6)
    read_latency: float = Field(ge=0, le=1e6)
    write_latency: float = Field(ge=0, le=1e6)
    t_wtr: float = Field(ge=0, le=1e6)
    t_rtw: float = Field(ge=0, le=1e6)
    t_wr: float = Field(ge=0, le=1e6)
    t_rtp: float = Field(ge=0, le=1e6)
    t_refi: float = Field(gt=0, le=1e9)
    t_rfc: float = Field(ge=0, le=1e6)
    controller_latency_ns: float = Field(ge=0, le=1e6)

    @model_validator(mode="after")
    def _refresh_leaves_time(self) -> "DramParameters":
        if _ps(self.t_refi) <= self.refresh_pause_ps:
            raise ValueError(
                f"t_refi ({self.t_refi:g}) must exceed t_rp + t_rfc + t_rcd ({self.refresh_pause_ps / PS_PER_NS:g}): "
                "refreshing would leave no time for data"
            )
        return self

    @property
    def burst_bytes(self) -> int:
        """Bytes of one burst of a channel."""
        return self.channel_bits * self.burst_length // 8

    @property
    def burst_ps(self) -> int:
        """Time of one burst on the data bus [ps]."""
        return max(1, round(self.burst_length * 1e12 / self.transfers_per_s))

    @property
    def refresh_pause_ps(self) -> int:
        """How long a refresh stops a channel [ps]."""
        return _ps(self.t_rp) + _ps(self.t_rfc) + _ps(self.t_rcd)

    @property
    def peak_bytes_per_s(self) -> float:
        """Bandwidth of the data buses of all channels [byte/s], refresh aside."""
        return self.channels * self.channel_bits / 8 * self.transfers_per_s


class BusInterval(NamedTuple):
    """Data of one container on a channel's bus, from its first burst to its last; a refresh in between is
    not cut out.
    """

    channel: int
    start_ns: float
    end_ns: float
    write: bool
    bank: int
    row_hit: bool


class Dram:
    """A DRAM with the state of its banks and buses.

    Parameters
    ----------
    parameters : DramParameters
    container_bytes : int
        Bytes of one container, uncompressed; a row holds a whole number of them.
    record : int
        How many of the first containers to keep in `intervals`.

    Raises
    ------
    MachineError
        A row does not hold a whole number of containers.
    """

    def __init__(self, parameters: DramParameters, container_bytes: int, record: int = 0) -> None:
        if container_bytes < 1 or parameters.row_bytes % container_bytes:
            raise MachineError(
                f"dram: row_bytes ({parameters.row_bytes}) must be a multiple of a container's bytes "
                f"({container_bytes}): "
                "a container lies in one row"
            )
        if record < 0:
            raise MachineError(f"dram: cannot record {record} intervals; 0 records none")
        self.parameters = parameters
        self.container_bytes = container_bytes
        self._pause = parameters.refresh_pause_ps
        self._live = _ps(parameters.t_refi) - self._pause
        self._burst_bytes = parameters.burst_bytes
        self._clock = np.array([self._pause, _ps(parameters.controller_latency_ns), 0], np.int64)
        self._setup = _setup(parameters, parameters.row_bytes // container_bytes, self._live)
        self._channels = np.zeros((parameters.channels, columns.DATA + parameters.queue_depth), np.int64)
        self._channels[:, columns.READ_END] = self._channels[:, columns.WRITE_END] = columns.LONG_AGO
        self._channels[:, columns.ACTS :] = columns.LONG_AGO
        self._banks = np.full((parameters.channels, parameters.banks, columns.BANK_COLUMNS), columns.LONG_AGO, np.int64)
        self._banks[:, :, columns.ROW] = columns.CLOSED
        self._record = np.zeros((1 + record, columns.INTERVAL_COLUMNS), np.int64)

    def transfer(
        self, first: int, runs: int, run: int, stride: int, payload_bytes: int, write: bool, start_ns: float
    ) -> float:
        """Move the containers ``first + r * stride + k`` (r < runs, k < run), after all of the jobs before on each
        channel.

        Parameters
        ----------
        first, runs, run, stride : int
            `runs` runs of `run` consecutive containers; `stride` from the start of one run to the next may be anything.
        payload_bytes : int
            Bytes of the whole job, spread evenly over its containers, in whole bursts of each.
        write : bool
        start_ns : float
            When the controller gets the job [ns]; jobs are served in the order of the calls.

        Returns
        -------
        float
            When the job's last data have moved [ns], exact to the ps.

        Raises
        ------
        ShapeError
            No containers, or one that does not exist; a payload that the containers cannot hold, or none; a time
            before 0 or beyond 1e12 ns.
        """
        containers = runs * run
        last_run = first + (runs - 1) * stride
        if (
            runs < 1
            or run < 1
            or min(first, last_run) < 0
            or max(first, last_run) + run > LAST_CONTAINER
            or not 0 < payload_bytes <= containers * self.container_bytes
            or not 0 <= start_ns <= LATEST_NS
        ):
            raise ShapeError(self._refusal(first, runs, run, stride, payload_bytes, start_ns))
        bursts = -(-payload_bytes // (containers * self._burst_bytes))
        start = live_time(round(start_ns * PS_PER_NS), self._live, self._pause)
        start += int(self._clock[columns.CONTROLLER_LATENCY])
        end = self._serve(Job(first, runs, run, stride, bursts, write, start))
        self._clock[columns.LAST_END] = max(self._clock[columns.LAST_END], end)
        return self._end_time(end) / PS_PER_NS

    def double_buffered(
        self, jobs: columns.Int64s, steps: columns.Int64s, shares: Floats, busy_ns: float
    ) -> tuple[float, float, float]:
        """Serve block steps by the protocol of `simhw.memory.schedule_kernel`, which says what these are."""
        return double_buffered(
            self._setup, self._channels, self._banks, self._clock, jobs, steps, shares, busy_ns, LATEST_NS
        )

    @property
    def records(self) -> bool:
        """True where containers are to be recorded."""
        return len(self._record) > 1

    def _serve(self, job: Job) -> int:
        """Serve a job; gives when its last data have moved [ps, live]."""
        if self.records:
            return serve_recorded(self._setup, self._channels, self._banks, self._record, job)
        return serve(self._setup, self._channels, self._banks, job)

    @property
    def activates(self) -> int:
        """Rows opened; those that a refresh had closed count again."""
        return self._total(columns.CHANNEL_ACTIVATES)

    @property
    def row_hits(self) -> int:
        """Containers that found their row open."""
        return self._total(columns.CHANNEL_HITS)

    @property
    def row_misses(self) -> int:
        """Containers whose row had to be opened, for the first time, after another one or after a refresh."""
        return self._total(columns.CHANNEL_MISSES)

    @property
    def read_bytes(self) -> int:
        """Bytes read, in whole bursts."""
        return self._total(columns.READ_BURSTS) * self._burst_bytes

    @property
    def write_bytes(self) -> int:
        """Bytes written, in whole bursts."""
        return self._total(columns.WRITE_BURSTS) * self._burst_bytes

    @property
    def turnarounds(self) -> int:
        """Changes between reading and writing on a channel."""
        return self._total(columns.TURNAROUNDS)

    @property
    def busy_ns(self) -> tuple[float, ...]:
        """Time in which each channel's data bus moved data [ns]."""
        bursts = self._channels[:, columns.READ_BURSTS] + self._channels[:, columns.WRITE_BURSTS]
        return tuple(int(count) * self.parameters.burst_ps / PS_PER_NS for count in bursts)

    @property
    def refreshes(self) -> int:
        """Refreshes of all channels that had begun when the last data moved."""
        return self.refreshes_until(self._end_time(int(self._clock[columns.LAST_END])) / PS_PER_NS)

    def refreshes_until(self, time_ns: float) -> int:
        """Refreshes of all channels that have begun before `time_ns`, whether data moved or not."""
        return self.parameters.channels * -(
            -max(0, round(time_ns * PS_PER_NS) - self._live) // (self._live + self._pause)
        )

    @property
    def intervals(self) -> list[BusInterval]:
        """Data of the first containers served, in the order of service, as many as were to be recorded."""
        rows = self._record[1 : 1 + int(self._record[0, columns.RECORDED])].tolist()
        return [
            BusInterval(
                channel,
                self._start_time(start) / PS_PER_NS,
                self._end_time(end) / PS_PER_NS,
                bool(write),
                bank,
                bool(hit),
            )
            for channel, start, end, write, bank, hit in rows
        ]

    @property
    def intervals_dropped(self) -> int:
        """Containers served after the record was full."""
        return int(self._record[0, columns.SERVED] - self._record[0, columns.RECORDED])

    def _total(self, column: int) -> int:
        return int(self._channels[:, column].sum())

    def _start_time(self, live: int) -> int:
        """When something starts: at the moment of a refresh, after it."""
        return live + live // self._live * self._pause

    def _end_time(self, live: int) -> int:
        return end_time(live, self._live, self._pause)

    def _refusal(self, first: int, runs: int, run: int, stride: int, payload_bytes: int, start_ns: float) -> str:
        job = f"dram: job of {runs} runs of {run} containers from {first}, stride {stride}"
        if runs < 1 or run < 1:
            return f"{job}: a job needs at least one run of at least one container"
        last_run = first + (runs - 1) * stride
        if min(first, last_run) < 0:
            return f"{job}: reaches container {min(first, last_run)}; containers are numbered from 0"
        if max(first, last_run) + run > LAST_CONTAINER:
            return (
                f"{job}: reaches container {max(first, last_run) + run - 1}; the last one possible is "
                f"{LAST_CONTAINER - 1}"
            )
        if not 0 <= start_ns <= LATEST_NS:
            return f"{job}: starts at {start_ns} ns; a time from 0 to {LATEST_NS:g} ns was expected"
        return f"{job}: payload of {payload_bytes} bytes; the containers hold 1 to {runs * run * self.container_bytes}"


def _ps(time_ns: float) -> int:
    return round(time_ns * PS_PER_NS)


@lru_cache(maxsize=64)
def _setup(parameters: DramParameters, containers_per_row: int, live: int) -> columns.Int64s:
    """The kernel's constants."""
    setup = columns.Setup(
        channels=parameters.channels,
        banks=parameters.banks,
        containers_per_row=containers_per_row,
        queue_depth=parameters.queue_depth,
        burst=parameters.burst_ps,
        rcd=_ps(parameters.t_rcd),
        rp=_ps(parameters.t_rp),
        ras=_ps(parameters.t_ras),
        rrd=_ps(parameters.t_rrd),
        faw=_ps(parameters.t_faw),
        read_latency=_ps(parameters.read_latency),
        write_latency=_ps(parameters.write_latency),
        wtr=_ps(parameters.t_wtr),
        rtw=_ps(parameters.t_rtw),
        wr=_ps(parameters.t_wr),
        rtp=_ps(parameters.t_rtp),
        live=live,
    )
    return np.array(setup, np.int64)
