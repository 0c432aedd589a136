"""Simulating layers and whole traces on machines: the public calls behind ``simhw run`` and ``simhw compare``."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from simhw.bfloat16 import nonfinite_values
from simhw.errors import MachineError, SimhwError, TraceError, quoted
from simhw.files.named import split_name
from simhw.machine.machine import Machine, baseline_of, machine_of
from simhw.results.comparison import Comparison
from simhw.results.operation import OperationResult
from simhw.results.step import Results
from simhw.results.traces import TraceComparison, check_names
from simhw.results.values import known_values
from simhw.simulation.growth import growth
from simhw.simulation.options import SimulationOptions
from simhw.simulation.run import Simulation, baseline_for
from simhw.trace.layer import TENSORS, InMemory, Layer, Operation
from simhw.trace.reader import load_trace, trace_hash
from simhw.trace.trace import Trace
from simhw.version import __version__


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
        scales=layer.scales,
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
    baseline_compression: str | None = None,
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
    baseline_compression : {"same", "none", "bdc", "zero"}, optional
        Of what the baseline of the machine's file moves off chip; by default as that file says.
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
    options = SimulationOptions(sample, seed, progress, check, workers, batch)
    return simulated(trace, machine, options, baseline, baseline_compression)


def simulated(
    trace: Trace | str | PathLike[str],
    machine: Machine | str,
    options: SimulationOptions,
    baseline: Machine | str | None,
    baseline_compression: str | None,
) -> Results:
    """What `simulate` does, by its options in one."""
    started = time.monotonic()
    trace = trace if isinstance(trace, Trace) else load_trace(trace)
    machine = machine_of(machine)
    _check_finite(trace)
    chosen = _baseline(machine, baseline, baseline_compression)
    grown = growth(trace, options.batch) if options.batch is not None else None
    simulation = Simulation(trace, machine, options, baseline_for(trace, chosen, options, grown), grown)
    operations = list(simulation.run().values())
    provenance = _provenance(trace, simulation, chosen, started)
    values = tuple(map(known_values, trace.layers))
    return Results(operations, provenance, machine, chosen, grown.doubts if grown else (), values)


def compare(
    trace: Trace | str | PathLike[str],
    machines: Sequence[Machine | str],
    baseline: Machine | str | None = None,
    *,
    baseline_compression: str | None = None,
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
    options = SimulationOptions(sample, seed, progress, check, workers, batch)
    return _compared(trace, machines, options, baseline, baseline_compression)


def _compared(
    trace: Trace | str | PathLike[str],
    machines: Sequence[Machine | str],
    options: SimulationOptions,
    baseline: Machine | str | None,
    baseline_compression: str | None,
) -> Comparison:
    if isinstance(machines, str | Machine) or not isinstance(machines, Iterable) or not (machines := list(machines)):
        raise SimhwError(f"machines {quoted(machines)}: give a list of at least one machine")
    trace = trace if isinstance(trace, Trace) else load_trace(trace)
    return Comparison([simulated(trace, machine, options, baseline, baseline_compression) for machine in machines])


def compare_traces(
    traces: Mapping[str, Trace | str | PathLike[str]] | Sequence[Trace | str | PathLike[str]],
    machines: Sequence[Machine | str],
    baseline: Machine | str | None = None,
    *,
    baseline_compression: str | None = None,
    sample: float | None = None,
    seed: int = 0,
    progress: bool = True,
    check: bool = False,
    workers: int | None = None,
    batch: int | None = None,
) -> TraceComparison:
    """Simulate several training steps on the same machines, and set them beside the first one.

    Parameters
    ----------
    traces : mapping of name to trace, or sequence of traces
        At least two.  Without a mapping a trace is called as its file is, or as ``NAME=PATH`` says.
    machines
        As of `compare`; for this and all others see `simulate`.

    Raises
    ------
    SimhwError
        As of `compare`; or there are fewer than two traces, or two of one name.
    """
    if isinstance(traces, str | Trace | PathLike) or not isinstance(traces, Iterable):
        raise SimhwError(f"traces {quoted(traces)}: give a list of at least two traces, or a mapping of names to them")
    named = list(traces.items()) if isinstance(traces, Mapping) else [_named(trace) for trace in traces]
    names = [name for name, _ in named]
    check_names(names)
    options = SimulationOptions(sample, seed, progress, check, workers, batch)
    comparisons = [_compared(trace, machines, options, baseline, baseline_compression) for _, trace in named]
    return TraceComparison(dict(zip(names, comparisons, strict=True)))


def _named(trace: Trace | str | PathLike[str]) -> tuple[str, Trace | str]:
    """A trace and what it is called."""
    if isinstance(trace, Trace):
        return Path(trace.path).stem or "in memory", trace
    name, place = split_name(os.fspath(trace))
    return name or Path(place).stem, place


def _baseline(machine: Machine, baseline: Machine | str | None, compression: str | None) -> Machine | None:
    """What a machine is compared with.

    Raises
    ------
    MachineError
        It cannot be loaded, or its compression cannot be chosen.
    """
    if baseline is None:
        return baseline_of(machine, compression)
    named = machine_of(baseline)
    if compression is not None:
        raise MachineError(
            f"baseline compression {quoted(compression)}: {named.label} is named as the baseline, and is taken as it "
            "is; override its memory.compression"
        )
    return named


def _compression(machine: Machine | None) -> str:
    """What a machine does to what it moves off chip; empty where nothing of that is modelled."""
    memory = machine.modelled_memory if machine else None
    return memory.compression if memory else ""


def _provenance(
    trace: Trace, simulation: Simulation, baseline: Machine | None, started: float
) -> dict[str, str | int | float | None]:
    """Where results come from: trace, machines, how they were simulated, and with what."""
    machine, options, metadata = simulation.machine, simulation.options, trace.metadata
    return {
        "machine": machine.label,
        "machine_hash": machine.content_hash,
        "baseline": baseline.label if baseline else "",
        "baseline_hash": baseline.content_hash if baseline else "",
        "compression": _compression(machine),
        "baseline_compression": _compression(baseline),
        "trace": trace.path,
        "trace_hash": trace_hash(trace.path) if trace.path else "",
        "model": metadata.model,
        "dataset": metadata.dataset,
        "technique": metadata.technique,
        "step": metadata.step,
        "batch": metadata.batch,
        "grown_to": options.batch if options.batch is not None else "",
        "sampling": simulation.description,
        "seed": options.seed,
        "checked": options.check,
        "seconds": round(time.monotonic() - started, 3),
        "simhw": __version__,
        "numpy": np.__version__,
    }


def _check_finite(trace: Trace) -> None:
    """Tensors from a file are checked as they are read; those made in memory are checked here."""
    for layer in trace.layers:
        for tensor in TENSORS:
            source = layer.source(tensor) if layer.holds(tensor) else None
            if isinstance(source, InMemory) and (bad := nonfinite_values(source.values)):
                raise TraceError(f"layer {layer.name!r}, tensor {tensor.upper()}: {bad}")
