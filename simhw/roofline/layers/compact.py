"""A network as a layer list that states only what the layers before do not say, as a person would write it."""

import os
from collections.abc import Sequence
from typing import Any

import yaml

from simhw.errors import ShapeError
from simhw.files.writing import replacing
from simhw.roofline.layers.entries import Flow, Resolver
from simhw.roofline.layers.from_entries import entry_of, layer_of, written
from simhw.roofline.layers.network import Network, NetworkLayer

_RESOLVER = Resolver({}, "compact list")


def compact_list_text(network: Network, size: Sequence[int]) -> str:
    """The YAML layer list of a network whose input has `size` (channels and spatial sizes, or rows and features).

    Reading it gives the same network.
    """
    lines = [
        f"name: {_inline(network.name)}",
        f"source: {_inline(network.source)}",
        f"input: {_inline(list(size))}",
        "layers:",
    ]
    flow: Flow | None = _RESOLVER.shape("input", list(size))
    for layer in network.layers:
        kind, values, flow = _shortest(layer, flow)
        lines.append(f"  - {kind}: {_inline(values)}")
    return "\n".join(lines) + "\n"


def write_compact_list(network: Network, path: str | os.PathLike[str], size: Sequence[int]) -> None:
    """Write `compact_list_text` to a file, atomically.

    Raises
    ------
    SimhwError
        The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(compact_list_text(network, size), encoding="utf-8")


def _shortest(layer: NetworkLayer, flow: Flow | None) -> tuple[str, dict[str, Any], Flow | None]:
    """The entry of a layer with every field left out, or one number for all dimensions, that is read as the
    same layer.
    """
    kind, values = written(layer)
    result = _read(kind, values, layer, flow)
    assert result is not None  # `written` states everything
    for field in [name for name in values if name != "name"]:
        fewer = {name: value for name, value in values.items() if name != field}
        given = values[field]
        single = isinstance(given, list) and len(set(given)) == 1
        for shorter in (fewer, values | {field: given[0]} if single else None):
            read = None if shorter is None else _read(kind, shorter, layer, flow)
            if shorter is not None and read is not None:
                values, result = shorter, read
                break
    return kind, values, result[1]


def _read(
    kind: str, values: dict[str, Any], layer: NetworkLayer, flow: Flow | None
) -> tuple[NetworkLayer, Flow | None] | None:
    try:
        read, after = layer_of(kind, entry_of(kind, values, "compact list"), layer.name, flow, _RESOLVER)
    except ShapeError:
        return None
    return (read, after) if read == layer else None


def _inline(value: Any) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
        .removesuffix("\n")
        .removesuffix("\n...")
    )
