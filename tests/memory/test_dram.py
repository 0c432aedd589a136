"""DRAM: equal to the oracle, legal, monotone in whatever makes a machine slower, and within 5% of what formulas say.

The formulas use round stand-ins for LPDDR4-3200: a burst of 16 takes 5 ns and moves 32 bytes of a 16-bit channel.
"""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from simhw.errors import MachineError, ShapeError
from simhw.memory.dram import BusInterval, Dram, DramParameters
from tests.oracles.dram import DramOracle, ps
from tests.oracles.dram_containers import DramOfContainers

LPDDR4: dict[str, Any] = {
    "channels": 4,
    "channel_bits": 16,
    "transfers_per_s": 3.2e9,
    "burst_length": 16,
    "banks": 8,
    "row_bytes": 2048,
    "queue_depth": 4,
    "t_rcd": 18,
    "t_rp": 18,
    "t_ras": 42,
    "t_rrd": 10,
    "t_faw": 40,
    "read_latency": 17.5,
    "write_latency": 8.75,
    "t_wtr": 10,
    "t_rtw": 5,
    "t_wr": 18,
    "t_rtp": 7.5,
    "t_refi": 3904,
    "t_rfc": 280,
    "controller_latency_ns": 20,
}
NEVER = {"t_refi": 1e9}  # no refresh within a test
BURST = 5.0
Job = tuple[int, int, int, int, int, bool]


def parameters(**changed: Any) -> DramParameters:
    return DramParameters.model_validate(LPDDR4 | changed, strict=True)


def dram(container_bytes: int = 2048, record: int = 0, **changed: Any) -> Dram:
    return Dram(parameters(**changed), container_bytes, record)


def read(target: Dram, container: int, payload: int = 1, start: float = 0.0) -> float:
    return target.transfer(container, 1, 1, 0, payload, False, start)


def write(target: Dram, container: int, payload: int = 1, start: float = 0.0) -> float:
    return target.transfer(container, 1, 1, 0, payload, True, start)


# Random machines and jobs.


def times(most: int) -> st.SearchStrategy[float]:
    return st.one_of(st.just(0.0), st.integers(0, 4 * most).map(lambda quarter: quarter / 4))


@st.composite
def machines(draw: st.DrawFn, least_live: float = 0.25) -> dict[str, Any]:
    """Parameters of any proportions, the unlikely ones above all."""
    values = LPDDR4 | {
        "channels": draw(st.integers(1, 4)),
        "channel_bits": draw(st.sampled_from([16, 32])),
        "transfers_per_s": draw(st.sampled_from([3.2e9, 1.6e9, 3.3e9, 7e8, 12.8e9])),
        "burst_length": draw(st.sampled_from([8, 16])),
        "banks": draw(st.sampled_from([1, 2, 3, 8])),
        "queue_depth": draw(st.integers(1, 5)),
    }
    for name, most in {
        "t_rcd": 30, "t_rp": 30, "t_ras": 80, "t_rrd": 40, "t_faw": 150, "read_latency": 30, "write_latency": 30,
        "t_wtr": 30, "t_rtw": 20, "t_wr": 40, "t_rtp": 40, "t_rfc": 300, "controller_latency_ns": 30,
    }.items():  # fmt: skip
        values[name] = draw(times(most))
    live = draw(st.one_of(st.just(least_live), st.floats(least_live, 400), st.just(4000.0), st.just(1e6)))
    return values | {"t_refi": values["t_rp"] + values["t_rfc"] + values["t_rcd"] + live + 0.25}


@st.composite
def job_lists(draw: st.DrawFn, container_bytes: int) -> list[tuple[Job, float]]:
    """Jobs with what passes before each (see `finishes`), in few rows so that banks are fought over."""
    jobs = []
    span = draw(st.sampled_from([4, 20, 200]))
    for _ in range(draw(st.integers(1, 9))):
        runs, run = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 5]))
        stride = draw(st.integers(-span, span))
        first = draw(st.integers(0, span)) + max(0, -stride * (runs - 1))
        payload = draw(st.integers(1, runs * run * draw(st.sampled_from([1, 64, container_bytes]))))
        delay = draw(st.sampled_from([0.0, draw(st.floats(0, 800))]))
        jobs.append(((first, runs, run, stride, payload, draw(st.booleans())), delay))
    return jobs


