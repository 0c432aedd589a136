"""Training a workload from the command line: options, progress, captured steps, and what came of it."""

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from simhw.cli.terminal import show
from simhw.cli.trace import size_in_bytes
from simhw.errors import CaptureError, WorkloadError
from simhw.progress import Pace, announce, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simhw.capture.steps import StepCapture, Wanted
    from simhw_workloads.record import Record
    from simhw_workloads.train import Run
    from simhw_workloads.workload import Workload


def add_options(parser: argparse.ArgumentParser, steps: str) -> None:
    """Add the options of a training; `steps` is which steps are captured where none are named."""
    parser.add_argument(
        "--steps",
        metavar="LIST",
        help="numbers, `early`, `late`, and shares of the phase such as 3/8, with commas; of another phase than that "
        f"which stands for the technique: PHASE:NUMBER, PHASE:late (default: {steps})",
    )
    parser.set_defaults(default_steps=steps)
    parser.add_argument(
        "--scale", choices=("smoke", "full"), default="full", help="smoke: a few seconds, to see that it works"
    )
    parser.add_argument(
        "--max-bytes",
        metavar="SIZE",
        type=size_in_bytes,
        help="write samples of at most this size, such as 12MB, not whole tensors",
    )
    parser.add_argument(
        "--capture-batch", metavar="N", type=int, help="take only the first N samples of the batch in captured steps"
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="where the data set's files lie, if not where its package puts them"
    )
    parser.add_argument(
        "--device", default="v100", help="the roofline that hardware-aware techniques ask (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of initial weights, order of samples, what is held of a trace (default: 0)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="of PyTorch; results repeat exactly only on the same number (default: %(default)s)",
    )
    parser.add_argument(
        "--max-steps",
        metavar="N",
        type=int,
        help="stop each phase after this many steps; `late` is then the last of them",
    )
    parser.add_argument(
        "--record", metavar="FILE", help="write loss curves, scores and multiply-accumulates of the phases (.json)"
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="save a training of one phase here every 100 steps, and go on from it if it exists (.npz)",
    )
    parser.add_argument(
        "--nonfinite",
        choices=("error", "zero", "keep"),
        default="error",
        help="what NaN and infinity in traces become (default: error)",
    )


def check_counts(arguments: argparse.Namespace, *options: str) -> None:
    """Refuse options that count something and are less than 1; those that are not given are not looked at.

    Raises
    ------
    WorkloadError
        The message names the option.
    """
    for option in options:
        count = getattr(arguments, option)
        if count is not None and count < 1:
            raise WorkloadError(f"--{option.replace('_', '-')} {count}: give a number of at least 1")


def wanted_steps(text: str, row: "Workload") -> "list[Wanted]":
    """The steps that ``--steps`` asks for.

    Raises
    ------
    CaptureError
        A part is no number, share, ``early`` or ``late``, or names no phase of the workload.
    """
    from simhw.capture.steps import LATE, Wanted

    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        named, colon, step = part.rpartition(":")
        phase = named if colon else row.captured
        if phase not in row.phases:
            raise CaptureError(f"--steps {text}: {row.name} has no phase {phase!r}; it has {', '.join(row.phases)}")
        number: int | str | None
        if step in ("early", LATE):
            number = row.early if step == "early" else LATE
        elif "/" in step:
            number = _share(step)
        else:
            number = int(step) if step.isdecimal() else None
        if not number:
            raise CaptureError(
                f"--steps {text}: {part!r} is neither a number from 1, `early`, `late` nor a share such as 3/8"
            )
        found.append(Wanted(phase, number))
    if not found:
        raise CaptureError("--steps: give at least one step")
    return list(dict.fromkeys(found))


def _share(text: str) -> str | None:
    """A share of a phase, more than 0 and at most 1, as written; None where it is none."""
    part, _, whole = text.partition("/")
    sound = part.isdecimal() and whole.isdecimal() and len(text) < 20 and 0 < int(part) <= int(whole)
    return text if sound else None


