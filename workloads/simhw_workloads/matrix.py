"""The cross table: every technique on every machine, against the uncompressed model and against the bfloat16 baseline.

All machines run a step of the full-size network with the technique.  Rooflines of real devices know only shapes;
simulated machines get values as well, those of the narrow network that was trained (`simhw_workloads.full_size`).
Beside that they run the captured step of the narrow network itself: exact, but so small that memories bind it.  A
training step is compared with the step of the uncompressed model; on Ascend 310 it is inference.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from simhw.errors import TraceError, WorkloadError, quoted
from simhw.progress import tell
from simhw.roofline.compression.variants import frozen_but
from simhw.roofline.device import load_device
from simhw.roofline.estimate import estimate
from simhw.roofline.layers.network import Network
from simhw.simulation.api import simulate
from simhw.trace.reader import load_trace, trace_hash
from simhw.trace.trace import Trace
from simhw_workloads.devices import DEVICES, device_run
from simhw_workloads.full_size import full_size_step
from simhw_workloads.record import Record, Repeated, read_record, written
from simhw_workloads.table import WORKLOADS, workload
from simhw_workloads.train import Nobody, Run
from simhw_workloads.workload import Workload

if TYPE_CHECKING:
    import pandas as pd

SIMULATED = ("fpraker", "tensordash", "bf16")
"""Machines that run values; each but the last has a bit-parallel bfloat16 baseline of its own."""
Size = Literal["full", "narrow"]
"""Of the network whose step a machine runs: the published one's, or that of the one that was trained."""
Costs = dict[tuple[Size, str], "StepCost"]
"""What a step takes, by size and machine."""
SAMPLES = 1
"""Of a full-size step; they are grown to the paper's batch."""
SIMULATED_SHARE = 1e-3
"""Of a full-size step's passes, and at least eight of each layer and operation: so the table repeats to the byte."""


@dataclass(frozen=True)
class StepCost:
    """What a step takes on a machine.

    Attributes
    ----------
    seconds, energy_j : float
        Memories included.
    half_width : float
        Of the 95% confidence interval of `seconds`; 0 where nothing was sampled.
    compute_seconds : float
        With ideal memories; NaN for devices.
    over_bf16, energy_over_bf16 : float
        How much faster it is, and how much less energy it takes, than the same step on the machine's own bit-parallel
        bfloat16 baseline; NaN where there is none.
    """

    seconds: float
    energy_j: float
    half_width: float = 0.0
    compute_seconds: float = math.nan
    over_bf16: float = math.nan
    energy_over_bf16: float = math.nan

    def times(self, passes: int) -> "StepCost":
        """That of as many such steps."""
        return replace(
            self,
            seconds=passes * self.seconds,
            energy_j=passes * self.energy_j,
            half_width=passes * self.half_width,
            compute_seconds=passes * self.compute_seconds,
        )


def trace_path(folder: Path, name: str) -> Path:
    """Where the captured step of a workload lies."""
    return folder / f"{name}.npz"


def record_path(folder: Path, name: str, seed: int | None = None) -> Path:
    """Where the record of a workload's run lies; of a run that repeats it with another seed, where one is given."""
    return folder / (f"{name}.json" if seed is None else f"{name}.seed{seed}.json")


class Uncaptured(Nobody):
    """Captures nothing, but lets the captured step take as few samples: so repeated runs differ in their seed alone."""

    def __init__(self, phase: str, samples: int) -> None:
        self._phase, self._samples = phase, samples

    def batch(self, phase: str, step: int, steps: int) -> int | None:
        """How many samples of its batch a step takes."""
        return self._samples if phase == self._phase and step == steps else None


def chosen_rows(names: Iterable[str]) -> list[Workload]:
    """The techniques of those names; all where none is given.

    Raises
    ------
    WorkloadError
        A name is no workload, or one that has nothing to be compared with.
    """
    rows = [workload(name) for name in names] or [row for row in WORKLOADS.values() if row.baseline]
    for row in rows:
        if row.baseline is None:
            raise WorkloadError(
                f"{row.name} is uncompressed itself: it stands beside its techniques, not in a row of its own"
                if row.technique == "dense"
                else f"{row.name} has no uncompressed model to stand beside"
            )
    return rows


def needed(rows: Iterable[Workload]) -> list[Workload]:
    """The techniques and their uncompressed models, each once, every model before its techniques."""
    found: dict[str, Workload] = {}
    for row in rows:
        for name in (row.baseline, row.name):
            if name is not None:
                found[name] = workload(name)
    return list(found.values())


