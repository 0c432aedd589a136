"""Where compiled kernels are kept between runs, and when what lies there may be loaded.

Numba's own cache looks only at the file that defines a function, so a kernel keeps stale code when a file that it
imports from changes.  The cache folder is therefore named after a hash of the compiler's version and of every source
that a kernel can come from: each module that compiles anything, and all of simhw that it imports.  A kernel of another
package, such as that of a processing element that it brings, has a folder of its own, named after that package's
sources too.

Cached code is pickled machine code: loading a damaged file can end in any exception or kill the process.  So only a
folder of the user's own will do, and each file begins with a digest of its name and content.  A file that does not fit
its digest counts as absent: the kernel compiles anew and writes it again.  Where nothing can be written, kernels
compile anew in each process.
"""

import hashlib
import io
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core import environment
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.runtime import _nrt_python

# Every process looks through all sources, so each begins with a word that the search can leap to.  What stands in a
# comment is found too, and only adds a source.
_TAKEN = re.compile(rb"(simhw[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)")
_IMPORTED = re.compile(rb"import[ \t]+(simhw[\w.]*)")
_COMPILES = (b"import numba", b"from numba", b"from simhw.jit import")


def kernel_sources(package: Path) -> list[Path]:
    """The Python sources that compiled code can come from, sorted: modules that compile, and what they
    import of simhw.
    """
    # By plain names: paths as objects would take longer than all else here.
    root, sources = str(package), dict[str, bytes]()
    for folder, _, names in os.walk(root):
        for path in (f"{folder}{os.sep}{name}" for name in names if name.endswith(".py")):
            with open(path, "rb") as file:
                sources[path] = file.read()
    found: set[str] = set()
    pending = [path for path, source in sources.items() if any(mark in source for mark in _COMPILES)]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += [imported for imported in _imported(root, sources[path]) if imported in sources]
    return sorted(map(Path, found))


def _imported(package: str, source: bytes) -> list[str]:
    """Files that a module's imports of simhw may mean: modules and packages, and those among the names taken from a
    package.
    """
    modules = [name.decode() for name in _IMPORTED.findall(source)]
    for module, names in _TAKEN.findall(source):
        parent = module.decode()
        modules += [parent, *(f"{parent}.{name}" for name in re.findall(r"\w+", names.decode()))]
    paths = [os.sep.join([package, *module.split(".")[1:]]) for module in modules]
    return [file for path in paths for file in (f"{path}{os.sep}__init__.py", f"{path}.py")]


