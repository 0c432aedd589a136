"""What imports what: no circles, rooms that import only what they may, and no compiler or PyTorch where none is needed.

Imports for types alone and those within functions count as any other: who reads a module has to know what they name.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.places import ROOT

PACKAGES = (ROOT / "simhw", ROOT / "workloads" / "simhw_workloads")

FOUNDATION = {
    "bfloat16",
    "errors",
    "files",
    "jit",
    "kernel_cache",
    "plugins",
    "pointers",
    "progress",
    "quantities",
    "sources",
    "version",
}
"""What every room may import; these import each other alone."""
MAY_IMPORT: dict[str, set[str]] = {
    "trace": set(),
    "compression": {"trace"},
    "lowering": {"trace"},
    "capture": {"trace", "lowering"},
    "pe": {"trace", "lowering", "machine"},
    "memory": {"trace", "lowering", "machine"},
    "machine": {"trace", "lowering", "pe", "memory"},
    "results": {"trace", "machine", "memory"},
    "simulation": {"trace", "lowering", "pe", "memory", "machine", "results"},
    "roofline": {"trace", "capture", "machine"},
    # Hardware of the processing elements; it takes their parameters alone.
    "rtl": {"pe", "machine"},
    # A point is a simulation; how it is shown is for reports, which know sweeps by their tables alone.
    "sweeps": {"trace", "machine", "results", "simulation"},
    "report": {"trace", "pe", "memory", "machine", "results", "simulation", "roofline"},
    "reproduce": {"trace", "lowering", "machine", "results", "simulation", "report"},
    "installation": {"trace", "pe", "machine", "simulation"},
    "simhw_workloads": {"trace", "capture", "results", "simulation", "roofline", "report", "installation"},
}
"""Rooms that each room may import; the command line may import all."""
Graph = dict[str, set[str]]


def import_graph(*packages: Path) -> Graph:
    """Each module of these packages and the modules of them that it names in an import."""
    modules: dict[str, Path] = {}
    for package in packages:
        for path in package.rglob("*.py"):
            parts = path.relative_to(package.parent).with_suffix("").parts
            modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: imported(path, modules) - {name} for name, path in modules.items()}


def imported(path: Path, modules: Mapping[str, Path]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: imports are absolute here"
            # What is taken from a package may be one of its modules; whoever names those needs nothing else of it.
            taken = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= taken if taken <= modules.keys() else {node.module, *taken}
    return found & modules.keys()


def circle(graph: Graph) -> str | None:
    """A circle of imports as ``a -> b -> a``, None where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return None


def room(module: str) -> str:
    """The part of simhw that a module belongs to; the workloads are one."""
    parts = module.split(".")
    return parts[0] if parts[0] != "simhw" or len(parts) == 1 else parts[1]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(*PACKAGES)


def test_a_circle_is_found_through_types_and_functions(tmp_path: Path) -> None:
    package = tmp_path / "rooms"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "lamp.py").write_text("def light():\n    from rooms import wire\n")
    (package / "wire.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rooms.plug import Plug\n"
    )
    (package / "plug.py").write_text("Plug = int\n")
    assert circle(import_graph(package)) is None
    (package / "plug.py").write_text("import rooms.lamp\n")
    found = circle(import_graph(package))
    assert found is not None
    assert set(found.split(" -> ")) == {"rooms.lamp", "rooms.wire", "rooms.plug"}
    assert "rooms.lamp -> rooms.wire" in f"{found} -> {found}"


def test_no_modules_import_each_other_in_a_circle(graph: Graph) -> None:
    assert circle(graph) is None


def test_rooms_import_only_what_they_may(graph: Graph) -> None:
    free = {"simhw", "cli", "__main__"}
    for name, found in graph.items():
        own = room(name)
        if own in free:
            continue
        assert own in MAY_IMPORT or own in FOUNDATION, f"{name} belongs to no room of the table: say what it may import"
        for other in found:
            allowed = {own} | FOUNDATION | MAY_IMPORT.get(own, set())
            assert room(other) in allowed, f"{name} imports {other}, but {own} may import {sorted(allowed)} alone"


@pytest.mark.parametrize("loaded", ["simhw.trace.reader", "simhw.roofline"])
def test_no_compiler_is_loaded_where_nothing_is_simulated(loaded: str, graph: Graph) -> None:
    # A network from a model is captured with PyTorch, as the name of its folder says.
    names = [name for name in graph if f"{name}.".startswith(f"{loaded}.") and "from_model" not in name]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, *names], check=True, capture_output=True, text=True)
    assert not {"numba", "torch", "simpy", "pandas"} & set(done.stdout.split())


def test_a_run_loads_only_what_it_uses() -> None:
    command = ["run", "--trace", "vit_skipvit", "--pe", "fpraker", "--pe", "tensordash"]
    script = f"import sys\nfrom simhw.cli import main\nassert main({command}) == 0\nprint(*sys.modules, sep=chr(10))"

    def loaded() -> set[str]:
        done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
        return set(done.stdout.splitlines())

    # Numba's implementations for compiling load SciPy's linear algebra: a kernel that brings them adds 0.2 s to every
    # run, also from the cache.
    compiling = {"numba.np.arraymath", "numba.np.linalg", "scipy.linalg"}
    found = loaded()
    if found & compiling:
        # It compiled: the cache was empty.
        found = loaded()
    tables_and_pictures = {"pandas", "pyarrow", "matplotlib", "jinja2"}
    others = {
        "torch",
        "scipy.special",
        "scipy.stats",
        "scipy.optimize",
        "numpy.f2py",
        "simhw.capture",
        "simhw.rtl",
        "simhw.sweeps",
    }
    assert {"numba", "rich"} < found
    assert not (compiling | tables_and_pictures | others) & found
