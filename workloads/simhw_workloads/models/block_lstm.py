"""AntMan's LSTM: each product of a cell is two block-diagonal ones with a bottleneck (arXiv 1910.01740)."""

import torch
from torch import Tensor, nn

from simhw_workloads.lowrank.blocks import BlockProduct, drawn
from simhw_workloads.lowrank.surgery import replace_module


class BlockLstmCell(nn.Module):
    """An LSTM cell with block products of its input and of its state; its size is that of a cell.

    Parameters
    ----------
    cell : LSTMCell
        Whose sizes, scale of weights and biases it takes.
    blocks : int
        Of each factor.
    reduction : int
        The bottleneck has this many times fewer values than what goes in.
    """

    def __init__(self, cell: nn.LSTMCell, blocks: int, reduction: int) -> None:
        super().__init__()
        self.input = _product(cell.weight_ih, cell.bias_ih, blocks, reduction)
        self.state = _product(cell.weight_hh, cell.bias_hh, blocks, reduction)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """As `nn.LSTMCell`: (N, inputs) and the state, of zeros where not given, to the new state."""
        if state is None:
            zeros = x.new_zeros(len(x), self.state.first.in_channels)
            state = zeros, zeros
        gates = self.input(x) + self.state(state[0])
        enter, keep, candidate, leave = gates.chunk(4, dim=1)
        memory = torch.sigmoid(keep) * state[1] + torch.sigmoid(enter) * torch.tanh(candidate)
        return torch.sigmoid(leave) * torch.tanh(memory), memory


def _product(weight: Tensor, bias: Tensor, blocks: int, reduction: int) -> BlockProduct:
    outputs, inputs = weight.shape
    with weight.device:
        layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return drawn(layer, blocks, inputs // reduction // blocks**2)


def in_blocks(model: nn.Module, blocks: int, reduction: int) -> nn.Module:
    """Put block cells in the place of all LSTM cells of a model."""
    for path, cell in [(path, each) for path, each in model.named_modules() if isinstance(each, nn.LSTMCell)]:
        replace_module(model, path, BlockLstmCell(cell, blocks, reduction))
    return model
