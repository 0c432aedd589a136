"""A small single-shot detector, and what two papers on construction sites change around it.

Clustering and the ensemble work on what trained detectors give out, so their training steps are plain ones; adaptive
default boxes change which boxes stand for an object.  Source: arXiv 1808.05730 and 1808.05727; spec page techniques.md,
5.7.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data.scenes import Scenes, scenes
from simhw_workloads.detection.average_precision import mean_average_precision
from simhw_workloads.detection.default_boxes import FIXED_RATIOS, adaptive_ratios, adaptive_scales, default_boxes
from simhw_workloads.detection.detections import Reduce, cluster, detections, suppress
from simhw_workloads.detection.loss import multibox_loss
from simhw_workloads.models.ssd import MINI_CELLS, Ssd300, SsdMini
from simhw_workloads.record import Record
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

CLASSES = 10
SIZE = 64
FIXED_SCALES = (0.2, 0.4, 0.6)
"""Of the three feature maps."""
MEMBERS = 2


def run_scenes(run: Run) -> Scenes:
    """The scenes of a run's scale."""
    train, test = run.pick((32, 8), (2000, 300))
    return scenes(SIZE, train, test, run.pick("mnist5k", "fashion"), run.data)


def detection_task(found: Scenes, defaults: Tensor, reduce: Reduce = suppress) -> Task:
    """Detection by those default boxes; `reduce` says what becomes of boxes that overlap."""

    def score(outputs: Tensor, targets: Tensor) -> float:
        return mean_average_precision([detections(output, defaults, reduce) for output in outputs], targets)

    return found.task(partial(multibox_loss, defaults=defaults), score)


def fixed_boxes() -> Tensor:
    """The default boxes of the small detector, by rule."""
    return default_boxes(MINI_CELLS, FIXED_SCALES, FIXED_RATIOS)


def _detector(run: Run, task: Task, phase: str = "train", seed: int = 0) -> nn.Module:
    torch.manual_seed(run.seed + seed)
    model = SsdMini(CLASSES, len(FIXED_RATIOS), run.pick(0.25, 1.0))
    run.fit(
        phase,
        model,
        task,
        Schedule(run.pick(3, 600), rate=0.01, warmup=run.pick(1, 60), weight_decay=5e-4),
        batch=run.pick(4, 16),
    )
    return model


def ssd(run: Run) -> nn.Module:
    """Fixed default boxes, non-maximum suppression."""
    task = detection_task(run_scenes(run), fixed_boxes())
    model = _detector(run, task)
    run.score("train", model, task)
    return model


def ssd_clustering(run: Run) -> nn.Module:
    """The same detector; overlapping boxes choose who stands for them."""
    found = run_scenes(run)
    task = detection_task(found, fixed_boxes())
    model = _detector(run, task)
    run.score("non-maximum suppression", model, task)
    run.score("clustering", model, detection_task(found, fixed_boxes(), cluster))
    return model


def ssd_adaptive(run: Run) -> nn.Module:
    """Aspect ratios and scales of the default boxes as the training set's boxes have them."""
    found = run_scenes(run)
    ratios, scales = (
        adaptive_ratios(found.train_boxes, len(FIXED_RATIOS)),
        adaptive_scales(found.train_boxes, len(MINI_CELLS)),
    )
    run.note(ratios=", ".join(f"{ratio:.2f}" for ratio in ratios), scales=", ".join(f"{scale:.2f}" for scale in scales))
    task = detection_task(found, default_boxes(MINI_CELLS, scales, ratios))
    model = _detector(run, task)
    run.score("train", model, task)
    return model


def ssd_ensemble(run: Run) -> nn.Module:
    """Detectors from different seeds; what any of them sees is suppressed together."""
    found = run_scenes(run)
    task = detection_task(found, fixed_boxes())
    members = []
    for number in range(1, MEMBERS + 1):
        members.append(_detector(run, task, f"member-{number}", number - 1))
        run.score(f"member-{number}", members[-1], task)
    ensemble = nn.ModuleList(members)
    together = detection_task(found, fixed_boxes().repeat(MEMBERS, 1))
    run.score("ensemble", ensemble, together, forward=lambda _, images: all_boxes(members, images))
    return ensemble


def all_boxes(members: Sequence[nn.Module], images: Tensor) -> Tensor:
    """(N, members * boxes, values): what every member gives out."""
    return torch.cat([member(images) for member in members], dim=1)


def _full() -> Network:
    with torch.device("meta"):
        model = Ssd300()
    return network_of(model, torch.zeros(1, 3, 300, 300), "ssd300-vgg16")


# A: ReLU makes zeros.  W is dense.  G of the heads is zero at boxes that count for nothing: all but matched and hard
# ones.
_SIGNATURE = Signature(
    zeros_a=Bounds(0.1, 0.6),
    zeros_w=Bounds(0, 0.001),
    zeros_g=Bounds(0.02, 0.6),
    weight_grad=Bounds(1, 1),
    kinds=frozenset({"conv2d"}),
)
DENSE = Workload(
    name="ssd",
    summary="a small single-shot detector on composed scenes, with fixed default boxes and suppression",
    model="SSD-mini",
    dataset="scenes of Fashion-MNIST on photographs, 3x64x64",
    train=ssd,
    phases=("train",),
    budget_s=600,
    signature=_SIGNATURE,
    shapes=lambda _: _full(),
    roofline_batch=32,
)
# A step of every technique is a step of the plain detector.
_SAME_STEP = replace(DENSE, family="detection", baseline=DENSE.name, signature=replace(_SIGNATURE, macs=Bounds(1, 1)))


def _members(record: Record) -> float:
    """Every member is a training of its own."""
    return record.samples / record.phases[0].samples


WORKLOADS = (
    DENSE,
    replace(
        _SAME_STEP,
        name="ssd-clustering",
        summary="the same detector; affinity propagation clusters overlapping boxes",
        technique="SSD, clustered detections",
        train=ssd_clustering,
        paper="arXiv 1808.05730",
        headline="clusters of detections in place of non-maximum suppression, on construction sites; figures not at "
        "hand",
    ),
    replace(
        _SAME_STEP,
        name="ssd-adaptive",
        summary="default boxes with the aspect ratios and scales of the training set",
        technique="SSD, adaptive default boxes",
        train=ssd_adaptive,
        paper="arXiv 1808.05727",
        headline="default boxes from the distribution of the training set, on construction sites; figures not at hand",
    ),
    replace(
        _SAME_STEP,
        name="ssd-ensemble",
        summary="two detectors of different seeds, whose boxes are suppressed together",
        technique="SSD, ensemble",
        train=ssd_ensemble,
        phases=tuple(f"member-{number}" for number in range(1, MEMBERS + 1)),
        paper="arXiv 1808.05727",
        headline="an ensemble of detectors, on construction sites; figures not at hand",
        work=_members,
        members=MEMBERS,
    ),
)