@st.composite
def cases(draw: st.DrawFn, **limits: float) -> tuple[dict[str, Any], int, list[tuple[Job, float]], bool]:
    container_bytes = draw(st.sampled_from([512, 2048]))
    return draw(machines(**limits)), container_bytes, draw(job_lists(container_bytes)), draw(st.booleans())


def finishes(target: Dram | DramOracle, jobs: list[tuple[Job, float]], chained: bool) -> list[float]:
    """Finish of every job: chained, it starts a while after the one before has finished; else a while after that one's
    start.
    """
    ends, before, start = [], 0.0, 0.0
    for job, delay in jobs:
        start = (before if chained else start) + delay
        before = target.transfer(*job, start)
        ends.append(before)
    return ends


COUNTERS = ("activates", "row_hits", "row_misses", "read_bytes", "write_bytes", "turnarounds", "refreshes", "busy_ns")


@settings(max_examples=120)
@given(case=cases(least_live=5.0))
def test_kernel_equals_oracle_in_times_counters_and_intervals(case):
    values, container_bytes, jobs, chained = case
    model = dram(container_bytes, record=1000, **values)
    oracle = DramOracle(model.parameters, container_bytes)
    expected = finishes(oracle, jobs, chained)
    for each in (model, dram(container_bytes, **values)):
        assert finishes(each, jobs, chained) == expected
        assert {name: getattr(each, name) for name in COUNTERS} == oracle.counters
    assert [tuple(interval) for interval in model.intervals] == oracle.intervals


@st.composite
def long_jobs(draw: st.DrawFn, container_bytes: int) -> list[tuple[Job, float]]:
    """Jobs of up to some thousand containers: runs that begin and end amid rows, that meet, overlap, leave gaps of any
    size or go backwards, in reads and writes that take turns.
    """
    jobs = []
    for _ in range(draw(st.integers(1, 6))):
        run = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 16, 33, 96, 200]))
        runs = draw(st.sampled_from([1, 2, 3, 7, 40]))
        stride = draw(st.sampled_from([0, 1, run - 1, run, run + 1, 4 * run + 3, 128, -1, -run, -97, 98305]))
        first = draw(st.integers(0, 300)) + max(0, -stride * (runs - 1))
        payload = draw(st.integers(1, runs * run * draw(st.sampled_from([1, 64, container_bytes]))))
        delay = draw(st.sampled_from([0.0, draw(st.floats(0, 20_000))]))
        jobs.append(((first, runs, run, stride, payload, draw(st.booleans())), delay))
    return jobs


@st.composite
def machines_in_step(draw: st.DrawFn) -> dict[str, Any]:
    """Every time is a whole number of bursts, so that refreshes stand where data of containers begin and end."""
    names = ["t_rcd", "t_rp", "t_ras", "t_rrd", "t_faw", "read_latency", "write_latency", "t_wtr", "t_rtw", "t_wr"]
    values = LPDDR4 | {name: BURST * draw(st.integers(0, 9)) for name in (*names, "t_rtp", "controller_latency_ns")}
    live = BURST * draw(st.integers(1, 70))
    return values | {"t_rfc": 300, "t_refi": values["t_rp"] + 300 + values["t_rcd"] + live}


@settings(max_examples=250)
@given(values=st.one_of(st.just(LPDDR4), machines(), machines_in_step()), data=st.data(), chained=st.booleans())
def test_rows_served_at_once_are_their_containers_one_by_one(values, data, chained):
    container_bytes = data.draw(st.sampled_from([128, 512, 1024, 2048]))
    jobs = data.draw(long_jobs(container_bytes))
    model, one_by_one = dram(container_bytes, **values), DramOfContainers(parameters(**values), container_bytes)
    assert finishes(model, jobs, chained) == finishes(one_by_one, jobs, chained)
    for name in COUNTERS:
        assert getattr(model, name) == getattr(one_by_one, name), name


