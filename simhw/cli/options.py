"""What `simhw run`, `compare` and `explain` have in common: their options, every check of them, and the simulations."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simhw.errors import SimhwError, quoted
from simhw.report.outputs import every as outputs

if TYPE_CHECKING:
    from simhw.machine.machine import Machine, MachineFile
    from simhw.results.step import Results
    from simhw.trace.trace import Trace


@dataclass(frozen=True)
class Request:
    """Options that have been checked: what to simulate on what.

    Attributes
    ----------
    name : str
        What the user calls the trace, else its file's name.
    trace : Trace
    pairs : list of (Machine, Machine or None)
        Machines and their baselines.
    sample : float or None
    batch : int or None
        Images that the step is grown to.
    """

    name: str
    trace: "Trace"
    pairs: "list[tuple[Machine, Machine | None]]"
    sample: float | None
    batch: int | None


def add_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the options that `run` and `compare` take, and those of the files that this one writes."""
    add_simulation_options(parser, several=command == "compare")
    parser.add_argument(
        "--details", action="store_true", help="print every table and what its words mean, not the first screen alone"
    )
    parser.add_argument("--per-layer", action="store_true", help="add a table of every layer and operation")
    outputs.add_options(parser, command)


def add_simulation_options(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add what is to be simulated on what, and how; with `several`, of more than one trace."""
    parser.add_argument(
        "--trace",
        metavar="TRACE",
        action="append" if several else "store",
        required=True,
        help="path or name; looked up here, in $SIMHW_TRACES, then among the bundled traces"
        + ("; with a name of yours: dense=resnet50.npz; repeatable" if several else ""),
    )
    parser.add_argument(
        "--pe",
        metavar="MACHINE",
        action="append",
        required=True,
        help="a name of `simhw machine list` or a .yaml file, maybe with overrides: "
        "fpraker:pe.oob_threshold=9,tile.rows=4; with a name of yours: small=fpraker:tile.rows=4; repeatable",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a value of every --pe that has it (not of baselines); may be repeated",
    )
    parser.add_argument(
        "--baseline",
        metavar="MACHINE",
        help="compare with this machine, not with the one that the machine's file names",
    )
    parser.add_argument(
        "--baseline-compression",
        metavar="SCHEME",
        help="of what baselines move off chip: same (as the machine), none, bdc or zero (default: as the machine's "
        "file says)",
    )
    parser.add_argument(
        "--memory",
        choices=("modelled", "ideal"),
        help="ideal: memories cost no time and no energy, of machines and baselines (default: as the machine's file "
        "says)",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        type=int,
        help="grow the step to N images by repeating the captured ones; weights are not repeated",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--sample", metavar="SHARE", type=float, help="simulate a random share of the tile passes, such as 0.02"
    )
    amount.add_argument(
        "--exact",
        action="store_true",
        help="simulate every tile pass (default: where that takes under about a minute, else to ±1%%)",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="which random sample (default: 0)")
    parser.add_argument(
        "--nonfinite",
        choices=("error", "zero"),
        default="error",
        help="what NaN and infinity in the trace become (default: error)",
    )
    parser.add_argument(
        "--check", action="store_true", help="replay every pass step by step, compare cycles, counters, outputs (slow)"
    )
    parser.add_argument("--workers", metavar="N", type=int, help="threads (default: one per processor core)")


def checked(arguments: argparse.Namespace) -> Request:
    """Check all options, the fast ones first; nothing is simulated.

    Raises
    ------
    SimhwError
        An option cannot be used.
    """
    from simhw.files.named import split_name
    from simhw.simulation.engine import MOST_WORKERS
    from simhw.simulation.growth import growth
    from simhw.trace.reader import load_trace

    sample = 1.0 if arguments.exact else arguments.sample
    if sample is not None and not 0 < sample <= 1:
        raise SimhwError(f"--sample {sample:g}: give a share above 0 and at most 1")
    if arguments.workers is not None and not 1 <= arguments.workers <= MOST_WORKERS:
        raise SimhwError(f"--workers {quoted(arguments.workers)}: give from 1 to {MOST_WORKERS}")
    if arguments.seed < 0:
        raise SimhwError(f"--seed {quoted(arguments.seed)}: give a number of at least 0")
    outputs.check_targets(arguments)
    if arguments.baseline is not None and arguments.baseline_compression is not None:
        raise SimhwError(
            f"--baseline-compression {quoted(arguments.baseline_compression)}: --baseline names a machine, which is "
            "taken as it is; override its value: --baseline NAME:memory.compression=none"
        )
    pairs = _machines(arguments.pe, arguments.set, arguments.baseline, arguments.memory, arguments.baseline_compression)
    name, place = split_name(arguments.trace)
    trace = load_trace(place, nonfinite=arguments.nonfinite)
    if not any(layer.operations for layer in trace.layers):
        raise SimhwError(f"{trace.path}: training ran no operation that could be simulated")
    amount = "--exact" if arguments.exact else "--sample" if arguments.sample is not None else None
    whole = [layer for layer in trace.layers for operation in layer.operations if operation not in layer.blocks]
    if amount and trace.sampled and (arguments.exact or not whole):
        raise SimhwError(
            f"{amount}: {trace.path} holds a sample of its products, which is simulated whole; leave {amount} out, "
            "or capture a whole trace"
        )
    if arguments.batch is not None:
        growth(trace, arguments.batch)
    outputs.check(arguments, trace, [machine for machine, _ in pairs])
    return Request(name or Path(trace.path).stem, trace, pairs, sample, arguments.batch)


def simulated(arguments: argparse.Namespace, request: Request) -> "list[Results]":
    """Simulate every machine and its baseline."""
    from simhw.simulation.api import simulate

    return [
        simulate(
            request.trace,
            machine,
            request.sample,
            arguments.seed,
            baseline=baseline,
            check=arguments.check,
            workers=arguments.workers,
            batch=request.batch,
        )
        for machine, baseline in request.pairs
    ]


def more(arguments: argparse.Namespace) -> str:
    """The line that says how to see more than the first screen."""
    options = ["--details (every table, what words mean)"]
    if not arguments.per_layer:
        options.append("--per-layer (every layer)")
    if arguments.html is None:
        options.append("--html FILE (a page)")
    return f"More: {', '.join(options)}."


def _machines(
    texts: list[str], settings: list[str], baseline: str | None, memory: str | None, compression: str | None
) -> "list[tuple[Machine, Machine | None]]":
    from simhw.files.named import split_name
    from simhw.machine.machine import MachineFile, baseline_of
    from simhw.machine.overrides import meant, parse_overrides, resolve, resolved, split_machine

    common = parse_overrides(settings)
    reference = None
    if baseline is not None:
        name, own = split_machine(baseline)
        file = MachineFile(name)
        reference = file.machine(_memory_model(file, memory) | own)
    files: list[MachineFile] = []
    pairs: dict[str, tuple[Machine, Machine | None]] = {}
    for text in texts:
        given, plain = split_name(text)
        name, own = split_machine(plain)
        file = MachineFile(name)
        files.append(file)
        fitting = {key: value for key, value in common.items() if meant(key, file.names)}
        # A machine's own overrides come last and so prevail, whichever way they are named.
        chosen = resolved(fitting, file.names, name) | resolved(own, file.names, name)
        machine = file.machine(_memory_model(file, memory) | chosen).called(given)
        against = reference or baseline_of(machine, compression)
        if given and given in (each.given_name for each, _ in pairs.values()):
            raise SimhwError(f"--pe {text}: another machine is called {given} already; give each a name of its own")
        if f"{machine.label} {machine.content_hash}" in pairs:
            raise SimhwError(f"--pe {text}: the same machine is given twice")
        pairs[f"{machine.label} {machine.content_hash}"] = (machine, against)
    for key in common:
        if not any(meant(key, file.names) for file in files):
            try:
                resolve(key, files[0].names, files[0].where)
            except SimhwError as error:
                raise SimhwError(f"--set {key}: no --pe has it: {error}") from None
    return list(pairs.values())


def _memory_model(file: "MachineFile", memory: str | None) -> dict[str, Any]:
    """What `--memory` overrides.

    Raises
    ------
    SimhwError
        Memories are to be modelled of a machine whose file has none.
    """
    has_memory = "memory.model" in file.names
    if memory == "modelled" and not has_memory:
        raise SimhwError(
            f"--memory modelled: the file of {file.where} has no memory section; extend a machine that has one, "
            "such as fpraker"
        )
    return {"memory.model": memory} if memory is not None and has_memory else {}
