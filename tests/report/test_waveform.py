"""Waveforms, read back by an independent reader: every lane's cycles are the kernel's, and the signals obey the spec
pages.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vcdvcd import VCDVCD

from simhw.bfloat16 import BF16Array, is_zero, significand_terms, to_float32
from simhw.errors import CheckError, MachineError, ShapeError, SimhwError
from simhw.machine.machine import Machine, load_machine
from simhw.pe.check import replay
from simhw.pe.passes import TilePasses, whole_tiles
from simhw.report.waveform import write_waveform
from tests.kernel_runs import INPUTS, draw_inputs, run
from tests.oracles.inputs import gaussian, sparse
from tests.pe import test_bitparallel, test_fpraker, test_tensordash

KINDS = {"fpraker": test_fpraker, "tensordash": test_tensordash, "bitparallel": test_bitparallel}


class Reader(VCDVCD):
    """The reader, told that a text value is written as a vector's is."""

    _VECTOR_VALUE_CHANGE = VCDVCD._VECTOR_VALUE_CHANGE | {"s"}


class Wave:
    """A file's signals by cycle, as text, or as integers with None for x."""

    def __init__(self, path: Path) -> None:
        self.reader = Reader(str(path))
        self.rises = [time for time, value in self.reader["tile.clock"].tv if value == "1"]
        self.cycles = len(self.rises) - 1  # the last edge ends the last cycle

    def text(self, name: str) -> list[str]:
        changes = self.reader[name].tv
        assert {time for time, _ in changes} <= set(self.rises), "a state that does not last whole cycles"
        times = [time for time, _ in changes]
        return [changes[place - 1][1] for place in np.searchsorted(times, self.rises[: self.cycles], side="right")]

    def numbers(self, name: str) -> list[int | None]:
        size = int(self.reader[name].size)

        def number(bits: str) -> int | None:
            return (
                None if bits == "x" else int(bits, 2) - (1 << size if len(bits) == size == 12 and bits[0] == "1" else 0)
            )

        return [number(bits) for bits in self.text(name)]

    def lanes(self) -> Iterator[tuple[str, list[str]]]:
        """(path of the lane, its state by cycle), of the lanes of every PE."""
        for name in self.reader.signals:
            if name.startswith("tile.pe_") and name.endswith(".state"):
                yield name.removesuffix(".state"), self.text(name)


def written(path: Path, machine: Machine, x: BF16Array, y: BF16Array, **options: Any) -> Wave:
    write_waveform(path, machine, x, y, **options)
    return Wave(path)


def assert_true(path: Path, machine: Machine, x: BF16Array, y: BF16Array, case: object) -> None:
    """Every lane's cycles by state add up to the kernel's counters, and the file ends with the pass."""
    kernel = run(machine, x, [y], outputs=False)
    assert kernel.passes == 1
    result = write_waveform(path, machine, x, y)
    wave = Wave(path)
    assert result.cycles == result.written == wave.cycles == kernel.cycles, case
    assert int(wave.reader["tile.cycle"].tv[-1][1], 2) == kernel.cycles, case
    counted: Counter[str] = Counter()
    lanes = 0
    for name, states in wave.lanes():
        assert len(states) == kernel.cycles, (case, name)
        assert set(states) <= set(machine.pe.class_names), (case, name)
        counted.update(states)
        lanes += 1
    assert lanes == machine.tile.tile_x * machine.tile.tile_y * machine.tile.lanes, case
    assert {name: counted[name] for name in machine.pe.class_names} == {
        name: kernel.counters[name] for name in machine.pe.class_names
    }, case


