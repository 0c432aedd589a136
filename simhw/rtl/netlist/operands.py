"""Operands of processing elements as the words that their netlists' ports take, a stream a PE.

Cycle 0 resets, where there is a reset.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array
from simhw.rtl.netlist.circuit import Circuit, Indices
from simhw.rtl.netlist.simulation import STREAMS, Words, packed

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sets:
    """Sets of operands of some PEs.

    Attributes
    ----------
    a, b : (streams, sets, lanes) uint16
        bfloat16 bit patterns.
    restart, last : (sets,) bool
        Whether a set begins a reduction, or ends one.
    """

    a: BF16Array
    b: BF16Array
    restart: Flags
    last: Flags

    @staticmethod
    def of_passes(passes: list[tuple[BF16Array, BF16Array]], lanes: int) -> "Sets":
        """Of tile passes of (columns, K) against (rows, K), one after the other: a stream is a PE, column by column."""
        parts_a, parts_b = [], []
        restart: list[bool] = []
        for x, y in passes:
            sets = x.shape[1] // lanes
            shape = len(x), len(y), sets, lanes
            parts_a.append(np.broadcast_to(x.reshape(len(x), 1, sets, lanes), shape).reshape(-1, sets, lanes))
            parts_b.append(np.broadcast_to(y.reshape(1, len(y), sets, lanes), shape).reshape(-1, sets, lanes))
            restart += [True] + [False] * (sets - 1)
        flags = np.array(restart)
        return Sets(np.concatenate(parts_a, 1), np.concatenate(parts_b, 1), flags, np.roll(flags, -1))

    @staticmethod
    def beside(parts: list["Sets"]) -> "Sets":
        """More streams, whose reductions are as long."""
        a, b = (np.concatenate([getattr(part, name) for part in parts]) for name in ("a", "b"))
        return Sets(a, b, parts[0].restart, parts[0].last)


def fpraker_inputs(circuit: Circuit, sets: Sets, start: Indices, cycles: int) -> dict[str, Words]:
    """Inputs of a `simhw.rtl.fpraker.element.LonePE`.

    A set is offered in the cycle before the one in which it begins, and its operands stay until another one is offered.

    Parameters
    ----------
    start : (streams, sets) int64
        In which cycle each set begins, 2 at the earliest.
    cycles : int
        To simulate.
    """
    offered = np.zeros((cycles, len(start)), bool)
    offered[start - 1, np.arange(len(start))[:, None]] = True
    which = np.maximum(np.cumsum(offered, axis=0) - 1, 0)
    return _ports(circuit, sets, which) | {
        "valid": packed(offered.astype(np.uint8), 1),
        "restart": packed((sets.restart[which] & offered).astype(np.uint8), 1),
        "last": packed((sets.last[which] & offered).astype(np.uint8), 1),
    }


def bitparallel_inputs(circuit: Circuit, sets: Sets, latency: int) -> dict[str, Words]:
    """Inputs of a `simhw.rtl.bitparallel.BitParallel`: a set in each cycle from 1 on, and `latency` cycles more."""
    number = sets.a.shape[1]
    which = np.clip(np.arange(1 + number + latency) - 1, 0, number - 1)
    enabled = (np.arange(len(which)) >= 1) & (np.arange(len(which)) <= number)
    every = np.ones(len(sets.a), bool)
    ports = _ports(circuit, sets, which[:, None] * every)
    return {{"a": "x", "b": "y"}.get(port, port): words for port, words in ports.items()} | {
        "enable": packed((enabled[:, None] & every).astype(np.uint8), 1),
        "first": packed((sets.restart[which][:, None] & every).astype(np.uint8), 1),
        "last": packed((sets.last[which][:, None] & every).astype(np.uint8), 1),
    }


def _ports(circuit: Circuit, sets: Sets, which: Indices) -> dict[str, Words]:
    """Operands of the sets `which` (cycles, streams), and the reset."""
    streams = np.arange(which.shape[1])
    ports = {
        port: np.concatenate([packed(values[streams, which, lane], 16) for lane in range(values.shape[2])], axis=1)
        for port, values in (("a", sets.a), ("b", sets.b))
    }
    if "rst" in circuit.inputs:
        ports["rst"] = np.zeros((len(which), 1, which.shape[1] // STREAMS), np.uint64)
        ports["rst"][0] = ~np.uint64(0)
    return ports
