"""Compiling kernels: Numba without the GIL, cached on disk where that is safe (`simhw.kernel_cache`)."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import numba
from numba.extending import overload

from simhw.errors import SimhwError
from simhw.kernel_cache import KernelCache, cache_folder

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile with Numba on first call, releasing the GIL while it runs, and cache on disk where possible.

    Raises
    ------
    SimhwError
        When the kernel is called and ``NUMBA_DISABLE_JIT`` is set: kernels are made of machine vectors, which only a
        compiler has.
    """
    if numba.config.DISABLE_JIT:
        return _refusing(function)
    dispatcher = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    folder = cache_folder(function.__module__.partition(".")[0])
    if folder is not None:
        # What `dispatcher.enable_caching()` does, with a cache that checks what it loads.
        dispatcher._cache = KernelCache(function, folder)
    return cast(Callable[Parameters, Result], dispatcher)


def part(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile as a function of its own that kernels call.

    Python sees the plain function: what it would call compiled code through takes long to compile for many arguments.
    """
    overload(function, jit_options={"error_model": "numpy", "no_cfunc_wrapper": True}, strict=False)(
        lambda *_arguments: function
    )
    return function


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile as a part of each kernel that calls it: a function of its own takes 0.1 s more to compile."""
    return cast(Callable[Parameters, Result], numba.njit(inline="always")(function))


def _refusing(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    @wraps(function)
    def refuse(*_args: Parameters.args, **_kwargs: Parameters.kwargs) -> Result:
        raise SimhwError(
            "NUMBA_DISABLE_JIT is set, but simhw's kernels run compiled only; unset it (plain-Python twins are in "
            "tests/oracles)"
        )

    return refuse
