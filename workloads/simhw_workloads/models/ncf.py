"""Neural collaborative filtering (He et al., WWW 2017): how likely a user is to choose an item.

Two halves, each with embeddings of its own: one multiplies the user's by the item's, the other puts both through layers
with ReLU.  A last layer reads both halves (NeuMF).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class NeuMf(nn.Module):
    """The fused model.

    Parameters
    ----------
    users, items : int
    factors : int
        Of each embedding of the half that multiplies.
    layers : tuple of int
        Widths of the other half: of both its embeddings together, then of each layer.
    """

    def __init__(
        self, users: int, items: int, factors: int = 64, layers: tuple[int, ...] = (256, 256, 128, 64)
    ) -> None:
        super().__init__()
        self.user_factors, self.item_factors = nn.Embedding(users, factors), nn.Embedding(items, factors)
        self.user, self.item = nn.Embedding(users, layers[0] // 2), nn.Embedding(items, layers[0] // 2)
        self.mlp = nn.Sequential(
            *(module for inputs, outputs in pairwise(layers) for module in (nn.Linear(inputs, outputs), nn.ReLU()))
        )
        self.head = nn.Linear(factors + layers[-1], 1)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, pairs: Tensor) -> Tensor:
        """(N, 2) int64 users and items to (N,) logits."""
        user, item = pairs.unbind(1)
        product = self.user_factors(user) * self.item_factors(item)
        deep = self.mlp(torch.cat([self.user(user), self.item(item)], dim=1))
        logits: Tensor = self.head(torch.cat([product, deep], dim=1))[:, 0]
        return logits


def ncf_movielens() -> NeuMf:
    """MLPerf's network for MovieLens-20M: 138,493 users and 26,744 films; layers of 256, 256, 128 and 64."""
    return NeuMf(138_493, 26_744)