def seeds_of(rows: Iterable[Workload], first: int, count: int | None) -> dict[str, list[int]]:
    """Of each workload that the table needs the seeds that it is trained from, and scored.

    An uncompressed model has those of each technique that stands beside it.

    Parameters
    ----------
    rows : iterable of Workload
    first : int
        Of the run whose step is captured; the others follow it.
    count : int, optional
        Of each; as its row says where not given.
    """
    found: dict[str, int] = {}
    for row in rows:
        for name in (row.baseline, row.name):
            if name is not None:
                found[name] = max(found.get(name, 1), count or row.seeds)
    return {name: list(range(first, first + most)) for name, most in found.items()}


def repeated(record: Record, folder: Path, name: str, seeds: Sequence[int]) -> Record:
    """A run's record with its result over all seeds, from the records of the runs that repeat it.

    Parameters
    ----------
    record : Record
        Of the run from the first seed.
    folder : Path
    name : str
    seeds : sequence of int
    """
    results = {seeds[0]: record.result.value}
    results |= {seed: read_record(record_path(folder, name, seed)).result.value for seed in seeds[1:]}
    return replace(record, repeated=Repeated.of(results) if len(results) > 1 else None)


def why_unfit(path: Path, trace: Path | None, options: Mapping[str, object]) -> str | None:
    """Why the run of a workload that lies in a folder is not the one that these options make; None where it is.

    A trace is replaced before its record, and each record holds the hash of its trace: wherever a run was stopped, the
    two that lie there belong together, or this says that they do not.

    Parameters
    ----------
    path : Path
        Of the record.
    trace : Path, optional
        Of its trace, where the run has one.
    options : mapping
        All that shapes a run and its trace, as the record's `about` holds it.

    Raises
    ------
    WorkloadError
        What lies in the record's place is no record.
    """
    if not path.exists():
        return "it was not trained yet"
    record = read_record(path)
    for option, wanted in options.items():
        wanted = written(wanted)
        if option not in record.about:
            return f"its record does not say with which {option} it was made"
        if (had := record.about[option]) != wanted:
            return f"it was made with {option} {quoted(had)}, not {quoted(wanted)}"
    if trace is None:
        return None
    if not trace.exists():
        return "its trace is missing"
    try:
        same = record.traces == {trace.name: trace_hash(trace)}
    except TraceError as error:
        return f"its trace cannot be read ({error})"
    return None if same else "its trace is not the one that its record tells of: another run was stopped before its end"


def simulated_cost(trace: Trace, machine: str, batch: int, seed: int, share: float | None = None) -> StepCost:
    """A step, grown to a batch, on a machine, its memories included; a share of its passes if one is given."""
    # A table of techniques: its baselines are the bit-parallel machine of its own column, which compresses as well.
    compression = "same" if machine != SIMULATED[-1] else None
    results = simulate(trace, machine, share, batch=batch, seed=seed, baseline_compression=compression)
    total = results.total
    return StepCost(
        total.overall.time_s,
        total.overall.energy_j.mid,
        total.cycles.half_width / total.overall.cycles * total.overall.time_s if total.overall.cycles else 0.0,
        total.time_s,
        total.overall_speedup,
        total.overall_energy_efficiency,
    )


def full_network(row: Workload, device_name: str, record: Record, training: bool = True) -> Network:
    """The full-size network of a workload: with ranks for a device, or with those that a run's record notes.

    In training its teacher stands before it, if it has one: nothing there learns, so it runs forward only.

    Raises
    ------
    WorkloadError
        The record does not note them.
    """
    assert row.shapes is not None
    try:
        network = row.shapes(Run(device=device_name, record=record))
    except WorkloadError as error:
        raise WorkloadError(f"{row.name}: {error}") from error
    if row.teacher is None or not training:
        return network
    teacher = (replace(layer, name=f"teacher.{layer.name}") for layer in frozen_but(row.teacher(), ()).layers)
    return replace(network, layers=(*teacher, *network.layers))


def predicted_cost(row: Workload, device_name: str, record: Record) -> StepCost:
    """A step of the full-size network on a device."""
    device, training = load_device(device_name), DEVICES[device_name] == "training"
    network = full_network(row, device_name, record, training)
    made = estimate(network, device, device_run(device, row.roofline_batch))
    # Inference is one pass, whatever training takes.
    return StepCost(made.seconds, made.energy_j.mid).times(row.passes if training else 1)


