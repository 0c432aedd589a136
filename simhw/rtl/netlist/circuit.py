"""A mapped netlist as arrays, in an order in which every gate comes after those that drive it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from graphlib import CycleError, TopologicalSorter

import numpy as np
import numpy.typing as npt

from simhw.errors import SimhwError, quoted
from simhw.rtl.netlist.functions import Function, read_function
from simhw.rtl.netlist.programs import Program
from simhw.rtl.synthesis.library import Cell
from simhw.rtl.synthesis.netlist import Netlist

Bit = str
Indices = npt.NDArray[np.int64]
CONSTANTS: dict[Bit, int] = {"0": 0, "1": 1, "x": 0, "z": 0}
"""Nets 0 and 1 are constant, and what Yosys calls them; what may be anything is 0."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """A netlist of gates and flip-flops of one clock.

    Nets are numbered: the constants 0 and 1, the bits of input ports, the flip-flops' states, the gates.  A gate is an
    output of a cell, and comes after all nets that it is made of.

    Attributes
    ----------
    inputs, outputs : dict of str to (bits,) int64
        Nets of each port, the lowest bit first; without the clock.
    initial : (states,) bool
        What the flip-flops hold before the first edge.
    next_states : (states,) int64
        Nets that the flip-flops take over at an edge.
    program : Program
        What every net after the states is.
    names : tuple of str
        Of each net: the port's bit, or the cell and its output.
    cells : tuple of (Cell or None)
        The cell that drives each net, None for constants, inputs and nets within a flip-flop.
    loads : (nets,) float64
        Capacitance of the inputs of cells that a net drives, in the library's unit.
    sinks : (nets,) int64
        How many those inputs are.
    clock_load : float
        Capacitance of all clock inputs, in the library's unit.
    area : float
        Sum over the cells, in the library's unit.
    """

    inputs: Mapping[str, Indices]
    outputs: Mapping[str, Indices]
    initial: npt.NDArray[np.bool_]
    next_states: Indices
    program: Program
    names: tuple[str, ...]
    cells: tuple[Cell | None, ...]
    loads: npt.NDArray[np.float64]
    sinks: Indices
    clock_load: float
    area: float

    @property
    def nets(self) -> int:
        """How many there are."""
        return len(self.names)

    @property
    def input_nets(self) -> Indices:
        """Nets of all input ports, in the order of `inputs`: they follow each other."""
        return np.arange(2, 2 + sum(len(nets) for nets in self.inputs.values()))

    @property
    def first_gate(self) -> int:
        """Number of the first net that a gate drives."""
        return self.nets - self.program.gates


@dataclass(frozen=True)
class _Gate:
    """An output of a cell, or what a flip-flop stores where that is more than an input; `bit` is what it drives."""

    name: str
    cell: Cell | None
    function: Function
    pins: Mapping[str, Bit]
    bit: Bit


def circuit_of(netlist: Netlist) -> Circuit:
    """A netlist as arrays, its parts included.

    Raises
    ------
    SimhwError
        A cell is none of the library's that can be simulated; flip-flops have several clocks; gates form a loop.
    """
    return _Reader(netlist).circuit()


class _Reader:
    """A netlist of Yosys on its way into arrays.

    A bit is a net: what Yosys numbers, behind the path to the part that it is in, or a constant.
    """

    def __init__(self, netlist: Netlist) -> None:
        self.netlist = netlist
        self.instances: list[tuple[str, Cell, dict[str, Bit]]] = []
        self.same: dict[Bit, Bit] = {}  # outputs of parts that are an input or a constant as it is
        self.begins: dict[Bit, bool] = {}
        self._add(netlist, "", {})
        self.clock = self._clock()

    def circuit(self) -> Circuit:
        number: dict[Bit, int] = dict(CONSTANTS)
        names: list[str] = ["0", "1"]
        cells: list[Cell | None] = [None, None]

        def add(bit: Bit, name: str, cell: Cell | None) -> int:
            number[bit] = len(names)
            names.append(name)
            cells.append(cell)
            return number[bit]

        inputs = {
            port: [add(bit, f"{port}[{index}]", None) for index, bit in enumerate(bits)]
            for port, bits in self._ports("input")
            if bits != [self.clock]
        }
        gates: list[_Gate] = []
        stored: list[Bit] = []
        initial: list[bool] = []
        for name, cell, pins in self.instances:
            functions, next_state = _functions(cell)
            if cell.state is not None:
                add(f"{name} state", name, cell)
                pins = pins | {cell.state: f"{name} state"}
                if next_state.operator == "pin":
                    stored.append(pins[next_state.pin])
                else:
                    stored.append(f"{name} next")
                    gates.append(_Gate(f"{name} next", None, next_state, pins, f"{name} next"))
                initial.append(False)
            for output, function in functions.items():
                bit = pins.get(output, f"{name} {output}")
                if function.pin and function.pin == cell.state:
                    number[bit] = number[f"{name} state"]
                    initial[-1] |= self.begins.get(bit, False)
                else:
                    gates.append(_Gate(f"{name}.{output}", cell, function, pins, bit))
        gates = self._sorted(gates)
        for gate in gates:
            add(gate.bit, gate.name, gate.cell)

        def net(bit: Bit) -> int:
            while bit in self.same:
                bit = self.same[bit]
            return number.get(bit, 0)  # what nothing drives is 0

        def net_of(gate: int, pin: str) -> int:
            return net(gates[gate].pins[pin]) if pin != "0" else 0

        loads, sinks, clock_load = np.zeros(len(names)), np.zeros(len(names), np.int64), 0.0
        for _, cell, pins in self.instances:
            for pin, load in cell.capacitances.items():
                if pin == cell.clock:
                    clock_load += load
                else:
                    loads[net(pins[pin])] += load
                    sinks[net(pins[pin])] += 1
        return Circuit(
            inputs={port: np.array(found, np.int64) for port, found in inputs.items()},
            outputs={port: np.array([net(bit) for bit in bits], np.int64) for port, bits in self._ports("output")},
            initial=np.array(initial, bool),
            next_states=np.array([net(bit) for bit in stored], np.int64),
            program=Program.of([gate.function for gate in gates], net_of, len(names)),
            names=tuple(names),
            cells=tuple(cells),
            loads=loads,
            sinks=sinks,
            clock_load=clock_load,
            area=self.netlist.area,
        )

    def _add(self, netlist: Netlist, path: str, outside: dict[Bit, Bit]) -> None:
        """Add the cells of a netlist, some of whose bits are those `outside` of it."""

        def bit_of(found: int | str) -> Bit:
            return outside.get(f"{found}", f"{path}{found}") if isinstance(found, int) else found

        for net in netlist.module["netnames"].values():
            begins = reversed(str(net["attributes"].get("init", "")))
            self.begins |= {bit_of(bit): value == "1" for bit, value in zip(net["bits"], begins, strict=False)}
        for name, instance in netlist.module["cells"].items():
            kind, pins = instance["type"], instance["connections"]
            if kind in netlist.parts:
                part, inner = netlist.parts[kind], dict[Bit, Bit]()
                ports = sorted(part.module["ports"].items(), key=lambda item: item[1]["direction"])  # inputs first
                for port, found in ports:
                    for bit, outer in zip(found["bits"], pins.get(port, []), strict=False):
                        if isinstance(bit, str):
                            self.same[bit_of(outer)] = bit
                        elif f"{bit}" in inner:
                            self.same[bit_of(outer)] = inner[f"{bit}"]
                        else:
                            inner[f"{bit}"] = bit_of(outer)
                self._add(part, f"{path}{name}.", inner)
                continue
            cell = netlist.library.cells.get(kind)
            if cell is None or not all(cell.functions.values()) or (cell.is_flip_flop and not cell.next_state):
                raise SimhwError(
                    f"{netlist.name}: cell {quoted(name)} is of type {quoted(kind)}, which the Liberty file does not "
                    "describe as a gate or a flip-flop with a function"
                )
            self.instances.append((f"{path}{name}", cell, {pin: bit_of(bits[0]) for pin, bits in pins.items() if bits}))

    def _ports(self, direction: str) -> Iterator[tuple[str, list[Bit]]]:
        for name, port in self.netlist.module["ports"].items():
            if port["direction"] == direction:
                yield name, [f"{bit}" for bit in port["bits"]]

    def _clock(self) -> Bit | None:
        """The bit at every flip-flop's clock; None where there is none."""
        clocks = {pins[cell.clock] for _, cell, pins in self.instances if cell.clock is not None}
        if len(clocks) > 1:
            raise SimhwError(f"{self.netlist.name}: {len(clocks)} clocks, where netlists of one can be simulated")
        clock = clocks.pop() if clocks else None
        if clock is not None and [clock] not in [bits for _, bits in self._ports("input")]:
            raise SimhwError(f"{self.netlist.name}: the clock is no input of its own, so it cannot be simulated")
        return clock

    def _sorted(self, gates: list[_Gate]) -> list[_Gate]:
        """Every gate after those that drive it."""
        by_bit = {gate.bit: gate for gate in gates}
        graph = {gate.bit: self._drivers(gate) & by_bit.keys() for gate in gates}
        try:
            return [by_bit[bit] for bit in TopologicalSorter(graph).static_order()]
        except CycleError as error:
            loop = " -> ".join(by_bit[bit].name for bit in error.args[1][:3])
            raise SimhwError(f"{self.netlist.name}: gates form a loop: {loop} ...") from None

    def _drivers(self, gate: _Gate) -> set[Bit]:
        found = set()
        for pin in gate.function.pins:
            bit = gate.pins[pin]
            while bit in self.same:
                bit = self.same[bit]
            found.add(bit)
        return found


@cache
def _read(text: str) -> Function:
    return read_function(text)


def _functions(cell: Cell) -> tuple[dict[str, Function], Function]:
    """What a cell's outputs are, and what it holds next; of inputs and of what it holds."""
    known = {*cell.capacitances, cell.state}

    def resolved(function: Function) -> Function:
        """With the name that a flip-flop has for the inverse of what it holds written as an inverse."""
        if function.operator == "pin" and function.pin not in known:
            if cell.state is None:
                raise SimhwError(f"cell {cell.name}: its function names {quoted(function.pin)}, which is no input")
            return Function("!", (Function("pin", pin=cell.state),))
        return replace(function, operands=tuple(resolved(each) for each in function.operands))

    outputs = {pin: resolved(_read(text)) for pin, text in cell.functions.items()}
    return outputs, resolved(_read(cell.next_state or "0"))
