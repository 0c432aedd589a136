"""LSTM language model (Zaremba et al. 2014): embedding, LSTM layers one cell at a time, and logits of the next token at
each place.

A cell takes one step at a time, so that its two products stand in a trace: PyTorch's whole-sequence LSTM is one
operator.
"""

import torch
from torch import Tensor, nn


class LstmModel(nn.Module):
    """A language model.

    Parameters
    ----------
    vocabulary, embedding, hidden, layers : int
    dropout : float
        Between layers, as in the published model.

    Attributes
    ----------
    states : list of (N, T, hidden) Tensor
        What each layer gave in the last forward pass, with its graph.
    """

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.cells = nn.ModuleList(nn.LSTMCell(embedding if index == 0 else hidden, hidden) for index in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)
        self.states: list[Tensor] = []

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) int64 tokens to (N, T, vocabulary) logits; every text starts from a state of zeros."""
        x = self.embedding(tokens)
        self.states = []
        for cell in self.cells:
            state, outputs = None, []
            for step in self.dropout(x).unbind(1):
                state = cell(step, state)
                outputs.append(state[0])
            x = torch.stack(outputs, dim=1)
            self.states.append(x)
        logits: Tensor = self.head(self.dropout(x))
        return logits


def lstm_ptb_medium() -> LstmModel:
    """The published medium model of Penn Treebank: 10,000 words, two layers of 650."""
    return LstmModel(10_000, 650, 650, 2, 0.5)
