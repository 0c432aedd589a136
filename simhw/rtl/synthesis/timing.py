"""The longest path of a netlist by the delays of its library.

A path begins at an input or at a flip-flop's clock, and ends at an output or, with its set-up time, at a flip-flop.
Delays depend on the load of a net: the capacitances of the inputs that it drives.  Slopes and wires have no part.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from simhw.errors import SimhwError
from simhw.rtl.synthesis.library import Cell
from simhw.rtl.synthesis.netlist import Netlist

Net = tuple[int, Any]
"""An instance of a module, and the number of a net of it in Yosys's JSON; or "0", "1" or "x"."""


@dataclass(frozen=True)
class Path:
    """The way of the longest delay.

    Attributes
    ----------
    delay_ps : float
        All of it [ps].
    cells : tuple of str
        The types of the cells on it, the first one first; a flip-flop stands at an end of it.
    ends : tuple of str
        Where it begins and ends: names of nets.
    """

    delay_ps: float
    cells: tuple[str, ...]
    ends: tuple[str, str]


@dataclass(frozen=True)
class _Instance:
    cell: Cell
    pins: Mapping[str, Net]


@cache
def critical_path(netlist: Netlist) -> Path:
    """The longest path, through all parts.

    Raises
    ------
    SimhwError
        There is a loop without a flip-flop in it.
    """
    names: dict[Net, str] = {}
    instances = list(_instances(netlist, {}, "", names, [0]))
    loads: dict[Net, float] = defaultdict(float)
    readers: dict[Net, list[int]] = defaultdict(list)
    waits = [0] * len(instances)
    drivers: dict[Net, int] = {}
    for index, each in enumerate(instances):
        for pin, net in each.pins.items():
            if pin in each.cell.functions:
                drivers[net] = index
            else:
                loads[net] += each.cell.capacitances[pin]
    for index, each in enumerate(instances):
        if not each.cell.is_flip_flop:
            for pin, net in each.pins.items():
                if pin in each.cell.capacitances and net in drivers:
                    readers[net].append(index)
                    waits[index] += 1

    arrival: dict[Net, float] = defaultdict(float)
    before: dict[Net, tuple[int, Net]] = {}
    ready = [index for index, each in enumerate(instances) if each.cell.is_flip_flop or not waits[index]]
    done = 0
    while ready:
        index = ready.pop()
        done += 1
        each = instances[index]
        for output in each.cell.functions:
            if output not in each.pins:
                continue
            net = each.pins[output]
            latest, source = -1.0, net
            for pin, from_net in each.pins.items():
                if tables := each.cell.arcs.get((pin, output)):
                    start = 0.0 if each.cell.is_flip_flop else arrival[from_net]
                    time = start + max(table.at(loads[net]) for table in tables)
                    if time > latest:
                        latest, source = time, from_net
            arrival[net] = max(latest, 0.0)
            before[net] = index, source
            for reader in readers[net]:
                waits[reader] -= 1
                if not waits[reader]:
                    ready.append(reader)
    if done < len(instances):
        raise SimhwError(f"{netlist.name}: {len(instances) - done} cells lie on or behind a loop without a flip-flop")

    ends = [(arrival[net], net, -1) for net in _port_nets(netlist) if net in drivers]
    for index, each in enumerate(instances):
        if each.cell.is_flip_flop:
            for pin, setup in each.cell.setups_ps.items():
                if pin != each.cell.clock and pin in each.pins:
                    ends.append((arrival[each.pins[pin]] + setup, each.pins[pin], index))
    if not ends:
        return Path(0.0, (), ("", ""))
    delay, net, last = max(ends, key=lambda end: end[0])
    cells, end = [instances[last].cell.name] if last >= 0 else [], net
    while net in before:
        index, source = before[net]
        cells.append(instances[index].cell.name)
        if instances[index].cell.is_flip_flop:
            break
        net = source
    return Path(delay, tuple(reversed(cells)), (names.get(net, "?"), names.get(end, "?")))


def _port_nets(netlist: Netlist) -> Iterator[Net]:
    for port in netlist.module["ports"].values():
        for bit in port["bits"]:
            yield 0, bit


def _instances(
    netlist: Netlist, outer: Mapping[Any, Net], path: str, names: dict[Net, str], count: list[int]
) -> Iterator[_Instance]:
    """All cells of the library; a part's port is the net of the module around it."""
    number = count[0]
    count[0] += 1
    module = netlist.module
    nets: dict[Any, Net] = dict(outer)

    def net_of(bit: Any) -> Net:
        return nets.setdefault(bit, (number, bit) if isinstance(bit, int) else (-1, bit))

    for name, wire in module["netnames"].items():
        if not wire["hide_name"]:
            for place, bit in enumerate(wire["bits"]):
                names.setdefault(net_of(bit), f"{path}{name}[{place}]" if len(wire["bits"]) > 1 else f"{path}{name}")
    for name, cell in module["cells"].items():
        kind = cell["type"]
        if kind in netlist.parts:
            part = netlist.parts[kind]
            inner = {
                bit: net_of(outside)
                for port, bits in cell["connections"].items()
                for bit, outside in zip(part.module["ports"][port]["bits"], bits, strict=True)
                if isinstance(bit, int)
            }
            yield from _instances(part, inner, f"{path}{name}.", names, count)
        else:
            pins = {pin: net_of(bits[0]) for pin, bits in cell["connections"].items() if bits}
            yield _Instance(netlist.library.cells[kind], pins)
