"""Adversarially trained model compression: robust, and held to one budget while it becomes so.

Every layer is the sum of two factors' product and a rest.  All of them together have a budget of weights that are not
zero, which holds after every step.  Copies of the weights with few values pull them by ADMM, and become the weights at
the end.  Half of each batch is attacked by projected gradient descent: its passes compute no weight gradient, so that a
step has 5 parts of forward and of input gradient to 2 of weight gradient.  Source: arXiv 1902.03538; spec page
techniques.md, 2.8.
"""

from dataclasses import replace
from functools import partial

from torch import nn

from simhw_workloads.adversarial import Adversarial, Attack, attacked
from simhw_workloads.constraints.admm import ADMM, Projected, project, residual
from simhw_workloads.constraints.budget import Budget, largest_of_all
from simhw_workloads.constraints.masks import Held, weight_of
from simhw_workloads.constraints.projections import clustered
from simhw_workloads.lowrank.rest import with_rest
from simhw_workloads.models.digit_cnn import DigitCNN
from simhw_workloads.task import Task
from simhw_workloads.techniques.digits import DENSE, SIGNATURE, train_on, trained
from simhw_workloads.train import Hook, Run
from simhw_workloads.workload import Bounds

RADIUS = 0.1
TRAINING_ATTACK, TESTING_ATTACK = Attack(RADIUS, 3), Attack(RADIUS, 10)
RANKS = {"conv2": 8, "conv3": 16, "fc1": 8}
BUDGET = 0.1
"""Weights that are not zero, over those of the dense network."""
BITS = 4
RHO = 0.1
EVERY = 20
"""Steps from one update of the copies to the next."""


def atmc(run: Run, attack: Attack | None = TRAINING_ATTACK) -> nn.Module:
    """Train under attack and under a budget; None trains under the budget alone."""
    model, task = trained(run)
    _attack_and_score(run, "dense", model, task)
    dense = sum(weight_of(model, path).numel() for path in DigitCNN.ORDER)
    paths = with_rest(model, RANKS) + [path for path in DigitCNN.ORDER if path not in RANKS]
    count = round(BUDGET * dense)
    values = {path: partial(clustered, bits=BITS) for path in paths}
    hooks: list[Hook] = [] if attack is None else [Adversarial(attack, task.loss, run.seed)]
    train_on(
        run, "budget", model, task, run.pick(0.4, 0.8), 1e-3, [*hooks, Budget(paths, count), ADMM(values, RHO, EVERY)]
    )
    run.note(residual=round(residual(model, values), 4))
    masks = largest_of_all(model, paths, count)
    project(model, values)
    train_on(run, "few values", model, task, run.pick(0.1, 0.2), 1e-4, [*hooks, Held(masks), Projected(values)])
    left = {path: int(weight_of(model, path).count_nonzero()) for path in paths}
    run.note(weights_left=sum(left.values()), times_fewer=round(dense / sum(left.values()), 2))
    run.note(**{f"left_{path}": number for path, number in left.items()})
    robust = _attack_and_score(run, "few values", model, task)
    run.note(accuracy_attacked=round(robust, 4))
    run.score("few values", model, task)
    return model


def _attack_and_score(run: Run, phase: str, model: nn.Module, task: Task) -> float:
    tried = attacked(model, task, TESTING_ATTACK, run.pick(200, 1000), run.seed)
    return run.score(f"{phase}, attacked", model, tried)


WORKLOADS = (
    replace(
        DENSE,
        name="atmc",
        summary="factors and rests trained under attack, on one budget of weights and with few values",
        family="pruning",
        technique="adversarially trained model compression",
        train=atmc,
        phases=("dense", "budget", "few values"),
        baseline=DENSE.name,
        budget_s=600,
        paper="arXiv 1902.03538",
        headline="ResNet-34 on CIFAR-10 at 0.005 of its size keeps its accuracy under attack (its code's page)",
        # Three passes of the attack on a batch, and one of training on twice as much: 5 forward, 2 weight gradients.
        # The first layer has an input gradient in the attack alone.
        signature=replace(
            SIGNATURE,
            # The attack runs batch norm as fixed factors: in its passes G keeps the zeros of ReLU and of pooling.
            zeros_g=Bounds(0.2, 0.7),
            zeros_w=Bounds(0.9, 0.97),
            terms_w=Bounds(0.1, 0.4),
            weight_grad=Bounds(0.4, 0.4),
            input_grad=Bounds(0.95, 1.0),
            macs=Bounds(3, 8),
        ),
        # A step has passes of the attack, on half of the samples and without weight gradients: no step of a network.
        shapes=None,
    ),
)
