"""A detector on a backbone that was trained to classify, its batch norms frozen: what Detectron2 does.

The backbone learns to classify images.  Then its normalisations become fixed factors and shifts, as all published
fine-tunings of Detectron2's detectors have them, and the detector is trained.  Without statistics of the batch in the
backward pass the zeros of ReLU reach the gradients.  A single-shot detector stands in for Detectron2's two stages.
"""

import torch
from torch import Tensor, nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data import load
from simhw_workloads.detection.default_boxes import FIXED_RATIOS
from simhw_workloads.models.frozen_norm import freeze_norms
from simhw_workloads.models.ssd import Ssd300, SsdMini
from simhw_workloads.schedule import Schedule
from simhw_workloads.techniques.ssd import CLASSES, detection_task, fixed_boxes, run_scenes
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload


class _Classifier(nn.Module):
    """The detector's backbone and a linear layer on the average of its positions."""

    def __init__(self, backbone: nn.Module, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        logits: Tensor = self.head(self.backbone(x).mean((2, 3)))
        return logits


def train(run: Run) -> nn.Module:
    """The backbone classifies, then the detector detects."""
    images = load(run.pick("mnist5k", "fashion"), run.data).task(size=run.pick(16, 32), channels=3)
    task = detection_task(run_scenes(run), fixed_boxes())
    run.seeded()
    model = SsdMini(CLASSES, len(FIXED_RATIOS), run.pick(0.25, 1.0))
    classifier = _Classifier(model.backbone, model.channels)
    schedule = Schedule(run.pick(3, 600), rate=0.05, warmup=run.pick(1, 60), weight_decay=5e-4)
    run.fit("classify", classifier, images, schedule, batch=run.pick(8, 32))
    run.score("classify", classifier, images, limit=run.pick(100, 2000))
    run.note(frozen_norms=freeze_norms(model))
    schedule = Schedule(run.pick(3, 800), rate=0.01, warmup=run.pick(1, 80), weight_decay=5e-4)
    run.fit("detect", model, task, schedule, batch=run.pick(4, 16))
    run.score("detect", model, task)
    return model


def _full() -> Network:
    with torch.device("meta"):
        model = Ssd300()
    return network_of(model, torch.zeros(1, 3, 300, 300), "ssd300-vgg16")


WORKLOADS = (
    Workload(
        name="detector-frozen",
        summary="a single-shot detector on a backbone that learnt to classify, its batch norms frozen",
        model="SSD-mini, frozen batch norms",
        dataset="scenes of Fashion-MNIST on photographs, 3x64x64",
        train=train,
        budget_s=400,
        family="papers",
        phases=("classify", "detect"),
        paper="MICRO 2021 (FPRaker)",
        headline="FPRaker's Detectron2 is a two-stage detector on COCO with a pretrained backbone; SSD stands in",
        # ReLU's zeros reach G, for frozen norms scale and shift alone.
        signature=Signature(
            zeros_a=Bounds(0.1, 0.75),
            zeros_w=Bounds(0, 0.001),
            zeros_g=Bounds(0.5, 0.9),
            weight_grad=Bounds(1, 1),
            kinds=frozenset({"conv2d"}),
        ),
        shapes=lambda _: _full(),
        roofline_batch=32,
    ),
)
