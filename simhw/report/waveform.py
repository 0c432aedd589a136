"""The lanes of one tile pass as a waveform (VCD), for a viewer such as GTKWave: what fires when, and why a lane waits.

The file is written from the replay of the pass, after that has been compared with the machine's kernel.  Value Change
Dump is defined by IEEE 1364; text values (`$var string`) are the extension that GTKWave and others read.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import IO, Any

import numpy as np
from vcd import VCDWriter

from simhw.bfloat16 import BF16Array, is_nonfinite
from simhw.errors import MachineError, ShapeError, SimhwError, TraceError, listed
from simhw.files.writing import replacing
from simhw.machine.machine import Machine
from simhw.pe.check import check_passes
from simhw.pe.passes import whole_tiles
from simhw.pe.signals import NOTHING, Signals
from simhw.simulation.cells import Strip, WorkUnit, block_rows, unit_rows
from simhw.simulation.strata import PassStratum, plan_operation
from simhw.trace.layer import OPERATIONS, Operation
from simhw.trace.trace import Trace
from simhw.version import __version__

MOST_CYCLES = 4096
"""Cycles that a file holds at most unless asked for more; the default FPRaker tile takes about 7 KB a cycle."""
TIMESCALES = [Fraction(magnitude, 1000**power) for power in range(6) for magnitude in (100, 10, 1)]
TIME_UNITS = ("s", "ms", "us", "ns", "ps", "fs")
FINE_ENOUGH = 1000
"""Time steps that half a clock period has at least where it is no whole number of any."""


@dataclass(frozen=True)
class Waveform:
    """What was written: cycles of the pass, those of them in the file, and how many signals change in it."""

    cycles: int
    written: int
    signals: int


def write_waveform(
    path: str | os.PathLike[str],
    machine: Machine,
    x: BF16Array,
    y: BF16Array,
    *,
    limit: int = MOST_CYCLES,
    title: str = "tile pass",
) -> Waveform:
    """Write the waveform of one tile pass.

    Every state of a lane lasts whole cycles; cycle n begins with the clock's n-th rising edge, and ``tile.cycle`` is n.
    The file ends with the pass, so that the last value of ``tile.cycle`` is its duration, or after `limit` cycles,
    which the header then says.  No date is written: the same pass gives the same file.

    Parameters
    ----------
    path : path
        The caller checks its suffix.
    machine : Machine
    x : (rows, K) uint16
        bfloat16 bit patterns of the serial (FPRaker) or scheduled (TensorDash) operand, at most the rows of one tile.
    y : (rows, K) uint16
        The other operand.  K is padded with zeros to whole sets.
    limit : int
        Most cycles to write; memory and file grow with it.
    title : str
        What the pass is, for the file's header.

    Raises
    ------
    ShapeError
        The operands are not two matrices of uint16 with the same K, fit no tile, or hold NaN or infinity; or `limit` <
        1.
    MachineError
        The clock is too fast for the femtoseconds of the format.
    CheckError
        The machine's kernel and the replay differ.
    SimhwError
        The file cannot be written.
    """
    if limit < 1:
        raise ShapeError(f"a waveform of {limit} cycles: give a limit of at least 1")
    tile = machine.tile
    x, y = _operand(x, "x", tile.tile_x, tile.lanes), _operand(y, "y", tile.tile_y, tile.lanes)
    if x.shape[1] != y.shape[1]:
        raise ShapeError(f"x and y differ in K: {x.shape[1]} and {y.shape[1]} values in whole sets")
    step, half_period = _time_step(machine)
    parallel = whole_tiles([y], tile.tile_y)
    passes = tile.run(x, tile.prepare(parallel), outputs=True)
    check_passes(machine.pe, x, parallel, passes, title)
    cycles = passes.cycles
    written = min(cycles, limit)
    cut = f"; cut: the first {written} of {cycles} cycles" if written < cycles else f"; {cycles} cycles"
    comment = f"{title} on {machine.label}: {len(x)} rows of X, {len(y)} rows of Y, K = {x.shape[1]}{cut}"
    # A header's text ends at the first $end.  The format is ASCII (IEEE 1364), names of layers need not be.
    comment = " ".join(comment.replace("$", "_").split())
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="ascii", errors="backslashreplace", newline="\n") as file,
    ):
        signals = _write(file, step, half_period, comment, list(machine.pe.signals(x, parallel, written)), written)
    return Waveform(cycles, written, signals)


def _operand(rows: BF16Array, name: str, most: int, lanes: int) -> BF16Array:
    """Rows with K padded to whole sets."""
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype != np.uint16 or 0 in rows.shape:
        raise ShapeError(f"{name}: give a matrix (rows, K) of uint16 bfloat16 bit patterns")
    if len(rows) > most:
        raise ShapeError(f"{name} has {len(rows)} rows: a tile pass of this machine takes at most {most}")
    bad = is_nonfinite(rows)
    if bad.any():
        raise ShapeError(
            f"{name}: {int(bad.sum())} NaN or infinite values (first at index {tuple(np.argwhere(bad)[0].tolist())})"
        )
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, -rows.shape[1] % lanes))))


def _time_step(machine: Machine) -> tuple[str, Fraction]:
    """The timescale, and half a clock period in its steps.

    The coarsest that has half a period as a whole number, else the coarsest that divides it finely enough.
    """
    half = 1 / (2 * Fraction(machine.values.clock_hz))
    exact = [step for step in TIMESCALES if (half / step).denominator == 1]
    fine = [step for step in TIMESCALES if half / step >= FINE_ENOUGH]
    if not exact and half < TIMESCALES[-1]:
        raise MachineError(
            f"{machine.label}: a clock of {machine.values.clock_hz:g} Hz is too fast for a waveform's femtoseconds"
        )
    step = (exact or fine or TIMESCALES[-1:])[0]
    power, place = divmod(TIMESCALES.index(step), 3)
    return f"{(100, 10, 1)[place]} {TIME_UNITS[power]}", half / step


def _write(file: IO[str], step: str, half_period: Fraction, comment: str, groups: list[Signals], cycles: int) -> int:
    """The file; gives the number of signals, clock and cycle counter included."""
    writer = VCDWriter(
        file, timescale=step, date="", comment=comment, version=f"simhw {__version__}", check_values=False
    )
    clock = writer.register_var(("tile",), "clock", "wire", 1)
    cycle = writer.register_var(("tile",), "cycle", "wire", max(1, cycles.bit_length()))
    changing = [_register(writer, group) for group in groups]
    for now in range(cycles):
        # Every edge to the nearest step, so that errors do not add up.
        rise, fall = round(2 * now * half_period), round((2 * now + 1) * half_period)
        writer.change(clock, rise, 1)
        writer.change(cycle, rise, now)
        for variables, shown, changes in changing:
            for index in np.flatnonzero(changes[now]):
                writer.change(variables[index], rise, shown(now, index))
        writer.change(clock, fall, 0)
    end = round(2 * cycles * half_period)
    writer.change(clock, end, 1)
    writer.change(cycle, end, cycles)
    writer.close(end)
    return 2 + sum(len(group.paths) for group in groups)


def _register(writer: VCDWriter, group: Signals) -> tuple[list[Any], Any, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Register the signals of a group: (variables, what shows a value, where (cycles, signals) values change)."""
    values, texts = group.values, group.texts
    variables = []
    for (*scope, name), *others in group.paths:
        kind: dict[str, Any] = (
            {"var_type": "string", "init": texts[0]} if texts else {"var_type": "wire", "size": group.bits}
        )
        variables.append(writer.register_var(tuple(scope), name, **kind))
        for *other_scope, other in others:
            writer.register_alias(tuple(other_scope), other, variables[-1])
    changes = np.ones(values.shape, np.bool_)
    changes[1:] = values[1:] != values[:-1]

    def shown(now: int, index: int) -> str | int:
        value = int(values[now, index])
        return texts[value] if texts else "x" if value == NOTHING else value

    return variables, shown, changes