def costs(row: Workload, folder: Path, record: Record, seed: int) -> Costs:
    """What a workload's step takes, by size and machine; full-size ones only where the full network is known.

    Raises
    ------
    WorkloadError
        Another run has replaced the trace meanwhile, or the record does not note the ranks of the full network.
    """
    path, batch = trace_path(folder, row.name), record.phase(row.captured).batch
    narrow = load_trace(path)
    # Behind the opening: a trace that is replaced later cannot be read from.
    if trace_hash(path) != record.traces[path.name]:
        raise WorkloadError(f"{path}: was replaced while it was used; give each table a folder of its own with --runs")
    # A captured step grows by whole ones: up to the batch that was trained with, or what lies next above it.
    captured = narrow.metadata.batch or batch
    grown = math.ceil(batch / captured) * captured
    found: Costs = {("narrow", machine): simulated_cost(narrow, machine, grown, seed) for machine in SIMULATED}
    if row.shapes is None:
        return found
    if narrow.sampled:
        tell(f"{path}: is a sample, which gives no values to a full-size step; raise --max-bytes for one")
    else:
        # Ranks that a device chose at full size were scaled for the narrow network: the device is that of the run.
        step = full_size_step(narrow, full_network(row, str(record.about["device"]), record), SAMPLES, seed)
        for machine in SIMULATED:
            cost = simulated_cost(step, machine, row.roofline_batch, seed, SIMULATED_SHARE)
            found["full", machine] = cost.times(row.passes)
    return found | {("full", device): predicted_cost(row, device, record) for device in DEVICES}


def table(rows: Iterable[Workload], known: Mapping[str, Costs], records: Mapping[str, Record]) -> "pd.DataFrame":
    """The cross table.

    Returns
    -------
    DataFrame
        A row per technique, size of the network and machine: what it is; seconds, energy_j of a step and those of the
        uncompressed model; speedup and energy_saving against the uncompressed model on the same machine, with the
        half-width of the 95% interval; compute_speedup, the same with ideal memories, of simulated machines;
        `over_bf16` against the machine's own bit-parallel baseline; `both` against the uncompressed model on that
        baseline; `work`, the share of the uncompressed model's steps that it takes, and run_speedup and
        run_energy_saving of the whole training; the score beside the uncompressed model's: of each the mean over its
        `seeds`, and the half-width of the mean's 95% interval, NaN for one seed.
    """
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for row in rows:
        assert row.baseline is not None
        score = records[row.name].result
        work = row.work(records[row.name]) if row.work else 1.0
        for (size, machine), cost in known[row.name].items():
            base = known[row.baseline].get((size, machine))
            if base is None:
                continue
            # Inference has no training steps to leave out, but all of an ensemble answer.
            steps = float(row.members) if DEVICES.get(machine) == "inference" else work
            speedup, saving = base.seconds / cost.seconds, base.energy_j / cost.energy_j
            relative = (cost.half_width / cost.seconds) ** 2 + (base.half_width / base.seconds) ** 2
            lines.append(
                {
                    "workload": row.name,
                    "technique": row.technique,
                    "family": row.family,
                    "baseline": row.baseline,
                    "size": size,
                    "machine": machine,
                    "mode": DEVICES.get(machine, "training"),
                    "step": ("captured" if size == "narrow" else "full size")
                    + (", simulated" if machine in SIMULATED else ", roofline"),
                    "seconds": cost.seconds,
                    "energy_j": cost.energy_j,
                    "baseline_seconds": base.seconds,
                    "baseline_energy_j": base.energy_j,
                    "speedup": speedup,
                    "speedup_ci95": speedup * relative**0.5,
                    "energy_saving": saving,
                    "compute_speedup": base.compute_seconds / cost.compute_seconds,
                    "over_bf16": cost.over_bf16,
                    "energy_over_bf16": cost.energy_over_bf16,
                    "both": speedup * base.over_bf16,
                    "energy_both": saving * base.energy_over_bf16,
                    "work": steps,
                    "run_speedup": speedup / steps,
                    "run_energy_saving": saving / steps,
                    "metric": score.metric,
                    **_scores("", records[row.name]),
                    **_scores("baseline_", records[row.baseline]),
                    "higher_is_better": score.higher_is_better,
                }
            )
    return pd.DataFrame(lines)


def _scores(whose: str, record: Record) -> dict[str, float]:
    """The columns of a score: its mean over seeds where it has several."""
    several = record.repeated
    return {
        f"{whose}score": several.mean if several else record.result.value,
        f"{whose}score_ci95": several.half_width if several else math.nan,
        f"{whose}seeds": len(several.by_seed) if several else 1,
    }
