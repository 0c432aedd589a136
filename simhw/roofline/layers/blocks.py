"""The body of a layer list: entries and blocks of them, repeated, and the network that they make."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from simhw.errors import ShapeError, quoted
from simhw.roofline.layers.entries import MAX_NAME, Entry, Flow, Resolver, SizePart
from simhw.roofline.layers.from_entries import entry_of, layer_of
from simhw.roofline.layers.network import Network, NetworkLayer

MAX_LAYERS = 20_000
"""Of a list: twenty times the deepest network that was published, and a second of reading."""
BLOCK = ("block", "repeat", "first", "layers")


@dataclass(frozen=True)
class Leaf:
    """An entry of a list.

    Attributes
    ----------
    kind : str
    entry : Entry
    where : str
        Its place in the file, for errors.
    """

    kind: str
    entry: Entry
    where: str


@dataclass(frozen=True)
class EntryBlock:
    """Entries under a common name, maybe several times.

    Attributes
    ----------
    prefixes : tuple of str
        What comes before the names of the layers, for each repetition.
    items : tuple of Leaf or EntryBlock
    layers : int
        Of all repetitions together.
    """

    prefixes: tuple[str, ...]
    items: "tuple[Leaf | EntryBlock, ...]"
    layers: int


@dataclass
class State:
    """What is known on the way through a list.

    Attributes
    ----------
    sizes : mapping of str to int
        Named sizes.
    flow : Image, Tokens or None
        What flows out of the last layer.
    shapes : dict
        What flows out of each layer so far, by name.
    """

    sizes: Mapping[str, int]
    flow: Flow | None
    shapes: dict[str, Flow | None] = field(default_factory=dict)


def items_of(given: Any, at: str, where: str, resolver: Resolver) -> tuple[Leaf | EntryBlock, ...]:
    """Entries and blocks of a list of layers, checked; their number is known before any block is repeated.

    Raises
    ------
    ShapeError
        An entry or a block is wrong, or there are more than `MAX_LAYERS` once blocks are repeated.
    """
    if len(given) > MAX_LAYERS:
        raise ShapeError(f"{where}: {at}: {len(given):,} layers; there may be {MAX_LAYERS:,}")
    items: list[Leaf | EntryBlock] = []
    for index, item in enumerate(given):
        place = f"{where}: {at}[{index}]"
        if isinstance(item, dict) and "layers" in item:
            items.append(_block(item, f"{at}[{index}]", where, resolver))
        elif isinstance(item, dict) and len(item) == 1:
            ((kind, values),) = item.items()
            items.append(Leaf(str(kind), entry_of(str(kind), values, place), place))
        else:
            raise ShapeError(
                f"{place}: a layer is one kind with its fields, `conv: {{name: ..., out: 64, kernel: 3}}`, or a "
                "block with `layers`"
            )
    if _count(items) > MAX_LAYERS:
        raise ShapeError(
            f"{where}: {at}: {_count(items):,} layers once blocks are repeated; there may be {MAX_LAYERS:,}"
        )
    return tuple(items)


def _block(item: dict[Any, Any], at: str, where: str, resolver: Resolver) -> EntryBlock:
    place = f"{where}: {at}"
    for key in item:
        if key not in BLOCK:
            raise ShapeError(f"{place}: a block has no field {quoted(key)}; it has {', '.join(BLOCK)}")
    name = item.get("block")
    if not isinstance(name, str) or not name or len(name) > MAX_NAME:
        raise ShapeError(f"{place}: a block needs a name: block: layer1")
    if not isinstance(item["layers"], list) or not item["layers"]:
        raise ShapeError(f"{place}: `layers` of a block is a list of at least one layer")
    inner = items_of(item["layers"], f"{at}.layers", where, resolver)
    if "repeat" not in item:
        if "first" in item:
            raise ShapeError(f"{place}: `first` numbers repetitions; give `repeat` too")
        return EntryBlock((f"{name}.",), inner, _count(inner))
    called = replace(resolver, where=f"{place} {quoted(name)}")
    repeat = called.number("repeat", _whole(item["repeat"], "repeat", called))
    first = called.number("first", _whole(item.get("first", 0), "first", called), least=0)
    if repeat * _count(inner) > MAX_LAYERS:
        called.fail("repeat", f"{repeat:,} times {_count(inner):,} layers; a list may have {MAX_LAYERS:,}")
    return EntryBlock(tuple(f"{name}.{first + turn}." for turn in range(repeat)), inner, repeat * _count(inner))


def _whole(value: Any, name: str, resolver: Resolver) -> SizePart:
    if isinstance(value, bool) or not isinstance(value, int | str):
        resolver.fail(name, f"a whole number or the name of a size, given {quoted(value)}")
    return value


def _count(items: "list[Leaf | EntryBlock] | tuple[Leaf | EntryBlock, ...]") -> int:
    return sum(item.layers if isinstance(item, EntryBlock) else 1 for item in items)


def network_of(name: str, source: str, items: tuple[Leaf | EntryBlock, ...], state: State, where: str) -> Network:
    """The network of checked entries.

    Raises
    ------
    ShapeError
        A size is wrong or missing, or two layers have one name.
    """
    layers = tuple(_expanded(items, ("",), state))
    try:
        return Network(name, layers, source)
    except ShapeError as error:
        raise ShapeError(f"{where}: {error}; a block's repetitions are numbered from `first`") from None


def _expanded(items: tuple[Leaf | EntryBlock, ...], prefixes: tuple[str, ...], state: State) -> Iterator[NetworkLayer]:
    """Layers in order; `prefixes` are the names of the blocks around, each with those outside it, outermost first."""
    for item in items:
        if isinstance(item, EntryBlock):
            for prefix in item.prefixes:
                yield from _expanded(item.items, (*prefixes, prefixes[-1] + prefix), state)
            continue
        name = prefixes[-1] + item.entry.name
        resolver = Resolver(state.sizes, f"{item.where} {quoted(name)}")
        flow = state.flow if item.entry.source is None else _earlier(item.entry.source, prefixes, state, resolver)
        layer, state.flow = layer_of(item.kind, item.entry, name, flow, resolver)
        state.shapes[name] = state.flow
        yield layer


def _earlier(source: str, prefixes: tuple[str, ...], state: State, resolver: Resolver) -> Flow | None:
    """What flows out of an earlier layer, called by its name in this block or one around it."""
    for prefix in reversed(prefixes):
        if prefix + source in state.shapes:
            return state.shapes[prefix + source]
    return resolver.fail("from", f"no layer before this one is called {quoted(source)}")
