"""How far threads carry: two workers against one, what Python's lock (the GIL) serialises, and 64 virtual cores.

Only one thread runs Python at a time; kernels run beside it.  What is not in a kernel and not reading bounds the
speed-up, by Amdahl's law.  The virtual cores are threads that hold the GIL as long as a unit did, and sleep as long as
its kernels ran, on as few cores as there are: so waiting for the GIL, for tensors and for the last unit is all there,
only the kernels' share of a machine's memory bandwidth is not.

Run with ``pytest tests/benchmarks/test_parallel_share.py --benchmark-only -n 0 -s`` on an idle machine; the environment
variable ``SIMHW_BENCHMARK_TRACE`` names a trace in place of a block of BERT-base, ``SIMHW_BENCHMARK_KERNELS`` says how
many times as fast kernels are to be on the virtual cores.
"""

import os
import sys
import threading
import time
from collections import Counter
from statistics import median

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from simhw import Layer, Trace, load_machine, load_trace, simulate
from simhw.bfloat16 import from_float32
from simhw.simulation import engine, run
from simhw.simulation.outcome import PendingResult

CORES = 64
PAIRS = 3


def block():
    """A block of BERT-base on 4 x 128 tokens, all three operations: 11 G MAC."""
    rng = np.random.default_rng(0)

    def layer(name, kind, *shapes):
        values = [np.where(rng.random(shape) < 0.1, 0, rng.standard_normal(shape)) for shape in shapes]
        return Layer(name, kind, None, *(from_float32(each.astype(np.float32)) for each in values))

    tokens, width, inner, heads, depth = 512, 768, 3072, (48, 128), 64
    linear = [layer(name, "linear", (tokens, width), (width, width), (tokens, width)) for name in "qkvo"]
    scores = layer("scores", "matmul", (*heads, depth), (48, depth, 128), (*heads, 128))
    mixed = layer("mixed", "matmul", (*heads, 128), (*heads, depth), (*heads, depth))
    up = layer("up", "linear", (tokens, width), (inner, width), (tokens, inner))
    down = layer("down", "linear", (tokens, inner), (width, inner), (tokens, width))
    return Trace([*linear[:3], scores, mixed, linear[3], up, down])


@pytest.fixture(scope="module")
def trace():
    given = os.environ.get("SIMHW_BENCHMARK_TRACE")
    return load_trace(given) if given else block()


@pytest.fixture(scope="module")
def machine(trace):
    machine = load_machine("fpraker")
    # Loads and compiles.
    simulate(Trace(trace.layers[-4:], trace.metadata), machine, 1.0, progress=False)
    return machine


def run_with(trace, machine, workers):
    """(results, elapsed time [s], processor time [s]) of an exact run."""
    elapsed, busy = time.perf_counter(), time.process_time()
    results = simulate(trace, machine, 1.0, progress=False, workers=workers)
    return results, time.perf_counter() - elapsed, time.process_time() - busy


def test_two_workers_against_one_core(benchmark, trace, machine):
    pairs = []
    for _ in range(PAIRS):
        _, _, one_core = run_with(trace, machine, 1)
        _, elapsed, busy = run_with(trace, machine, 2)
        pairs.append((one_core / elapsed, busy / one_core, elapsed))
    speed_up, more_busy, elapsed = (median(each) for each in zip(*pairs, strict=True))
    benchmark.extra_info.update(speed_up=speed_up, busy_over_one_core=more_busy, elapsed_s=elapsed)
    benchmark.pedantic(run_with, (trace, machine, 2), rounds=1)
    print(f"\n2 workers: {speed_up:.2f} times one core ({elapsed:.2f} s), {more_busy:.2f} of its processor time")


class Spent:
    """Processor time of each part of a run, by its thread's clock, without that of other parts within it [s]."""

    def __init__(self, monkeypatch):
        self.parts = Counter()
        self.calls = Counter()
        self._lock = threading.Lock()
        self._within = threading.local()
        self._patch = monkeypatch

    def watch(self, place, name, part):
        called = getattr(place, name)

        def timed(*args, **kwargs):
            around, self._within.seconds = getattr(self._within, "seconds", 0.0), 0.0
            start = time.thread_time()
            try:
                return called(*args, **kwargs)
            finally:
                seconds = time.thread_time() - start
                with self._lock:
                    self.parts[part] += seconds - self._within.seconds
                    self.calls[part] += 1
                self._within.seconds = around + seconds

        self._patch.setattr(place, name, timed)

    def watch_kernels(self, rooms):
        """Every compiled kernel, wherever a module of these rooms calls it by name."""
        for module in [found for name, found in sys.modules.items() if name.startswith(rooms)]:
            for name, found in list(vars(module).items()):
                if isinstance(found, Dispatcher) and found.targetoptions.get("nogil"):
                    self.watch(module, name, "kernels")


def bound(total, held, cores=CORES):
    """Amdahl's law: speed-up on so many cores where a part is never shared."""
    return total / (held + (total - held) / cores)


