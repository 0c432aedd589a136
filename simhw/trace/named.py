"""Layers of a trace by their name."""

from difflib import get_close_matches

from simhw.errors import TraceError, listed
from simhw.trace.layer import Layer
from simhw.trace.trace import Trace


def layers_named(trace: Trace, name: str) -> list[Layer]:
    """The layers of that name: one, where the trace is from a file.

    Raises
    ------
    TraceError
        There is none; says which names are near.
    """
    if found := [layer for layer in trace.layers if layer.name == name]:
        return found
    names = list(dict.fromkeys(layer.name for layer in trace.layers))
    near = get_close_matches(name, names)
    hint = f"near names are {', '.join(near)}" if near else f"there are {listed(names)}"
    raise TraceError(f"{trace.path or 'the trace'} has no layer {name!r}; {hint}")
