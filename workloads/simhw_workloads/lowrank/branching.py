"""Layer branching: the core of a triple becomes a grouped convolution, with as many times the rank at the same
parameters.

At ranks N R the core keeps its N diagonal blocks of R channels, so it has 1 / N of the parameters of a dense core of
that rank.  The blocks off the diagonal are dropped: an approximation.  Source: arXiv 2407.20266; spec page
techniques.md, 5.1.
"""

import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import Chain, convolution_like
from simhw_workloads.lowrank.surgery import chains


def branch(model: nn.Module, branches: int) -> nn.Module:
    """Branch the core of every triple of a model; pairs have none and stay.

    Raises
    ------
    WorkloadError
        There is no triple, or a rank is not a multiple of `branches`.
    """
    found = [chain for chain in chains(model).values() if "core" in chain.factors]
    if not found:
        raise WorkloadError(f"{type(model).__name__} has no triples of factors to branch; decompose it first")
    for chain in found:
        chain.core = branched(chain, branches)
    return model


def branched(chain: Chain, branches: int) -> nn.Conv2d:
    """The diagonal blocks of a triple's core as one grouped convolution.

    Raises
    ------
    WorkloadError
        A rank is not a multiple of `branches`.
    """
    core = chain.factors["core"]
    assert isinstance(core, nn.Conv2d)
    if branches < 1 or core.in_channels % branches or core.out_channels % branches:
        raise WorkloadError(
            f"a core of ranks {core.in_channels} and {core.out_channels} has no {branches} equal branches"
        )
    new = convolution_like(core, core.in_channels, core.out_channels, groups=branches)
    if not core.weight.is_meta:
        rows, columns = core.out_channels // branches, core.in_channels // branches
        with torch.no_grad():
            for index in range(branches):
                block = slice(index * rows, (index + 1) * rows)
                new.weight[block] = core.weight[block, index * columns : (index + 1) * columns]
    return new.train(chain.training)
