"""Low-rank decomposition of a trained ResNet-50, and what makes it faster: ranks and layers for a device, freezing,
merging, branching.

All train a narrow ResNet-50 densely, operate on it, and fine-tune; the uncompressed model trains on for as long.  Ranks
that a device's model chose are chosen for the full-size network and scaled to the narrow one
(`simhw_workloads.lowrank.ranks`). Source: arXiv 2407.20266, 2309.12412, 2309.03824; spec page techniques.md, 5.1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from simhw.roofline.compression.decompose import compression_ranks, decomposable, decomposed
from simhw.roofline.compression.variants import frozen, merged, vanilla
from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.data import load
from simhw_workloads.lowrank.branching import branch
from simhw_workloads.lowrank.freezing import SequentialFreezing, freeze
from simhw_workloads.lowrank.merging import merge
from simhw_workloads.lowrank.ranks import optimised_ranks, scaled_ranks, targeted_ranks, vanilla_ranks
from simhw_workloads.lowrank.surgery import factor
from simhw_workloads.models.resnet import resnet50
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Hook, Run
from simhw_workloads.workload import Bounds, Signature, Workload

BRANCHES = 2
DENSE_STEPS = 240
TUNE_STEPS = 200
TURNS = 4
"""Turns of sequential freezing; the cores are frozen in the last."""


def narrow_task(run: Run) -> Task:
    """Small grey images."""
    return load(run.pick("mnist5k", "fashion"), run.data).task(size=run.pick(8, 16))


def narrow_model(run: Run) -> nn.Module:
    """A ResNet-50 of a quarter of the published width (an eighth in smoke runs)."""
    run.seeded()
    return resnet50(10, run.pick(0.125, 0.25), 1, small_input=True)


def train_densely(run: Run, model: nn.Module, task: Task, steps: int) -> None:
    """The first phase of every run."""
    run.fit("dense", model, task, Schedule(steps=steps, rate=0.05, warmup=run.pick(2, 30)), batch=run.pick(8, 32))
    run.score("dense", model, task, limit=run.pick(200, 2000))


def _trained(run: Run) -> tuple[nn.Module, Task]:
    model, task = narrow_model(run), narrow_task(run)
    train_densely(run, model, task, run.pick(6, DENSE_STEPS))
    return model, task


def _finetuned(run: Run, model: nn.Module, task: Task, hooks: Sequence[Hook] = ()) -> nn.Module:
    run.note_size(model)
    run.fit(
        "finetune", model, task, Schedule(steps=run.pick(4, TUNE_STEPS), rate=0.02), batch=run.pick(8, 32), hooks=hooks
    )
    run.score("finetune", model, task, limit=run.pick(200, 2000))
    return model


def _decomposed(run: Run, ranks: Callable[[nn.Module], Mapping[str, int]]) -> tuple[nn.Module, Task]:
    model, task = _trained(run)
    factor(model, ranks(model))
    run.score("decomposed", model, task, limit=run.pick(200, 2000))
    return model, task


def _vanilla(model: nn.Module, compression: float = 2.0) -> dict[str, int]:
    return vanilla_ranks(model, torch.zeros(1, 1, 16, 16), compression)


def _as_at_full_size(
    choice: Callable[[Network, str], Mapping[str, int]], run: Run
) -> Callable[[nn.Module], Mapping[str, int]]:
    full = load_network("resnet50")
    return lambda model: scaled_ranks(choice(full, run.device), compression_ranks(decomposable(full)), _vanilla(model))


def dense(run: Run) -> nn.Module:
    """Nothing is done between the phases."""
    return _finetuned(run, *_trained(run))


def lrd(run: Run) -> nn.Module:
    """Every layer at the rank of half its weights."""
    return _finetuned(run, *_decomposed(run, _vanilla))


def lrd_optimised(run: Run) -> nn.Module:
    """Ranks on the cheap side of a device's staircase; layers that it does not make faster stay whole."""
    return _finetuned(run, *_decomposed(run, _as_at_full_size(optimised_ranks, run)))


def lrd_targeted(run: Run) -> nn.Module:
    """Only the layers where a device gains."""
    return _finetuned(run, *_decomposed(run, _as_at_full_size(targeted_ranks, run)))


def lrd_frozen(run: Run) -> nn.Module:
    """Only one factor of each layer is fine-tuned."""
    model, task = _decomposed(run, _vanilla)
    return _finetuned(run, freeze(model), task)


