"""Results in long form: every figure of the wide table once, with its unit and bounds, and a file that its page
describes.
"""

import json
import re
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simhw.machine.energy import COMPONENTS
from simhw.report.outputs.output import Finished
from simhw.report.outputs.tidy import TIDY
from simhw.results.step import Results
from simhw.results.tidy import LANE_CYCLES, UNITS, VERSION, tidy_table, unit, write_tidy
from tests.cli_runs import result, some_trace
from tests.places import ROOT

PAGE = (ROOT / "docs" / "results-schema.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results() -> list[Results]:
    # A sample has intervals; a machine without a baseline lacks figures.
    return [result(sample=0.5), result("bitparallel")]


@pytest.fixture(scope="module")
def path(results: list[Results], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tidy") / "a.parquet"
    write_tidy(results, path)
    return path


def cells(heading: str) -> list[list[str]]:
    """The rows of the page's table below a heading, without marks of code around a cell."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in row.strip("|").split(" | ")] for row in rows[1:]]


def test_the_page_has_the_columns_of_the_file_with_type_and_meaning(path: Path) -> None:
    assert f"Schema version {VERSION}:" in PAGE
    schema = pq.read_schema(path)
    types = {"text": (pa.string(), pa.dictionary(pa.int32(), pa.string())), "double": (pa.float64(),)}
    page = cells("Columns")
    assert [row[0] for row in page] == schema.names
    for (_, kind, null, meaning), field in zip(page, schema, strict=True):
        assert field.type in types[kind]
        assert field.nullable == (null == "yes")
        assert field.metadata[b"description"].decode() == meaning


def test_the_page_has_every_unit_and_what_it_is_of(path: Path) -> None:
    page = {row[0]: row[1] for row in cells("Units")}
    assert set(page) == {*UNITS.values(), LANE_CYCLES, "1"}
    ends = {name: re.findall("`([^`]+)`", of) for name, of in page.items()}
    assert {name: ends[name] for name in UNITS.values()} == {name: [end] for end, name in UNITS.items()}
    assert set(pd.read_parquet(path)["unit"].dropna()) == set(page)


def test_every_figure_of_the_wide_table_is_there_once_with_its_value_and_bounds(path, results) -> None:
    rows = pd.read_parquet(path)
    key = ["machine_hash", "layer", "operation", "quantity"]
    assert not rows.duplicated(key).any()
    long = {tuple(row[name] for name in key): row for row in rows.to_dict("records")}
    seen = 0
    for each in results:
        own = [name for name in each.provenance if name != "machine_hash"]
        for row in each.frame.drop(columns=[*own, "kind"]).to_dict("records"):
            place = tuple(row.pop(name) for name in key[:3])
            for name, value in row.items():
                if name.endswith("_ci95") or re.search(r"_(low|high)_j$", name) or value != value:
                    continue
                seen += 1
                found = long[(*place, name)]
                if isinstance(value, str):
                    assert (found["text"], pd.isna(found["unit"])) == (value, True)
                    continue
                assert found["value"] == value
                if f"{name}_ci95" in row:
                    half = row[f"{name}_ci95"]
                    assert (found["bounds"], found["low"], found["high"]) == ("ci95", value - half, value + half)
                elif name == "overall_energy_j":
                    assert (found["low"], found["high"]) == (row["overall_energy_low_j"], row["overall_energy_high_j"])
    assert seen == len(rows)
    assert (rows["low"].dropna() < rows["value"][rows["low"].notna()]).any()
    # The machine without a baseline has no row of a speed-up.
    assert set(rows[rows["quantity"] == "speedup"]["machine"]) == {"fpraker"}


def test_bounds_of_the_energy_add_up_to_those_of_the_whole(path: Path) -> None:
    rows = pd.read_parquet(path)
    of = rows[(rows["machine"] == "fpraker") & (rows["operation"] == "forward")]
    parts = of[of["quantity"].isin([f"{name}_j" for name in COMPONENTS])].groupby("layer", observed=True)
    whole = of[of["quantity"] == "overall_energy_j"].set_index("layer")
    for bound in ("low", "value", "high"):
        pd.testing.assert_series_equal(
            parts[bound].sum().sort_index(), whole[bound].sort_index(), check_index_type=False, rtol=1e-12
        )


def test_a_unit_is_told_by_the_end_of_a_name() -> None:
    units = [
        unit(name, ("useful",)) for name in ("useful", "cycles_per_set", "fill_cycles", "time_s", "passes", "busy")
    ]
    assert units == ["lane-cycles", "cycles/set", "cycles", "s", "1", "1"]


def test_the_metadata_identify_each_run(path: Path, results: list[Results]) -> None:
    metadata = pq.read_schema(path).metadata
    assert metadata[b"simhw_schema"].decode() == VERSION
    runs = json.loads(metadata[b"simhw_runs"])
    assert [run["machine_hash"] for run in runs] == [each.provenance["machine_hash"] for each in results]
    assert runs[0]["sampling"] == results[0].provenance["sampling"]


def test_files_can_be_laid_one_below_the_other(results: list[Results]) -> None:
    tables = [tidy_table([each]) for each in results]
    together = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    assert together.num_rows == tidy_table(results).num_rows


def test_the_option_of_run_and_compare_writes_it(results: list[Results], tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    said = TIDY.write(str(path), Finished(Namespace(), some_trace(), results, results[0]))
    assert said == f"tidy table written to {path}"
    assert pq.read_table(path).equals(tidy_table(results))
