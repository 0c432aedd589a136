"""How fast the kernels and their replays are: MAC/s of one core per switch, values/s for TensorDash's scheduler.

Run with `pytest tests/benchmarks/test_kernels.py --benchmark-only -s`; every benchmark prints its rate and keeps it in
`extra_info`. Operands are Gaussian with half of X's values zero, as after a ReLU; nothing is asserted about time.
"""

import numpy as np
import pytest

from simhw.machine.machine import load_machine
from simhw.pe.check import replay
from tests.kernel_runs import parallel_rows
from tests.oracles.inputs import gaussian, sparse

K = 1152
X_ROWS, Y_ROWS = 256, 256

FPRAKER = {  # of fpraker-literal
    "strict rules (rounding set)": {},
    "rounding cycle": {"rounding": "cycle"},
    "sync term": {"sync": "term"},
    "sync pe": {"sync": "pe"},
    "sync pe, 4 sets buffered": {"sync": "pe", "tile.buffers.a": 4, "tile.buffers.b": 4},
    "sync pe, rounding cycle": {"sync": "pe", "rounding": "cycle"},
    "window on positions": {"window_on": "position"},
    "window on positions, rounding cycle": {"window_on": "position", "rounding": "cycle"},
    "empty sets skipped": {"empty_sets": "skip"},
    "oob column": {"pe.oob": "column"},
    "oob column, rounding cycle": {"pe.oob": "column", "rounding": "cycle"},
    "chunk 64": {"chunk": 64},
    "T 9": {"oob_threshold": 9},
    "T and F 20 (32-bit words)": {"accumulator_fraction_bits": 20},
    "booth4": {"encoder": "booth4"},
    "binary": {"encoder": "binary"},
    "window 0": {"shift_window": 0},
    "window 1000": {"shift_window": 1000},
    "run-ahead 0": {"run_ahead": 0},
    "run-ahead 3": {"run_ahead": 3},
    "exponent sharing 1": {"exponent_sharing": 1},
    "1 row": {"rows": 1},
    "16 rows": {"rows": 16},
    "32 rows": {"rows": 32},
    "lone PE": {"rows": 1, "cols": 1, "exponent_sharing": 1},
}


def rate(benchmark, what: str, per_s: str, count: int) -> None:
    """Keep and print how many of `count` things a second the fastest round did."""
    value = count / benchmark.stats.stats.min
    benchmark.extra_info[per_s] = value
    print(f"\n{what:46s} {value / 1e6:10,.1f} M {per_s.replace('_per_s', '')}/s", end="")


def measure_tile(benchmark, machine, what: str, outputs: bool = False, zeros: float = 0.5) -> None:
    rng = np.random.default_rng(0)
    x = sparse(rng, X_ROWS, K, zeros)
    tile = machine.tile
    prepared = tile.prepare(parallel_rows(machine, [gaussian(rng, Y_ROWS, K)]))
    tile.run(x[:8], prepared, outputs)  # compiles
    benchmark.pedantic(tile.run, (x, prepared, outputs), rounds=5, iterations=1)
    rate(benchmark, what, "MAC_per_s", X_ROWS * Y_ROWS * K)


@pytest.mark.parametrize("switches", FPRAKER)
def test_fpraker(benchmark, switches):
    measure_tile(benchmark, load_machine("fpraker-literal", **FPRAKER[switches]), f"FPRaker, {switches}")


BY_SPARSITY = {  # of fpraker
    "default": {},
    "rounding cycle": {"rounding": "cycle"},
    "T 16": {"oob_threshold": 16},
}


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("switches", BY_SPARSITY)
def test_fpraker_by_sparsity(benchmark, switches, zeros):
    machine = load_machine("fpraker", **BY_SPARSITY[switches])
    measure_tile(benchmark, machine, f"FPRaker, {switches}, {zeros:.0%} zeros", zeros=zeros)


def test_laying_out_parallel_rows(benchmark):
    rng = np.random.default_rng(0)
    machine = load_machine("fpraker")
    rows = parallel_rows(machine, [gaussian(rng, Y_ROWS, K)])
    machine.tile.prepare(rows)
    benchmark.pedantic(machine.tile.prepare, (rows,), rounds=20, iterations=1)
    rate(benchmark, "FPRaker, laying out Y", "values_per_s", rows.rows.size)


@pytest.mark.parametrize("name", ["bitparallel", "tensordash-dense"])
def test_bitparallel_outputs(benchmark, name):
    measure_tile(benchmark, load_machine(name), f"{name}, outputs", outputs=True)


@pytest.mark.parametrize("order", ["paper", "dnnsim"])
@pytest.mark.parametrize("rows", [1, 4, 16])
def test_tensordash_schedule(benchmark, rows, order):
    # One column pass, one-sided: the scheduler's own speed, in scheduled values; every further column pass is free.
    rng = np.random.default_rng(0)
    machine = load_machine("tensordash", rows=rows, order=order)
    x = sparse(rng, 4096, K, 0.5)
    tile = machine.tile
    prepared = tile.prepare(parallel_rows(machine, [gaussian(rng, 4, K)]))
    tile.run(x[:64], prepared)
    benchmark.pedantic(tile.run, (x, prepared), rounds=5, iterations=1)
    rate(benchmark, f"TensorDash {rows}x4, order {order}", "values_per_s", x.size)


def test_tensordash_two_sided(benchmark):
    measure_tile(benchmark, load_machine("tensordash", sides="two"), "TensorDash 4x4, two-sided")


def test_tensordash_outputs(benchmark):
    measure_tile(benchmark, load_machine("tensordash"), "TensorDash 4x4, outputs", outputs=True)


@pytest.mark.parametrize(
    "name",
    ["fpraker", *(f"fpraker-literal sync={sync}" for sync in ("set", "term", "pe")), "bitparallel", "tensordash"],
)
def test_replay(benchmark, name):
    rng = np.random.default_rng(0)
    kind, _, switch = name.partition(" ")
    machine = load_machine(kind, **(dict([switch.split("=")]) if switch else {}))
    x, parallel = sparse(rng, 64, K, 0.5), parallel_rows(machine, [gaussian(rng, 64, K)])
    replay(machine.pe, x[:8], parallel)
    benchmark.pedantic(replay, (machine.pe, x, parallel), rounds=3, iterations=1)
    rate(benchmark, f"replay, {name}", "MAC_per_s", 64 * 64 * K)


OTHER_READINGS = {  # of fpraker-literal
    name: FPRAKER[name]
    for name in (
        "sync term",
        "sync pe",
        "oob column",
        "window on positions, rounding cycle",
        "oob column, rounding cycle",
    )
} | {"oob off": {"pe.oob": "off"}, "sync term, oob column": {"sync": "term", "pe.oob": "column"}}


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("reading", OTHER_READINGS)
def test_fpraker_readings_by_sparsity(benchmark, reading, zeros):
    machine = load_machine("fpraker-literal", **OTHER_READINGS[reading])
    measure_tile(benchmark, machine, f"FPRaker, {reading}, {zeros:.0%} zeros", zeros=zeros)