def lrd_sequential(run: Run) -> nn.Module:
    """The parts of each layer are fine-tuned by turns."""
    model, task = _decomposed(run, _vanilla)
    return _finetuned(run, model, task, hooks=[SequentialFreezing(run.pick(4, TUNE_STEPS) // TURNS)])


def lrd_merged(run: Run) -> nn.Module:
    """The outer factors of every 3x3 go into its neighbours."""
    model, task = _trained(run)
    merge(model)
    run.score("merged", model, task, limit=run.pick(200, 2000))
    return _finetuned(run, model, task)


def lrd_branched(run: Run) -> nn.Module:
    """Cores of twice the rank in two branches each, at the parameters of plain decomposition."""
    model, task = _decomposed(run, branch_ranks)
    branch(model, BRANCHES)
    run.score("branched", model, task, limit=run.pick(200, 2000))
    return _finetuned(run, model, task)


def branch_ranks(model: nn.Module, size: int = 16) -> dict[str, int]:
    """Ranks that take as many weights in branches as plain decomposition does: N times those of 2 N times fewer
    weights.

    A core of rank N R in N branches has N R^2 k^2 weights, and its 1x1 convolutions N times those of rank R.
    """
    channels = next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))
    layers = decomposable(network_of(model, torch.zeros(1, channels, size, size)))
    pairs = compression_ranks(layers)
    deeper = compression_ranks(layers, 2.0 * BRANCHES)
    wide = {
        path for path, module in model.named_modules() if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
    }
    return {name: BRANCHES * deeper[name] if name in wide else rank for name, rank in pairs.items()}


# The full-size network by shape


def _full() -> Network:
    return load_network("resnet50")


def _full_branched() -> Network:
    with torch.device("meta"):
        model = resnet50()
    factor(model, branch_ranks(model, 224))
    return replace(network_of(branch(model, BRANCHES), torch.zeros(1, 3, 224, 224)), name="resnet50-branched")


DEVICES = "of the device in the paper, which is not named"
# A: ReLU, and ReLU alone, makes zeros; W and G are dense, for batch norm stands before every ReLU.
_DENSE = Signature(
    zeros_a=Bounds(0.2, 0.6),
    zeros_w=Bounds(0, 0.001),
    zeros_g=Bounds(0, 0.02),
    terms_w=Bounds(3.3, 3.5),
    weight_grad=Bounds(1, 1),
    kinds=frozenset({"conv2d", "linear"}),
)
# What goes from factor to factor has no zeros, so there are fewer of them in A.
_FACTORS = replace(_DENSE, zeros_a=Bounds(0.05, 0.45))

DENSE = Workload(
    name="resnet50-dense",
    summary="a narrow ResNet-50, trained on for as long as others fine-tune",
    model="ResNet-50 (width 0.25)",
    dataset="Fashion-MNIST at 1x16x16",
    train=dense,
    phases=("dense", "finetune"),
    budget_s=300,
    signature=_DENSE,
    shapes=lambda _: _full(),
)
# What the rows of all techniques share; most are of one paper.
_LOW_RANK = replace(DENSE, family="low rank", baseline=DENSE.name, paper="arXiv 2407.20266")

WORKLOADS = (
    DENSE,
    replace(
        _LOW_RANK,
        name="lrd",
        summary="ResNet-50 decomposed at half the weights of each layer: SVD of 1x1, Tucker-2 of 3x3",
        technique="low-rank decomposition",
        train=lrd,
        headline=f"ResNet-50: 43% fewer FLOPs, training 6.1% and inference 6.8% faster ({DEVICES})",
        signature=replace(_FACTORS, macs=Bounds(0.4, 0.75)),
        shapes=lambda _: vanilla(_full()),
    ),
    replace(
        _LOW_RANK,
        name="lrd-optimised",
        summary="the same with ranks on the cheap side of a device's staircase",
        technique="low-rank decomposition, ranks for the device",
        train=lrd_optimised,
        headline=f"ResNet-50: 48% fewer FLOPs, training 14.2% and inference 14.0% faster ({DEVICES})",
        signature=replace(_FACTORS, macs=Bounds(0.4, 0.9)),
        shapes=lambda run: decomposed(_full(), optimised_ranks(_full(), run.device), "resnet50-optimised"),
    ),
    replace(
        _LOW_RANK,
        name="lrd-targeted",
        summary="only the layers decomposed where a device gains",
        technique="low-rank decomposition, layers for the device",
        train=lrd_targeted,
        paper="arXiv 2309.12412",
        headline="ResNet-50: training on Ascend 910 5.4%, inference on Ascend 310 15.8% faster, top-1 1 point lower",
        signature=replace(_FACTORS, zeros_a=Bounds(0.1, 0.6), macs=Bounds(0.5, 1.0)),
        shapes=lambda run: decomposed(_full(), targeted_ranks(_full(), run.device), "resnet50-targeted"),
    ),
    replace(
        _LOW_RANK,
        name="lrd-frozen",
        summary="the first factor of a pair and the outer two of a triple stand still in fine-tuning",
        technique="low-rank decomposition, outer factors frozen",
        train=lrd_frozen,
        headline=f"ResNet-50: training 24.6% faster, inference as without freezing, 6.8% ({DEVICES})",
        signature=replace(_FACTORS, macs=Bounds(0.3, 0.65), weight_grad=Bounds(0.35, 0.75)),
        shapes=lambda _: frozen(vanilla(_full())),
    ),
    replace(
        _LOW_RANK,
        name="lrd-sequential",
        summary="inner and outer factors are fine-tuned by turns",
        technique="low-rank decomposition, factors frozen by turns",
        train=lrd_sequential,
        paper="arXiv 2309.03824",
        headline="with optimised ranks training up to 60% and inference up to 37% faster",
        signature=replace(_FACTORS, macs=Bounds(0.3, 0.7), weight_grad=Bounds(0.3, 0.75)),
        shapes=lambda _: frozen(vanilla(_full()), "core"),
    ),
    replace(
        _LOW_RANK,
        name="lrd-merged",
        summary="the outer factors of every 3x3 are multiplied into its neighbours: as deep as before, narrower inside",
        technique="low-rank decomposition, factors merged",
        train=lrd_merged,
        headline=f"ResNet-50: 55% fewer FLOPs, training 43.6% and inference 40.6% faster ({DEVICES})",
        signature=replace(_DENSE, macs=Bounds(0.35, 0.6)),
        shapes=lambda _: merged(_full()),
    ),
    replace(
        _LOW_RANK,
        name="lrd-branched",
        summary="cores of twice the rank in two branches: one grouped convolution each",
        technique="low-rank decomposition, cores branched",
        train=lrd_branched,
        headline="fewer weights at the same rank, or more rank at the same weights; no speed-up of ResNet-50 by "
        "branching alone is quoted here",
        signature=replace(_FACTORS, macs=Bounds(0.4, 0.8)),
        shapes=lambda _: _full_branched(),
    ),
)
