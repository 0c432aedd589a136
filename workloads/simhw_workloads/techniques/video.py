"""Eight ways to convolve clips: in three dimensions, or put together from two and one.

The same narrow network and the same steps for each, from scratch, on digits whose way of moving no single frame tells.
Source: arXiv 2407.16514; spec page techniques.md, 5.5.
"""

from dataclasses import replace

from torch import nn

from simhw.roofline.compression.published import VIDEO
from simhw.roofline.networks.video import eco_lite
from simhw_workloads.data.clips import WAYS, moving_digits
from simhw_workloads.models.video import VideoNet
from simhw_workloads.schedule import Schedule
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

_PUBLISHED = {row.variant: row for row in VIDEO}


def video(run: Run, variant: str) -> nn.Module:
    """The network with one kind of unit, from scratch."""
    task = moving_digits(run.pick(4, 8), run.pick(16, 32), folder=run.data)
    run.seeded()
    model = VideoNet(len(WAYS), run.pick(0.0625, 0.1875), variant)
    run.note_size(model)
    run.fit("clips", model, task, Schedule(run.pick(3, 400), rate=0.05, warmup=run.pick(1, 40)), batch=run.pick(4, 16))
    run.score("clips", model, task, limit=run.pick(50, 1000))
    return model


# A: ReLU makes zeros, and most of a clip is black.  Batch norm stands before every ReLU, so that G is dense, but for
# channels whose ReLU is off in all clips of the step: at smoke scale, up to 0.09 of G.
_SIGNATURE = Signature(
    zeros_a=Bounds(0.3, 0.5),
    zeros_w=Bounds(0, 0.001),
    zeros_g=Bounds(0, 0.12),
    terms_w=Bounds(3.35, 3.5),
    weight_grad=Bounds(1, 1),
    kinds=frozenset({"conv2d", "conv3d", "linear"}),
)
# The temporal convolution reads what the spatial one gives, before any ReLU.
_BEHIND = replace(_SIGNATURE, zeros_a=Bounds(0.18, 0.3))
# A strided unit convolves every frame and then leaves every other one out by a 1x1: half of the G of its spatial
# convolution is zero.
_FLAT = replace(
    _SIGNATURE, zeros_g=Bounds(0.015, 0.08), kinds=frozenset({"conv2d", "linear"}), absent=frozenset({"conv3d"})
)


DENSE = Workload(
    name="video-conv3d",
    summary="a small ECO-Lite with 3 x 3 x 3 convolutions tells which way a digit moves",
    model="ECO-Lite (width 0.1875)",
    dataset="moving digits (MNIST-5k) at 8x32x32",
    train=lambda run: video(run, "conv3d"),
    phases=("clips",),
    budget_s=150,
    signature=_SIGNATURE,
    shapes=lambda _: eco_lite("conv3d"),
    roofline_batch=16,
)


def _variant(variant: str, name: str, summary: str, macs: Bounds, signature: Signature = _SIGNATURE) -> Workload:
    row, whole = _PUBLISHED[variant], _PUBLISHED["conv3d"]
    return replace(
        DENSE,
        name=name,
        summary=summary,
        family="video",
        technique=variant,
        train=lambda run: video(run, variant),
        baseline=DENSE.name,
        paper="arXiv 2407.16514",
        headline=f"ECO-Lite on V100: {row.parameters_m:g} M parameters, {row.gmacs:g} GFLOP, {row.frames_per_s} "
        f"frames/s; with 3D convolutions {whole.parameters_m:g} M, {whole.gmacs:g} GFLOP, {whole.frames_per_s} "
        "frames/s",
        signature=replace(signature, macs=macs),
        shapes=lambda _: eco_lite(variant),
    )


WORKLOADS = (
    DENSE,
    _variant("r2plus1d", "video-r2plus1d", "1 x 3 x 3, then 3 x 1 x 1, with as many parameters", Bounds(1.01, 1.05)),
    _variant("p3d-a", "video-p3d-a", "spatial, then temporal convolutions", Bounds(0.51, 0.6)),
    _variant("p3d-b", "video-p3d-b", "spatial and temporal convolutions beside each other", Bounds(0.48, 0.58)),
    _variant(
        "p3d-c",
        "video-p3d-c",
        "a spatial convolution, and a temporal one of its result added to it",
        Bounds(0.49, 0.59),
        _BEHIND,
    ),
    _variant("rank-1", "video-rank1", "3 x 1 x 1, 1 x 3 x 1, 1 x 1 x 3", Bounds(0.43, 0.53)),
    _variant(
        "prop-add",
        "video-prop-add",
        "frames as images beside positions over time, added: four-dimensional tensors",
        Bounds(0.51, 0.6),
        _FLAT,
    ),
    _variant(
        "prop-cat",
        "video-prop-cat",
        "frames as images beside positions over time, side by side",
        Bounds(0.9, 0.96),
        _FLAT,
    ),
)
