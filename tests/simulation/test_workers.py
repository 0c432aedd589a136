"""Threads of the engine: a bounded amount ahead, tallied in order, and what goes wrong in one of them."""

import threading
import weakref
from collections import Counter
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from simhw import Layer, Trace, load_machine, simulate
from simhw.pe.passes import StackingTile
from simhw.simulation import engine
from simhw.simulation.cells import (
    LEAST_UNIT_MACS,
    MOST_UNIT_MACS,
    UNIT_MACS_PER_WORKER,
    WholeProducts,
    batches,
    exact_units,
    simulator_macs,
    unit_macs,
    whole_product,
)
from simhw.simulation.plan import PassPlan, lower_for
from tests.slow_engine import layer, tensor


class Stratum:
    """As much of a stratum as the engine looks at: what is tallied is kept in order."""

    def __init__(self):
        self.plan = SimpleNamespace(family=SimpleNamespace(sampled=True))
        self.tally = self
        self.added = []

    def add(self, durations, counters):
        self.added.append(durations)


def items_of(stratum, number, drawn=None):
    for index in range(number):
        if drawn is not None:
            drawn.append(index)
        yield stratum, (index,)


@pytest.mark.parametrize("workers", [1, 3])
def test_items_are_tallied_in_order_whichever_ends_first(workers, monkeypatch):
    later = threading.Event()

    def run_units(_plan, units, _check):
        (index,) = units
        if index == 0 and workers > 1:
            assert later.wait(5)  # the first item ends after the second
        if index == 1:
            later.set()
        return [(index, None), (index + 0.5, None)]

    monkeypatch.setattr(engine, "run_units", run_units)
    stratum = Stratum()
    assert len(list(engine.run_items(items_of(stratum, 20), workers=workers))) == 20
    assert stratum.added == [index + half for index in range(20) for half in (0, 0.5)]


def test_what_a_worker_raises_is_raised_at_its_items_turn_and_no_more_is_drawn(monkeypatch):
    def run_units(_plan, units, _check):
        if units == (7,):
            raise ValueError("of item 7")
        return [(units[0], None)]

    monkeypatch.setattr(engine, "run_units", run_units)
    stratum, drawn = Stratum(), []
    before = threading.active_count()
    with pytest.raises(ValueError, match="of item 7"):
        list(engine.run_items(items_of(stratum, 1000, drawn), workers=2))
    assert stratum.added == list(range(7))
    assert len(drawn) <= 7 + 2 + (1 + engine.QUEUED) * 2
    assert threading.active_count() == before


@pytest.mark.parametrize("workers", [1, 4])
def test_no_more_items_are_drawn_than_workers_may_have_waiting(workers, monkeypatch):
    running, most, lock, drawn = [], [], threading.Lock(), []

    def run_units(_plan, units, _check):
        with lock:
            running.append(units)
            # One more is drawn, and waits for room.
            most.append((len(running), len(drawn) - units[0]))
        with lock:
            running.remove(units)
        return [(units[0], None)]

    monkeypatch.setattr(engine, "run_units", run_units)
    list(engine.run_items(items_of(Stratum(), 300, drawn), workers=workers))
    assert max(at_once for at_once, _ in most) <= workers
    assert max(ahead for _, ahead in most) <= (1 + engine.QUEUED) * workers + 1


class Watched:
    """A tensor that lies elsewhere, and how many of all that were read were held at a time."""

    held: ClassVar[weakref.WeakSet["Held"]] = weakref.WeakSet()
    most = 0

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def read(self):
        # An array that owns its values, as one read from a file does.
        values = self.values.copy()
        Watched.held.add(holder := values.view(Held))
        Watched.most = max(Watched.most, len(Watched.held))
        return holder


