"""Whole steps measured in PyTorch beside what a device's constants predict of them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simhw.errors import MachineError, ShapeError, quoted
from simhw.progress import track
from simhw.roofline.calibration.measured_rows import MeasuredRow, measured_rows
from simhw.roofline.calibration.pytorch.steps import MeasuredStep, measured_network, step_of
from simhw.roofline.calibration.pytorch.whole_steps import textbook_s
from simhw.roofline.device import Device
from simhw.roofline.estimate import StepEstimate, estimate
from simhw.roofline.layers.network import Network
from simhw.roofline.networks.catalogue import load_network
from simhw.roofline.scoring.kernels import MILLI, short_place
from simhw.roofline.scoring.table import STEP_BOUNDS, LeftOut, Scored, ScoreTable
from simhw.roofline.step.run import Run

PLAIN = ("", "dense")
"""Variants that are the catalogue's network."""
TOKENS = " tokens"
"""Ends a variant that says how long a sample is."""
OTHER_PARAMETERS = 0.01
"""Share by which the parameters of a row and of the network by its name may differ: a classifier, say."""


@dataclass(frozen=True)
class PredictedStep:
    """A measured step, predicted.

    Attributes
    ----------
    measured : MeasuredStep
    eager, graph : StepEstimate
    """

    measured: MeasuredStep
    eager: StepEstimate
    graph: StepEstimate

    @property
    def shape(self) -> Hashable:
        """What goes to one half."""
        return self.measured.shape


def predicted_steps(folder: Path, name: str, device: Device) -> tuple[list[PredictedStep], list[LeftOut]]:
    """The steps of ``NAME_steps.csv`` whose network is known and runs on the device, and those left out.

    Raises
    ------
    SimhwError
        A row cannot be read.
    """
    left: list[LeftOut] = []
    found = []
    rows = measured_rows(folder, f"{name}_steps")
    for row in track(rows, "predicting steps", len(rows)):
        network = _network_of(row, left)
        step = None if network is None else _predicted(step_of(row, network), device, left)
        if step is not None:
            found.append(step)
    return found, left


def step_tables(steps: Sequence[PredictedStep]) -> list[ScoreTable]:
    """Seconds as they were issued from Python and as one graph, and energy."""
    return [
        _table("whole steps, issued from Python", "ms", [_eager(each) for each in steps]),
        _table("whole steps, as one graph", "ms", [_graph(each) for each in steps]),
        _table("energy of whole steps, issued from Python", "J", [_energy(each) for each in steps]),
    ]


def _network_of(row: MeasuredRow, left: list[LeftOut]) -> Network | None:
    """The network of a row, by name; None where it is not known, which `left` then tells."""
    model, variant = row.text("model"), row.text("variant")
    try:
        network = named_network(model, variant)
    except ShapeError:
        left.append(LeftOut(f"no network {quoted(model)} in a variant {quoted(variant)}", short_place(row.place)))
        return None
    parameters = row.count("parameters") if row.text("parameters") else network.parameters
    if abs(parameters / network.parameters - 1) > OTHER_PARAMETERS:
        why = f"{network.name} has {network.parameters:,} parameters, the measured network {parameters:,}"
        left.append(LeftOut(why, short_place(row.place)))
        return None
    return network


def named_network(model: str, variant: str) -> Network:
    """The network of a model and variant: one of those that were measured, or plain and from the catalogue.

    Raises
    ------
    ShapeError
        There is none of that name.
    """
    try:
        return measured_network(model, variant)
    except ShapeError:
        tokens = variant.removesuffix(TOKENS)
        if variant in PLAIN:
            return load_network(model)
        if variant.endswith(TOKENS) and tokens.isdecimal():
            return load_network(model, sequence=int(tokens))
        raise


def _predicted(step: MeasuredStep, device: Device, left: list[LeftOut]) -> PredictedStep | None:
    eager, graph = (
        estimated(step.network, device, step.launched(launch), step.place, left if launch == "eager" else [])
        for launch in ("eager", "graph")
    )
    return None if eager is None or graph is None else PredictedStep(step, eager, graph)


def estimated(network: Network, device: Device, run: Run, place: str, left: list[LeftOut]) -> StepEstimate | None:
    """A network on the device; None where that cannot run it, which `left` then tells."""
    try:
        return estimate(network, device, run)
    except MachineError as error:
        left.append(LeftOut(str(error), short_place(place)))
        return None


def _eager(step: PredictedStep) -> Scored | None:
    return _scored(step, step.eager, step.measured.eager_s * MILLI, step.eager.seconds * MILLI, MILLI)


def _graph(step: PredictedStep) -> Scored | None:
    seconds = step.measured.graph_s
    return None if seconds is None else _scored(step, step.graph, seconds * MILLI, step.graph.seconds * MILLI, MILLI)


def _energy(step: PredictedStep) -> Scored | None:
    """The textbook's is the board's limit for the textbook's time."""
    energy = step.measured.energy_j
    watts = step.eager.device.values.power.tdp_w
    return None if energy is None else _scored(step, step.eager, energy, step.eager.energy_j.mid, watts)


def _scored(step: PredictedStep, made: StepEstimate, measured: float, predicted: float, textbook_unit: float) -> Scored:
    row, run = step.measured, step.measured.run
    return Scored(
        kind=" ".join(filter(None, (row.model, row.variant))),
        precision=run.precision,
        size=flops(made),
        measured=measured,
        predicted=predicted,
        textbook=textbook_s(made) * textbook_unit,
        what=f"{run.mode}, batch {run.batch}, {run.layout}",
        place=short_place(row.place),
    )


def _table(title: str, unit: str, rows: list[Scored | None]) -> ScoreTable:
    return ScoreTable(title, unit, tuple(row for row in rows if row is not None), "FLOP", STEP_BOUNDS)


def flops(made: StepEstimate) -> float:
    """Operations of a step."""
    return sum(work.times * work.operator.flops for work, _ in made.work)
