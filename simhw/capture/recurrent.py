"""PyTorch's recurrent functions, and a call of one within a captured step."""

from dataclasses import dataclass
from typing import Literal

import torch

Cell = Literal["rnn", "lstm", "gru"]

RECURRENT_LAYERS: dict[object, Cell] = {
    torch.lstm: "lstm",
    torch.gru: "gru",
    torch.rnn_tanh: "rnn",
    torch.rnn_relu: "rnn",
}
"""Functions that run all time steps of a stack of layers."""
RECURRENT_CELLS: dict[object, Cell] = {
    torch.lstm_cell: "lstm",
    torch.gru_cell: "gru",
    torch.rnn_tanh_cell: "rnn",
    torch.rnn_relu_cell: "rnn",
}
"""Functions that run one time step."""


@dataclass(frozen=True)
class RecurrentCall:
    """A recurrent function that runs now.

    Attributes
    ----------
    cell : {"rnn", "lstm", "gru"}
    number : int
        Tells the calls of a step apart; 0 for every cell, whose time steps are separate calls, and for layers called
        likewise.
    times, batch : int
        Extent of its input; times is 0 for packed sequences, whose batch differs from step to step.
    """

    cell: Cell
    number: int
    times: int
    batch: int

    @property
    def kind(self) -> str:
        """Kind of its layers in a trace; those of a plain recurrent network are linear."""
        return "linear" if self.cell == "rnn" else self.cell
