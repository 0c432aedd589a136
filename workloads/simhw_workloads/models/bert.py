"""BERT (Devlin et al., NAACL 2019): a transformer encoder of text, and a classifier on it.

It normalises after each part.
"""

import torch
from torch import Tensor, nn

from simhw_workloads.models.attention import head_groups, spread

PADDING = 0
"""The token that fills short texts up; no one looks at it."""


def _dropout(share: float) -> nn.Module:
    return nn.Dropout(share) if share else nn.Identity()


class SelfAttention(nn.Module):
    """Multi-head attention with separate projections, as in the published model; heads may share keys and values."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0, key_groups: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.key_of = head_groups(heads, heads, key_groups or heads)[1]
        self.dropout = _dropout(dropout)
        self.query = nn.Linear(width, width)
        self.key, self.value = (nn.Linear(width, width // heads * (key_groups or heads)) for _ in range(2))
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, T, width) to (N, T, width); `mask` (N, T) is False for tokens that no one may look at."""
        samples, tokens, width = x.shape
        query, key, value = (
            projection(x).reshape(samples, tokens, -1, width // self.heads).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        key, value = spread(key, self.key_of), spread(value, self.key_of)
        scores = (query * (width // self.heads) ** -0.5) @ key.transpose(2, 3)
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        weights = self.dropout(torch.softmax(scores, dim=-1))
        context = (weights @ value).transpose(1, 2).reshape(samples, tokens, width)
        result: Tensor = self.output(context)
        return result

    @torch.no_grad()
    def pool(self, key_groups: int) -> None:
        """Let neighbouring heads share keys and values: a group's projection is the mean of its heads'.

        With as many groups as heads nothing changes.  Source: arXiv 2305.13245, 2.1.

        Raises
        ------
        WorkloadError
            The groups cannot serve the heads.
        """
        self.key_of = head_groups(self.heads, self.heads, key_groups)[1]
        self.key, self.value = (_pooled(layer, self.heads, key_groups) for layer in (self.key, self.value))


def _pooled(layer: nn.Linear, heads: int, groups: int) -> nn.Linear:
    pooled = nn.Linear(layer.in_features, layer.out_features // heads * groups, device=layer.weight.device)
    for ours, theirs in zip(pooled.parameters(), layer.parameters(), strict=True):
        ours.copy_(theirs.reshape(groups, heads // groups, -1).mean(dim=1).reshape(ours.shape))
    return pooled.train(layer.training)


class EncoderLayer(nn.Module):
    """Attention and perceptron, each added to what it was given and normalised behind."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads, dropout)
        self.dropout = _dropout(dropout)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.intermediate = nn.Linear(width, inner)
        self.output = nn.Linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(N, T, width) to the same shape."""
        x = self.norm1(x + self.dropout(self.attention(x, mask)))
        inner = nn.functional.gelu(self.intermediate(x))
        result: Tensor = self.norm2(x + self.dropout(self.output(inner)))
        return result


class Bert(nn.Module):
    """Embeddings, encoder, pooler, and a classifier.

    Parameters
    ----------
    vocabulary, width, depth, heads, inner, positions : int
    classes : int
        0 leaves the pooled encoding as it is.
    dropout : float
        Of embeddings, attention weights, what each part adds, and the pooled encoding; published with 0.1.

    Attributes
    ----------
    states : list of (N, T, width) Tensor
        What each layer gave in the last forward pass, with its graph.
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        inner: int = 3072,
        positions: int = 512,
        classes: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.positions = nn.Embedding(positions, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, inner, dropout) for _ in range(depth))
        self.dropout = _dropout(dropout)
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, classes) if classes else nn.Identity()
        self.states: list[Tensor] = []
        self.draw()

    def draw(self) -> None:
        """Start from random weights, whatever was learnt before."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def pool_heads(self, key_groups: int) -> None:
        """Keys and values of so many groups in all layers, as `SelfAttention.pool`."""
        for layer in self.layers:
            assert isinstance(layer, EncoderLayer)
            layer.attention.pool(key_groups)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) int64 tokens of one segment to (N, classes) logits."""
        mask = tokens != PADDING
        places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        x = self.norm(self.words(tokens) + self.positions(places) + self.segments(torch.zeros_like(tokens)))
        x = self.dropout(x)
        self.states = []
        for layer in self.layers:
            x = layer(x, mask)
            self.states.append(x)
        logits: Tensor = self.classifier(self.dropout(torch.tanh(self.pooler(x[:, 0]))))
        return logits


def bert_base(classes: int = 0) -> Bert:
    """BERT-base, uncased; 109,482,240 parameters without a classifier, as published."""
    return Bert(classes=classes)


def bert_small(
    vocabulary: int, positions: int, classes: int, width: int = 96, depth: int = 4, dropout: float = 0.0
) -> Bert:
    """A BERT of the same build that trains on a CPU; its heads are 32 wide."""
    return Bert(vocabulary, width, depth, width // 32, 4 * width, positions, classes, dropout)
