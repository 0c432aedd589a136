"""What a toggle costs: the capacitance that it charges or discharges.

A toggle of a net moves half of C V^2, where C is what hangs on the net: the inputs of the cells that it drives, the
wire to each of them, and what lies in the driving cell itself, its drains and inner nodes.  All cells have one supply,
so C alone compares circuits.  Energies are in the library's unit of capacitance, of which one is an inverter's input.

- The inputs are those of the library.
- The wire to one input is taken as one inverter's input: some 10 um at 0.2 fF/um, where a minimal inverter's input is
  1 to 2 fF at 65 nm.
- The inside of a cell grows with its transistors: one unit for four of them, a unit of area.  By it an inverter has
  half of its input's capacitance at its output (logical effort takes 0.5 to 1), and cells of two stages have more.

A clock edge charges the clock's input, its wire and as much within the flip-flop as a change of its state: about half
of its transistors have the clock at their gates.  There are two edges a cycle.  The tree of buffers above is left out,
and so is leakage: both run on in every cycle.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simhw.rtl.netlist.circuit import Circuit


@dataclass(frozen=True)
class LoadModel:
    """Capacitances [the library's unit] that the library does not have.

    Attributes
    ----------
    wire : float
        Of the wire to one input of a cell.
    inside : float
        Within the driving cell, per unit of its area.
    """

    wire: float = 1.0
    inside: float = 1.0

    def of_toggles(self, circuit: Circuit) -> npt.NDArray[np.float64]:
        """(nets,): energy of a toggle of each net."""
        areas = np.array([0.0 if cell is None else cell.area for cell in circuit.cells])
        return circuit.loads + self.wire * circuit.sinks + self.inside * areas

    def of_clock(self, circuit: Circuit) -> float:
        """Energy of the flip-flops' clock in a cycle."""
        first = circuit.first_gate - len(circuit.next_states)
        areas = sum(cell.area for cell in circuit.cells[first : circuit.first_gate] if cell is not None)
        return 2 * (circuit.clock_load + self.wire * len(circuit.next_states) + self.inside * areas)
