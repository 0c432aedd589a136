"""ResNet-50 with a tenth of its weights, from the first step to the last: two networks of the papers on accelerators.

FPRaker's ResNet50-S2 and TensorDash's DS90 are trained by dynamic sparse reparameterisation, TensorDash's SM90 by
sparse momentum.  Source: `simhw_workloads.sparse_training`; both at reduced width and on other images.
"""

from dataclasses import replace

from torch import nn

from simhw.roofline.networks.catalogue import load_network
from simhw_workloads.data import load
from simhw_workloads.models.resnet import resnet50
from simhw_workloads.schedule import Schedule
from simhw_workloads.sparse_training import DynamicReparameterisation, Rule, SparseMomentum, SparseWeights
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

DENSITY = 0.1
WIDTH = 0.25
MOVE_EVERY = 20


def _train(run: Run, rule: Rule) -> nn.Module:
    task = load(run.pick("mnist5k", "fashion"), run.data).task(size=run.pick(16, None))
    run.seeded()
    model = resnet50(10, run.pick(0.0625, WIDTH), 1, small_input=True)
    hook = SparseWeights(DENSITY, run.pick(2, MOVE_EVERY), rule, run.seed)
    schedule = Schedule(run.pick(4, 500), rate=0.05, warmup=run.pick(1, 50), weight_decay=1e-4)
    run.fit("sparse", model, task, schedule, batch=run.pick(8, 32), hooks=[hook])
    run.note(moves=hook.moves, weights_left=sum(int(mask.sum()) for mask in hook.masks.values()))
    run.score("sparse", model, task, limit=run.pick(100, 2000))
    return model


def reparameterised(run: Run) -> nn.Module:
    """Dynamic sparse reparameterisation."""
    return _train(run, DynamicReparameterisation())


def momentum(run: Run) -> nn.Module:
    """Sparse momentum."""
    return _train(run, SparseMomentum())


DS90 = Workload(
    name="resnet50-ds90",
    summary="ResNet-50 with a tenth of its weights, moved by dynamic sparse reparameterisation",
    model="ResNet-50 v1.5 (width 0.25), 90% sparse",
    dataset="Fashion-MNIST at 1x28x28",
    train=reparameterised,
    budget_s=600,
    family="papers",
    technique="dynamic sparse reparameterisation, 90%",
    phases=("sparse",),
    paper="Mostafa and Wang, ICML 2019",
    headline="FPRaker's ResNet50-S2 and TensorDash's DS90 are ResNet-50 on ImageNet by this technique",
    # All layers but the first, which has less than a hundredth of the weights, keep a tenth.  Just grown weights are
    # zero until the next step.
    signature=Signature(
        zeros_a=Bounds(0.2, 0.7), zeros_w=Bounds(0.88, 0.92), weight_grad=Bounds(1, 1), kinds=frozenset({"conv2d"})
    ),
    # Unstructured zeros leave all shapes as they are: a roofline predicts the dense network.
    shapes=lambda _: load_network("resnet50"),
)

WORKLOADS = (
    DS90,
    replace(
        DS90,
        name="resnet50-sm90",
        summary="ResNet-50 with a tenth of its weights, moved by sparse momentum",
        technique="sparse momentum, 90%",
        train=momentum,
        paper="arXiv 1907.04840",
        headline="TensorDash's SM90 is ResNet-50 on ImageNet by this technique",
    ),
)
