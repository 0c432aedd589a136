"""Notebooks run from top to bottom with the interpreter that runs the tests, and what they show is what they held.

``python -m tests.docs.test_notebooks`` runs them all and stores their output, which is to be done when results change.
Names of notebooks after it run these alone.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.places import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST_BYTES = 600_000
SECONDS = 300
QUICK = {"quick_start.ipynb"}
"""The others take more than a few seconds."""
TRAINS = {"capture.ipynb"}
"""What these train differs in its last digits between kinds of processors, and so does what they print."""


def executed(path: Path, scratch: Path) -> nbformat.NotebookNode:
    """The notebook with the output of a fresh kernel of this interpreter, whatever kernels the user has installed."""
    kernel = scratch / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    notebook = nbformat.read(path, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(scratch))  # looked at before all other folders
        patch.setenv("JUPYTER_RUNTIME_DIR", str(scratch / "runtime"))
        patch.setenv("IPYTHONDIR", str(scratch / "ipython"))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]))
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,  # else what is printed is cut where the kernel happened to send it
            resources={"metadata": {"path": str(FOLDER)}},
        )
        client.execute()
    return notebook


def outputs(notebook: nbformat.NotebookNode, kind: str) -> list[Any]:
    """What its cells show of a MIME type; ``text`` is what they print."""
    found = []
    for cell in notebook.cells:
        for each in cell.get("outputs", []):
            if kind == "text" and each.output_type == "stream":
                found.append((each.name, each.text))
            elif kind in each.get("data", {}):
                found.append(each.data[kind])
    return found


def test_there_are_notebooks() -> None:
    assert "energy.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.name, marks=[] if path.name in QUICK else pytest.mark.slow) for path in NOTEBOOKS],
)
def test_a_notebook_runs_and_shows_what_it_holds(path: Path, tmp_path: Path) -> None:
    held = nbformat.read(path, as_version=4)
    fresh = executed(path, tmp_path)
    code = [cell for cell in fresh.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [
        each for cell in code for each in cell.outputs if each.output_type == "error" or each.get("name") == "stderr"
    ]
    figures = outputs(fresh, "image/png")
    assert len(figures) >= 2
    assert len(outputs(held, "image/png")) == len(figures)
    for kind in ("text", "text/plain"):  # captions of figures and tables
        if path.name in TRAINS:
            assert len(outputs(held, kind)) == len(outputs(fresh, kind))
            continue
        assert outputs(held, kind) == outputs(fresh, kind), "results have changed: python -m tests.docs.test_notebooks"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_valid_and_small_enough_to_be_shown(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size <= LARGEST_BYTES
    assert notebook.cells[0].cell_type == "markdown"
    assert str(FOLDER.parent) not in path.read_text(encoding="utf-8"), (
        "it names a folder of the machine that it was run on"
    )


def test_a_notebook_that_fails_is_not_taken_for_one_that_ran(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    nbformat.write(notebook, tmp_path / "bad.ipynb")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        executed(tmp_path / "bad.ipynb", tmp_path / "scratch")


def main() -> None:
    """Run the notebooks that are named, or all, and store them with their output."""
    for path in [FOLDER / name for name in sys.argv[1:]] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as scratch:
            notebook = executed(path, Path(scratch))
        notebook.metadata = {name: notebook.metadata[name] for name in ("kernelspec", "language_info")}
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
