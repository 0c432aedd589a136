"""Compiled kernels: cached under a hash of the sources, loaded only as they were written, compiled anew where that
fails.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import simhw
from simhw import jit, kernel_cache
from tests.bounded import run_simhw

PACKAGE = Path(simhw.__file__).parent

SMALL_KERNEL = """
import numpy as np
from simhw.kernel_cache import cache_folder
from simhw.pe.passes import count_nonzero_rows
print(cache_folder())
nonzero = np.zeros(2, np.int64)
count_nonzero_rows(np.array([[0, 0x3F80], [0x8000, 0x4000]], np.uint16), nonzero)
print(nonzero.tolist())
print(sum(count_nonzero_rows.stats.cache_hits.values()), sum(count_nonzero_rows.stats.cache_misses.values()))
"""


def run_kernel(script: str = SMALL_KERNEL, **environment: str) -> list[str]:
    """Cache folder, result, and cache hits and misses of a small kernel in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if key not in ("HOME", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=PACKAGE.parent,
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
    assert folder == str(home / ".cache" / "simhw" / kernel_cache.source_hash())
    assert result == "[0, 2]"


def test_second_process_takes_the_compiled_kernel_from_the_cache(tmp_path):
    expected = str(tmp_path / "simhw" / kernel_cache.source_hash())
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
    assert kernel_cache.cache_folder.__wrapped__() is None


def test_kernel_keeps_numbas_own_cache_folder():
    import numba

    before = numba.config.CACHE_DIR

    @jit.kernel
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8
    assert before == numba.config.CACHE_DIR


# Damage: loading cached code can kill the process, so nothing is loaded that is not as it was written.

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "one bit": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 4]) + content[len(content) // 2 + 1 :]
    ),
    "first byte": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"x",
    "another program's": lambda _: b"\x80\x04\x95 not a kernel",
}


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_cache_file_is_not_loaded_and_mended(tmp_path, cached, suffix, damage):
    folder = shutil.copytree(cached, tmp_path / "cache")
    (file,) = folder.rglob(f"*.{suffix}")
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    assert run_kernel(HOME=str(tmp_path), NUMBA_CACHE_DIR=str(folder))[1:] == ["[0, 2]", "0 1"]
    assert run_kernel(HOME=str(tmp_path), NUMBA_CACHE_DIR=str(folder))[1:] == ["[0, 2]", "1 0"]


def test_file_of_another_kernel_is_not_loaded(tmp_path, cached):
    # Its digest is right for its own name alone.
    folder = shutil.copytree(cached, tmp_path / "cache")
    (file,) = folder.rglob("*.nbc")
    renamed = file.with_name(file.name.replace(".1.nbc", ".2.nbc"))
    files = kernel_cache._CheckedFiles(str(file.parent), file.name.removesuffix(".1.nbc"), None)
    files._load_data(file.name)
    file.rename(renamed)
    with pytest.raises(OSError, match="damaged"):
        files._load_data(renamed.name)


@pytest.fixture(scope="module")
def cached(tmp_path_factory) -> Path:
    """A cache folder with one kernel."""
    folder: Path = tmp_path_factory.mktemp("cached")
    run_kernel(HOME=str(folder), NUMBA_CACHE_DIR=str(folder))
    return folder


def test_cached_kernels_load_no_compiler_and_go_well_with_those_that_compile(tmp_path, cached):
    other = """
import sys
{check}
import numpy as np
from simhw.machine.tiles import longest_first, place_longest_first as kernel
print(longest_first(np.array([1, 2, 3]), np.array([0, 3]), 2).tolist(), sum(kernel.stats.cache_hits.values()))
"""
    alone = SMALL_KERNEL + other.format(check="assert 'numba.np.arrayobj' not in sys.modules")
    shutil.copytree(cached, tmp_path, dirs_exist_ok=True)
    for hits in (0, 1):
        assert run_kernel(alone, NUMBA_CACHE_DIR=str(tmp_path))[1:] == ["[0, 2]", "1 0", f"[3, 3] {hits}"]


def test_folder_in_the_place_of_a_cache_file_is_no_obstacle(tmp_path, cached):
    folder = shutil.copytree(cached, tmp_path / "cache")
    for suffix in ("nbi", "nbc"):
        (file,) = (path for path in folder.rglob(f"*.{suffix}") if path.is_file())
        file.unlink()
        file.mkdir()
    assert run_kernel(HOME=str(tmp_path), NUMBA_CACHE_DIR=str(folder))[1:] == ["[0, 2]", "0 1"]