def draw_pass(rng: np.random.Generator, machine: Machine, most_sets: int) -> tuple[BF16Array, BF16Array, object]:
    """Rows for one pass, often fewer than the tile takes, from any two generators."""
    k = int(rng.integers(1, most_sets * machine.tile.lanes + 1))
    x_name, x = draw_inputs(rng, int(rng.integers(1, machine.tile.tile_x + 1)), k)
    y_name, y = draw_inputs(rng, int(rng.integers(1, machine.tile.tile_y + 1)), k)
    return x, y, (machine.label, x_name, y_name, x.shape, y.shape)


@pytest.mark.parametrize(
    ("sync", "oob", "run_ahead"), list(itertools.product(("set", "term", "pe"), ("pe", "column"), (0, 1, 2)))
)
def test_fpraker_states_add_up_to_the_kernels_counters(tmp_path, sync, oob, run_ahead):
    rng = np.random.default_rng([1, ("set", "term", "pe").index(sync), oob == "pe", run_ahead])
    fixed = {"tile.sync": sync, "pe.oob": oob, "tile.run_ahead": run_ahead, "tile.rows": 4, "tile.cols": 3}
    for _ in range(6):
        machine = test_fpraker.draw_machine(rng, **fixed)
        assert_true(tmp_path / "pass.vcd", machine, *draw_pass(rng, machine, 12))


@pytest.mark.parametrize(
    ("order", "sides", "depth"), list(itertools.product(("paper", "dnnsim"), ("one", "two"), (1, 2, 3)))
)
def test_tensordash_states_add_up_to_the_kernels_counters(tmp_path, order, sides, depth):
    rng = np.random.default_rng([2, order == "paper", sides == "one", depth])
    for _ in range(4):
        machine = load_machine(
            "tensordash", **{"pe.order": order, "pe.sides": sides, "pe.depth": depth, "tile.cols": 3}
        )
        assert_true(tmp_path / "pass.vcd", machine, *draw_pass(rng, machine, 20))


def test_bitparallel_states_add_up_to_the_kernels_counters(tmp_path):
    rng = np.random.default_rng(3)
    for x_on, lanes, _ in itertools.product(("rows", "cols"), (8, 16), range(3)):
        machine = load_machine("bitparallel", **{"tile.x_on": x_on, "pe.lanes": lanes, "tile.rows": 3, "tile.cols": 5})
        assert_true(tmp_path / "pass.vcd", machine, *draw_pass(rng, machine, 12))


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("machine", ["fpraker", "tensordash", "bitparallel"])
def test_states_add_up_for_every_adversarial_input_on_the_bundled_tile(tmp_path, machine, name):
    rng = np.random.default_rng([4, list(INPUTS).index(name)])
    loaded = load_machine(machine)
    x, y = INPUTS[name](rng, loaded.tile.tile_x, 64), INPUTS[name](rng, loaded.tile.tile_y, 64)
    assert_true(tmp_path / "pass.vcd", loaded, x, y, name)


@pytest.mark.parametrize("sync", ["set", "term", "pe"])
def test_a_pass_of_nothing_but_zeros_shows_no_cycle_where_empty_sets_are_skipped(tmp_path, sync):
    machine = load_machine("fpraker", **{"tile.empty_sets": "skip", "tile.sync": sync})
    x = gaussian(np.random.default_rng(20), 2, 64)
    assert_true(tmp_path / "pass.vcd", machine, x, np.zeros_like(x), sync)
    assert Wave(tmp_path / "pass.vcd").cycles == 0


@pytest.mark.parametrize("sync", ["set", "pe"])
def test_each_pe_has_the_states_of_a_tile_of_its_own(tmp_path, sync):
    # Sets do not depend on other PEs but for waiting: a kernel run of the PE alone has its cycles of work.
    rng = np.random.default_rng(5)
    machine = load_machine("fpraker", **{"tile.rows": 4, "tile.cols": 3, "tile.sync": sync})
    alone = load_machine("fpraker", **{"tile.rows": 1, "tile.cols": 1})
    x, y = sparse(rng, 3, 160, 0.4), gaussian(rng, 4, 160)
    lanes = dict(written(tmp_path / "pass.vcd", machine, x, y).lanes())
    for row, column in itertools.product(range(4), range(3)):
        counted = Counter(state for lane in range(8) for state in lanes[f"tile.pe_{row}_{column}.lane_{lane}"])
        expected = run(alone, x[column : column + 1], [y[row : row + 1]], outputs=False).counters
        for name in ("useful", "shift_range", "no_term", "exponent"):
            assert counted[name] == expected[name], (row, column, name)


