"""A mapped netlist in plain Python: one stream, cell by cell, straight from Yosys's JSON and the Liberty file's text.

Every cell is looked at again and again until nothing changes.  With a delay of one unit all cells see what their inputs
were a unit ago; without, what counts is where they settle.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from types import CodeType
from typing import Any

from simhw.rtl.synthesis.netlist import Netlist

Bits = dict[Any, int]


class SlowNetlist:
    """A flat netlist and the state of its flip-flops."""

    def __init__(self, netlist: Netlist) -> None:
        self.module = netlist.module
        self.library = netlist.library.cells
        self.ports = {
            direction: {
                name: port["bits"] for name, port in self.module["ports"].items() if port["direction"] == direction
            }
            for direction in ("input", "output")
        }
        self.clocks = {
            cell["connections"][clock][0]
            for cell in self.module["cells"].values()
            if (clock := self.library[cell["type"]].clock)
        }
        self.states = dict.fromkeys(
            (name for name, cell in self.module["cells"].items() if self.library[cell["type"]].is_flip_flop), 0
        )
        self.values: Bits = {"0": 0, "1": 1, "x": 0}
        self.began = False

    def cycle(self, inputs: Mapping[str, int], delayed: bool) -> tuple[dict[str, int], Counter[Any]]:
        """The output ports in the next cycle, and how often each bit toggled on the way into it."""
        before = dict(self.values)
        toggles: Counter[Any] = Counter()
        for port, bits in self.ports["input"].items():
            for place, bit in enumerate(bits):
                if bit not in self.clocks:
                    self.values[bit] = inputs[port] >> place & 1
        # Flip-flops with their inputs, then everything else, unit by unit.
        self._flip_flops_show()
        self._note(before, toggles)
        while True:
            units_before = dict(self.values)
            self.values |= self._gates(units_before)
            if self.values == units_before:
                break
            self._note(units_before, toggles)
        if not delayed:
            toggles = Counter()
            self._note(before, toggles)
        for name in self.states:
            cell = self.module["cells"][name]
            self.states[name] = self._evaluated(self.library[cell["type"]].next_state, cell, self.states[name])
        if not self.began:
            toggles, self.began = Counter(), True
        outputs = {
            port: sum(self.values.get(bit, 0) << place for place, bit in enumerate(bits))
            for port, bits in self.ports["output"].items()
        }
        return outputs, toggles

    def _note(self, before: Bits, toggles: Counter[Any]) -> None:
        toggles.update(bit for bit, value in self.values.items() if value != before.get(bit, 0))

    def _flip_flops_show(self) -> None:
        for name in self.states:
            cell = self.module["cells"][name]
            for pin, function in self.library[cell["type"]].functions.items():
                if pin in cell["connections"]:
                    self.values[cell["connections"][pin][0]] = self._evaluated(function, cell, self.states[name])

    def _gates(self, values: Bits) -> Bits:
        return {
            cell["connections"][pin][0]: self._evaluated(function, cell)
            for name, cell in self.module["cells"].items()
            if name not in self.states
            for pin, function in self.library[cell["type"]].functions.items()
            if pin in cell["connections"]
        }

    def _evaluated(self, function: str | None, cell: Mapping[str, Any], state: int = 0) -> int:
        kind = self.library[cell["type"]]
        pins = {pin: self.values.get(bits[0], 0) for pin, bits in cell["connections"].items()}
        if kind.state:
            pins |= {kind.state: state}
        assert function is not None
        return int(eval(_code(function), {}, pins)) & 1


@cache
def _code(function: str) -> CodeType:
    return compile(function.replace("!", "~"), function, "eval")


def run(
    netlist: Netlist, stimulus: Sequence[Mapping[str, int]], delayed: bool
) -> tuple[list[dict[str, int]], list[Counter[Any]]]:
    """Outputs and toggles of each cycle of one stream."""
    slow = SlowNetlist(netlist)
    outputs, toggles = zip(*(slow.cycle(inputs, delayed) for inputs in stimulus), strict=True)
    return list(outputs), list(toggles)
