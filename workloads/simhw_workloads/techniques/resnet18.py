"""A narrow ResNet-18 on small grey images: what Maestro, funnels and basis convolutions are applied to."""

from torch import nn

from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.data import load
from simhw_workloads.models.resnet import resnet18
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Gradient, Hook, Run, plain
from simhw_workloads.workload import Bounds, Signature, Workload

STEPS = 600
"""Of the uncompressed model; every technique takes as many in all."""


def narrow(run: Run) -> tuple[nn.Module, Task]:
    """A ResNet-18 of a quarter of the published width (a sixteenth in smoke runs), and its images."""
    task = load(run.pick("mnist5k", "fashion"), run.data).task(size=run.pick(8, 16))
    run.seeded()
    return resnet18(10, run.pick(0.0625, 0.25), 1, small_input=True), task


def fitted(
    run: Run,
    phase: str,
    model: nn.Module,
    task: Task,
    steps: int,
    rate: float = 0.05,
    hooks: tuple[Hook, ...] = (),
    gradient: Gradient = plain,
) -> None:
    """One phase, and its score."""
    schedule = Schedule(steps, rate, warmup=min(20, steps // 3))
    run.fit(phase, model, task, schedule, batch=run.pick(8, 32), hooks=hooks, gradient=gradient)
    score(run, phase, model, task)


def score(run: Run, phase: str, model: nn.Module, task: Task) -> float:
    """The score of a model after a phase."""
    return run.score(phase, model, task, limit=run.pick(200, 2000))


def dense(run: Run) -> nn.Module:
    """Nothing is compressed."""
    model, task = narrow(run)
    fitted(run, "dense", model, task, run.pick(6, STEPS))
    run.note_size(model)
    return model


# A: ReLU, and ReLU alone, makes zeros; W and G are dense, for batch norm stands before every ReLU.
SIGNATURE = Signature(
    zeros_a=Bounds(0.2, 0.7),
    zeros_w=Bounds(0, 0.001),
    zeros_g=Bounds(0, 0.02),
    terms_w=Bounds(3.2, 3.5),
    weight_grad=Bounds(1, 1),
    kinds=frozenset({"conv2d", "linear"}),
)
DENSE = Workload(
    name="resnet18-dense",
    summary="a narrow ResNet-18, trained as long as those beside it",
    model="ResNet-18 (width 0.25)",
    dataset="Fashion-MNIST at 1x16x16",
    train=dense,
    budget_s=300,
    seeds=3,
    signature=SIGNATURE,
    shapes=lambda _: load_network("resnet18"),
)
WORKLOADS = (DENSE,)
