"""Compiled kernels: cached under a hash of the sources where there is a folder for it, compiled anew where there is none."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import simhw
from simhw import jit

PACKAGE = Path(simhw.__file__).parent

SMALL_KERNEL = """
import numpy as np
from simhw import jit
from simhw.tile.passes import nonzero_per_k
print(jit._cache_folder())
print(nonzero_per_k(np.array([[0, 0x3F80], [0x8000, 0x4000]], np.uint16)).tolist())
print(sum(nonzero_per_k.stats.cache_hits.values()), sum(nonzero_per_k.stats.cache_misses.values()))
"""


def run_kernel(**environment: str) -> list[str]:
    """Cache folder, result, and cache hits and misses of a small kernel in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HOME", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", SMALL_KERNEL], env=kept | environment, capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


# Caching


def test_without_any_folder_to_write_to_kernels_still_run(tmp_path):
    # Nobody, root included, can make a folder below a regular file.
    file = tmp_path / "file"
    file.write_text("")
    below = str(file / "home")
    for _ in range(2):  # the second process finds nothing either
        assert run_kernel(HOME=below, NUMBA_CACHE_DIR=below, XDG_CACHE_HOME=below) == ["None", "[0, 2]", "0 1"]


def test_first_folder_that_can_be_written_to_is_used(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    home = tmp_path / "home"
    folder, result, _ = run_kernel(HOME=str(home), NUMBA_CACHE_DIR=str(file / "numba"))
    assert folder == str(home / ".cache" / "simhw" / jit.source_hash())
    assert result == "[0, 2]"


def test_second_process_takes_the_compiled_kernel_from_the_cache(tmp_path):
    expected = str(tmp_path / "simhw" / jit.source_hash())
    assert run_kernel(HOME=str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path)) == [expected, "[0, 2]", "0 1"]
    assert any(path.suffix == ".nbi" for path in Path(expected).rglob("*"))
    assert run_kernel(HOME=str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path)) == [expected, "[0, 2]", "1 0"]


def test_nothing_is_written_beside_the_sources(tmp_path):
    def compiled() -> set[Path]:
        return {path for suffix in ("nbi", "nbc") for path in PACKAGE.rglob(f"*.{suffix}")}

    before = compiled()
    run_kernel(HOME=str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path))
    assert compiled() == before


def test_user_without_a_home_folder_has_no_cache(monkeypatch):
    # A container may run under a user number that no password file knows; then `~` has no meaning.
    import pwd

    def unknown(number: int) -> None:
        raise KeyError(number)

    for variable in ("HOME", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert jit._cache_folder.__wrapped__() is None


def test_kernel_keeps_numbas_own_cache_folder():
    import numba

    before = numba.config.CACHE_DIR

    @jit.kernel
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8
    assert before == numba.config.CACHE_DIR


# The hash


@pytest.fixture
def package(tmp_path):
    """A copy of the sources that kernels can come from, and the hash of it."""
    copy = tmp_path / "simhw"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.npz", "bundled_traces"))

    def hash_of() -> str:
        spec = importlib.util.spec_from_file_location("jit_copy", copy / "jit.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.source_hash()

    return copy, hash_of


def test_hash_depends_on_contents_not_on_place(package):
    _, hash_of = package
    assert hash_of() == hash_of() == jit.source_hash()


KERNEL_SOURCES = ["pe/fpraker.py", "pe/vector.py", "pe/accumulator.py", "tile/fpraker.py", "tile/passes.py", "replay/register.py", "jit.py"]


@pytest.mark.parametrize("source", KERNEL_SOURCES)
def test_hash_changes_with_every_kernel_source(package, source):
    copy, hash_of = package
    before = hash_of()
    with (copy / source).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert hash_of() != before


def test_hash_changes_with_a_name_and_a_new_file(package):
    copy, hash_of = package
    before = hash_of()
    (copy / "pe" / "new.py").write_text("")
    added = hash_of()
    (copy / "pe" / "new.py").rename(copy / "pe" / "newer.py")
    assert len({before, added, hash_of()}) == 3


def test_hash_changes_with_numba(monkeypatch):
    before = jit.source_hash()
    monkeypatch.setattr(jit.numba, "__version__", "0.0")
    assert jit.source_hash() != before


def test_hash_does_not_change_with_other_sources(package):
    copy, hash_of = package
    before = hash_of()
    with (copy / "errors.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert hash_of() == before


def test_every_source_that_compiles_anything_is_in_the_hash():
    # Functions inlined into a kernel are cached with it, so the files that they come from must count too.
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if re.search(r"^\s*(?:import numba|from numba|@numba)", source, re.MULTILINE):
            assert path.parent.name == "pe" or "simhw.jit" in source or path.name == "jit.py", path