def list_workloads() -> int:
    """Print a line on every workload."""
    from simhw_workloads.table import ROWS, brought_names, workload
    from simhw_workloads.workload import FAMILIES

    rows = list(ROWS)
    for name in brought_names():
        try:
            rows.append(workload(name))
        except WorkloadError as error:  # of one package; the list has all others
            tell(str(error))
    width = max(len(row.name) for row in rows)
    family = ""
    for row in sorted(rows, key=lambda row: FAMILIES.index(row.family)):
        if row.family != family:
            family = row.family
            show(f"{family}:")
        show(f"  {row.name:{width}}  {row.summary}")
    return 0


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    # First of all: it says what to do where PyTorch is missing.
    import simhw_workloads  # noqa: F401

    # isort: split
    from pathlib import Path

    import torch

    from simhw.files.writing import check_target
    from simhw.roofline.device import load_device
    from simhw_workloads.table import workload
    from simhw_workloads.train import Run

    if arguments.workload is None:
        return list_workloads()
    row = workload(arguments.workload)
    check_counts(arguments, "threads", "max_steps", "capture_batch")
    for option in ("steps", "max_bytes", "capture_batch"):
        if getattr(arguments, option) is not None and not arguments.capture:
            raise WorkloadError(
                f"--{option.replace('_', '-')}: there is nothing to capture; give --capture FILE as well"
            )
    if arguments.checkpoint and len(row.phases) > 1:
        raise WorkloadError(
            f"--checkpoint: {row.name} has {len(row.phases)} phases; only a training of one can go on from a checkpoint"
        )
    load_device(arguments.device)
    if arguments.record:
        check_target(arguments.record, (".json",))
    if arguments.checkpoint:
        check_target(arguments.checkpoint)
    capture = _capture(arguments, row) if arguments.capture else None
    run = Run(
        seed=arguments.seed,
        scale=arguments.scale,
        data=Path(arguments.data) if arguments.data else None,
        device=arguments.device,
        max_steps=arguments.max_steps,
        checkpoint=Path(arguments.checkpoint) if arguments.checkpoint else None,
    )
    if capture is not None:
        run.observer = capture
    torch.set_num_threads(arguments.threads)
    with capture.telling() if capture is not None else nullcontext():
        train(row, run)
        if capture is not None:
            capture.check()
    if arguments.record:
        captured = (
            {"steps": ",".join(f"{want.phase}:{want.step}" for want in capture.wanted)}
            | {name: getattr(arguments, name) for name in ("capture_batch", "max_bytes", "nonfinite")}
            if capture is not None
            else {}
        )
        describe(run.record, options_of(row, run) | captured, arguments.command_line, capture)
        run.record.write(Path(arguments.record))
    for each in capture.written if capture is not None else ():
        loss = run.record.phase(each.phase).losses[each.step - 1]
        show(
            f"{each.phase} step {each.step:>5}  training loss {loss:.3f}  {each.path}  "
            f"{each.path.stat().st_size / 1e6:.1f} MB"
        )
    show(*_summary(row, run.record))
    return 0


def train(row: "Workload", run: "Run", quiet: bool = False, others: "Sequence[Workload]" = ()) -> None:
    """Train a workload; where that takes minutes it is said after the first step, when all that can be refused has
    been.

    Where standard error is a terminal there is a bar for each phase, unless it is to be `quiet`.

    Parameters
    ----------
    row, run
    quiet : bool
    others : sequence of Workload
        To be trained behind it.
    """
    from statistics import median

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        tasks: dict[str, Any] = {}
        paces: dict[str, Pace] = {}

        def progress(phase: str, step: int, steps: int, loss: float) -> None:
            if not tasks and run.scale == "full" and run.max_steps is None:
                announce_trainings([row, *others])
            if phase not in tasks:
                tasks[phase] = bar.add_task(f"{row.name}: {phase}", total=steps, loss=loss)
                paces[phase] = Pace(f"{row.name}: the {steps:,} steps of phase {phase}", steps, median)
            bar.update(tasks[phase], completed=step, loss=loss)
            paces[phase].step()

        run.progress = progress
        row.train(run)