@pytest.mark.parametrize(
    ("encoder", "window", "sync", "window_on"),
    [
        ("naf", 3, "set", "offset"),
        ("booth4", 1, "set", "offset"),
        ("binary", 5, "term", "offset"),
        ("naf", 1, "pe", "offset"),
        ("naf", 2, "set", "position"),
        ("binary", 1, "term", "position"),
    ],
)
def test_fpraker_fires_the_values_terms_at_their_offsets_and_within_the_window(
    tmp_path, encoder, window, sync, window_on
):
    rng = np.random.default_rng([6, window])
    switches = {"pe.encoder": encoder, "pe.shift_window": window, "tile.sync": sync, "tile.rows": 2, "tile.cols": 2}
    machine = load_machine("fpraker-literal", **switches, **{"pe.window_on": window_on})
    sets = 25
    x, y = sparse(rng, 2, 8 * sets, 0.3), gaussian(rng, 2, 8 * sets)
    wave = written(tmp_path / "pass.vcd", machine, x, y)
    before = [np.zeros((2, 2), np.uint16)]
    for end in range(8, 8 * sets, 8):
        outputs = replay(machine.pe, np.ascontiguousarray(x[:, :end]), whole_tiles([y[:, :end]], 2)).outputs
        assert outputs is not None
        before.append(outputs)
    for row, column in itertools.product(range(2), range(2)):
        pe = f"tile.pe_{row}_{column}"
        number, base, emax, accumulator = (
            wave.numbers(f"{pe}.{name}") for name in ("set", "base", "emax", "acc_exponent")
        )
        if sync != "pe":
            assert number == wave.numbers(f"tile.column_{column}.set")
        offsets = [wave.numbers(f"{pe}.lane_{lane}.k") for lane in range(8)]
        states = [wave.text(f"{pe}.lane_{lane}.state") for lane in range(8)]
        texts = [wave.text(f"{pe}.lane_{lane}.term") for lane in range(8)]
        fired: dict[tuple[int, int], list[str]] = {(index, lane): [] for index in range(sets) for lane in range(8)}
        for now in range(wave.cycles):
            pending = {lane: offsets[lane][now] for lane in range(8) if offsets[lane][now] is not None}
            if window_on == "position":  # p = d - K, where d is how far the product's exponent lies below emax
                for lane, offset in pending.items():
                    a, b = x[column, 8 * number[now] + lane], y[row, 8 * number[now] + lane]
                    below = emax[now] - ((int(a) >> 7 & 255) + (int(b) >> 7 & 255) - 254)
                    pending[lane] = offset - below
                assert base[now] == (-min(pending.values()) if pending else None), (pe, now)
            else:
                assert base[now] == min(pending.values(), default=None), (pe, now)
            for lane in range(8):
                offset, state, text = offsets[lane][now], states[lane][now], texts[lane][now]
                fires = lane in pending and pending[lane] <= min(pending.values()) + window
                assert (state == "useful") == fires == (text != "-"), (pe, lane, now)
                assert (state == "shift_range") == (offset is not None and not fires), (pe, lane, now)
                if fires:
                    fired[number[now], lane].append(text)
                    a, b = x[column, 8 * number[now] + lane], y[row, 8 * number[now] + lane]
                    exponent = (int(a) >> 7 & 255) + (int(b) >> 7 & 255) - 254
                    assert offset == emax[now] - exponent - int(text.partition("^")[2]), (pe, lane, now)
                    assert offset <= 12
        for (index, lane), shown in fired.items():
            a, b = int(x[column, 8 * index + lane]), y[row, 8 * index + lane]
            empty = is_zero(np.array([a, b], np.uint16)).any()
            negative = bool(a & 0x8000)
            digits = [] if empty else significand_terms(a & 0x7F, encoder)
            terms = [f"{'-' if (sign < 0) != negative else '+'}2^{position}" for sign, position in digits]
            assert shown == terms[: len(shown)], (pe, index, lane)
        # emax is the largest of the products' exponents and the register's, which is what the sets before read out as,
        # rounded.
        for index in range(sets):
            now = number.index(index)
            part = slice(8 * index, 8 * index + 8)
            fields = [(x[column, part].astype(int) >> 7 & 255), (y[row, part].astype(int) >> 7 & 255)]
            products = (fields[0] + fields[1] - 254)[(fields[0] > 0) & (fields[1] > 0)].tolist()
            begin = next(cycle for cycle in range(now, wave.cycles) if emax[cycle] is not None)
            assert emax[begin] == max([*products, *([] if accumulator[begin] is None else [accumulator[begin]])]), (
                pe,
                index,
            )
            value = abs(float(to_float32(before[index][column, row])))
            # Rounding to bfloat16 may carry into the next power of two.
            assert accumulator[begin] in (
                [None] if value == 0 else [int(np.log2(value) // 1) - carry for carry in (0, 1)]
            ), (pe, index)


def test_a_slot_that_fires_as_a_zero_shows_one(tmp_path):
    # oob: column. A term out of bounds in its own PE alone keeps its slot: class no_term, K beyond the threshold, term
    # 0.
    rng = np.random.default_rng(17)
    machine = load_machine("fpraker-literal", **{"pe.oob": "column", "pe.oob_threshold": 6})
    wave = written(tmp_path / "pass.vcd", machine, gaussian(rng, 8, 64), gaussian(rng, 8, 64))
    zeros = 0
    for name, states in wave.lanes():
        shown = zip(states, wave.numbers(f"{name}.k"), wave.text(f"{name}.term"), strict=True)
        for state, offset, text in shown:
            assert (text == "0") == (state == "no_term" and offset is not None)
            assert text != "0" or offset > 6
            zeros += text == "0"
    assert zeros > 100


@pytest.mark.parametrize("run_ahead", [0, 1, 2])
def test_columns_start_their_sets_when_the_recurrence_lets_them(tmp_path, run_ahead):
    # start[c][s] = max(fin[c][s-1], max over columns k of fin[k][s-1-N]), spec page fpraker.md, section 3.
    rng = np.random.default_rng([7, run_ahead])
    machine = load_machine("fpraker-literal", **{"tile.run_ahead": run_ahead, "tile.cols": 4})
    x, y = sparse(rng, 4, 320, 0.5), sparse(rng, 8, 320, 0.5)
    wave = written(tmp_path / "pass.vcd", machine, x, y)
    pulses = {
        name: np.array([np.flatnonzero(wave.numbers(f"tile.column_{c}.{name}")) for c in range(4)])
        for name in ("set_start", "set_finish")
    }
    starts = pulses["set_start"]
    finish = pulses["set_finish"] + 1
    assert starts.shape == finish.shape == (4, 40)
    for index in range(40):
        free = finish[:, index - 1] if index else np.zeros(4)
        released = finish[:, index - 1 - run_ahead].max() if index > run_ahead else 0
        assert starts[:, index].tolist() == np.maximum(free, released).tolist(), index
    assert finish[:, -1].max() == wave.cycles
    for c in range(4):
        working = [any(starts[c, s] <= now < finish[c, s] for s in range(40)) for now in range(wave.cycles)]
        assert wave.numbers(f"tile.column_{c}.stall") == [int(not works) for works in working]
        waits = [now for now, works in enumerate(working) if not works]
        assert all(wave.text(f"tile.pe_0_{c}.lane_0.state")[now] == "inter_pe" for now in waits[:20])


@pytest.mark.parametrize(("a_depth", "b_depth"), [(1, 1), (1, 4), (4, 1), (16, 2)])
def test_pes_start_their_sets_when_the_buffers_let_them(tmp_path, a_depth, b_depth):
    # start[c][r][s] = max(fin[c][r][s-1], max over rows of fin[c][q][s-1-Na], max over columns of fin[k][r][s-1-Nb]),
    # spec page fpraker.md, section 6.
    rng = np.random.default_rng([21, a_depth, b_depth])
    buffers = {"tile.buffers.a": a_depth, "tile.buffers.b": b_depth}
    machine = load_machine("fpraker-literal", **{"tile.sync": "pe", "tile.rows": 4, "tile.cols": 3}, **buffers)
    x, y = sparse(rng, 3, 320, 0.5), sparse(rng, 4, 320, 0.5)
    wave = written(tmp_path / "pass.vcd", machine, x, y)
    starts, finish = (
        np.array([[np.flatnonzero(wave.numbers(f"tile.pe_{r}_{c}.{name}")) for r in range(4)] for c in range(3)])
        for name in ("set_start", "set_finish")
    )
    finish = finish + 1
    assert starts.shape == finish.shape == (3, 4, 40)
    waits_for_a = waits_for_b = 0
    for index in range(40):
        free = finish[..., index - 1] if index else np.zeros((3, 4))
        has_a = finish[..., index - 1 - a_depth].max(1, keepdims=True) if index > a_depth else np.zeros((3, 1))
        has_b = finish[..., index - 1 - b_depth].max(0, keepdims=True) if index > b_depth else np.zeros((1, 4))
        assert starts[..., index].tolist() == np.maximum(free, np.maximum(has_a, has_b)).tolist(), index
        waits_for_a += (has_a > np.maximum(free, has_b)).sum()
        waits_for_b += (has_b > np.maximum(free, has_a)).sum()
    assert waits_for_a > 0 or a_depth > 1
    assert waits_for_b > 0 or b_depth > 1
    assert finish[..., -1].max() == wave.cycles
    stalls = 0
    for c, r in itertools.product(range(3), range(4)):
        works = [bool((now >= starts[c, r]).sum() > (now >= finish[c, r]).sum()) for now in range(wave.cycles)]
        assert wave.numbers(f"tile.pe_{r}_{c}.stall") == [int(not working) for working in works]
        states = zip(works, wave.text(f"tile.pe_{r}_{c}.lane_0.state"), strict=True)
        assert all(working != (state == "inter_pe") for working, state in states)
        stalls += works.count(False)
    assert stalls > 0


def test_tensordash_shows_the_schedule_of_the_spec_page(tmp_path):
    # Spec page tensordash.md, section 5: six steps' masks, AS = 2, 2, 1, 3, and the option of every lane in cycle 0.
    masks = [0x0406, 0x8638, 0xBE41, 0x3677, 0xF6F5, 0x34CD]
    x = np.array([[0x3F80 * (mask >> lane & 1) for mask in masks for lane in range(16)]], np.uint16)
    machine = load_machine("tensordash", **{"tile.rows": 1})
    wave = written(tmp_path / "pass.vcd", machine, x, gaussian(np.random.default_rng(8), 1, 96))
    assert wave.numbers("tile.advance") == [2, 2, 1, 3]
    assert wave.numbers("tile.position") == [0, 2, 4, 5]
    assert wave.numbers("tile.row_0.z")[0] == masks[0] | masks[1] << 16 | masks[2] << 32
    order = [(0, 0), (1, 0), (2, 0), (1, -1), (1, 1), (2, -2), (2, 2), (1, -3)]
    spec = [2, 0, 0, 1, 1, 1, 2, 6, 4, 4, 0, 2, 2, 2, 4, 2]
    chosen = [
        tuple(wave.numbers(f"tile.row_0.lane_{lane}.{name}")[0] for name in ("step", "source")) for lane in range(16)
    ]
    for lane, option in enumerate(spec):
        step, source = chosen[lane]
        wanted = order[option][0], (lane + order[option][1]) % 16
        if step is None:  # idle: the bit of the option that the page shows is taken or absent
            assert wave.text(f"tile.pe_0_0.lane_{lane}.state")[0] == "idle"
            assert not masks[wanted[0]] >> wanted[1] & 1 or wanted in chosen
        else:
            assert (step, source) == wanted, lane


def test_tensordash_windows_choices_and_advances_follow_from_each_other(tmp_path):
    rng = np.random.default_rng(9)
    machine = load_machine("tensordash", **{"tile.cols": 3})
    x, y = sparse(rng, 3, 320, 0.6), gaussian(rng, 2, 320)  # a row and a column of the tile stay empty
    wave = written(tmp_path / "pass.vcd", machine, x, y)
    advance, position = wave.numbers("tile.advance"), wave.numbers("tile.position")
    assert position == np.concatenate([[0], np.cumsum(advance)[:-1]]).tolist()
    left = [~is_zero(np.pad(row, (0, 48))) for row in x]
    drained = [wave.numbers(f"tile.row_{row}.drained") for row in range(3)]
    for now in range(wave.cycles):
        for row in range(3):
            window = left[row][16 * position[now] : 16 * position[now] + 48]
            assert wave.numbers(f"tile.row_{row}.z")[now] == sum(int(bit) << index for index, bit in enumerate(window))
            for lane in range(16):
                step, source = (wave.numbers(f"tile.row_{row}.lane_{lane}.{name}")[now] for name in ("step", "source"))
                states = [wave.text(f"tile.pe_{row}_{column}.lane_{lane}.state")[now] for column in range(3)]
                assert states == ["idle" if step is None else "useful"] * 2 + ["idle"]
                if step is not None:
                    assert window[16 * step + source], "a pair that is not there or is taken"
                    window[16 * step + source] = False
            empty = [not part.any() for part in window.reshape(3, 16)]
            assert drained[row][now] == (empty.index(False) if False in empty else 3)
        assert advance[now] == min(drained[row][now] for row in range(3))
    assert not any(row.any() for row in left)
    assert set(wave.text("tile.pe_3_0.lane_0.state")) == {"idle"}


@pytest.mark.parametrize("name", KINDS)
def test_a_cut_file_holds_the_first_cycles_of_the_whole_one_and_says_so(tmp_path, name):
    rng = np.random.default_rng(10)
    machine = load_machine(name)
    x, y = sparse(rng, machine.tile.tile_x, 256, 0.5), gaussian(rng, machine.tile.tile_y, 256)
    whole = written(tmp_path / "whole.vcd", machine, x, y)
    assert f"K = 256; {whole.cycles} cycles $end" in (tmp_path / "whole.vcd").read_text()
    for limit in (1, 7):
        result = write_waveform(tmp_path / "cut.vcd", machine, x, y, limit=limit, title="conv1 $end")
        cut = Wave(tmp_path / "cut.vcd")
        assert (result.cycles, result.written, cut.cycles) == (whole.cycles, limit, limit)
        assert f"$comment conv1 _end on {machine.label}: " in (tmp_path / "cut.vcd").read_text()
        assert f"cut: the first {limit} of {whole.cycles} cycles $end" in (tmp_path / "cut.vcd").read_text()
        assert cut.reader.signals == whole.reader.signals
        assert result.signals == len(set(cut.reader.references_to_ids.values()))
        for signal in set(whole.reader.signals) - {"tile.clock"}:
            assert cut.text(signal) == whole.text(signal)[:limit], signal


@pytest.mark.parametrize(
    ("clock_hz", "timescale"),
    [(500e6, "1 ns"), (600e6, "100 fs"), (1e9, "100 ps"), (1.0, "100 ms"), (1e15 / 3, "1 fs")],
)
def test_every_edge_is_at_the_nearest_time_step(tmp_path, clock_hz, timescale):
    rng = np.random.default_rng(11)
    machine = load_machine("bitparallel", clock_hz=clock_hz)
    wave = written(tmp_path / "pass.vcd", machine, gaussian(rng, 1, 800), gaussian(rng, 1, 800))
    assert f"$timescale {timescale} $end" in (tmp_path / "pass.vcd").read_text()
    step = float(wave.reader.timescale["timescale"])
    edges = [time for time, _ in wave.reader["tile.clock"].tv]
    assert len(edges) == 201
    for number, time in enumerate(edges):
        assert abs(time - number / (2 * clock_hz * step)) <= 0.5 + 1e-6


def test_a_clock_too_fast_for_the_format_is_refused(tmp_path):
    x = gaussian(np.random.default_rng(12), 1, 8)
    with pytest.raises(MachineError, match="too fast"):
        write_waveform(tmp_path / "pass.vcd", load_machine("bitparallel", clock_hz=1e16), x, x)


@pytest.mark.parametrize("name", KINDS)
def test_the_same_pass_gives_the_same_file(tmp_path, name):
    machine = load_machine(name)
    x, y = sparse(np.random.default_rng(13), 2, 64, 0.5), gaussian(np.random.default_rng(14), 2, 64)
    for path in ("one.vcd", "two.vcd"):
        write_waveform(tmp_path / path, machine, x, y)
    assert (tmp_path / "one.vcd").read_bytes() == (tmp_path / "two.vcd").read_bytes()


def test_a_pass_whose_replay_differs_is_not_written(tmp_path, monkeypatch):
    machine = load_machine("fpraker")
    x = gaussian(np.random.default_rng(15), 2, 64)
    kernel = machine.tile.run

    def wrong(*arguments: Any, **options: Any) -> TilePasses:
        passes = kernel(*arguments, **options)
        return replace(passes, counters=Counter(passes.counters | {"useful": passes.counters["useful"] + 1}))

    monkeypatch.setattr(machine.tile, "run", wrong)
    with pytest.raises(CheckError, match="fc1: counter useful"):
        write_waveform(tmp_path / "pass.vcd", machine, x, x, title="fc1")
    assert not list(tmp_path.iterdir())


def test_operands_that_are_no_tile_pass_are_refused(tmp_path):
    machine = load_machine("fpraker")
    rng = np.random.default_rng(16)
    good = gaussian(rng, 8, 16)
    infinite = good.copy()
    infinite[1, 2] = 0x7F80
    cases: list[tuple[Any, Any, str]] = [
        (gaussian(rng, 9, 16), good, "x has 9 rows: a tile pass of this machine takes at most 8"),
        (good, gaussian(rng, 9, 16), "y has 9 rows"),
        (good, gaussian(rng, 8, 24), "differ in K: 16 and 24"),
        (to_float32(good), good, "x: give a matrix"),
        (good[0], good, "x: give a matrix"),
        (good, good[:, :0], "y: give a matrix"),
        (infinite, good, r"x: 1 NaN or infinite values \(first at index \(1, 2\)\)"),
    ]
    for x, y, message in cases:
        with pytest.raises(ShapeError, match=message):
            write_waveform(tmp_path / "pass.vcd", machine, x, y)
    with pytest.raises(ShapeError, match="limit"):
        write_waveform(tmp_path / "pass.vcd", machine, good, good, limit=0)
    with pytest.raises(SimhwError, match="cannot be written"):
        write_waveform(tmp_path / "missing" / "pass.vcd", machine, good, good)
    assert not list(tmp_path.iterdir())
