"""Funnel regularisation: a trained network in full-rank pairs, whose small components a penalty draws to nothing.

After that they are read off and taken out, at no cost, and the rest is fine-tuned.  The published funnel function is
not within reach; `simhw_workloads.lowrank.components.Funnel` stands in for it.  Source: arXiv 2112.03690 (abstract);
spec page techniques.md, 2.18.
"""

from dataclasses import replace

from torch import nn

from simhw_workloads.lowrank.components import Funnel, above, cut, pair_ranks, pair_up
from simhw_workloads.lowrank.noted import note_ranks
from simhw_workloads.techniques import resnet18
from simhw_workloads.techniques.maestro import full_in_pairs, pair_full_ranks
from simhw_workloads.train import Run
from simhw_workloads.workload import Bounds

STRENGTH = 0.055
GAMMA = (1.0, 0.1)
"""Where a component has half of the highest penalty, at first and at last; as strength, ours for this network."""
LEAST = 0.02
"""Components below this share of their pair's largest are taken out."""
SHARES = (0.4, 0.4, 0.2)
"""Of the steps, in each phase."""


def funnel(run: Run) -> nn.Module:
    """Dense, in pairs under the penalty, and in short pairs."""
    model, task = resnet18.narrow(run)
    dense, under, rest = (round(share * run.pick(400, resnet18.STEPS)) for share in SHARES)
    resnet18.fitted(run, "dense", model, task, dense)
    full = pair_full_ranks(model)
    pair_up(model, full)
    run.note(rank_before=sum(pair_ranks(model).values()))
    hook = Funnel(run.pick(0.08, STRENGTH), GAMMA, under)
    resnet18.fitted(run, "funnel", model, task, under, hooks=(hook,))
    cut(model, above(model, lambda sizes: LEAST * float(sizes.max())))
    run.note(rank_after=sum(pair_ranks(model).values()))
    note_ranks(run, pair_ranks(model), full)
    run.note_size(model)
    resnet18.score(run, "cut", model, task)
    resnet18.fitted(run, "finetune", model, task, rest, rate=0.01)
    return model


WORKLOADS = (
    replace(
        resnet18.DENSE,
        name="funnel",
        summary="a penalty on small components of full-rank pairs (a stand-in for the published one), and their cut",
        family="low rank",
        technique="funnel-type regularisation",
        train=funnel,
        phases=("dense", "funnel", "finetune"),
        baseline=resnet18.DENSE.name,
        paper="arXiv 2112.03690",
        headline="ResNet-18 on ImageNet: less than half the multiply-accumulates, top-1 0.7 points lower",
        signature=replace(resnet18.SIGNATURE, zeros_a=Bounds(0.1, 0.7), macs=Bounds(0.2, 1.1)),
        shapes=full_in_pairs,
    ),
)
