"""Records of runs damaged at random: what the cross table asks of one is answered, or refused in one line.

400 cases take about 1 s.
"""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from simhw.errors import WorkloadError
from simhw_workloads.matrix import StepCost, table, why_unfit
from simhw_workloads.record import Phase, Record, Score, read_record, written
from simhw_workloads.table import WORKLOADS
from tests.mutations import accepted, fuzz, generators, mutated_bytes, mutated_text, mutated_tree

SELECTS = next(
    row for row in WORKLOADS.values() if row.work is not None and "looked_at_again" in row.work.__code__.co_consts
)
COST = {("full", "bf16"): StepCost(2.0, 3.0), ("full", "ascend310"): StepCost(1.0, 1.0)}
OPTIONS = {"workload": SELECTS.name, "seed": 0, "data": None}


def record() -> Record:
    phases = [
        Phase(name, 8, 3, 100, 90, step_macs=5, samples=24, losses=[1.5, 1.25, 1.0], cpu_seconds=0.5)
        for name in SELECTS.phases
    ]
    scores = [Score(SELECTS.captured, "accuracy", 0.9, 0.3, 10)]
    notes: dict[str, Any] = {"looked_at_again": 6, "samples_without_selection": 96, "kept": 0.5, "what": "text"}
    return Record(phases, scores, notes, {**OPTIONS, "command": "simhw"}, {f"{SELECTS.name}.npz": "0" * 16})


def asked(folder: Path) -> None:
    """All that the table asks of a record, and its writing."""
    path = folder / f"{SELECTS.name}.json"
    found = read_record(path)
    assert why_unfit(path, folder / f"{SELECTS.name}.npz", OPTIONS) is not None  # there is none
    assert found.phase(SELECTS.captured).batch >= 1
    assert SELECTS.baseline is not None
    frame = table(
        [SELECTS], {SELECTS.name: COST, SELECTS.baseline: COST}, {SELECTS.name: found, SELECTS.baseline: record()}
    )
    assert len(frame) == 2
    found.write(path)
    again = read_record(path)
    assert json.dumps(written(vars(again)), default=vars) == json.dumps(written(vars(found)), default=vars)


def damaged(rng: random.Random, content: str) -> bytes:
    match rng.randrange(6):
        case 0:
            return mutated_bytes(rng, content.encode())
        case 1:
            return mutated_text(rng, content).encode("utf-8", "surrogatepass")
        case _:
            return json.dumps(mutated_tree(rng, json.loads(content))).encode()


@fuzz(400)
def test_a_damaged_record_is_used_or_refused_in_one_line(seeds: range, tmp_path: Path):
    path = tmp_path / f"{SELECTS.name}.json"
    record().write(path)
    content = path.read_text()
    asked(tmp_path)
    used = 0
    for seed, rng in generators(seeds):
        path.write_bytes(damaged(rng, content))
        used += accepted(lambda: asked(tmp_path), f"seed {seed}")
    assert 0 < used < len(seeds)


def test_what_diverged_is_null_in_the_file_and_no_number_when_it_is_read(tmp_path: Path):
    told = record()
    told.phases[0].losses[1], told.scores[0].value, told.notes["kept"] = math.nan, math.inf, -math.inf
    told.write(tmp_path / "run.json")
    assert "NaN" not in (tmp_path / "run.json").read_text()
    found = read_record(tmp_path / "run.json")
    assert all(map(math.isnan, (found.phases[0].losses[1], found.scores[0].value, found.notes["kept"])))  # type: ignore[arg-type]
    assert found.phases[0].losses[2] == 1.0


def test_a_folder_s_name_that_is_not_utf_8_is_written_so_that_it_can_be_read(tmp_path: Path):
    told = record()
    told.about["data"] = "/data/\udcff"
    told.write(tmp_path / "run.json")
    assert read_record(tmp_path / "run.json").about["data"] == "/data/\\udcff"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"phases": [{"name": "x", "batch": 0, "steps": 1, "parameters": 1, "trainable": 1}]}, "phases.0.batch"),
        ({"phases": [{"name": "x", "batch": True, "steps": 1, "parameters": 1, "trainable": 1}]}, "phases.0.batch"),
        ({"phases": [{"name": "x", "batch": "8", "steps": 1, "parameters": 1, "trainable": 1}]}, "phases.0.batch"),
        ({"notes": {"kept": True}}, "notes.kept"),
        ({"notes": {str(number): 1 for number in range(1001)}}, "1001 entries; at most 1000"),
        ({"traces": {"a.npz": 5}}, "traces.a.npz"),
        ({"phases": []}, "it has no phases"),
    ],
)
def test_the_place_of_what_is_wrong_is_named(changes: dict[str, Any], what: str, tmp_path: Path):
    path = tmp_path / "run.json"
    record().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(WorkloadError, match=what):
        read_record(path)


def test_a_record_of_no_samples_or_without_the_counts_of_its_technique_is_refused():
    assert SELECTS.work is not None
    assert SELECTS.work(record()) == pytest.approx((24 * len(SELECTS.phases) + 6 / 3) / 96)
    empty = record()
    for phase in empty.phases:
        phase.samples = 0
    with pytest.raises(WorkloadError, match="trained on no samples"):
        SELECTS.work(empty)
    for note in (None, 0.5, "x", -1):
        odd = record()
        odd.notes["looked_at_again"] = note  # type: ignore[assignment]
        with pytest.raises(WorkloadError, match="note 'looked_at_again'"):
            SELECTS.work(odd)
