"""How the costs of an SRAM follow its size: by a table of CACTI's, relative to the size that a machine's costs are of.

A machine's file states costs for its own banks (`sram`, `memory_area_mm2`), and in `sram_costs_of` which those are.  A
bank of another size costs as much more or less as CACTI's does: between two sizes of the table by straight lines
between logarithms, beyond its ends on along the last one.  Source: spec page energy.md;
machine/library/parts/sram-sizes.yaml.
"""

from functools import lru_cache
from math import exp, log
from typing import Literal

from simhw.machine.costs import Cells, Cost
from simhw.machine.described import Section
from simhw.machine.files import read_machine, validated

Quantity = Literal["read_pj", "write_pj", "leakage_mw", "area_mm2"]
BITS = (128, 256, 512)
"""Of an access, for which there are tables."""


class _Costs(Section):
    read_pj: list[Cost]
    write_pj: list[Cost]
    leakage_mw: list[Cost]
    area_mm2: list[Cost]


class _Sizes(Section):
    bytes: list[int]
    hp: _Costs
    lop: _Costs
    lstp: _Costs


class _File(Section):
    sram_sizes: dict[Literal["b128", "b256", "b512"], _Sizes]


@lru_cache(maxsize=1)
def _tables() -> _File:
    part = "parts/sram-sizes"
    return validated(_File, read_machine(part)[0], part)


def within_table(size_bytes: int, access_bytes: int) -> bool:
    """Whether a memory of such accesses, of which there is a table, is no smaller and no larger than all of it."""
    sizes = _of_bits(access_bytes).bytes
    return sizes[0] <= size_bytes <= sizes[-1]


def cacti_cost(quantity: Quantity, cells: Cells, size_bytes: int, access_bytes: int) -> float:
    """Cost of one memory by the table [pJ of an access, mW or mm^2]; `access_bytes` is one of `BITS` / 8."""
    of_bits = _of_bits(access_bytes)
    sizes, costs = of_bits.bytes, getattr(getattr(of_bits, cells), quantity)
    last = len(sizes) - 2
    at = min(max(sum(size <= size_bytes for size in sizes) - 1, 0), last)
    slope = log(costs[at + 1] / costs[at]) / log(sizes[at + 1] / sizes[at])
    return float(costs[at] * exp(slope * log(size_bytes / sizes[at])))


def _of_bits(access_bytes: int) -> _Sizes:
    tables = _tables().sram_sizes
    return {128: tables["b128"], 256: tables["b256"], 512: tables["b512"]}[8 * access_bytes]