@settings(max_examples=60)
@given(case=cases(least_live=5.0))
def test_every_pair_of_commands_keeps_its_distance(case):
    # The oracle's history against the rules of JEDEC, pair by pair; the kernel has the same times, as the test above
    # shows.
    values, container_bytes, jobs, chained = case
    oracle = DramOracle(parameters(**values), container_bytes)
    finishes(oracle, jobs, chained)
    t = {name: ps(value) for name, value in values.items() if name.startswith(("t_", "read", "write"))}
    for history in oracle.accesses.values():
        acts = [access.act for access in history if access.opened]
        assert all(later - earlier >= t["t_rrd"] for earlier, later in itertools.pairwise(acts))
        assert all(later - earlier >= t["t_faw"] for earlier, later in zip(acts, acts[4:], strict=False))
        for one, two in itertools.pairwise(history):
            gap = {(True, False): t["t_wtr"] + t["read_latency"], (False, True): t["t_rtw"]}.get(
                (one.write, two.write), 0
            )
            assert two.data - one.end >= gap
        for access in history:
            command = access.data - (t["write_latency"] if access.write else t["read_latency"])
            assert command >= access.act + t["t_rcd"]
            # A row is used only between the activate that opened it and the next precharge of its bank.
            for other in history[history.index(access) + 1 :]:
                if other.bank != access.bank or not other.opened:
                    continue
                assert other.precharge is not None
                last_read = access.end - oracle.burst - t["read_latency"]
                assert other.precharge >= (access.end + t["t_wr"] if access.write else last_read + t["t_rtp"])
                assert other.precharge >= access.act + t["t_ras"]
                assert other.act >= other.precharge + t["t_rp"]
                break


# What never makes a job finish later.

FASTER = {
    "twice the channels": {"channels": 2},
    "three times the channels": {"channels": 3},
    "twice the rate": {"transfers_per_s": 2},
    "a deeper queue": {"queue_depth": 2},
}


@pytest.mark.parametrize("change", FASTER)
@settings(max_examples=60)
@given(case=cases())
def test_no_job_finishes_later_with(change, case):
    values, container_bytes, jobs, chained = case
    faster = values | {name: values[name] * factor for name, factor in FASTER[change].items()}
    base = finishes(dram(container_bytes, **values), jobs, chained)
    assert all(
        new <= old for new, old in zip(finishes(dram(container_bytes, **faster), jobs, chained), base, strict=True)
    )


@settings(max_examples=80)
@given(case=cases())
def test_no_job_finishes_later_on_channels_twice_as_wide(case):
    values, container_bytes, jobs, chained = case
    narrow, wide = (
        finishes(dram(container_bytes, **values | {"channel_bits": bits}), jobs, chained) for bits in (16, 32)
    )
    assert all(new <= old for new, old in zip(wide, narrow, strict=True))


@settings(max_examples=120)
@given(case=cases(), which=st.integers(0, 8), share=st.floats(0, 1))
def test_no_job_finishes_later_when_one_carries_less_or_starts_earlier(case, which, share):
    values, container_bytes, jobs, chained = case
    which %= len(jobs)
    (*place, payload, direction), delay = jobs[which]
    base = finishes(dram(container_bytes, **values), jobs, chained)
    for job in (
        ((*place, max(1, int(payload * share)), direction), delay),
        ((*place, payload, direction), delay * share),
    ):
        changed = [*jobs[:which], job, *jobs[which + 1 :]]
        ends = finishes(dram(container_bytes, **values), changed, chained)
        assert all(new <= old for new, old in zip(ends, base, strict=True))


# Bandwidth and latency by formula.


def close(value: float, formula: float) -> None:
    assert value == pytest.approx(formula, rel=0.05)


@pytest.mark.parametrize("direction", [False, True])
@pytest.mark.parametrize("container_bytes", [512, 2048])
@pytest.mark.parametrize(("bits", "gigabytes"), [(16, 25.6), (32, 51.2)])
def test_streaming_takes_the_whole_bus_and_refresh_its_share(direction, container_bytes, bits, gigabytes):
    size = 16 << 20
    containers = size // container_bytes
    for refresh, share in ((NEVER, 1.0), ({}, 1 - (18 + 280 + 18) / 3904)):
        model = dram(container_bytes, channel_bits=bits, **refresh)
        assert model.parameters.peak_bytes_per_s == gigabytes * 1e9
        close(size / model.transfer(0, 1, containers, 0, size, direction, 0.0), gigabytes * share)
        assert max(model.busy_ns) == size / gigabytes


def test_rows_of_one_bank_come_a_row_cycle_apart():
    # Reads: tRC = tRAS + tRP, since tRCD + tRTP is below tRAS.  Writes: the row stays open until tWR after the data.
    next_row = 4 * 8
    close(dram(**NEVER).transfer(0, 1000, 1, next_row, 1, False, 0.0) / 1000, 42 + 18)
    close(dram(**NEVER).transfer(0, 1000, 1, next_row, 1, True, 0.0) / 1000, 18 + 8.75 + BURST + 18 + 18)