class Held(np.ndarray):
    """An array that can be told from others, and counted."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


def test_tensors_are_held_only_while_their_items_run_or_are_next():
    rng = np.random.default_rng(0)
    layers = [
        Layer(f"fc{number}", "linear", a=Watched(tensor(rng, 8, 16)), w=Watched(tensor(rng, 8, 16)))
        for number in range(30)
    ]
    # Neither the choice of the operand nor memories ask for statistics, which are read for as well.
    machine = load_machine("fpraker", **{"lowering.serial": "a", "memory.model": "ideal"})
    Watched.most = 0
    simulate(Trace(layers), machine, 1.0, workers=1, progress=False, baseline="bitparallel")
    # Each operation is an item.  Besides those that run or wait, one is drawn, one has ended and one is priced, and
    # each of these is still named while the next one comes.
    assert Watched.most <= 2 * (1 + engine.QUEUED + 4)


def test_units_are_smaller_towards_the_end_and_never_too_small_or_large():
    sizes = [unit_macs(left, 4) for left in range(10_000_000_000, 0, -1_000_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (MOST_UNIT_MACS, LEAST_UNIT_MACS)
    # What each of four workers has still to do.
    assert unit_macs(400_000_000, 4) == 100_000_000
    # While 64 workers run a unit each, Python serves every other one of them once.
    assert unit_macs(0, 64) == 64 * UNIT_MACS_PER_WORKER > LEAST_UNIT_MACS
    assert unit_macs(0, 1000) == MOST_UNIT_MACS


def test_units_of_a_cluster_are_alike_in_size():
    machine = load_machine("fpraker")
    # 100 tiles of X and 24 groups of Y.
    (family,) = lower_for(layer("linear", (800, 64), (768, 64), (800, 768)), "forward", machine).families
    plan = PassPlan(family, False, (0,), machine.tile)

    def sizes(macs):
        return [simulator_macs(plan, unit) for unit in exact_units(plan, macs)]

    whole = 800 * 768 * 64
    assert sizes(whole) == [whole]
    assert sizes(whole // 2) == [whole // 2] * 2  # by groups of Y: every row of X still meets eight of them
    assert sizes(whole * 33 // 100) == [whole // 3] * 3
    # A third of Y each, and of that 26, 25 or 24 tiles of X.
    tile = 8 * 256 * 64
    assert sizes(26 * tile) == 3 * [25 * tile] * 4
    assert sizes(75 * tile) == 3 * [100 * tile]  # about so many: no leftover of a quarter, nor two halves


def small_products(machine, rows=16, columns=32):
    """A plan of 12 products that share nothing, each of so many rows of X and Y."""
    shapes = (12, rows, 8), (12, 8, columns), (12, rows, columns)
    (family,) = lower_for(layer("matmul", *shapes), "forward", machine).families
    return PassPlan(family, False, range(12), machine.tile)


def test_small_units_go_together_in_order_up_to_a_units_size():
    plan = small_products(load_machine("tensordash"))
    assert not isinstance(plan.tile, StackingTile)
    alone = simulator_macs(plan, next(exact_units(plan, 10**6)))
    found = list(batches(plan, 5 * alone))
    assert [len(batch) for batch in found] == [5, 5, 2]
    assert [unit for batch in found for unit in batch] == list(exact_units(plan, 5 * alone))
    assert [len(batch) for batch in batches(plan, 1)] == [1] * len(list(exact_units(plan, 1)))


def test_small_products_that_share_nothing_are_stacked_up_to_a_units_size():
    plan = small_products(load_machine("fpraker"))
    alone = simulator_macs(plan, whole_product(plan, 0))
    assert alone == 16 * 32 * 8
    stacks = [(WholeProducts(range(first, min(first + 5, 12))),) for first in range(0, 12, 5)]
    assert list(batches(plan, 5 * alone)) == stacks
    # A single one is no stack, and may be cut.
    assert list(batches(plan, 2 * alone - 1)) == [(unit,) for unit in exact_units(plan, alone)]
    assert sum(len(batch) for batch in batches(plan, 1)) == len(list(exact_units(plan, 1)))


@pytest.mark.parametrize("rows", [(16, 32), (13, 21), (40, 1)])
def test_a_stack_is_its_products_one_by_one(rows):
    plan = small_products(load_machine("fpraker"), *rows)
    stack = WholeProducts((1, 4, 11))
    durations, counters = engine.run_unit(plan, stack)
    alone = [engine.run_unit(plan, whole_product(plan, product)) for product in stack.products]
    assert sorted(durations) == sorted(np.concatenate([each for each, _ in alone]))
    assert counters == sum((each for _, each in alone), Counter())
    # A check replays each pass, and needs each product's rows.
    replayed = []
    again = engine.run_unit(plan, stack, lambda _x, parallel, *_: replayed.append(parallel.rows))
    assert (sorted(again[0]), again[1]) == (sorted(durations), counters)
    assert len(replayed) == 3


def test_a_batch_holds_no_more_values_than_a_unit(monkeypatch):
    # One row of Y is filled up to a vector of 32, so that Y is the larger side: 32 x 8 values a product.
    plan = small_products(load_machine("fpraker"), 8, 1)
    monkeypatch.setattr("simhw.simulation.cells.UNIT_VALUES", 3 * 32 * 8)
    assert [len(stack.products) for (stack,) in batches(plan, 10**9)] == [3, 3, 3, 3]