def announce_trainings(rows: "Sequence[Workload]") -> None:
    """Say how long trainings at full scale may take, where that is minutes."""
    what = rows[0].name if len(rows) == 1 else f"{len(rows)} trainings from {rows[0].name} on"
    announce(f"{what} (processor time)", sum(row.budget_s for row in rows), "at most")


def options_of(row: "Workload", run: "Run") -> dict[str, Any]:
    """All that shapes what a training gives: what the user decided, and the versions, of which texts and results
    depend.
    """
    import platform

    import torch

    from simhw.version import __version__

    return {
        "workload": row.name,
        "scale": run.scale,
        "seed": run.seed,
        "device": run.device,
        "data": None if run.data is None else str(run.data.resolve()),
        "max_steps": run.max_steps,
        "threads": torch.get_num_threads(),
        "simhw": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def describe(record: "Record", options: dict[str, Any], command: str, capture: "StepCapture | None") -> None:
    """Put into the record of a run what shaped it, and the hashes of its traces: by them each is known to belong to the
    other.
    """
    from simhw.trace.reader import trace_hash

    record.about = options | {"command": command}
    record.traces = {each.path.name: trace_hash(each.path) for each in (capture.written if capture is not None else ())}


def trace_facts(row: "Workload", scale: str, seed: int, command: str) -> dict[str, Any]:
    """What the trace of a workload says of itself, as options of `simhw.capture.Capture`."""
    return {
        "model_name": row.model,
        "dataset": row.dataset if scale == "full" else f"smoke stand-in for {row.dataset}",
        "technique": row.technique,
        "command": command,
        "seed": seed,
    }


def _capture(arguments: argparse.Namespace, row: "Workload") -> "StepCapture":
    from simhw.capture.steps import StepCapture

    options = trace_facts(row, arguments.scale, arguments.seed, arguments.command_line) | {
        "nonfinite": arguments.nonfinite,
        "max_bytes": arguments.max_bytes,
    }
    steps = wanted_steps(arguments.default_steps if arguments.steps is None else arguments.steps, row)
    if arguments.max_steps is not None:
        # A phase may be shorter, which is not known before it begins.
        for want in steps:
            want.number(arguments.max_steps)
    return StepCapture(steps, arguments.capture, options, arguments.capture_batch)


def _summary(row: "Workload", record: "Record") -> list[str]:
    """A line per phase and per score, the notes, and what the paper said."""
    from simhw.report.scores import shown_score

    lines = []
    for phase in record.phases:
        tail = phase.losses[-50:]
        macs = phase.step_macs / phase.batch
        lines.append(
            f"phase {phase.name}: {len(phase.losses)} steps of {phase.batch}, training loss {phase.losses[0]:.3f} to "
            f"{sum(tail) / len(tail):.3f} (mean of the last {len(tail)}); {phase.trainable:,} of "
            f"{phase.parameters:,} parameters learn, "
            f"{macs / 1e6:,.3g} M multiply-accumulates a sample, {phase.cpu_seconds:.1f} s of processor time"
        )
    for score in record.scores:
        shown = shown_score(score.value, score.metric)
        lines.append(
            f"{score.metric} after {score.phase}: {shown} of {score.tested} held-out samples, loss {score.loss:.3f}"
        )
    for name, value in record.notes.items():
        lines.append(
            f"{name.replace('_', ' ')}: {value:.6g}"
            if isinstance(value, float)
            else f"{name.replace('_', ' ')}: {value}"
        )
    if row.headline:
        lines.append(f"published ({row.paper}): {row.headline}")
    return lines
