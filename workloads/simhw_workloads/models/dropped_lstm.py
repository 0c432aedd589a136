"""An LSTM language model with dropout on what its cells read: their input and their own last state.

Which units are dropped is drawn anew at every time step.  Within a step it is drawn for each sample (dropout as usual),
or once for the whole batch: then whole columns of the operand are zero, and with them columns of both weights do no
work.  Those columns can be left in place as zeros (the masked view) or left out of the products (the compacted view).
The input's gradient then has no such columns either, and the weights' gradient is zero there.

The number of units that stay is the same at every step, so that compacted products all have one shape; the paper draws
each unit by itself.  What stays is scaled by the share that stays, as dropout is.
Source: arXiv 2106.12089 (structured in space, randomised in time: its case III; dropout as usual is its case I).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from simhw_workloads.models.lstm import LstmModel

State = tuple[Tensor, Tensor]


class DroppedCell(nn.LSTMCell):
    """An LSTM cell that reads some units of its input and some of its state.

    Parameters
    ----------
    inputs, hidden : int
    kept : float
        Share of the units that stay, 0 < kept <= 1.
    structured : bool
        Whether the whole batch keeps the same units.
    compacted : bool
        Whether products leave out what is dropped; only where `structured`.
    random : torch.Generator
    """

    def __init__(
        self, inputs: int, hidden: int, kept: float, structured: bool, compacted: bool, random: torch.Generator
    ) -> None:
        super().__init__(inputs, hidden)
        self.kept, self.structured, self.compacted = kept, structured, compacted
        self._random = random

    def forward(self, x: Tensor, state: State | None = None) -> State:
        """(N, inputs) and the last (N, hidden) state and memory to the next ones."""
        if state is None:
            state = (x.new_zeros(len(x), self.hidden_size), x.new_zeros(len(x), self.hidden_size))
        if not self.training:
            plain: State = super().forward(x, state)
            return plain
        h, memory = state
        units = self._units(x), self._units(h)
        if not self.compacted:
            wide: State = super().forward(masked(x, units[0]), (masked(h, units[1]), memory))
            return wide
        read = (
            functional.linear(compacted(operand, kept), weight[:, kept], bias)
            for operand, kept, weight, bias in (
                (h, units[1], self.weight_hh, self.bias_hh),
                (x, units[0], self.weight_ih, self.bias_ih),
            )
        )
        entry, forget, candidate, exit_ = (next(read) + next(read)).chunk(4, 1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(entry) * torch.tanh(candidate)
        return torch.sigmoid(exit_) * torch.tanh(memory), memory

    def _units(self, operand: Tensor) -> Tensor:
        """Units that stay, in rising order: (K,) for the whole batch, or (N, K)."""
        samples, width = operand.shape
        order = torch.rand(1 if self.structured else samples, width, generator=self._random).argsort(1)
        units = order[:, : max(1, round(self.kept * width))].sort(1).values
        return units[0] if self.structured else units


def masked(x: Tensor, units: Tensor) -> Tensor:
    """(N, width) with zeros but in those units, which are scaled."""
    mask = x.new_zeros(x.shape)
    scale = x.shape[1] / units.shape[-1]
    return x * mask.scatter(1, units.expand(len(x), -1), scale)


def compacted(x: Tensor, units: Tensor) -> Tensor:
    """(N, K): those units alone, scaled."""
    return x[:, units] * (x.shape[1] / len(units))


class DroppedLstm(LstmModel):
    """The language model with such cells; it starts from the weights that `LstmModel` starts from.

    Parameters
    ----------
    vocabulary, embedding, hidden : int
    kept : float
        Share of the units that stay, 0 < kept <= 1.
    structured, compacted : bool
        As of `DroppedCell`.
    seed : int
        Of the units that are drawn.
    layers : int
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        hidden: int,
        kept: float,
        structured: bool,
        compacted: bool = False,
        seed: int = 0,
        layers: int = 2,
    ) -> None:
        super().__init__(vocabulary, embedding, hidden, layers)
        random, plain = torch.Generator().manual_seed(seed), self.cells
        widths = (embedding, *[hidden] * (layers - 1))
        self.cells = nn.ModuleList(DroppedCell(width, hidden, kept, structured, compacted, random) for width in widths)
        self.cells.load_state_dict(plain.state_dict())
