"""Simulating products, layers and whole traces on machines: the public calls behind ``simhw run`` and ``simhw
compare``.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from simhw.bfloat16 import BF16Array, as_bfloat16, is_nonfinite, to_float32
from simhw.errors import ShapeError, SimhwError, TraceError, quoted
from simhw.machine.machine import Machine, baseline_of, machine_of
from simhw.memory.model import MemoryCost, memory_cost
from simhw.pe.passes import whole_tiles
from simhw.results.comparison import Comparison
from simhw.results.operation import OperationCost, OperationResult, useful_share
from simhw.results.step import Results
from simhw.simulation.engine import MOST_WORKERS, Check
from simhw.simulation.growth import grow_layer, growth
from simhw.simulation.run import Place, Simulation, charges_lanes
from simhw.trace.layer import TENSORS, InMemory, Layer, Operation
from simhw.trace.reader import load_trace, trace_hash
from simhw.trace.trace import Trace
from simhw.version import __version__

Y_ROWS = 256
"""Rows of Y that `simulate_gemm` lays out at a time, cut to whole tiles."""


@dataclass(frozen=True)
class GemmResult:
    """A product on one tile, a tile pass after another.

    Attributes
    ----------
    cycles : int
        Sum over the tile passes.
    passes : int
    counters : dict of str to int
        Lane-cycles by class and the other counters of the machine's PE.
    output : (M, N) float32 or None
        Values of the bfloat16 read-out, where asked for.
    """

    cycles: int
    passes: int
    counters: dict[str, int]
    output: npt.NDArray[np.float32] | None = None


def simulate_gemm(
    a: npt.ArrayLike, b: npt.ArrayLike, machine: Machine | str, output: bool = False, check: bool = False
) -> GemmResult:
    """Simulate ``a @ b.T`` on one tile of a machine.

    Parameters
    ----------
    a : (M, K) uint16 bfloat16 bit patterns or floating point, of NumPy or PyTorch
        The serial (FPRaker) or scheduled (TensorDash) operand; rows go to the tile's columns (FPRaker) or rows
        (TensorDash).
    b : (N, K)
        The other operand.  K is padded with zeros to whole sets, partial tiles with PEs that hold nobody up.
    machine : Machine, name or path, the latter two maybe with overrides (``fpraker:tile.rows=4``)
    output : bool
        Whether to compute the products' values.
    check : bool
        Whether to replay every pass step by step and compare cycles, counters and output bits.

    Raises
    ------
    ShapeError
        The operands are not two matrices with the same K, or hold NaN or infinity.
    CheckError
        The replay differs.
    """
    machine = machine_of(machine)
    x, y = (_operand(matrix, name, machine) for matrix, name in ((a, "a"), (b, "b")))
    if x.shape[1] != y.shape[1]:
        raise ShapeError(f"a {x.shape} and b {y.shape} differ in K, their last axis")
    x, y = _whole_sets(x, machine), _whole_sets(y, machine)
    tile = machine.tile
    step = max(1, Y_ROWS // tile.tile_y) * tile.tile_y
    cycles = passes = 0
    counters: Counter[str] = Counter()
    outputs = []
    for start in range(0, len(y), step):
        rows = whole_tiles([y[start : start + step]], tile.tile_y)
        result = tile.run(x, tile.prepare(rows), outputs=output or check)
        if check:
            _replay(machine)(x, rows, result, "product")
        cycles += result.cycles
        passes += result.passes
        counters.update(result.counters)
        outputs.append(result.outputs)
    values = to_float32(np.concatenate([part for part in outputs if part is not None], axis=1)) if output else None
    return GemmResult(cycles, passes, dict(counters), values)


def _operand(matrix: npt.ArrayLike, name: str, machine: Machine) -> BF16Array:
    """A matrix as bit patterns."""
    array = as_bfloat16(matrix, name, machine.values.conversion)
    if array.ndim != 2 or 0 in array.shape:
        raise ShapeError(f"{name} has shape {array.shape}: give a matrix of rows by K")
    bad = is_nonfinite(array)
    if bad.any():
        first = tuple(int(index) for index in np.argwhere(bad)[0])
        raise ShapeError(f"{name}: {int(bad.sum())} NaN or infinite values (first at index {first})")
    return array


def _whole_sets(rows: BF16Array, machine: Machine) -> BF16Array:
    """Rows (n, K) with K padded with zeros to whole sets."""
    return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, -rows.shape[1] % machine.tile.lanes))))


def simulate_layer(
    layer: Layer, operation: Operation, machine: Machine | str, exact: bool = True, seed: int = 0
) -> OperationResult:
    """Simulate one operation of a layer, beside the machine's baseline.

    Parameters
    ----------
    layer : Layer
    operation : {"forward", "input_grad", "weight_grad"}
    machine : Machine or name
    exact : bool
        Simulate every tile pass; else as `simulate` does by default: all where that is quick, or a sample good to one
        percent.
    seed : int

    Raises
    ------
    TraceError
        Training did not run the operation.
    """
    if not isinstance(layer, Layer):
        raise TraceError(f"{quoted(layer)} is no layer; give a Layer, such as one of a trace's layers")
    if operation not in layer.operations:
        raise TraceError(
            f"layer {layer.name!r}: training did not run {operation}; it ran {', '.join(layer.operations) or 'nothing'}"
        )
    a, w, g = (layer.source(tensor) if layer.holds(tensor) else None for tensor in TENSORS)
    part = Layer(
        layer.name,
        layer.kind,
        layer.geometry,
        a,
        w,
        g,
        operations=(operation,),
        shapes=layer.shapes,
        statistics=layer.statistics,
        blocks=layer.blocks,
        blocks_by_size=layer.blocks_by_size,
    )
    return simulate(Trace([part]), machine, sample=1.0 if exact else None, seed=seed, progress=False).operations[0]


def simulate(
    trace: Trace | str | PathLike[str],
    machine: Machine | str,
    sample: float | None = None,
    seed: int = 0,
    progress: bool = True,
    *,
    baseline: Machine | str | None = None,
    check: bool = False,
    workers: int | None = None,
    batch: int | None = None,
) -> Results:
    """Simulate a training step on a machine and on its baseline.

    Parameters
    ----------
    trace : Trace, path or name
    machine : Machine or name
    sample : None or fraction
        1.0 simulates every tile pass; a smaller fraction a stratified random set of them (at least eight of each layer
        and operation).  None: everything where that takes under about a minute, else a sample that reaches a 95%
        confidence interval of one percent of the total cycles.  A sampled trace is always simulated whole.
    seed : int
        Which sample.
    progress : bool
        Show a bar where standard error is a terminal.
    baseline : Machine or name, optional
        In place of the one that the machine's file names, which is lowered as the machine is.
    check : bool
        Replay every pass step by step and compare cycles, counters and output bits (slow).
    workers : int, optional
        Threads, at most 1,024; by default one per processor core.
    batch : int, optional
        Grow the step to so many images, whose values are those of the captured ones again and again; weights are not
        repeated.  A multiple of the images that the trace holds.  `Results.doubts` names the layers that are unlike
        others.

    Raises
    ------
    TraceError, MachineError
        The trace or machine cannot be used.
    CheckError
        A replay differs.
    """
    started = time.monotonic()
    trace = trace if isinstance(trace, Trace) else load_trace(trace)
    machine = machine_of(machine)
    if sample is not None and not (isinstance(sample, float | int | np.number) and 0 < sample <= 1):
        raise SimhwError(f"sample {quoted(sample)}: give a fraction above 0 and at most 1")
    seed = _integer("seed", seed, 0)
    workers = None if workers is None else _integer("workers", workers, 1, MOST_WORKERS)
    batch = None if batch is None else _integer("batch", batch, 1)
    _check_finite(trace)
    chosen = baseline_of(machine) if baseline is None else machine_of(baseline)
    costs: Mapping[Place, OperationCost] | None = None
    grown = growth(trace, batch) if batch is not None else None
    useful: Mapping[Place, float] | None = None
    if chosen is not None and (not chosen.tile.fixed_time or charges_lanes(chosen)):
        other = Simulation(trace, chosen, sample, seed, progress, workers, growth=grown).run()
        if chosen.tile.fixed_time:
            useful = {place: useful_share(result.counters, result.classes) for place, result in other.items()}
        else:
            costs = {place: result.cost for place, result in other.items()}
    replay = _replay(machine) if check else None
    simulation = Simulation(
        trace,
        machine,
        sample,
        seed,
        progress,
        workers,
        check=replay,
        baseline=chosen,
        baseline_costs=costs,
        baseline_useful=useful,
        growth=grown,
    )
    operations = list(simulation.run().values())
    provenance = {
        "machine": machine.label,
        "machine_hash": machine.content_hash,
        "baseline": chosen.label if chosen else "",
        "baseline_hash": chosen.content_hash if chosen else "",
        "trace": trace.path,
        "trace_hash": trace_hash(trace.path) if trace.path else "",
        "model": trace.metadata.model,
        "dataset": trace.metadata.dataset,
        "technique": trace.metadata.technique,
        "step": trace.metadata.step,
        "batch": trace.metadata.batch,
        "grown_to": batch if batch is not None else "",
        "sampling": simulation.description,
        "seed": seed,
        "checked": check,
        "seconds": round(time.monotonic() - started, 3),
        "simhw": __version__,
        "numpy": np.__version__,
    }
    return Results(operations, provenance, machine, chosen, grown.doubts if grown else ())


def compare(
    trace: Trace | str | PathLike[str],
    machines: Sequence[Machine | str],
    baseline: Machine | str | None = None,
    *,
    sample: float | None = None,
    seed: int = 0,
    progress: bool = True,
    check: bool = False,
    workers: int | None = None,
    batch: int | None = None,
) -> Comparison:
    """Simulate a training step on several machines; see `simulate` for the parameters.

    Raises
    ------
    SimhwError
        As of `simulate`; or the machines are no list, or an empty one.
    """
    if isinstance(machines, str | Machine) or not isinstance(machines, Iterable) or not (machines := list(machines)):
        raise SimhwError(f"machines {quoted(machines)}: give a list of at least one machine")
    trace = trace if isinstance(trace, Trace) else load_trace(trace)
    options: dict[str, Any] = {
        "sample": sample,
        "seed": seed,
        "progress": progress,
        "check": check,
        "workers": workers,
        "batch": batch,
    }
    return Comparison([simulate(trace, machine, baseline=baseline, **options) for machine in machines])


def timeline(trace: Trace, results: Results, layer: str, operation: Operation, record: int) -> MemoryCost:
    """Run an operation of a simulated step through the memories once more, and keep what every unit did.

    Tiles are as busy as in `results`, sampled or grown as they are; so the operation takes exactly as long.

    Parameters
    ----------
    trace : Trace
    results : Results
        Of this trace.
    layer : str
        By name; the first where several have it.
    operation : {"forward", "input_grad", "weight_grad"}
    record : int
        Containers on the DRAM's channels to keep at the most, at least 1.

    Raises
    ------
    TraceError
        There is no such layer, or training did not run the operation.
    SimhwError
        Memories are ideal.
    """
    item = next((each for each in results.operations if (each.layer, each.operation) == (layer, operation)), None)
    if item is None:
        raise TraceError(f"{trace.path or 'the trace'}: training ran no {operation} of a layer {layer!r}")
    cost = item.cost.memory
    if cost is None:
        raise SimhwError(f"{results.machine.label}: memories are ideal, so there is no timeline of them")
    # Layers may share a name, and not all ran every operation.
    index, found = next(
        (i, each) for i, each in enumerate(trace.layers) if each.name == layer and operation in each.operations
    )
    if batch := results.provenance["grown_to"]:
        grown = growth(trace, batch)
        found = grow_layer(found, grown.axes[index], grown.factor)
    return memory_cost(found, operation, results.machine, cost.shapes, cost.tile_cycles, record)


def _replay(machine: Machine) -> Check:
    from simhw.pe.check import check_passes

    def check(*arguments: Any) -> None:
        check_passes(machine, *arguments)

    return check


def _integer(name: str, value: object, least: int, most: float = inf) -> int:
    """An option that is a whole number from `least` to `most`."""
    if not isinstance(value, int | np.integer) or not least <= value <= most:
        raise SimhwError(
            f"{name} {quoted(value)}: give an integer of at least {least}{f' and at most {most}' if most < inf else ''}"
        )
    return int(value)


def _check_finite(trace: Trace) -> None:
    """Tensors from a file are checked as they are read; those made in memory are checked here."""
    for layer in trace.layers:
        for tensor in TENSORS:
            if layer.holds(tensor) and isinstance(source := layer.source(tensor), InMemory):
                bad = is_nonfinite(source.values)
                if bad.any():
                    first = tuple(int(index) for index in np.argwhere(bad)[0])
                    raise TraceError(
                        f"layer {layer.name!r}, tensor {tensor.upper()}: {int(bad.sum())} NaN or infinite values "
                        f"(first at index {first})"
                    )
