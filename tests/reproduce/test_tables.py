"""The tables of published facts, networks and readings: whole, and of things that exist."""

import pytest

from simhw.cli.training import wanted_steps
from simhw.machine.machine import load_machine, parse_machine
from simhw.reproduce import training
from simhw.reproduce.catalogue import FIGURES
from simhw.reproduce.facts import PAPERS, load_facts
from simhw.reproduce.measures import MEASURES
from simhw.reproduce.networks import networks
from simhw.reproduce.readings import load_readings, what_counts
from simhw.trace.find import find_trace
from simhw_workloads.table import WORKLOADS

TABLE = load_readings()


@pytest.mark.parametrize("paper", PAPERS)
def test_every_fact_has_a_source_and_the_confidence_that_the_source_names(paper):
    facts = load_facts(paper)
    assert facts
    for name, fact in facts.items():
        assert fact.low <= fact.high, name
        assert len(fact.source) >= 6, name
        if "%" in fact.source:
            assert f"{fact.confidence:.0%}" in fact.source, name


def test_every_fact_that_scores_is_measured_and_of_a_network_that_is_listed():
    known = {network.name for network in networks()["fpraker"]}
    scored = [fact for fact in load_facts("fpraker").values() if fact.measure]
    assert {fact.measure for fact in scored} == MEASURES.keys()
    for fact in scored:
        assert (fact.network in known) == (fact.measure in ("network_speedup", "widths_over_fixed", "oob_slots"))
    assert not any(fact.measure for fact in load_facts("tensordash").values())


@pytest.mark.parametrize("paper", PAPERS)
def test_every_network_is_listed_once_with_trainings_and_traces_that_exist(paper):
    found = networks()[paper]
    assert len({network.name for network in found}) == len(found)
    assert sum(network.counts for network in found) == {"fpraker": 9, "tensordash": 8}[paper]
    for network in found:
        assert network.workload is None or network.workload in WORKLOADS
        assert network.bundled is None or find_trace(network.bundled).is_file()
        assert (network.workload is None) == (network.differs == "")
        assert (network.bundled is None) == (network.bundled_differs == "")
        fact = load_facts(paper)[network.fact] if network.fact is not None else None
        assert fact is None or fact.network in (None, network.name)


def test_every_training_that_is_listed_is_of_a_network_and_says_which_steps_it_captures():
    used = {network.workload for of_paper in networks().values() for network in of_paper}
    assert set(training.listed()) <= used
    for name in filter(None, used):
        taken = training.capturing(name)
        for scale in ("full", "smoke"):
            assert wanted_steps(taken.at(scale), WORKLOADS[name])
        assert len(taken.moments.split(",")) in (2, 8)


@pytest.mark.parametrize("reading", TABLE.readings, ids=lambda reading: reading.name)
def test_every_reading_is_a_machine_that_departs_where_it_overrides(reading):
    machine = parse_machine(TABLE.named(reading.overrides))
    assert machine.overrides == reading.overrides
    own = {each.name: each.value for each in TABLE.departures(reading) if each.name in reading.overrides}
    followed = {name: rule.value for name, rule in TABLE.recalled.items() if reading.overrides.get(name) == rule.value}
    assert own | followed == reading.overrides
    for variant in (TABLE.with_rows(reading.overrides, 2), TABLE.as_pragmatic(reading.overrides)):
        parse_machine(variant)


def test_no_two_readings_are_the_same_machine():
    hashes = [parse_machine(TABLE.named(reading.overrides)).content_hash for reading in TABLE.readings]
    assert len(set(hashes)) == len(hashes)
    assert TABLE.readings[0].overrides == {}


def test_the_chosen_machine_is_one_of_the_readings():
    reading = next(each for each in TABLE.readings if each.name == TABLE.chosen_reading)
    one, same = (parse_machine(each) for each in (TABLE.chosen, TABLE.named(reading.overrides)))
    assert what_counts(one) == what_counts(same)
    assert TABLE.of_chosen.named({}) == TABLE.chosen
    other = TABLE.model_validate({**TABLE.model_dump(), "chosen": "tensordash"})
    assert other.chosen_reading is None


def departures(**overrides):
    reading = TABLE.readings[0].model_copy(update={"overrides": overrides})
    return {(each.name, each.value): each.confidence for each in TABLE.departures(reading)}


def test_departures_are_from_recalled_rules_and_from_the_base_machine():
    assert load_machine("fpraker-literal").values.pe.chunk == "off"
    # Chunks of 64 are recalled with 93%, the run-ahead is as likely another (machine file).
    left = {("pe.chunk", "off"): 0.93}
    assert departures() == left
    assert departures(**{"pe.shift_window": 3, "tile.run_ahead": 2}) == left | {("tile.run_ahead", 2): 0.5}
    assert departures(**{"pe.chunk": 64}) == {}


def test_machines_beside_a_reading_keep_the_number_of_pes_and_the_area():
    assert TABLE.lane_ratio == 4.5  # 36 tiles for 8 (spec page fpraker.md, section 4)
    for rows in (1, 2, 16):
        values = parse_machine(TABLE.with_rows({"pe.shift_window": 7}, rows)).values
        assert values.tiles * values.tile.rows == 36 * 8
        assert values.pe.shift_window == 7
    alone = parse_machine(TABLE.as_lone_pe()).values
    assert (alone.tiles, alone.tile.rows, alone.tile.cols) == (36 * 64, 1, 1)
    # 2.5 PEs of Pragmatic in the area of one of the baseline's, which has 8 tiles of as many.
    assert parse_machine(TABLE.as_pragmatic({})).values.tiles == 20


@pytest.mark.parametrize("paper", PAPERS)
def test_figures_have_names_of_their_own(paper):
    names = [figure.name for figure in FIGURES[paper]]
    assert len(set(names)) == len(names)
    assert "speedup" in names
