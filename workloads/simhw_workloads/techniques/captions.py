"""Image to text, of FPRaker's and TensorDash's evaluation: an LSTM with attention describes composed scenes."""

import torch
from torch import nn

from simhw.roofline.from_model import network_of
from simhw.roofline.layers.network import Network
from simhw_workloads.data.captions import START, VOCABULARY, WORDS, captions
from simhw_workloads.models.captions import GivenWords, ImageToText, image_to_markup
from simhw_workloads.schedule import Schedule
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

SIZE = 64


def train(run: Run) -> nn.Module:
    """Convolutions and decoder together, from scratch; the decoder is given the right words."""
    train, test = run.pick((32, 20), (8000, 500))
    task = captions(SIZE, train, test, run.pick("mnist5k", "fashion"), run.data)
    run.seeded()
    channels = run.pick((8, 8, 8, 8), (32, 64, 64, 128, 128))
    model = ImageToText(channels, (SIZE // 8) ** 2, VOCABULARY, run.pick(16, 128), WORDS, START)
    schedule = Schedule(run.pick(3, 900), 1e-3, warmup=run.pick(1, 50), kind="adamw", weight_decay=1e-4)
    run.fit("captions", model, task, schedule, batch=run.pick(4, 32), hooks=[GivenWords()])
    run.score("captions", model, task, limit=run.pick(20, 500))
    return model


def _full() -> Network:
    with torch.device("meta"):
        model = image_to_markup()
    return network_of(model, torch.zeros(1, 1, 64, 320), "image-to-markup")


WORKLOADS = (
    Workload(
        name="image-to-text",
        summary="an LSTM with attention on convolutions describes composed scenes in words",
        model="five convolutions, LSTM of 128, attention",
        dataset="captions of scenes of Fashion-MNIST on photographs, 3x64x64",
        train=train,
        budget_s=600,
        family="papers",
        phases=("captions",),
        paper="Deng et al., ICML 2017",
        headline="FPRaker's Image2Text writes markup of formulas; TensorDash's img2txt describes photographs",
        # Without batch norm a max pool passes one of four gradients on, and ReLU fewer.  ReLU makes zeros in A, of
        # which few are left behind max pools.
        signature=Signature(
            zeros_a=Bounds(0.03, 0.8),
            zeros_w=Bounds(0, 0.001),
            zeros_g=Bounds(0.5, 0.95),
            weight_grad=Bounds(0.9, 1),
            kinds=frozenset({"conv2d", "lstm", "linear", "matmul"}),
        ),
        shapes=lambda _: _full(),
        roofline_batch=32,
    ),
)
