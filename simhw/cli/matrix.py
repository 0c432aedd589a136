"""`simhw workloads matrix`: train every technique and its uncompressed model, and set all beside all machines."""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from simhw.cli import training
from simhw.cli.terminal import facts, show
from simhw.cli.trace import size_in_bytes
from simhw.errors import WorkloadError, quoted, reason
from simhw.progress import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from simhw_workloads.matrix import Costs
    from simhw_workloads.record import Record
    from simhw_workloads.train import Run
    from simhw_workloads.workload import Workload

    Measured = tuple[Record, Costs]
    Training = tuple[str, int]

MACHINES = {
    "fpraker": "FPRaker\nstep",
    "tensordash": "TensorDash\nstep",
    "bf16": "bf16 bit-parallel\nstep",
    "v100": "V100\nstep",
    "h200": "H200\nstep, eager",
    "ascend910": "Ascend 910\nstep",
    "ascend310": "Ascend 310\ninference",
}


def add_parser(actions: Any) -> None:
    """Add this action to the parser of `simhw workloads`."""
    parser = actions.add_parser(
        "matrix",
        help="techniques x machines: speed-up and energy against the uncompressed model, with accuracy, as table and "
        "heat map",
        description="Train techniques and their uncompressed models, capture a step of each, run it on the simulated "
        "machines, predict "
        "the full-size networks on the devices, and write the cross table.  Runs that lie in --runs already are not "
        "trained again.",
        epilog="Example: simhw workloads matrix lrd gqkva-mqa --runs runs --out reports/mine",
    )
    parser.add_argument(
        "workloads",
        metavar="WORKLOAD",
        nargs="*",
        help="techniques of `simhw workloads list` (default: all that have a baseline)",
    )
    parser.add_argument(
        "--runs", metavar="FOLDER", default="runs", help="where traces and records are kept (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        metavar="STEM",
        default="reports/workloads_matrix",
        help="files are written with .csv, .md and .png (default: %(default)s)",
    )
    parser.add_argument(
        "--scale", choices=("smoke", "full"), default="full", help="of the trainings (default: %(default)s)"
    )
    parser.add_argument(
        "--max-bytes", metavar="SIZE", type=size_in_bytes, default=64_000_000, help="of a trace file (default: 64MB)"
    )
    parser.add_argument(
        "--capture-batch",
        metavar="N",
        type=int,
        default=4,
        help="samples that the captured step takes; it is simulated for the batch that was trained with (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--jobs", metavar="N", type=int, default=1, help="workloads at a time, a process each (default: %(default)s)"
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="where the data sets' files lie, if not where their packages put them"
    )
    parser.add_argument("--seed", type=int, default=0, help="of trainings and of what is held of traces (default: 0)")
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        help="train each from N seeds, --seed the first, and give the mean of the scores (default: 3 at full scale "
        "where the score decides what a row says, otherwise 1)",
    )
    parser.set_defaults(execute=execute)


@dataclass(frozen=True)
class _Settings:
    """What all trainings share."""

    folder: "Path"
    scale: Any
    seed: int
    data: "Path | None"
    max_bytes: int
    samples: int
    command: str
    quiet: bool = False

    def captures(self, seed: int) -> bool:
        """Whether a step of the run from that seed is captured; other runs repeat it for their score."""
        return seed == self.seed