def source_hash(package: str = "simhw") -> str:
    """Hash of the compiler's version and of every Python source that a kernel of a package can come from.

    Parameters
    ----------
    package : str
        The top-level package or module that holds the kernel.  Of another than simhw all sources count, since its
        kernels are built upon those of simhw and on whatever else it has.
    """
    own = Path(__file__).parent
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in kernel_sources(own):
        digest.update(f"\n{path.relative_to(own).as_posix()}\n".encode())
        digest.update(path.read_bytes())
    for path in [] if package == "simhw" else _sources_of(package):
        digest.update(f"\n{path}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources_of(package: str) -> list[Path]:
    """The Python sources of an imported top-level package or module, sorted; none where it comes from no file."""
    file = getattr(sys.modules.get(package), "__file__", None)
    if file is None or not Path(file).is_file():
        return []
    return sorted(Path(file).parent.rglob("*.py")) if Path(file).name == "__init__.py" else [Path(file)]


@cache
def cache_folder(package: str = "simhw") -> str | None:
    """The folder for compiled kernels of a package (see `source_hash`); None where none can be written to."""
    roots = [os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME"), "~/.cache"]
    for root in filter(None, roots):
        try:
            folder = Path(root).expanduser() / "simhw" / source_hash(package)
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return str(folder)
        except (OSError, RuntimeError):  # RuntimeError: a user without a home folder
            continue
    return None


class _CheckedFiles(IndexDataCacheFile):
    """A kernel's index and data files, each behind a digest of its name and content."""

    def _load_index(self) -> Any:
        content = self._intact(self._index_path)
        if content is None:
            return {}
        stamp, overloads = pickle.loads(content)
        return overloads if stamp == self._source_stamp else {}

    def _save_index(self, overloads: Any) -> None:
        self._write(self._index_path, self._dump((self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        content = self._intact(self._data_path(name))
        if content is None:
            # What `load` takes for a file that is gone: it compiles anew.
            raise OSError(f"{name} is damaged")
        return _CodeUnpickler(io.BytesIO(content)).load()

    def _save_data(self, name: str, data: Any) -> None:
        self._write(self._data_path(name), self._dump(data))

    def _intact(self, path: str) -> bytes | None:
        """What was written to a file of that name, or None where it is no longer there as it was."""
        try:
            content = Path(path).read_bytes()
        except OSError:
            return None
        body = content[hashlib.sha256().digest_size :]
        return body if content.startswith(_digest(path, body)) else None

    def _write(self, path: str, body: bytes) -> None:
        with self._open_for_write(path) as file:
            file.write(_digest(path, body) + body)


class _CodeUnpickler(pickle.Unpickler):
    """Reads compiled code with the environments of its functions."""

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names: environments are made by `_environment`."""
        if (module, name) == (environment.__name__, "_rebuild_env"):
            return _environment
        return super().find_class(module, name)


def _environment(module: str, constants: list[Any], name: str) -> Any:
    """A function's environment, without the module that it is from where that is one of Numba's.

    It holds the Python objects that compiled code uses, and the module's names for code that runs as Python.  Numba's
    own functions within a kernel have none and are no such code, but their modules take 30 ms to load.
    """
    if any(constant is not None for constant in constants) or not module.startswith("numba.") or module in sys.modules:
        return environment._rebuild_env(module, constants, name)
    found = environment.lookup_environment(name)
    if found is None:
        # By the name of its module it is pickled into the code of other kernels.
        found = environment.Environment({"__name__": module})
        found.consts[:] = constants
        found.env_name = name
        environment.Environment._memo[name] = found
    return found


@cache
def _offer_runtime() -> None:
    """Tell LLVM where the runtime is that allocates arrays: what Numba's own initialisation begins with.

    It goes on to compile functions that are a part of all compiled code that needs them: 20 ms for nothing.  Numba's
    compiler does so too, before it compiles anything.
    """
    for name, address in _nrt_python.c_helpers.items():
        binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)


def _digest(path: str, body: bytes) -> bytes:
    return hashlib.sha256(os.path.basename(path).encode() + b"\n" + body).digest()


class KernelCache(FunctionCache):
    """Numba's cache of a function's compiled code, in `folder`, with files that are checked before they are loaded."""

    def __init__(self, function: Callable[..., Any], folder: str) -> None:
        previous = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = folder
        try:
            super().__init__(function)
        finally:
            numba.config.CACHE_DIR = previous
        self._own = function.__module__.startswith("simhw.")
        locator = self._impl.locator
        self._cache_file: Any = _CheckedFiles(
            locator.get_cache_path(), self._impl.filename_base, locator.get_source_stamp()
        )

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Load compiled code, without all that compiling needs.

        Numba's own method loads the implementations of every function that it knows first, SciPy's linear algebra among
        them: a quarter of a second.  Its compiler does so too, before it compiles anything, and what compiled code of
        simhw calls is there without them: C's functions, and the runtime that allocates arrays.  Kernels of other
        packages may call more, and LLVM ends the process where that is missing.
        """
        if not self._own:
            return super().load_overload(signature, target_context)
        _offer_runtime()
        with self._guard_against_spurious_io_errors():
            return self._load_overload(signature, target_context)

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keep compiled code; where the disk is full or the folder is gone, go on without."""
        try:
            super().save_overload(signature, data)
        except OSError:
            self.disable()
