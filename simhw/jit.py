"""Compiling kernels: Numba without the GIL, cached on disk where that is safe.

Numba's own cache looks only at the file that defines a function, so a kernel keeps stale code when a file that it
imports from changes.  The cache folder is therefore named after a hash of Numba's version and of every source that a
kernel can come from: the processing elements, and whatever imports this module.  Cached code is pickled, so only a
folder of the user's own will do; where there is none to write to, kernels compile anew in each process.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def source_hash() -> str:
    """Hash of Numba's version and of every Python source that a kernel can come from."""
    package = Path(__file__).parent
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if path.parent.name == "pe" or b"simhw.jit" in source:
            digest.update(str(path.relative_to(package)).encode())
            digest.update(source)
    return digest.hexdigest()[:16]


@cache
def _cache_folder() -> str | None:
    roots = [os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME"), "~/.cache"]
    for root in filter(None, roots):
        try:
            folder = Path(root).expanduser() / "simhw" / source_hash()
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return str(folder)
        except (OSError, RuntimeError):  # RuntimeError: a user without a home folder
            continue
    return None


def kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile with Numba on first call, releasing the GIL while it runs, and cache on disk where possible."""
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    folder = _cache_folder()
    if folder is not None:
        previous = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = folder
        try:
            dispatcher.enable_caching()
        finally:
            numba.config.CACHE_DIR = previous
    return cast(Callable[Parameters, Result], dispatcher)