def execute(arguments: argparse.Namespace) -> int:
    """Run the command."""
    # First of all: it says what to do where PyTorch is missing.
    import simhw_workloads  # noqa: F401

    # isort: split
    from pathlib import Path

    _check_records(Path(arguments.runs), arguments.workloads)

    import torch

    from simhw.files.writing import check_target, replacing, write_frame
    from simhw.report.matrix_plots import plot_matrix
    from simhw.report.matrix_tables import Headings, matrix_page
    from simhw_workloads.matrix import chosen_rows, needed, seeds_of, table
    from simhw_workloads.table import workload

    training.check_counts(arguments, "jobs", "capture_batch", "seeds")
    rows = chosen_rows(arguments.workloads)
    for suffix in (".csv", ".md", ".png"):
        check_target(arguments.out + suffix, (suffix,))
    folder = Path(arguments.runs)
    try:
        folder.mkdir(exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise WorkloadError(
            f"--runs {quoted(arguments.runs)}: cannot be made a folder: {reason(error)}; name one that can"
        ) from None
    settings = _Settings(
        folder,
        arguments.scale,
        arguments.seed,
        Path(arguments.data) if arguments.data else None,
        arguments.max_bytes,
        arguments.capture_batch,
        arguments.command_line,
    )
    torch.set_num_threads(1)
    # A smoke run shows that a technique works, not what it is worth.
    seeds = seeds_of(rows, settings.seed, arguments.seeds or (1 if settings.scale == "smoke" else None))
    runs = [(row.name, seed) for row in needed(rows) for seed in seeds[row.name]]
    to_train = _to_train(runs, settings)
    measured = partial(_measured, replace(settings, quiet=arguments.jobs > 1), to_train)
    if arguments.jobs == 1:
        done = {run: measured(run) for run in runs}
    else:
        if to_train and settings.scale == "full":
            training.announce_trainings([workload(name) for name, _ in to_train])
        done = _in_processes(measured, longest_first(runs, to_train), arguments.jobs)
    records = {name: _whole(name, done[name, settings.seed][0], seeds[name], settings) for name in seeds}
    frame = table(rows, {name: done[name, settings.seed][1] for name in seeds}, records)
    headings = Headings(f"What compression pays on which hardware ({arguments.scale} scale)", MACHINES)
    stem = Path(arguments.out)
    write_frame(frame, f"{stem}.csv")
    plot_matrix(frame, headings, f"{stem}.png")
    told = {row.name: (f"{row.headline} ({row.paper})", f"{row.model} on {row.dataset}") for row in rows}
    with replacing(f"{stem}.md") as temporary:
        temporary.write_text(
            matrix_page(
                frame, headings, [f"{name}: {value}" for name, value in _facts(settings)], f"{stem.name}.png", told
            )
        )
    show(*facts(_facts(settings)), "")
    for row in rows:
        show(_line(row, frame))
    show("", *(f"written to {stem}{suffix}" for suffix in (".csv", ".md", ".png")))
    return 0


def _check_records(folder: "Path", names: "list[str]") -> None:
    """Refuse what is no record before PyTorch is loaded, which takes seconds and 400 MB."""
    from simhw_workloads.record import read_record

    try:
        found = sorted(path for path in folder.glob("*.json") if not names or path.stem in names)
    except (OSError, ValueError):
        return  # a folder that cannot be is refused where it is made
    for path in found:
        read_record(path)


def longest_first(runs: "list[Training]", to_train: "list[Training]") -> "list[Training]":
    """The runs in the order in which processes take them: a long training begun last would let the others wait."""
    from simhw_workloads.table import workload

    return sorted(runs, key=lambda run: -workload(run[0]).budget_s if run in to_train else 0)


def _in_processes(
    work: "Callable[[Training], Measured]", runs: "list[Training]", jobs: int
) -> "dict[Training, Measured]":
    """What `work` gives for each run; `jobs` at a time, each in a process of its own."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    from simhw.progress import track

    # Spawned: a fork of a process that runs threads, as NumPy's and PyTorch's do, may hang.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(work, run): run for run in runs}
        try:
            return {futures[future]: future.result() for future in track(as_completed(futures), "runs", len(futures))}
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _whole(name: str, record: "Record", seeds: "Sequence[int]", settings: _Settings) -> "Record":
    """The record of a workload with its result over all seeds; where there are several its file then has it as well."""
    from simhw_workloads.matrix import record_path, repeated

    whole = repeated(record, settings.folder, name, seeds)
    if whole.repeated is not None and whole != record:
        whole.write(record_path(settings.folder, name))
    return whole


def _place(settings: _Settings, run: "Training") -> "Path":
    """Where the record of a run lies."""
    from simhw_workloads.matrix import record_path

    name, seed = run
    return record_path(settings.folder, name, None if settings.captures(seed) else seed)


def _to_train(runs: "list[Training]", settings: _Settings) -> "list[Training]":
    """Which runs do not lie in the folder as these settings make them; says why where there is one.

    Raises
    ------
    SimhwError
        What lies in a record's place is no record, or there is something to train and the folder cannot be written to.
    """
    from simhw.files.writing import check_target
    from simhw_workloads.matrix import trace_path, why_unfit
    from simhw_workloads.table import workload

    found = []
    for name, seed in runs:
        path = _place(settings, (name, seed))
        trace = trace_path(settings.folder, name) if settings.captures(seed) else None
        reason = why_unfit(path, trace, _options(workload(name), seed, settings))
        if reason is not None:
            found.append((name, seed))
            check_target(str(path), (".json",))
            if path.exists():
                tell(f"{path}: {reason}; {name} is trained anew")
    return found


def _run(settings: _Settings, seed: int) -> "Run":
    from simhw_workloads.train import Run

    return Run(seed=seed, scale=settings.scale, data=settings.data)


def _options(row: "Workload", seed: int, settings: _Settings) -> dict[str, Any]:
    """All that shapes a run and its trace."""
    captured = {
        "steps": f"{row.captured}:late",
        "capture_batch": settings.samples,
        "max_bytes": settings.max_bytes,
        "nonfinite": "error",
    }
    return training.options_of(row, _run(settings, seed)) | captured


def _measured(settings: _Settings, to_train: "Sequence[Training]", run: "Training") -> "Measured":
    """Train and capture a workload if it is one of those, and run it on all machines; a repeated run on none."""
    import torch

    from simhw_workloads.matrix import costs
    from simhw_workloads.record import read_record
    from simhw_workloads.table import workload

    # In a process of its own it is not one yet.
    torch.set_num_threads(1)
    name, seed = run
    if run in to_train:
        _train(run, settings, [workload(other) for other, _ in to_train[to_train.index(run) + 1 :]])
    record = read_record(_place(settings, run))
    captured = settings.captures(seed)
    return record, costs(workload(name), settings.folder, record, seed) if captured else {}


def _train(which: "Training", settings: _Settings, others: "Sequence[Workload]") -> None:
    from simhw.capture.steps import LATE, StepCapture, Wanted
    from simhw_workloads.matrix import Uncaptured, trace_path
    from simhw_workloads.table import workload

    name, seed = which
    row, run = workload(name), _run(settings, seed)
    observer = None
    if settings.captures(seed):
        options = training.trace_facts(row, settings.scale, seed, settings.command) | {"max_bytes": settings.max_bytes}
        trace = str(trace_path(settings.folder, name))
        run.observer = observer = StepCapture([Wanted(row.captured, LATE)], trace, options, settings.samples)
    else:
        run.observer = Uncaptured(row.captured, settings.samples)
    training.train(row, run, settings.quiet, () if settings.quiet else others)
    # Last, with the trace's hash: a run that is stopped before leaves an old record, or none, that does not fit the
    # trace.
    training.describe(run.record, _options(row, seed, settings), settings.command, observer)
    run.record.write(_place(settings, which))


def _facts(settings: _Settings) -> list[tuple[str, str]]:
    import datetime
    import platform

    import torch

    from simhw.version import __version__

    return [
        ("command", settings.command),
        ("date", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"),
        ("versions", f"simhw {__version__}, torch {torch.__version__}, Python {platform.python_version()}"),
        (
            "trainings",
            f"{settings.scale} scale, seeds from {settings.seed} on, one thread each; a score with ± is the mean over "
            "seeds with its 95% interval (Student's t); one without is of one seed, and moves by a point or so",
        ),
        (
            "captured steps",
            "simulated machines run the last step of the phase that stands for the technique, captured on "
            f"{settings.samples} samples and grown by whole ones to the batch "
            f"that trained; a trace is whole where that fits {settings.max_bytes / 1e6:g} MB, otherwise a sample, "
            "and ± its 95% interval; "
            "memories included, baselines compressing off chip as their machines do",
        ),
        (
            "full-size steps",
            "the published network with the same technique, at the published batch; simulated machines give its layers "
            "the values of the narrow network's layers of the same work, block by block, rooflines need none (training "
            "as amp, inference in fp16)",
        ),
    ]


def _line(row: "Workload", frame: Any) -> str:
    from simhw.report.matrix_tables import leading
    from simhw.report.scores import shown_scores

    mine = leading(frame[frame["workload"] == row.name])
    first = mine.iloc[0]
    gains = "  ".join(f"{cell.machine} {cell.run_speedup:.2f}" for cell in mine.itertuples())
    return f"{row.name:24} {first['metric']} {shown_scores(first)}  times as fast: {gains}"
