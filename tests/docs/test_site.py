"""The documentation site builds without a warning and shows what the code says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import simhw
from simhw.machine.constants import constants
from simhw.machine.machine import load_machine
from simhw.roofline.device import load_device
from simhw.roofline.gpu.values import GpuValues
from tests.docs.reader import blocks
from tests.places import ROOT

DOCS = ROOT / "docs"
LARGEST_FIGURE_BYTES = 60_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package, reason=f"no {package}: pip install '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", ".", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def read(site: Path, page: str) -> str:
    """The text of a built page without its tags."""
    return re.sub(r"<[^>]+>", "", (site / page).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_every_page_is_in_the_menu(site: Path) -> None:
    menu = (site / "docs" / "README.html").read_text(encoding="utf-8")
    pages = [page.stem for page in DOCS.glob("*.md") if page.stem != "README"]
    assert [page for page in pages if f'href="{page}.html">' not in menu] == []
    assert "docs/README.html" in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_reference_is_made_from_the_code(site: Path) -> None:
    commands, python, machines = (read(site, f"docs/{name}.html") for name in ("commands", "api", "machine-files"))
    assert "simhw roofline calibrate" in commands
    assert "override a value of every --pe that has it" in commands
    assert [name for name in simhw.__all__ if f"simhw.{name}" not in python and f".{name}(" not in python] == []
    assert "The trace or machine cannot be used." in python
    names = [each.name for machine in ("fpraker", "tensordash") for each in constants(load_machine(machine))]
    assert [name for name in names if name not in machines] == []


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]+src="(?:https?:)?//', text), page
        assert not re.search(r'<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//', text), page


@pytest.mark.slow
def test_figures_are_what_the_simulator_draws(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="no Pillow")
    spec = importlib.util.spec_from_file_location("draw", DOCS / "figures" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    draw.main(tmp_path)
    drawn = sorted(tmp_path.glob("*.png"))
    assert [path.name for path in drawn] == sorted(path.name for path in (DOCS / "figures").glob("*.png"))
    for path in drawn:
        held = DOCS / "figures" / path.name
        assert held.stat().st_size <= LARGEST_FIGURE_BYTES
        with image.open(path) as new, image.open(held) as old:
            assert new.convert("RGB").tobytes() == old.convert("RGB").tobytes(), "python docs/figures/draw.py"


def test_the_machine_file_of_its_page_is_one(tmp_path: Path) -> None:
    (example,) = [block for block in blocks("docs/machine-files.md") if block.file]
    (tmp_path / "small.yaml").write_text(example.code, encoding="utf-8")
    small, fpraker = load_machine(str(tmp_path / "small.yaml")), load_machine("fpraker")
    differing = {
        one.name for one, other in zip(constants(small), constants(fpraker), strict=True) if one.text != other.text
    }
    assert differing == {"tile.rows", "tiles"}
    assert small.values.tiles * small.values.tile.rows == fpraker.values.tiles * fpraker.values.tile.rows
    assert small.values.baseline == fpraker.values.baseline


def test_the_device_of_its_page_is_one_with_the_constants_that_are_written_into_it(tmp_path: Path) -> None:
    device, fitted = (block.code for block in blocks("docs/measuring.md") if block.language == "yaml")
    path = tmp_path / "a100.yaml"
    path.write_text(device + fitted, encoding="utf-8")
    a100, h200 = load_device(path), load_device("h200")
    assert a100.values.hardware.dram_bytes_per_s == 2e12
    assert isinstance(a100.values, GpuValues)
    assert a100.values.pipelined_gemm is not None
    assert a100.values.pipelined_gemm.kernels["bf16"]["linear"].matrix_share == 0.81
    # What the file does not state is the device's that it extends.
    assert isinstance(h200.values, GpuValues)
    assert a100.values.streaming == h200.values.streaming


def test_the_python_page_names_all_that_is_public() -> None:
    named = set(
        re.findall(r"^\.\. auto\w+:: simhw\.(\w+)$", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert named - {"errors"} == set(simhw.__all__)