def one_pass(
    trace: Trace, layer_name: str, operation: Operation, machine: Machine, index: int = 0
) -> tuple[BF16Array, BF16Array]:
    """Rows of X and of Y of one tile pass of a trace, as `write_waveform` takes them.

    Passes are numbered from 0 product by product, tile of X by tile of X, tile of Y by tile of Y; those of a sampled
    layer block by block.  Of a machine that simulates both choices of its X operand (`oracle`), the first is meant.

    Parameters
    ----------
    trace : Trace
    layer_name : str
    operation : {"forward", "input_grad", "weight_grad"}
    machine : Machine
    index : int

    Returns
    -------
    (rows of X, K) uint16, (rows of Y, K) uint16
        K in whole sets, without those that a pass skips (`padding: skip`).

    Raises
    ------
    TraceError
        No such layer or pass, an operation that training did not run, a pass that has nothing to execute, or a sampled
        block that the tile does not divide.
    SimhwError
        No such operation.
    """
    where, strata = _strata(trace, layer_name, operation, machine)
    if index >= 0:
        rows = _pass_of(strata, index)
        if rows is not None:
            if not rows[0].shape[1]:
                raise TraceError(f"{where}: tile pass {index} has nothing to execute: all of it is padding")
            return rows
    held = sum(1 for stratum in strata for _ in _block_passes(stratum)) + sum(
        s.plan.passes for s in strata if not s.plan.family.sampled
    )
    kind = "sampled tile passes" if any(stratum.plan.family.sampled for stratum in strata) else "tile passes"
    raise TraceError(f"{where}: no tile pass {index}; there are {held} {kind}, numbered from 0")