@pytest.mark.parametrize(("rrd", "faw", "apart"), [(10, 60, 15), (10, 20, 10), (4, 8, BURST)])
def test_rows_of_random_banks_come_as_fast_as_activates_or_bursts(rrd, faw, apart):
    # A fixed random order of the 8 banks of channel 0, so that a bank comes again after 8 rows: 8 * apart > tRC or tRC
    # / 8 counts.
    model = dram(t_rrd=rrd, t_faw=faw, queue_depth=64, **NEVER)
    order = [3, 0, 6, 2, 7, 5, 1, 4]
    ends = [read(model, 4 * (bank + 8 * turn)) for turn in range(200) for bank in order]
    close(ends[-1] / len(ends), max(apart, (42 + 18) / 8))
    assert model.activates == model.row_misses == len(ends)


def test_a_queue_of_one_opens_a_row_when_the_data_before_begin():
    # Every bank has another row open, so each container waits for a precharge, an activate and a read.
    model = dram(queue_depth=1, **NEVER)
    close(model.transfer(0, 1000, 1, 4, 1, False, 0.0) / 1000, 18 + 18 + 17.5)


def test_latency_of_one_container_unloaded():
    payload, data = 2048, 64 * BURST
    assert read(dram(), 0, payload, start=100.0) == 100 + 20 + 18 + 17.5 + data
    assert write(dram(), 0, payload, start=100.0) == 100 + 20 + 18 + 8.75 + data
    model = dram()
    read(model, 0)
    assert read(model, 0, payload, start=500.0) == 500 + 20 + 17.5 + data  # its row is open
    assert read(model, 32, payload, start=1000.0) == 1000 + 20 + 18 + 18 + 17.5 + data  # another row of the bank is
    assert (model.row_hits, model.row_misses, model.activates) == (1, 2, 2)


def test_a_fifth_activate_waits_for_the_window_of_four():
    model = dram(t_faw=100, queue_depth=8)
    ends = [read(model, 4 * bank) for bank in range(5)]
    first = 20 + 18 + 17.5 + BURST
    assert ends == [first, first + 10, first + 20, first + 30, first + 100]


def test_alternating_reads_and_writes_are_bound_by_turnarounds():
    # Read, tRTW, write, tWTR and a read latency to the next read.
    model = dram(**NEVER)
    for _ in range(500):
        read(model, 0)
        end = write(model, 0)
    close(end / 500, BURST + 5 + BURST + 10 + 17.5)
    assert model.turnarounds == 999


# Refresh: 3588 ns of live time, then a pause of 316 ns, at the same times for ever.


def test_what_starts_in_a_refresh_goes_on_after_it_with_its_rows_closed():
    model = dram()
    read(model, 0)
    expected = 3904 + 20 + 17.5 + BURST
    assert read(model, 0, start=3588.0) == expected
    assert read(dram(), 0, start=3903.0) == expected + 18
    assert (model.activates, model.row_hits, model.refreshes) == (2, 0, 4)
    assert model.refreshes_until(3588.0) == 0
    assert model.refreshes_until(10 * 3904.0) == 40


def test_a_refresh_amid_a_container_stops_its_data_and_closes_its_row():
    model = dram(record=9)
    start = 3588 - 20 - 18 - 17.5 - 160.0  # half of the 320 ns of data fit before
    assert read(model, 0, 2048, start) == 3904 + 160
    assert model.intervals == [BusInterval(0, 3588 - 160.0, 3904 + 160.0, False, 0, False)]
    assert model.activates == 2


def test_data_that_end_as_a_refresh_begins_are_not_held_up():
    start = 3588 - 20 - 18 - 17.5 - 320.0
    assert read(dram(), 0, 2048, start) == 3588
    assert read(dram(), 0, 2048, start + 0.001) == 3904 + 0.001


def test_a_container_longer_than_several_refresh_intervals_opens_its_row_after_each():
    # 80 ns of live time between pauses.  Data from 80 to 400 ns of live time: the refresh at 80 closes the row opened
    # ahead, those at 160, 240 and 320 close it amid the data, and the data end just before the one at 400.
    model = dram(t_refi=316 + 80)
    assert read(model, 0, 2048, 80 - 20 - 18 - 17.5) == 400 + 4 * 316
    assert (model.activates, model.row_misses) == (1 + 1 + 3, 1)


