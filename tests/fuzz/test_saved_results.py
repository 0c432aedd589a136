"""Saved results damaged at random: a page is made of one, or it is refused in one line.

20 cases take about 2 s.
"""

import json
import random
from pathlib import Path

import pytest

from simhw.report.page.results import page_of
from simhw.report.page.write import write_page
from simhw.results.saved import load_results, save_results
from tests.cli_runs import result
from tests.mutations import accepted, fuzz, generators, mutated_bytes, mutated_text, mutated_tree


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("saved") / "run.json"
    save_results([result("fpraker", sample=0.5)], path, "simhw run")
    return path.read_text(encoding="utf-8")


def damaged(rng: random.Random, content: str) -> bytes:
    match rng.randrange(6):
        case 0:
            return mutated_bytes(rng, content.encode())
        case 1:
            return mutated_text(rng, content.replace(",", ",\n")).encode("utf-8", "surrogatepass")
        case _:
            document = json.loads(content)
            # Most of a file are operations: damage these, and not its frame alone.
            part = rng.choice(("operations", "provenance", "machine", "values"))
            document["results"][0][part] = mutated_tree(rng, document["results"][0][part])
            return json.dumps(document).encode()


@fuzz(20)
def test_a_damaged_result_becomes_a_page_or_is_refused(seeds: range, saved: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"

    def shown() -> None:
        found = load_results(path)
        write_page(page_of(found.results, [found.command]), tmp_path / "page.html")

    for seed, rng in generators(seeds):
        path.write_bytes(damaged(rng, saved))
        accepted(shown, f"seed {seed}")


def test_a_sound_result_becomes_a_page(saved: str, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(saved, encoding="utf-8")
    assert accepted(lambda: page_of(load_results(tmp_path / "good.json").results), "the undamaged file")
