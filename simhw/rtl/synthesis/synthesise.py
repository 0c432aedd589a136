"""From a component to cells: Amaranth's RTLIL, and Yosys with ABC behind it.

A large circuit is synthesised by parts: units that occur many times, each once.  Equal units of a run are one.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from amaranth.back import rtlil
from amaranth.lib.wiring import Component

from simhw.errors import SimhwError
from simhw.rtl.synthesis.library import Library, own_library
from simhw.rtl.synthesis.netlist import Netlist
from simhw.rtl.synthesis.yosys import run_yosys

_MODULE = re.compile(r"^(?P<attributes>(?:attribute [^\n]*\n)*)module (?P<name>\S+)\n(?P<body>.*?)^end\n", re.M | re.S)
_CELL = re.compile(r"^  cell (?P<kind>\\\S+) \\(?P<instance>\S+)\n(?P<connections>(?:    [^\n]*\n)*)", re.M)
_NUMBERED = re.compile(r"(?<!    connect )\\port\$(\d+)\$(\d+)")
_CONNECTED = re.compile(r"(?<=    connect )\\port\$(\d+)\$(\d+)")
_SOURCE = re.compile(r"^\s*attribute \\src [^\n]*\n", re.M)
_PORT = re.compile(r"^((?:  attribute [^\n]*\n)*  wire [^\n]*\b(?:input|output) )\d+( [^\n]*\n)", re.M)

_found: dict[tuple[str, str], Netlist] = {}


def synthesise(component: Component, name: str, library: Library | None = None, apart: Collection[str] = ()) -> Netlist:
    """Map a component to the cells of a library.

    Parameters
    ----------
    component
        Its ports become those of the netlist, `clk` and `rst` beside them.
    name
        Of the netlist's module.
    library
        None for simhw's own.
    apart
        Submodules to synthesise for themselves, by patterns of their names: ``pe_*``.  Without any the circuit is flat.

    Raises
    ------
    SimhwError
        Yosys is missing, or cannot do it.
    """
    text = rtlil.convert(component, name=name)
    modules = {found["name"]: _Module.of(found) for found in _MODULE.finditer(text)}
    return _Synthesis(library or own_library(), tuple(apart)).unit(modules, f"\\{name}", name)


@dataclass(frozen=True)
class _Module:
    attributes: str
    body: str
    numbered: Mapping[tuple[str, ...], str]
    """Names of its own for nets that have a number of the whole circuit."""

    @classmethod
    def of(cls, found: re.Match[str]) -> "_Module":
        """Without what differs where circuits do not: places in files, numbers of nets, and the order of ports."""
        body = _SOURCE.sub("", found["body"])
        nets = sorted({net.groups() for net in _NUMBERED.finditer(body)}, key=lambda net: [int(each) for each in net])
        names = {net: f"\\port_{number}" for number, net in enumerate(nets)}
        body = _NUMBERED.sub(lambda net: names[net.groups()], body)
        ports = sorted(_PORT.findall(body), key=lambda port: port[1])
        numbered = "".join(f"{wire}{number}{name}" for number, (wire, name) in enumerate(ports))
        return cls(_SOURCE.sub("", found["attributes"]), numbered + _PORT.sub("", body), names)

    def text(self, name: str) -> str:
        return f"{self.attributes}module {name}\n{self.body}end\n"

    def blackbox(self, name: str) -> str:
        """Its ports alone."""
        return f"attribute \\blackbox 1\nmodule {name}\n{''.join(found[0] for found in _PORT.finditer(self.body))}end\n"


@dataclass(frozen=True)
class _Synthesis:
    library: Library
    apart: tuple[str, ...]

    def unit(self, modules: Mapping[str, _Module], top: str, name: str | None = None) -> Netlist:
        """The netlist of a module with all that is in it and not apart; without a name it gets that of its contents."""
        parts: dict[str, Netlist] = {}
        boxes: dict[str, str] = {}
        texts: list[str] = []

        def renamed(kind: str) -> str:
            return f"\\unit{kind.removeprefix(top)}"

        def collect(kind: str) -> None:
            module = modules[kind]

            def child(found: re.Match[str]) -> str:
                inner = found["kind"]
                if inner not in modules:
                    raise SimhwError(f"{kind[1:]}: there is no module {inner[1:]} to synthesise")
                names = modules[inner].numbered
                connections = _CONNECTED.sub(lambda net: names[net.groups()], found["connections"])
                if any(fnmatchcase(found["instance"], pattern) for pattern in self.apart):
                    part = self.unit(modules, inner)
                    parts[part.name] = part
                    boxes[part.name] = modules[inner].blackbox(f"\\{part.name}")
                    return f"  cell \\{part.name} \\{found['instance']}\n{connections}"
                collect(inner)
                return f"  cell {renamed(inner)} \\{found['instance']}\n{connections}"

            texts.append(_Module(module.attributes, _CELL.sub(child, module.body), {}).text(renamed(kind)))

        collect(top)
        text = "".join([*boxes.values(), *texts])
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        name = name or f"{re.sub(r'_?[0-9]+$', '', top.rpartition('.')[2])}_{digest}"
        if (found := _found.get((name + digest, self.library.hash))) is None:
            json, verilog = run_yosys(
                _script(name), {"in.il": text, "cells.lib": self.library.text}, ["out.json", "out.v"]
            )
            found = Netlist(name, self.library, json, verilog, parts)
            _found[name + digest, self.library.hash] = found
        return found


def _script(name: str) -> list[str]:
    """Commands that map the module `unit` and give it a name.

    Flip-flops come before the logic, as a cell may lack the reset or the enable of one, which then is logic.
    """
    return [
        "libcache -scl -disable",  # else ABC's form of each library stays in the system's folder for temporary files
        "read_rtlil in.il",
        "hierarchy -check -top unit",
        "synth -flatten -noabc -top unit",
        "dfflibmap -liberty cells.lib",
        "opt",
        "abc -liberty cells.lib",
        "setundef -zero",
        "opt_clean -purge",
        f"rename unit {name}",
        f"select {name}",
        "write_json -selected out.json",
        "write_verilog -noattr -selected out.v",
    ]
