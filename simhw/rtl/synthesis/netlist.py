"""What synthesis gives: cells of a library and the nets between them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from simhw.rtl.synthesis.library import Library


@dataclass(frozen=True, eq=False)
class Netlist:
    """A circuit in cells of a library.

    Attributes
    ----------
    name : str
        Of the module in `json` and `verilog`.
    json : str
        As Yosys writes it: https://yosyshq.readthedocs.io, command ``write_json``.  What was synthesised apart is a
        cell whose type is a key of `parts`.
    verilog : str
        The same.
    parts : dict
        By the type of the cells that stand for it.
    """

    name: str
    library: Library
    json: str = field(repr=False)
    verilog: str = field(repr=False)
    parts: Mapping[str, "Netlist"]

    @cached_property
    def module(self) -> dict[str, Any]:
        """The module as Yosys's JSON has it: ports, cells, netnames."""
        module: dict[str, Any] = json.loads(self.json)["modules"][self.name]
        return module

    @cached_property
    def own_cells(self) -> Counter[str]:
        """Cells by their type; parts are among them as one cell each."""
        return Counter(cell["type"] for cell in self.module["cells"].values())

    @cached_property
    def cells(self) -> Counter[str]:
        """Cells of the library by their type, those of the parts too."""
        total: Counter[str] = Counter()
        for kind, count in self.own_cells.items():
            if kind in self.parts:
                total.update({inner: count * number for inner, number in self.parts[kind].cells.items()})
            else:
                total[kind] += count
        return total

    @cached_property
    def area(self) -> float:
        """In the library's unit, with all parts."""
        return sum(self.library.cells[kind].area * count for kind, count in sorted(self.cells.items()))

    @property
    def flip_flops(self) -> int:
        """Cells that hold a bit."""
        return sum(count for kind, count in self.cells.items() if self.library.cells[kind].is_flip_flop)