# Addresses, state and limits.


@pytest.mark.parametrize("container_bytes", [512, 1024, 2048])
def test_rows_go_round_channels_then_banks_and_neighbours_share_a_row(container_bytes):
    share = 2048 // container_bytes
    model = dram(container_bytes, record=1000, **NEVER)
    model.transfer(0, 1, 40 * share, 0, 40 * share, False, 0.0)
    expected = [(row % 4, row // 4 % 8, k > 0) for row in range(40) for k in range(share)]
    assert [(each.channel, each.bank, each.row_hit) for each in model.intervals] == expected


def test_containers_may_come_in_one_job_or_in_many():
    # Payloads of whole bursts, all known at time 0: where a job ends makes no difference.
    whole, parts = dram(512, record=99), dram(512, record=99)
    end = whole.transfer(7, 5, 3, -1, 5 * 3 * 100, True, 0.0)
    ends = [parts.transfer(7 - r + k, 1, 1, 0, 100, True, 0.0) for r in range(5) for k in range(3)]
    assert max(ends) == end
    assert whole.intervals == parts.intervals


def test_a_payload_is_spread_evenly_in_whole_bursts_of_each_container():
    for payload, moved in ((1, 32), (32, 32), (33, 64), (96, 96), (2048, 2048)):
        model = dram()
        model.transfer(0, 3, 1, 1, 3 * payload, False, 0.0)
        assert (model.read_bytes, model.write_bytes) == (3 * moved, 0)
    model = dram()
    model.transfer(0, 2, 1, 1, 65, True, 0.0)  # 33 bytes in one of the two: two bursts of each
    assert (model.read_bytes, model.write_bytes) == (0, 128)


def test_the_record_keeps_the_first_intervals_and_counts_the_others():
    model = dram(record=5)
    model.transfer(0, 1, 12, 0, 12, False, 0.0)
    assert (len(model.intervals), model.intervals_dropped) == (5, 7)
    assert not dram().intervals


def test_times_stay_exact_to_the_picosecond_after_a_quarter_of_an_hour():
    start = 9e11
    assert read(dram(**NEVER | {"t_rfc": 0, "t_rp": 0, "t_rcd": 0}), 0, 1, start) == start + 20 + 17.5 + BURST


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ((-1, 1, 1, 0, 1, False, 0.0), "reaches container -1"),
        ((5, 3, 1, -3, 1, False, 0.0), "reaches container -1"),
        ((0, 0, 1, 0, 1, False, 0.0), "at least one run"),
        ((0, 1, 0, 0, 1, False, 0.0), "at least one run"),
        ((0, 2, 1, 1 << 48, 1, False, 0.0), f"reaches container {1 << 48}"),
        ((0, 2, 3, 3, 6 * 2048 + 1, False, 0.0), "payload of 12289 bytes; the containers hold 1 to 12288"),
        ((0, 1, 1, 0, 0, False, 0.0), "payload of 0 bytes"),
        ((0, 1, 1, 0, 1, False, -1.0), "starts at -1.0 ns"),
        ((0, 1, 1, 0, 1, False, float("nan")), "starts at nan ns"),
        ((0, 1, 1, 0, 1, False, 2e12), "starts at 2000000000000.0 ns"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused_and_changes_nothing(job, text):
    model = dram()
    with pytest.raises(ShapeError, match=text):
        model.transfer(*job)
    assert read(model, 0) == read(dram(), 0)


def test_a_machine_that_makes_no_sense_is_refused():
    with pytest.raises(MachineError, match=r"row_bytes \(2048\) must be a multiple of a container's bytes \(4096\)"):
        dram(4096)
    with pytest.raises(MachineError, match="cannot record -1"):
        dram(record=-1)
    with pytest.raises(ValidationError, match=r"t_refi \(316\) must exceed t_rp \+ t_rfc \+ t_rcd \(316\)"):
        parameters(t_refi=316)
    for wrong in ({"channel_bits": 24}, {"queue_depth": 0}, {"t_rcd": -1}, {"t_rp": float("nan")}, {"clock": 1}):
        with pytest.raises(ValidationError):
            parameters(**wrong)
