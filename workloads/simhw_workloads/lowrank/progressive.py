"""Progressive decomposition: the rank falls in rounds, and training between them repairs each small cut.

The first round decomposes dense linear layers.  Later rounds decompose only the second factor again.  Its new first
part is multiplied into the first factor, so the layer stays a pair.  Source: arXiv 2407.20266 (transformers); spec page
techniques.md, 5.1.
"""

from collections.abc import Mapping

import torch
from torch import nn

from simhw.errors import WorkloadError
from simhw_workloads.lowrank.chain import Chain, as_matrix, split
from simhw_workloads.lowrank.surgery import factor


def lower_ranks(model: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """Bring linear layers, whole or in a pair, to lower ranks.

    Parameters
    ----------
    model : Module
        Changed in place.
    ranks : mapping of module path to rank

    Raises
    ------
    WorkloadError
        A path leads to no linear layer or pair of them, or a rank is not below the pair's.
    """
    whole = {path: rank for path, rank in ranks.items() if not isinstance(dict(model.named_modules()).get(path), Chain)}
    factor(model, whole)
    for path in ranks.keys() - whole.keys():
        chain = model.get_submodule(path)
        assert isinstance(chain, Chain)
        _lower(chain, path, ranks[path])
    return model


def _lower(chain: Chain, path: str, rank: int) -> None:
    first, last = chain.factors["first"], chain.factors["last"]
    if not isinstance(first, nn.Linear) or not isinstance(last, nn.Linear):
        raise WorkloadError(f"{path} is no pair of linear layers")
    if not 1 <= rank < last.in_features:
        raise WorkloadError(f"{path}: rank {rank} is not below the pair's {last.in_features}")
    device = last.weight.device
    lower_first = nn.Linear(first.in_features, rank, bias=False, device=device)
    lower_last = nn.Linear(rank, last.out_features, bias=last.bias is not None, device=device)
    if not last.weight.is_meta:
        inner, outer = split(as_matrix(last.weight), rank)
        with torch.no_grad():
            lower_first.weight.copy_(torch.from_numpy(inner @ as_matrix(first.weight)))
            lower_last.weight.copy_(torch.from_numpy(outer))
            if last.bias is not None:
                lower_last.bias.copy_(last.bias)
    chain.first, chain.last = lower_first.train(chain.training), lower_last.train(chain.training)