def _strata(trace: Trace, layer_name: str, operation: Operation, machine: Machine) -> tuple[str, list[PassStratum]]:
    """Where the passes of a layer's operation are, for an error, and the passes."""
    if operation not in OPERATIONS:
        raise SimhwError(f"no operation {operation!r}; there are {', '.join(OPERATIONS)}")
    numbers = [number for number, layer in enumerate(trace.layers) if layer.name == layer_name]
    where = trace.path or "the trace"
    if not numbers:
        names = [layer.name for layer in trace.layers]
        raise TraceError(f"{where}: no layer {layer_name!r}; there are {listed(names) or 'none'}")
    layer = trace.layers[numbers[0]]
    run = plan_operation(layer, operation, machine, exact=True, layer_index=numbers[0])
    where = f"{where}: layer {layer_name!r}, operation {operation}"
    return where, run.candidates[0].strata


def tile_passes(
    trace: Trace, layer_name: str, operation: Operation, machine: Machine
) -> Iterator[tuple[BF16Array, BF16Array]]:
    """Rows of X and of Y of one tile pass after the other, in `one_pass`'s order; those without work are left out.

    Raises
    ------
    TraceError, SimhwError
        As `one_pass` does of a layer and an operation.
    """
    _, strata = _strata(trace, layer_name, operation, machine)
    for index in count():
        rows = _pass_of(strata, index)
        if rows is None:
            return
        if rows[0].shape[1]:
            yield rows


def _pass_of(strata: list[PassStratum], index: int) -> tuple[BF16Array, BF16Array] | None:
    """Pass `index` of all strata in order, None where there are fewer."""
    for stratum in strata:
        plan = stratum.plan
        if plan.family.sampled:
            held = 0
            for x, y in _block_passes(stratum):
                if held == index:
                    return x, y
                held += 1
            index -= held
        elif index < plan.passes:
            x_tiles, y_tiles = plan.tiles
            number, place = divmod(index, x_tiles * y_tiles)
            x_tile, y_tile = divmod(place, y_tiles)
            product = plan.products[number]
            unit = WorkUnit((Strip(product, x_tile, x_tile + 1),), (Strip(product, y_tile, y_tile + 1),))
            ((parallel, xs),) = unit_rows(plan, unit, y_values=True)
            (x,) = xs
            return x, parallel.rows[parallel.real]
        else:
            index -= plan.passes
    return None


def _block_passes(stratum: PassStratum) -> Iterator[tuple[BF16Array, BF16Array]]:
    """(rows of X, rows of Y) of every tile pass of a sampled stratum's blocks."""
    tile = stratum.plan.tile
    for block in stratum.blocks:
        for parallel, blocks_of_x in block_rows(stratum.plan, block):
            for rows in blocks_of_x:
                for first_x in range(0, len(rows), tile.tile_x):
                    for first_y in range(0, len(parallel.rows), tile.tile_y):
                        y = slice(first_y, first_y + tile.tile_y)
                        yield rows[first_x : first_x + tile.tile_x], parallel.rows[y][parallel.real[y]]
