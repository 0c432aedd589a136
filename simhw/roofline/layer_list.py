"""Layer lists: a network by shape in a YAML file that people write by hand (docs/layer-lists.md), or in a CSV table.

A list names its layers in the order of the forward pass.  What the layer before already says (channels, size, elements) may be
left out; blocks repeat; named sizes, such as a transformer's sequence length, can be set when the list is read.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from simhw.errors import ShapeError
from simhw.machine_file import parse_yaml
from simhw.output import replacing
from simhw.roofline.entry_layers import entry_of, layer_of, written
from simhw.roofline.layer_entries import MAX_NAME, Entry, Flow, Part, Resolver
from simhw.roofline.layers import Layer, Network

MAX_LAYERS = 100_000
MAX_FILE_BYTES = 20_000_000
TOP = ("name", "source", "sizes", "input", "layers")
BLOCK = ("block", "repeat", "first", "layers")


@dataclass(frozen=True)
class _Leaf:
    kind: str
    entry: Entry
    where: str


@dataclass(frozen=True)
class _Block:
    prefixes: tuple[str, ...]  # one per repetition
    items: "tuple[_Leaf | _Block, ...]"
    layers: int  # of all repetitions


@dataclass
class _State:
    sizes: Mapping[str, int]
    flow: Flow | None
    shapes: dict[str, Flow | None] = field(default_factory=dict)


def file_text(path: str | os.PathLike[str]) -> str:
    """The text of a layer list's file.

    Raises
    ------
    ShapeError
        There is no such file, it is too large, or not text.
    """
    try:
        if os.path.getsize(path) > MAX_FILE_BYTES:
            raise ShapeError(f"{path}: over {MAX_FILE_BYTES:,} bytes; that is no layer list")
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, ShapeError):
            raise
        raise ShapeError(f"{path}: cannot be read as text: {getattr(error, 'strerror', None) or error}") from None


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
    try:
        loaded = parse_yaml(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ShapeError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("layers"), list):
        raise ShapeError(f"{where}: a layer list is a mapping with `name` and a list of `layers`")
    unknown = [str(key) for key in loaded if key not in TOP]
    if unknown:
        raise ShapeError(f"{where}: no field {unknown[0]!r}; a layer list has {', '.join(TOP)}")
    texts = [_text(loaded.get(key, default), key, where) for key, default in (("name", Path(where).stem), ("source", ""))]
    values = _named_sizes(loaded.get("sizes", {}), sizes or {}, where)
    flow = None if loaded.get("input") is None else _input(loaded["input"], Resolver(values, where))
    items = _items(loaded["layers"], "layers", where, Resolver(values, where))
    return _network(texts[0], texts[1], items, _State(values, flow), where)


def parse_table(text: str, where: str) -> Network:
    """The network of a CSV table: a header with ``kind``, ``name`` and fields of these kinds, and a row per layer.

    An empty cell is a field left out, ``7x7`` a number per spatial dimension, ``true`` and ``false`` say yes and no.

    Raises
    ------
    ShapeError
        As `parse_layer_list`; names the row.
    """
    rows = table_rows(text, where)
    header = rows[0]
    for needed in ("kind", "name"):
        if needed not in header:
            raise ShapeError(
                f"{where}: the header has no column {needed!r}; a table of layers has kind, name, and fields such as in, out, size, kernel"
            )
    items = []
    for number, row in enumerate(rows[1:], start=2):
        place = f"{where}: row {number}"
        if len(row) > len(header):
            raise ShapeError(f"{place}: {len(row)} cells under a header of {len(header)}")
        cells = {name: cell for name, cell in zip(header, row, strict=False) if cell}
        kind = cells.pop("kind", "")
        values = {name: cell if name in ("name", "from", "function") else _cell(cell) for name, cell in cells.items()}
        items.append(_Leaf(kind, entry_of(kind, values, place), place))
    return _network(Path(where).stem, where, tuple(items), _State({}, None), where)


def table_rows(text: str, where: str) -> list[list[str]]:
    """Header and rows of a CSV file, cells stripped, without empty rows and the empty cell after a trailing comma.

    Raises
    ------
    ShapeError
        There is no row under the header, or too many.
    """
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text))]
    except csv.Error as error:
        raise ShapeError(f"{where}: not a CSV file: {error}") from None
    rows = [row[:-1] if row[-1] == "" else row for row in rows if any(row)]
    if len(rows) < 2:
        raise ShapeError(f"{where}: no layers; a table has a header and a row per layer")
    if len(rows) - 1 > MAX_LAYERS:
        raise ShapeError(f"{where}: {len(rows) - 1:,} layers; there may be {MAX_LAYERS:,}")
    return rows


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
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=True, width=float("inf")).removesuffix("\n").removesuffix("\n...")


def _text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str) or (key == "name" and not value):
        raise ShapeError(f"{where}: {key} must be a text, given {value!r:.60}; put it into quotes")
    return value


def _named_sizes(given: Any, overrides: Mapping[str, int], where: str) -> dict[str, int]:
    """The list's named sizes, with the caller's values."""
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ShapeError(f"{where}: sizes are a mapping of names to whole numbers")
    for name in overrides:
        if name not in given:
            known = ", ".join(given) or "none"
            raise ShapeError(f"{where}: the list has no size called {name!r} to set; its sizes are: {known}")
    sizes = given | dict(overrides)
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ShapeError(f"{where}: size {name} is {value!r:.60}; give a whole number of at least 1")
    return sizes


def _input(value: Any, resolver: Resolver) -> Flow:
    if not isinstance(value, list) or not all(isinstance(part, int | str) and not isinstance(part, bool) for part in value) or not value:
        resolver.fail("input", "give [channels, height, width] or [rows, features]")
    return resolver.shape("input", value)


def _items(given: Any, at: str, where: str, resolver: Resolver) -> tuple[_Leaf | _Block, ...]:
    """Entries and blocks of a list of layers, checked; their number is known before any block is repeated."""
    items: list[_Leaf | _Block] = []
    for index, item in enumerate(given):
        place = f"{where}: {at}[{index}]"
        if isinstance(item, dict) and "layers" in item:
            items.append(_block(item, f"{at}[{index}]", where, resolver))
        elif isinstance(item, dict) and len(item) == 1:
            ((kind, values),) = item.items()
            items.append(_Leaf(str(kind), entry_of(str(kind), values, place), place))
        else:
            raise ShapeError(
                f"{place}: a layer is one kind with its fields, `conv: {{name: ..., out: 64, kernel: 3}}`, or a block with `layers`"
            )
    if _count(items) > MAX_LAYERS:
        raise ShapeError(f"{where}: {at}: {_count(items):,} layers once blocks are repeated; there may be {MAX_LAYERS:,}")
    return tuple(items)


def _block(item: dict[Any, Any], at: str, where: str, resolver: Resolver) -> _Block:
    place = f"{where}: {at}"
    for key in item:
        if key not in BLOCK:
            raise ShapeError(f"{place}: a block has no field {key!r}; it has {', '.join(BLOCK)}")
    name = item.get("block")
    if not isinstance(name, str) or not name or len(name) > MAX_NAME:
        raise ShapeError(f"{place}: a block needs a name: block: layer1")
    if not isinstance(item["layers"], list):
        raise ShapeError(f"{place}: `layers` of a block is a list")
    inner = _items(item["layers"], f"{at}.layers", where, resolver)
    if "repeat" not in item:
        if "first" in item:
            raise ShapeError(f"{place}: `first` numbers repetitions; give `repeat` too")
        return _Block((f"{name}.",), inner, _count(inner))
    called = replace(resolver, where=f"{place} {name!r}")
    repeat = called.number("repeat", _whole(item["repeat"], "repeat", called))
    first = called.number("first", _whole(item.get("first", 0), "first", called), least=0)
    if repeat * max(1, _count(inner)) > MAX_LAYERS:
        called.fail("repeat", f"{repeat:,} times {_count(inner):,} layers; a list may have {MAX_LAYERS:,}")
    return _Block(tuple(f"{name}.{first + turn}." for turn in range(repeat)), inner, repeat * _count(inner))


def _whole(value: Any, name: str, resolver: Resolver) -> Part:
    if isinstance(value, bool) or not isinstance(value, int | str):
        resolver.fail(name, f"a whole number or the name of a size, given {value!r:.60}")
    return value


def _count(items: "list[_Leaf | _Block] | tuple[_Leaf | _Block, ...]") -> int:
    return sum(item.layers if isinstance(item, _Block) else 1 for item in items)


def _network(name: str, source: str, items: tuple[_Leaf | _Block, ...], state: _State, where: str) -> Network:
    layers = tuple(_expanded(items, ("",), state))
    try:
        return Network(name, layers, source)
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}; a block's repetitions are numbered from `first`") from None


def _expanded(items: tuple[_Leaf | _Block, ...], prefixes: tuple[str, ...], state: _State) -> Iterator[Layer]:
    """Layers in order; `prefixes` are the names of the blocks around, each with those outside it, outermost first."""
    for item in items:
        if isinstance(item, _Block):
            for prefix in item.prefixes:
                yield from _expanded(item.items, (*prefixes, prefixes[-1] + prefix), state)
            continue
        name = prefixes[-1] + item.entry.name
        resolver = Resolver(state.sizes, f"{item.where} {name!r}")
        flow = state.flow if item.entry.source is None else _earlier(item.entry.source, prefixes, state, resolver)
        layer, state.flow = layer_of(item.kind, item.entry, name, flow, resolver)
        state.shapes[name] = state.flow
        yield layer


def _earlier(source: str, prefixes: tuple[str, ...], state: _State, resolver: Resolver) -> Flow | None:
    """What flows out of an earlier layer, called by its name in this block or one around it."""
    for prefix in reversed(prefixes):
        if prefix + source in state.shapes:
            return state.shapes[prefix + source]
    return resolver.fail("from", f"no layer before this one is called {source!r}")


def _cell(text: str) -> Any:
    """A table's cell: yes or no, a number, or one per spatial dimension."""
    if text in ("true", "false"):
        return text == "true"
    parts = text.split("x")
    if all(part.isascii() and part.isdigit() and len(part) <= 13 for part in parts):
        return int(text) if len(parts) == 1 else [int(part) for part in parts]
    return text
