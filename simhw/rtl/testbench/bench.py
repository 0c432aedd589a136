"""What a testbench is made of."""

from typing import Any, NamedTuple

from simhw.bfloat16 import BF16Array
from simhw.rtl.testbench.memory import Memory


class Pass(NamedTuple):
    """Operands of a tile pass, as bfloat16 bit patterns: a row of `x` and of `y` (rows, K) for each that the hardware
    has; K in whole sets.
    """

    x: BF16Array
    y: BF16Array


class Bench(NamedTuple):
    """A testbench.

    Attributes
    ----------
    template : str
        Of the Verilog between the memories and the hardware; `facts` are what it asks for.
    memories : list of Memory
    ports : dict
        The hardware's ports, and what each is wired to; clock and reset are wired anyway.
    facts : dict
    sets : int
        Those that are compared, of all PEs.
    unit : str
        What they are called.
    """

    template: str
    memories: list[Memory]
    ports: dict[str, str]
    facts: dict[str, Any]
    sets: int
    unit: str
