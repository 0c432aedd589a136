"""Weights pulled to a set by ADMM, then put onto it: few weights, few levels, a low rank.

One driver (`simhw_workloads.constraints.admm`), and a projection for each set
(`simhw_workloads.constraints.projections`).

- ADMM-NN prunes, where a machine gains by it, and trains the weights that are left; then it quantises them.
  Source: arXiv 1812.11677; spec page techniques.md, 2.5.
- With a rank for a set, the dense network is trained towards it, decomposed without much loss, and fine-tuned in
  factors.  Source: arXiv 2107.12422; spec page techniques.md, 2.6.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from simhw.roofline.layers.network import Network
from simhw_workloads.constraints.admm import ADMM, Projected, Projection, project, residual
from simhw_workloads.constraints.break_even import captured_layers, paying
from simhw_workloads.constraints.masks import Held, nonzero_masks, weight_of
from simhw_workloads.constraints.projections import LevelKind, low_rank, pruned, quantised, train_ranks
from simhw_workloads.lowrank.surgery import factor
from simhw_workloads.lowrank.tensor_train import TrainShape, to_tensor_train
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.task import Task
from simhw_workloads.techniques.digits import BATCH, DENSE, SIGNATURE, by_shape, steps_of, train_on, trained
from simhw_workloads.train import Hook, Run
from simhw_workloads.workload import Bounds

UPDATES = 6
"""Of Z and U in a phase."""
RHO = 0.1
RANK_RHO = 0.3
"""Weights of the penalty at which the residual falls below a third; the papers tune theirs by network as well."""
TIGHTEN_AT, TIGHTEN_BY = 0.85, 5.0
"""Ranks: rho is five times as large in the last 15% of the phase (arXiv 2107.12422, its code)."""
MACHINE = "tensordash"
"""The machine that is asked which layers pruning pays for: it skips zeros of either operand."""
BITS = 3

DENSITIES = {"conv1": 0.5, "conv2": 0.12, "conv3": 0.07, "fc1": 0.02, "fc2": 0.3}
"""Shares of the weights that are to be left."""
SMOKE_DENSITIES = DENSITIES | {"fc1": 0.1}
SHAPES = {
    "conv2": TrainShape((32,), (16,), (8, 12)),
    "conv3": TrainShape((64,), (32,), (12, 16)),
    "fc1": TrainShape((8, 8), (24, 24), (4, 16, 12)),
}
"""Tensor trains of the whole CNN (spec page techniques.md, 2.6); at smoke scale fc1 has 64 inputs."""
SMOKE_SHAPES = SHAPES | {"fc1": TrainShape((8, 8), (8, 8), (4, 12, 6))}
RANKS: dict[str, int | tuple[int, int]] = {"conv2": (12, 8), "conv3": (16, 12), "fc1": 8}
"""Of Tucker-2 and singular values: the same between the channels; fc1's has about as many weights as its train."""


@dataclass(frozen=True)
class RankKind:
    """A set of weights of low rank, and how a model is taken apart at its ranks."""

    projections: dict[str, Projection]
    apart: Callable[[nn.Module], nn.Module]


def tensor_train(run: Run) -> RankKind:
    """Tensor trains."""
    shapes = run.pick(SMOKE_SHAPES, SHAPES)
    return RankKind(train_ranks(shapes), partial(to_tensor_train, shapes=shapes))


def tucker(_: Run) -> RankKind:
    """Tucker-2 of the convolutions, singular values of the linear layer."""
    return RankKind(low_rank(RANKS), partial(factor, ranks=RANKS))


def admm_rank(run: Run, kind: Callable[[Run], RankKind]) -> nn.Module:
    """Train towards a rank, take the network apart at it, and fine-tune the factors."""
    model, task = trained(run)
    chosen = kind(run)
    admm(run, "admm", model, task, chosen.projections, 0.7, RANK_RHO, tighten=True)
    chosen.apart(model)
    run.note_size(model)
    train_on(run, "finetune", model, task, 0.3, 3e-4)
    return model


def admm_nn(run: Run, levels: LevelKind | None = None, machine: str = MACHINE) -> nn.Module:
    """Prune where it pays on a machine, train what is left, and put that on levels where they are asked for."""
    model, task = trained(run)
    densities, gains = paying(captured_layers(model, task, BATCH), run.pick(SMOKE_DENSITIES, DENSITIES), machine)
    run.note(asked=machine, **{f"gain_{path}": round(gain, 3) for path, gain in gains.items()})
    fewer = pruned(densities, model)
    admm(run, "admm", model, task, fewer, 0.4 if levels else 0.7, RHO)
    masks = nonzero_masks(model, list(fewer))
    train_on(run, "retrain", model, task, 0.3, 1e-3, [Held(masks)])
    if levels:
        on_levels = {path: partial(quantised, bits=BITS, kind=levels) for path in fewer}
        admm(run, "levels", model, task, on_levels, 0.2, RHO, [Held(masks)], name="quantised")
        train_on(run, "on levels", model, task, 0.1, 1e-4, [Held(masks), Projected(on_levels)])
    weights = {path: weight_of(model, path) for path in DigitCNN.ORDER}
    left = sum(int(weight.count_nonzero()) for weight in weights.values())
    run.note(weights_left=left, times_fewer=round(sum(weight.numel() for weight in weights.values()) / left, 2))
    return model


