"""Layer lists: a network by shape in a YAML file that people write by hand (docs/layer-lists.md).

A list names its layers in the order of the forward pass.  What the layer before already says (channels, size, elements)
may be left out; blocks repeat; named sizes, such as a transformer's sequence length, can be set when the list is read.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from simhw.errors import ShapeError, quoted
from simhw.files.plain_yaml import parse_yaml
from simhw.files.writing import replacing
from simhw.roofline.layers.blocks import State, items_of, network_of
from simhw.roofline.layers.entries import Flow, Resolver
from simhw.roofline.layers.from_entries import written
from simhw.roofline.layers.network import Network

MAX_FILE_BYTES = 4_000_000
MAX_FIELDS = 500_000
"""Of a list: `MAX_LAYERS` with every size stated."""
TOP = ("name", "source", "sizes", "most", "patches", "input", "layers")


def parse_layer_list(text: str, where: str, sizes: Mapping[str, int] | None = None) -> Network:
    """The network of a YAML layer list.

    Parameters
    ----------
    text : str
    where : str
        File, for errors.
    sizes : mapping of str to int, optional
        Other values for the list's named sizes.

    Raises
    ------
    ShapeError
        The list is wrong; says in which layer and field.
    """
    if sum(text.count(mark) for mark in ",[{\n") > MAX_FIELDS:
        raise ShapeError(f"{where}: over {MAX_FIELDS:,} fields; that is no layer list: repeat layers with a block")
    try:
        loaded = parse_yaml(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ShapeError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("layers"), list):
        raise ShapeError(f"{where}: a layer list is a mapping with `name` and a list of `layers`")
    unknown = [str(key) for key in loaded if key not in TOP]
    if unknown:
        raise ShapeError(f"{where}: no field {quoted(unknown[0])}; a layer list has {', '.join(TOP)}")
    texts = [
        _text(loaded.get(key, default), key, where) for key, default in (("name", Path(where).stem), ("source", ""))
    ]
    values = _named_sizes(loaded.get("sizes", {}), sizes or {}, where)
    _check_most(loaded.get("most", {}), Resolver(values, where))
    _check_patches(loaded.get("patches", {}), Resolver(values, where))
    flow = None if loaded.get("input") is None else _input(loaded["input"], Resolver(values, where))
    items = items_of(loaded["layers"], "layers", where, Resolver(values, where))
    return network_of(texts[0], texts[1], items, State(values, flow), where)


def layer_list_text(network: Network) -> str:
    """A network as a YAML layer list that states every size; reading it gives the same network."""
    lines = [f"name: {_dumped(network.name)}", f"source: {_dumped(network.source)}", "layers:"]
    if not network.layers:
        lines[-1] = "layers: []"
    for layer in network.layers:
        kind, values = written(layer)
        lines.append(f"  - {kind}: {_dumped(values)}")
    return "\n".join(lines) + "\n"


def write_layer_list(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a YAML file, atomically.

    Raises
    ------
    SimhwError
        The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(layer_list_text(network), encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """YAML whose texts stand in quotes, so that none is read as a number."""


_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def _dumped(value: Any) -> str:
    """A text or the fields of an entry in one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_dumped(each)}" for key, each in value.items()) + "}"
    return (
        yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=float("inf"))
        .removesuffix("\n")
        .removesuffix("\n...")
    )


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str) or (key == "name" and not value):
        raise ShapeError(f"{where}: {key} must be a text, given {quoted(value)}; put it into quotes")
    return value


def _named_sizes(given: Any, overrides: Mapping[str, int], where: str) -> dict[str, int]:
    """The list's named sizes, with the caller's values."""
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ShapeError(f"{where}: sizes are a mapping of names to whole numbers")
    for name in overrides:
        if name not in given:
            known = ", ".join(given) or "none"
            raise ShapeError(f"{where}: the list has no size called {quoted(name)} to set; its sizes are: {known}")
    sizes = given | dict(overrides)
    for name, value in sizes.items():
        if isinstance(value, str) and isinstance(sizes.get(value), int):  # as large as another, where no one sets it
            sizes[name] = value = sizes[value]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ShapeError(
                f"{where}: size {name} is {quoted(value)}; give a whole number from 1, or the name of another size"
            )
    return sizes


def _check_most(most: Any, resolver: Resolver) -> None:
    """Named sizes that may not exceed others or a number: ``{sequence: positions}``, as a table of positions has only
    so many rows.
    """
    if not isinstance(most, dict) or not all(
        isinstance(limit, int | str) and not isinstance(limit, bool) for limit in most.values()
    ):
        raise ShapeError(
            f"{resolver.where}: most is a mapping of sizes to sizes or whole numbers: {{sequence: positions}}"
        )
    for name, limit in most.items():
        value, highest = resolver.number("most", name), resolver.number(f"most of {name}", limit)
        if value > highest:
            called = f"the {limit} of {highest:,}" if isinstance(limit, str) else f"{highest:,}"
            raise ShapeError(f"{resolver.where}: {name} is {value:,}, more than {called}; give at most {highest:,}")


def _check_patches(given: Any, resolver: Resolver) -> None:
    """Named sizes that count the patches of an image: ``{sequence: {image: image, patch: 16, more: 1}}``, one more for
    a class token.
    """
    form = "patches is a mapping of sizes to their images: {sequence: {image: image, patch: 16, more: 1}}"
    if not isinstance(given, dict):
        raise ShapeError(f"{resolver.where}: {form}")
    for name, parts in given.items():
        if not isinstance(parts, dict) or not {"image", "patch"} <= parts.keys() <= {"image", "patch", "more"}:
            raise ShapeError(f"{resolver.where}: {form}")
        if not all(isinstance(part, int | str) and not isinstance(part, bool) for part in (name, *parts.values())):
            raise ShapeError(f"{resolver.where}: {form}")
        image, patch = (resolver.number(f"patches of {name}", parts[part]) for part in ("image", "patch"))
        tokens = (image // patch) ** 2 + resolver.number(f"patches of {name}", parts.get("more", 0), least=0)
        if (value := resolver.number("patches", name)) != tokens:
            resolver.fail(
                name, f"{value:,}, but an image of {image:,} has {tokens:,} tokens; set {name} and image together"
            )


def _input(value: Any, resolver: Resolver) -> Flow:
    if (
        not isinstance(value, list)
        or not all(isinstance(part, int | str) and not isinstance(part, bool) for part in value)
        or not value
    ):
        resolver.fail("input", "give [channels, height, width] or [rows, features]")
    return resolver.shape("input", value)
