"""Hardware as Verilog, through RTLIL and Yosys.

Names, units and their hierarchy stay as they are in Amaranth; the clock and the reset are ports, ``clk`` and ``rst``.
"""

from amaranth.back import rtlil
from amaranth.lib import wiring

from simhw.rtl.synthesis.yosys import run_yosys


def verilog(component: wiring.Component, name: str) -> str:
    """The text of a component as Verilog-2001, its top module called `name`.

    Raises
    ------
    SimhwError
        Yosys is missing.
    """
    # Without processes: simulators do not agree on when those run first.  Constants and wires to nowhere go.
    script = [
        "read_rtlil design.il",
        "proc -norom",
        "pmuxtree",
        "opt_expr",
        "clean",
        "write_verilog -norename -noattr design.v",
    ]
    (text,) = run_yosys(script, {"design.il": rtlil.convert(component, name=name)}, ["design.v"])
    # Without the first line, which names a build of Yosys.
    return text.partition("\n")[2].lstrip()