def admm(
    run: Run,
    phase: str,
    model: nn.Module,
    task: Task,
    projections: Mapping[str, Projection],
    share: float,
    rho: float,
    hooks: Sequence[Hook] = (),
    *,
    tighten: bool = False,
    name: str = "projected",
) -> None:
    """A phase of ADMM, and the weights put onto their sets behind it.

    The score of the model put onto the sets without ADMM is in the record beside that with it.
    """
    direct = deepcopy(model)
    project(direct, projections)
    run.score(f"{name} without ADMM", direct, task)
    run.note(**{f"residual_before_{phase}": round(residual(model, projections), 4)})
    steps = steps_of(run, share)
    driver = ADMM(projections, rho, steps // UPDATES, (round(TIGHTEN_AT * steps), TIGHTEN_BY) if tighten else None)
    train_on(run, phase, model, task, share, 1e-3, [driver, *hooks])
    run.note(**{f"residual_after_{phase}": round(residual(model, projections), 4)})
    project(model, projections)
    run.score(name, model, task)


def _apart_by_shape(kind: Callable[[Run], RankKind]) -> Network:
    with torch.device("meta"):
        model = DigitCNN()
    return by_shape(kind(Run()).apart(model))


_NN = replace(
    DENSE,
    name="admm-nn",
    summary="pruned by ADMM where a machine gains by it, and trained on",
    family="pruning",
    technique="ADMM-NN, pruned",
    train=admm_nn,
    phases=("dense", "admm", "retrain"),
    baseline=DENSE.name,
    paper="arXiv 1812.11677",
    headline="LeNet-5 with 85 times fewer weights, AlexNet with 24 times fewer, without loss of accuracy",
    # conv1, a hundredth of the weights, stays dense, for no machine that skips zeros gains on its nine inputs.
    signature=replace(SIGNATURE, zeros_w=Bounds(0.85, 0.97), terms_w=Bounds(0.1, 0.6), macs=Bounds(1, 1)),
    # Zeros in no order leave all shapes as they are: a roofline sees nothing of them.
)
_TT = replace(
    DENSE,
    name="admm-tt",
    summary="trained towards tensor trains by ADMM, taken apart into their cores, and fine-tuned",
    family="low rank",
    technique="ADMM, tensor train",
    train=partial(admm_rank, kind=tensor_train),
    phases=("dense", "admm", "finetune"),
    baseline=DENSE.name,
    paper="arXiv 2107.12422",
    headline="ResNet-20 and -32 on CIFAR-100 at 2.3 and 2.4 times fewer weights: 1.96 and 2.21 points better; "
    "ResNet-18 on ImageNet with 2.47 times fewer FLOPs without loss",
    # Between cores nothing makes zeros.
    signature=replace(SIGNATURE, zeros_a=Bounds(0.02, 0.45), macs=Bounds(0.2, 0.7)),
    shapes=lambda _: _apart_by_shape(tensor_train),
)

WORKLOADS = (
    _NN,
    replace(
        _NN,
        name="admm-nn-levels",
        summary=f"pruned by ADMM, and what is left quantised by ADMM to {BITS} bits",
        technique=f"ADMM-NN, pruned, {BITS} bits",
        train=partial(admm_nn, levels="multiples"),
        phases=("dense", "admm", "retrain", "levels", "on levels"),
        # W: 0.1 of the weights, with the terms of any step's multiples: as many as floats have.
        headline="LeNet-5 1,910 times smaller and AlexNet 231 times, by pruning and quantisation together",
    ),
    replace(
        _NN,
        name="admm-nn-powers",
        summary=f"pruned by ADMM, and what is left quantised by ADMM to powers of two of {BITS} bits: a term each",
        technique=f"ADMM-NN, pruned, powers of two of {BITS} bits",
        train=partial(admm_nn, levels="powers"),
        phases=("dense", "admm", "retrain", "levels", "on levels"),
        # A term for each weight that is left, but for conv1, the biases being none of W.
        signature=replace(_NN.signature, terms_w=Bounds(0.03, 0.14)),
        headline="ADMM-NN itself has equally far levels; powers of two have one term each",
    ),
    _TT,
    replace(
        _TT,
        name="admm-tucker",
        summary="the same towards Tucker-2 of the convolutions and singular values of the linear layer",
        technique="ADMM, Tucker-2 and SVD",
        train=partial(admm_rank, kind=tucker),
        headline="ResNet-32 on CIFAR-10 with 3 times fewer weights: 93.29% for 92.49% before (tensor train 93.05%)",
        shapes=lambda _: _apart_by_shape(tucker),
    ),
)