def test_full_disk_costs_the_cache_not_the_run(tmp_path):
    # A limit on the length of files fails writes as a full disk does: after the folder and the file were made.
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n"
    folder, result, counts = run_kernel(full + SMALL_KERNEL, HOME=str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path))
    assert (result, counts) == ("[0, 2]", "0 1")
    assert not [path for path in Path(folder).rglob("*") if path.is_file()]


def test_without_a_compiler_kernels_say_so(monkeypatch, folder):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    finished = run_simhw("run", "--trace", "some", "--pe", "fpraker", folder=folder)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("simhw: NUMBA_DISABLE_JIT is set")
    assert len(finished.err.splitlines()) == 1
    assert run_simhw("machine", "list", folder=folder).code == 0


# The hash


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the sources that kernels can come from, and the hash of it."""
    copy = tmp_path / "simhw"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.npz", "bundled_traces"))

    def hash_of() -> str:
        monkeypatch.setattr(kernel_cache, "__file__", str(copy / "kernel_cache.py"))
        return kernel_cache.source_hash()

    return copy, hash_of


def test_hash_depends_on_contents_not_on_place(package):
    _, hash_of = package
    before = kernel_cache.source_hash()
    assert hash_of() == hash_of() == before


KERNEL_SOURCES = [
    *(
        "pe/fpraker/kernel.py",
        "pe/vector.py",
        "pe/accumulator.py",
        "pe/fpraker/columns.py",
        "pe/passes.py",
        "pe/register.py",
        "jit.py",
    ),
    # They compile nothing themselves, but constants of theirs are part of compiled code.
    *("pe/fpraker/record.py", "bfloat16.py", "pe/layout.py"),
]


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
    # However deep it lies, and whatever it imports.
    (copy / "pe" / "deep" / "deeper").mkdir(parents=True)
    new = copy / "pe" / "deep" / "deeper" / "new.py"
    new.write_text("from simhw.jit import kernel\nfrom simhw.pe.deep import (\n    constants,\n)\n")
    added = hash_of()
    (copy / "pe" / "deep" / "constants.py").write_text("LANES = 8\n")
    imported = hash_of()
    new.rename(new.with_name("newer.py"))
    assert len({before, added, imported, hash_of()}) == 4


def test_hash_changes_with_numba(monkeypatch):
    before = kernel_cache.source_hash()
    monkeypatch.setattr(kernel_cache.numba, "__version__", "0.0")
    assert kernel_cache.source_hash() != before


def test_hash_does_not_change_with_other_sources(package):
    copy, hash_of = package
    before = hash_of()
    with (copy / "output.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert hash_of() == before


def test_every_module_that_compiles_is_in_the_hash_with_all_that_it_imports():
    # Constants of an imported module are frozen into compiled code, and inlined functions are cached with it.
    sources = kernel_cache.kernel_sources(PACKAGE)
    modules = {
        str(path.relative_to(PACKAGE.parent).with_suffix("")).replace(os.sep, "."): path
        for path in PACKAGE.rglob("*.py")
    }
    for path in modules.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom | ast.Import)]
        assert not any(isinstance(node, ast.ImportFrom) and node.level for node in imported), f"{path}: relative import"
        names = [alias.name for node in imported if isinstance(node, ast.Import) for alias in node.names]
        for node in imported:
            if isinstance(node, ast.ImportFrom) and node.module:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        if any(name.partition(".")[0] == "numba" or name == "simhw.jit" for name in names):
            assert path in sources
        if path in sources:
            assert [name for name in names if name in modules and modules[name] not in sources] == []


# What is compiled


@pytest.mark.slow
def test_a_run_compiles_the_kernels_that_it_runs_alone(tmp_path):
    """A kernel that is called on one side of a flag at run time would be compiled as well: seconds of the first run."""
    script = (
        "from numba.core.event import install_recorder\n"
        "from simhw.cli import main\n"
        "with install_recorder('numba:compile') as recorder:\n"
        "    assert main(['run', '--trace', 'small_cnn', '--pe', 'fpraker']) == 0\n"
        "print(*{event.data['dispatcher'].py_func.__name__ for _, event in recorder.buffer})"
    )
    compiled = set(run_kernel(script, HOME=str(tmp_path), NUMBA_CACHE_DIR=str(tmp_path))[-1].split())
    assert {"tile_groups", "independent_sets"} < compiled
    assert "coupled_sets" not in compiled
