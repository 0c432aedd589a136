"""Cycles of a circuit for many streams of operands at once: 64 streams a word, a bit each.

Of every net's toggles two counts can be had, between which those of real gates lie.  With no delay a net goes from the
value on which it settles in one cycle to that of the next, and no glitch is seen.  With one unit of delay for every
gate all glitches are seen, those too that real gates would swallow because they are too short.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from simhw.errors import ShapeError
from simhw.rtl.netlist.circuit import Circuit, Indices
from simhw.rtl.netlist.kernel import run_cycles

Words = npt.NDArray[np.uint64]
Delay = Literal["none", "zero", "unit"]
"""How toggles are counted: not at all, without delays, with one unit a gate."""
STREAMS = 64
"""Streams of a word."""


@dataclass(frozen=True, eq=False)
class Activity:
    """What a circuit did.

    Attributes
    ----------
    outputs : dict of str to (cycles, bits, words) uint64
        Settled values of the output ports in each cycle.
    toggles : (nets,) int64
        Over all cycles but the first, which follows none, and all streams.
    energies : (cycles, streams) float64
        Weights of the nets that toggled on the way into each cycle; 0 in the first one.  Empty without weights.
    """

    outputs: dict[str, Words]
    toggles: Indices
    energies: npt.NDArray[np.float64]


class Simulator:
    """A circuit that keeps its state from one call to the next.

    Parameters
    ----------
    circuit : Circuit
    words : int
        So many times 64 streams.
    delay : {"none", "zero", "unit"}
    weights : (nets,) float64, optional
        What a toggle of each net counts for in `Activity.energies`.
    """

    def __init__(
        self,
        circuit: Circuit,
        words: int,
        delay: Delay = "none",
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.circuit, self.words, self.delay = circuit, words, delay
        self.weights = np.zeros(0) if weights is None else np.asarray(weights, np.float64)
        self._values = np.zeros((circuit.program.rows, words), np.uint64)
        self._states = np.where(circuit.initial[:, None], ~np.uint64(0), np.uint64(0)) * np.ones(words, np.uint64)
        self._values[1] = ~np.uint64(0)
        self._began = False
        # All gates in order; then those that may change at each time, latest first: a gate then sees what its inputs
        # were a unit ago.
        gates = [np.arange(circuit.program.gates)]
        if delay == "unit":
            gates += [np.flatnonzero(at[circuit.first_gate :])[::-1] for at in circuit.program.levels().T[1:]]
        self._at = np.cumsum([0, *map(len, gates)])
        self._gates = np.concatenate(gates)

    def run(self, inputs: dict[str, Words]) -> Activity:
        """Simulate cycles.

        Parameters
        ----------
        inputs : dict of str to (cycles, bits, words) uint64
            Of every input port, as `packed` gives them.
        """
        circuit = self.circuit
        if inputs.keys() != circuit.inputs.keys():
            raise ShapeError(f"the circuit's input ports are {sorted(circuit.inputs)}, not {sorted(inputs)}")
        cycles = {len(words) for words in inputs.values()}
        for port, nets in circuit.inputs.items():
            if len(cycles) != 1 or inputs[port].shape[1:] != (len(nets), self.words):
                raise ShapeError(
                    f"port {port}: cycles x {len(nets)} bits x {self.words} words are needed, and as many cycles for "
                    "every port"
                )
        stimulus = np.concatenate([inputs[port] for port in circuit.inputs], axis=1)
        observed = np.concatenate([*circuit.outputs.values(), np.zeros(0, np.int64)])
        seen = np.zeros((len(stimulus), len(observed), self.words), np.uint64)
        toggles = np.zeros(circuit.nets, np.int64)
        energies = np.zeros((len(stimulus), STREAMS * self.words if len(self.weights) else 0))
        program = circuit.program
        run_cycles(
            program.first,
            program.operands,
            program.coefficients,
            circuit.first_gate,
            circuit.next_states,
            self._values,
            self._states,
            np.ascontiguousarray(stimulus),
            observed,
            seen,
            self.delay != "none",
            self._gates,
            self._at,
            self._began,
            toggles,
            self.weights,
            energies,
        )
        self._began = True
        parts = np.cumsum([len(nets) for nets in circuit.outputs.values()])[:-1]
        return Activity(dict(zip(circuit.outputs, np.split(seen, parts, axis=1), strict=True)), toggles, energies)


def packed(values: npt.ArrayLike, bits: int) -> Words:
    """Numbers of streams as words, a bit of a number a row.

    Parameters
    ----------
    values : (cycles, streams) of integers
        A multiple of 64 streams.
    bits : int
        Of each number.

    Returns
    -------
    (cycles, bits, words) uint64
        The lowest bit first; the first stream is the lowest bit of the first word.
    """
    numbers = np.asarray(values)
    cycles, streams = numbers.shape
    if streams % STREAMS:
        raise ShapeError(f"{streams} streams do not fill words of {STREAMS}")
    every = np.empty((cycles, bits, streams // 8), np.uint8)
    for bit in range(bits):
        every[:, bit] = np.packbits((numbers >> numbers.dtype.type(bit)) & numbers.dtype.type(1), 1, "little")
    return every.view("<u8").astype(np.uint64)


def unpacked(words: Words, signed: bool = False) -> npt.NDArray[np.int64]:
    """(cycles, streams): the numbers whose bits are (cycles, bits, words)."""
    cycles, bits, columns = words.shape
    numbers = np.zeros((cycles, STREAMS * columns), np.int64)
    for bit in range(bits):
        rows = np.ascontiguousarray(words[:, bit]).astype("<u8").view(np.uint8)
        place = np.int64(-(1 << bit) if signed and bit == bits - 1 else 1 << bit)
        numbers += np.unpackbits(rows, axis=1, bitorder="little").astype(np.int64) * place
    return numbers
