"""A row of the table of workloads: a technique on a model and a data set, what was published, and its signature."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import nn

from simhw.roofline.layers.network import Network
from simhw_workloads.record import Record
from simhw_workloads.signature import Bounds, Signature
from simhw_workloads.train import Run

__all__ = ["FAMILIES", "Bounds", "Signature", "TechniqueFamily", "Workload"]

TechniqueFamily = Literal[
    "dense",
    "low rank",
    "pruning",
    "transformers",
    "data efficiency",
    "dynamic",
    "video",
    "detection",
    "others",
    "papers",
]
FAMILIES: tuple[TechniqueFamily, ...] = get_args(TechniqueFamily)


@dataclass(frozen=True)
class Workload:
    """A row of the table.

    A technique's row is that of its uncompressed model with what differs: ``dataclasses.replace(DENSE, ...)``.

    Attributes
    ----------
    name, summary : str
    model, dataset : str
        What a trace of it says it is of, at full scale.
    train : callable
        The technique: a plain function of a `Run`.  It calls `Run.fit` once per phase and gives the trained model.
    budget_s : int
        Processor time that a full run may take [s].
    family, technique : str
    phases : tuple of str
        In their order.
    captured_phase : str or None
        The phase that stands for the technique; the last one where not given.
    baseline : str or None
        The workload of the same model and data without the technique.
    paper, headline : str
        What was published of the technique, and where.
    signature : Signature
    shapes : callable or None
        The full-size network with the technique, by shape.  Where training finds ranks, it takes those that the run's
        record notes, and raises `WorkloadError` where it has none.
    roofline_batch : int
        Samples of a step of the full-size network.
    teacher : callable or None
        The full-size network that answers before each training step of the other, forward only.
    passes : int
        Forward and backward passes of the full-size network in a training step.
    work : callable or None
        Training steps that the technique takes, as a share of the baseline's; all where not given.
    members : int
        Models that answer together at inference.
    early : int
        A step early in the captured phase, for ``--steps early``.
    seeds : int
        Runs of which the cross table takes the mean score, a seed each.
    """

    name: str
    summary: str
    model: str
    dataset: str
    train: Callable[[Run], nn.Module]
    budget_s: int
    family: TechniqueFamily = "dense"
    technique: str = "dense"
    phases: tuple[str, ...] = ("dense",)
    captured_phase: str | None = None
    baseline: str | None = None
    paper: str = ""
    headline: str = ""
    signature: Signature = field(default_factory=Signature)
    shapes: Callable[[Run], Network] | None = None
    roofline_batch: int = 64
    teacher: Callable[[], Network] | None = None
    passes: int = 1
    work: Callable[[Record], float] | None = None
    members: int = 1
    early: int = 20
    seeds: int = 1

    @property
    def captured(self) -> str:
        """The phase whose last step is captured."""
        return self.captured_phase or self.phases[-1]
