"""Self-attention as explicit products, with queries and with keys and values in groups that heads share.

One projection makes all queries, keys and values.  With as many groups of both as heads it is multi-head attention
(MHA); one group of keys and values is multi-query attention (MQA), fewer groups of one kind grouped-query or
grouped-key-value attention; where the groups multiply to the heads, every pair of a query and a key-value group is one
head (GQKVA). Source: arXiv 2311.03426; spec page techniques.md, 5.2.
"""

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError


def head_groups(heads: int, query_groups: int, key_groups: int) -> tuple[list[int], list[int]]:
    """The group of queries, and that of keys and values, of each head.

    Raises
    ------
    WorkloadError
        The groups cannot serve the heads: they must multiply to them, or one be as many as they are and the other
        divide them.
    """
    pairs = query_groups * key_groups == heads
    if min(query_groups, key_groups) < 1 or not (
        pairs or (max(query_groups, key_groups) == heads and heads % min(query_groups, key_groups) == 0)
    ):
        raise WorkloadError(
            f"{query_groups} groups of queries and {key_groups} of keys and values cannot serve {heads} heads"
        )
    if pairs:
        return [head // key_groups for head in range(heads)], [head % key_groups for head in range(heads)]
    return [head * query_groups // heads for head in range(heads)], [
        head * key_groups // heads for head in range(heads)
    ]


class Attention(nn.Module):
    """Self-attention over tokens.

    Parameters
    ----------
    width : int
        Of a token; a multiple of `heads`.
    heads : int
    query_groups, key_groups : int, optional
        As many as heads if not given.

    Attributes
    ----------
    weights : (N, heads, T, T) Tensor
        Of the last forward pass, after the softmax, without its graph: who looks at whom.
    """

    def __init__(self, width: int, heads: int, query_groups: int | None = None, key_groups: int | None = None) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query_groups, self.key_groups = query_groups or heads, key_groups or heads
        self.query_of, self.key_of = head_groups(heads, self.query_groups, self.key_groups)
        self.qkv = nn.Linear(width, (self.query_groups + 2 * self.key_groups) * self.head_width)
        self.proj = nn.Linear(width, width)
        self.weights: Tensor | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(N, T, width) to (N, T, width); `mask` (N, T) is False for tokens that no one may look at."""
        samples, tokens, _ = x.shape
        groups = self.qkv(x).reshape(samples, tokens, -1, self.head_width).transpose(1, 2)
        keys_end = self.query_groups + self.key_groups
        query = spread(groups[:, : self.query_groups], self.query_of)
        key = spread(groups[:, self.query_groups : keys_end], self.key_of)
        value = spread(groups[:, keys_end:], self.key_of)
        scores = (query * self.head_width**-0.5) @ key.transpose(2, 3)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        weights = torch.softmax(scores, dim=-1)
        self.weights = weights.detach()
        context = (weights @ value).transpose(1, 2).reshape(samples, tokens, -1)
        result: Tensor = self.proj(context)
        return result


def spread(groups: Tensor, group_of: list[int]) -> Tensor:
    """(N, groups, T, width) to (N, heads, T, width): each head's group."""
    return groups if group_of == list(range(groups.shape[1])) else groups[:, group_of]


class TransformerBlock(nn.Module):
    """A transformer block that normalises before attention and before its two-layer perceptron (ViT, GPT-2)."""

    def __init__(
        self, width: int, heads: int, query_groups: int | None = None, key_groups: int | None = None, expansion: int = 4
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, query_groups, key_groups)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, expansion * width), "act": nn.GELU(), "fc2": nn.Linear(expansion * width, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, width) to the same shape."""
        x = x + self.attn(self.norm1(x))
        inner = self.mlp["act"](self.mlp["fc1"](self.norm2(x)))
        result: Tensor = x + self.mlp["fc2"](inner)
        return result
