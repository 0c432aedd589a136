"""Networks that come with simhw, and those of the user's files."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from simhw.errors import ShapeError, quoted
from simhw.files.reading import read_text
from simhw.roofline.layers.lists import MAX_FILE_BYTES, parse_layer_list
from simhw.roofline.layers.network import Network
from simhw.roofline.layers.scalesim import parse_topology
from simhw.roofline.layers.tables import is_table, parse_table, table_rows

SUFFIXES = (".yaml", ".yml", ".csv")


def network_names() -> list[str]:
    """Names of the networks that come with simhw."""
    folder = files("simhw.roofline.networks")
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def load_network(
    network: str | os.PathLike[str], sequence: int | None = None, sizes: Mapping[str, int] | None = None
) -> Network:
    """A network by name, or of a file: a YAML layer list, a CSV table of layers, or a SCALE-Sim topology.

    Parameters
    ----------
    network : str or path
        One of `network_names`, or a file that ends in .yaml, .yml or .csv.
    sequence : int, optional
        Tokens of a sample: the list's size `sequence`.
    sizes : mapping of str to int, optional
        Other named sizes of the list: ``{"image": 160}``.

    Raises
    ------
    ShapeError
        There is no such network or size, a size is no whole number, or the file is wrong; says where.
    """
    if not isinstance(network, str | os.PathLike):
        raise ShapeError(f"a network is {quoted(network)}; give a name or the path of a file")
    if not isinstance(sizes or {}, Mapping):
        raise ShapeError(f"sizes are {quoted(sizes)}; give a mapping of names to whole numbers")
    given = dict(sizes or {})
    if sequence is not None:
        given["sequence"] = sequence
    for size, value in given.items():
        if not isinstance(size, str) or not isinstance(value, int) or isinstance(value, bool):
            raise ShapeError(f"size {quoted(size)} is {quoted(value)}; give names and whole numbers")
    name = os.fspath(network)
    if name in network_names():
        return _shipped(name, tuple(sorted(given.items())))
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES or not os.path.isfile(name):  # which is false for a name too long, where Path raises
        if suffix in SUFFIXES:
            raise ShapeError(
                f"no network {quoted(name)}: no such file; give a layer list, or a name that `simhw roofline --model "
                "list` tells"
            )
        near = ", ".join(get_close_matches(name, network_names(), n=5, cutoff=0))
        raise ShapeError(
            f"no network {quoted(name)}: give the path of a {', '.join(SUFFIXES)} file or a name that `simhw "
            "roofline --model list` tells; "
            f"the closest are {near}"
        )
    text = read_text(name, MAX_FILE_BYTES, ShapeError, "a layer list")
    if suffix != ".csv":
        return parse_layer_list(text, name, given)
    if given:
        raise ShapeError(
            f"{name}: a table has no named sizes to set; {next(iter(given))} can be set in a YAML layer list"
        )
    rows = table_rows(text, name)
    return parse_table(rows, name) if is_table(rows[0][1]) else parse_topology(rows, Path(name).stem, name)


@lru_cache(maxsize=64)
def _shipped(name: str, sizes: tuple[tuple[str, int], ...]) -> Network:
    """A network that comes with simhw; parsing YAML is slow, and networks do not change."""
    text = files("simhw.roofline.networks").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return parse_layer_list(text, name, dict(sizes))
