"""A classifier of pairs of texts: both go through the same LSTM, and layers with ReLU and dropout read its two states.

The build of the SNLI baseline (Bowman et al., EMNLP 2015) as PyTorch's examples have it: embedding, projection with
ReLU, LSTM, three layers of the width of both states.
"""

import torch
from torch import Tensor, nn

_DROPOUT = 0.2
_LAYERS = 3


class PairClassifier(nn.Module):
    """The classifier.

    Parameters
    ----------
    vocabulary, embedding, hidden, classes : int
        `hidden` is the width of the projection and of the LSTM's state.
    dropout : float
    """

    def __init__(
        self, vocabulary: int, embedding: int, hidden: int, classes: int = 3, dropout: float = _DROPOUT
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.projection = nn.Linear(embedding, hidden)
        self.cell = nn.LSTMCell(hidden, hidden)
        layers: list[nn.Module] = []
        for _ in range(_LAYERS):
            layers += [nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(nn.Dropout(dropout), *layers)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, pairs: Tensor) -> Tensor:
        """(N, 2, T) int64 tokens, filled up with 0, to (N, classes) logits."""
        samples, sides, tokens = pairs.shape
        texts = pairs.reshape(samples * sides, tokens)
        words = torch.relu(self.projection(self.embedding(texts)))
        hidden = cell = words.new_zeros(len(texts), self.cell.hidden_size)
        there = (texts != 0)[:, :, None]
        for place, step in enumerate(words.unbind(1)):
            new_hidden, new_cell = self.cell(step, (hidden, cell))
            # Behind its last word a text's state stays.
            hidden = torch.where(there[:, place], new_hidden, hidden)
            cell = torch.where(there[:, place], new_cell, cell)
        logits: Tensor = self.head(self.layers(hidden.reshape(samples, -1)))
        return logits


def snli_classifier() -> PairClassifier:
    """The sizes of PyTorch's example on SNLI: 300 throughout, a vocabulary of about 36,000 words."""
    return PairClassifier(36_000, 300, 300)
