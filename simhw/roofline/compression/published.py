"""Effects of compression and cheaper training that papers measured, as numbers with their sources.

Nothing is fitted to them: predictions stand beside them in `simhw.roofline.compression.effects`.  Collected on the
spec page roofline.md, section 6.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LowRankRow:
    """A network in one variant: throughput gained in training and inference, and multiply-accumulates, in percent."""

    model: str
    variant: str
    training_percent: float
    inference_percent: float
    macs_percent: float | None


@dataclass(frozen=True)
class VideoRow:
    """A 3D variant: million parameters, frames per second, 10^9 multiply-accumulates of its 3D part."""

    variant: str
    parameters_m: float
    frames_per_s: float
    gmacs: float


LOW_RANK_SOURCE = "arXiv 2407.20266, table 2; device not named"
# The freezing rows of the table are the vanilla network's in products and in inference.
LOW_RANK = (
    LowRankRow("resnet50", "vanilla", 6.07, 6.82, -43.26),
    LowRankRow("resnet50", "optimised", 14.16, 13.96, -47.71),
    LowRankRow("resnet50", "freezing", 24.57, 6.82, -43.26),
    LowRankRow("resnet50", "merging", 43.64, 40.58, -55.09),
    LowRankRow("resnet101", "vanilla", 9.66, 10.52, -46.53),
    LowRankRow("resnet101", "optimised", 14.49, 19.92, -49.56),
    LowRankRow("resnet101", "freezing", 29.95, 10.52, -46.53),
    LowRankRow("resnet101", "merging", 52.66, 54.56, -58.86),
    LowRankRow("resnet152", "vanilla", 11.73, 13.14, -47.69),
    LowRankRow("resnet152", "optimised", 15.86, 18.43, -50.20),
    LowRankRow("resnet152", "freezing", 31.72, 13.14, -47.69),
    LowRankRow("resnet152", "merging", 55.86, 54.90, -60.18),
)

RANK_STEP_SOURCE = (
    "arXiv 2407.20266 and 2309.03824: a Tucker-2 layer of 512 x 512 x 3 x 3 from rank 256 to 257, 3.5 to 4.0 ms"
)
RANK_STEP_PERCENT = 15.0

TARGETED_SOURCE = "arXiv 2309.12412: ResNet-50, layers unpublished"
TARGETED_TRAINING_PERCENT = 5.36
"""Ascend 910."""
TARGETED_INFERENCE_PERCENT = 15.79
"""Ascend 310."""

SEQUENTIAL_SOURCE = "arXiv 2309.03824: rank quantisation and sequential freezing together, the most of all networks"
SEQUENTIAL_TRAINING_PERCENT = 60.0
SEQUENTIAL_INFERENCE_PERCENT = 37.0

GROUPED_SOURCE = "arXiv 2311.03426: ViT-S on V100, ms per batch of 288"
GROUPED_MS = {
    "MHA": 178.90,
    "GKVA-3": 177.96,
    "GKVA-2": 177.88,
    "MKVA": 177.58,
    "GQA-3": 177.84,
    "GQA-2": 176.89,
    "MQA": 173.94,
    "GQKVA-2.3": 175.77,
    "GQKVA-3.2": 175.67,
}
GROUPS = {
    "MHA": (6, 6),
    "GKVA-3": (3, 6),
    "GKVA-2": (2, 6),
    "MKVA": (1, 6),
    "GQA-3": (6, 3),
    "GQA-2": (6, 2),
    "MQA": (6, 1),
    "GQKVA-2.3": (2, 3),
    "GQKVA-3.2": (3, 2),
}
"""Groups of queries, and of keys and values, by the paper's names."""

SKIPPING_SOURCE = (
    "arXiv 2401.15293: ViT-S on Ascend 910A, 55% of the tokens; the blocks that they skip are not in the abstract"
)
SKIPPING_DROPPED = 0.55
SKIPPING_TRAINING_PERCENT = 13.23

SELECTION_SOURCE = (
    "arXiv 2311.15134: BERT fine-tuning on GLUE, 90% of the samples dropped; epochs and rescoring not named here"
)
SELECTION_KEPT = 0.1
SELECTION_WARMUP_EPOCHS = 2
SELECTION_SPEEDUPS = (3.00, 3.53)
SELECTION_MEAN = 3.36

VIDEO_SOURCE = "arXiv 2407.16514: ECO-Lite on V100"
VIDEO = (
    VideoRow("conv3d", 33.7, 773, 35.6),
    VideoRow("r2plus1d", 33.7, 764, 36.9),
    VideoRow("prop-cat", 32.2, 774, 32.7),
    VideoRow("prop-add", 16.3, 865, 17.1),
    VideoRow("p3d-a", 22.5, 824, 19.5),
    VideoRow("p3d-b", 23.5, 791, 20.9),
    VideoRow("p3d-c", 22.8, 758, 19.6),
    VideoRow("rank-1", 13.7, 724, 14.7),
)
