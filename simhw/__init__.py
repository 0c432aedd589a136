"""simhw: how much faster and cheaper does training get on which hardware, and why?

A trace-driven, value-exact, cycle-level simulator of hardware that trains neural networks.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from simhw.version import __version__ as __version__

# Resolved on first use, so that `simhw --help` and capture pay for no import that they do not need.
_PUBLIC = {
    "Layer": "simhw.trace.layer",
    "Trace": "simhw.trace.trace",
    "load_trace": "simhw.trace.reader",
    "load_machine": "simhw.machine.machine",
    "simulate_gemm": "simhw.simulation.gemm",
    "simulate_layer": "simhw.simulation.api",
    "simulate": "simhw.simulation.api",
    "compare": "simhw.simulation.api",
    "compare_traces": "simhw.simulation.api",
    "explain": "simhw.simulation.explain",
    "sweep": "simhw.sweeps.sweep",
    "load_results": "simhw.results.saved",
    "save_results": "simhw.results.saved",
}
__all__ = [
    "Layer",
    "Trace",
    "compare",
    "compare_traces",
    "explain",
    "load_machine",
    "load_results",
    "load_trace",
    "save_results",
    "simulate",
    "simulate_gemm",
    "simulate_layer",
    "sweep",
]

if TYPE_CHECKING:
    from simhw.machine.machine import load_machine
    from simhw.results.saved import load_results, save_results
    from simhw.simulation.api import compare, compare_traces, simulate, simulate_layer
    from simhw.simulation.explain import explain
    from simhw.simulation.gemm import simulate_gemm
    from simhw.sweeps.sweep import sweep
    from simhw.trace.layer import Layer
    from simhw.trace.reader import load_trace
    from simhw.trace.trace import Trace


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'simhw' has no attribute {name!r}")