def test_what_the_lock_holds(benchmark, trace, machine, monkeypatch):
    spent = Spent(monkeypatch)
    spent.watch(run, "plan_operation", "plans")
    spent.watch(run.Simulation, "_pending", "prices")
    spent.watch(PendingResult, "finished", "memories")
    spent.watch(engine, "_read", "reading")
    spent.watch(engine, "run_units", "units")
    spent.watch_kernels("simhw.")
    # Lets go of the GIL as well.
    spent.watch(np, "sort", "kernels")
    monkeypatch.setattr(run, "cores", lambda: CORES)
    as_many = run.unit_macs
    monkeypatch.setattr(run, "unit_macs", lambda left, _: as_many(left, CORES))
    results, _, total = run_with(trace, machine, 1)
    parts = spent.parts
    held = total - parts["kernels"] - parts["reading"]
    parts["the rest"] = held - sum(parts[name] for name in ("plans", "prices", "memories", "units"))
    benchmark.extra_info.update(
        macs=results.total.macs,
        processor_s=total,
        units=spent.calls["units"],
        held_share=held / total,
        **{f"{name}_s": seconds for name, seconds in parts.items()},
        **{f"bound_kernels_{speed}_times": bound(*_faster(total, held, parts, speed)) for speed in (1, 2, 4)},
    )
    benchmark.pedantic(lambda: None)
    print(f"\n{results.total.macs / 1e9:.1f} G MAC, {total:.2f} s on one core in {spent.calls['units']} items:")
    for name, seconds in parts.most_common():
        print(f"  {name:14} {seconds:8.3f} s {seconds / total:7.2%}")
    for speed in (1, 2, 4):
        print(f"  kernels x {speed}: at most {bound(*_faster(total, held, parts, speed)):.1f} on {CORES} cores")


def _faster(total, held, parts, speed):
    return total - parts["kernels"] * (1 - 1 / speed), held


class VirtualCores:
    """Units replayed: each thread holds the GIL and sleeps as long as the unit's Python and its kernels took."""

    def __init__(self, monkeypatch, kernels_times):
        self.kernels_times = kernels_times
        self._recorded, self._read_s = {}, {}
        self._run_units, self._read = engine.run_units, engine._read
        spent = Spent(monkeypatch)
        spent.watch_kernels(("simhw.pe.", "simhw.lowering."))
        self._spent = spent
        monkeypatch.setattr(engine, "run_units", self.record)
        monkeypatch.setattr(engine, "_read", self.record_reading)
        self._patch = monkeypatch

    @staticmethod
    def _key(plan, units):
        return plan.family.name, plan.family.number, plan.swapped, tuple(units)

    def record(self, plan, units, check=None):
        calls, kernels, start = (
            self._spent.calls["kernels"], self._spent.parts["kernels"], time.thread_time()
        )  # fmt: skip
        found = self._run_units(plan, units, check)
        seconds = time.thread_time() - start
        kernels, calls = self._spent.parts["kernels"] - kernels, self._spent.calls["kernels"] - calls
        self._recorded[self._key(plan, units)] = found, seconds - kernels, kernels, calls
        return found

    def record_reading(self, plan):
        start = time.thread_time()
        self._read(plan)
        self._read_s[plan.family.name, plan.family.number] = time.thread_time() - start

    def replay(self, plan, units, check=None):
        found, held, kernels, calls = self._recorded[self._key(plan, units)]
        for _ in range(calls):
            end = time.thread_time() + held / calls
            while time.thread_time() < end:
                pass
            # A sleep begins and ends late.
            time.sleep(max(0.0, kernels / self.kernels_times / calls - 1e-4))
        return found

    def replay_reading(self, plan):
        time.sleep(self._read_s[plan.family.name, plan.family.number])

    def begin(self):
        self._patch.setattr(engine, "run_units", self.replay)
        self._patch.setattr(engine, "_read", self.replay_reading)

    @property
    def kernels_s(self):
        return sum(kernels for _, _, kernels, _ in self._recorded.values())


def test_virtual_cores(benchmark, trace, machine, monkeypatch):
    virtual = VirtualCores(monkeypatch, float(os.environ.get("SIMHW_BENCHMARK_KERNELS", "1")))
    as_many = run.unit_macs
    monkeypatch.setattr(run, "unit_macs", lambda left, _: as_many(left, CORES))
    recorded, _, total = run_with(trace, machine, 1)
    total -= virtual.kernels_s * (1 - 1 / virtual.kernels_times)
    virtual.begin()
    replayed = [run_with(trace, machine, CORES) for _ in range(PAIRS)]
    assert all(each.total.cycles == recorded.total.cycles for each, _, _ in replayed)
    elapsed = median(each for _, each, _ in replayed)
    benchmark.extra_info.update(one_core_s=total, elapsed_s=elapsed, speed_up=total / elapsed)
    benchmark.pedantic(lambda: None)
    print(f"\n{CORES} virtual cores: {elapsed:.3f} s, {total / elapsed:.1f} times one core ({total:.2f} s)")
