"""Gated convolutional language model (Dauphin et al., ICML 2017): convolutions over the past, each multiplied by a
gate.

A layer convolves the tokens up to each place, so that it never sees the next one.  Half of its outputs pass through a
sigmoid and multiply the other half: a gated linear unit, which makes no zeros.  Every layer adds its input to its
output.
"""

from torch import Tensor, nn


class GatedConvolution(nn.Module):
    """A bottleneck of the published model: narrow, convolve over the past, widen; each of them gated.

    Parameters
    ----------
    width, inner : int
        Channels outside and inside of the bottleneck.
    kernel : int
        Places that the convolution sees, its own among them.
    """

    def __init__(self, width: int, inner: int, kernel: int) -> None:
        super().__init__()
        self.past = kernel - 1
        self.down = nn.Conv1d(width, 2 * inner, 1)
        self.conv = nn.Conv1d(inner, 2 * inner, kernel)
        self.up = nn.Conv1d(inner, 2 * width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, T) to the same shape."""
        inner = nn.functional.glu(self.down(x), dim=1)
        inner = nn.functional.glu(self.conv(nn.functional.pad(inner, (self.past, 0))), dim=1)
        result: Tensor = x + nn.functional.glu(self.up(inner), dim=1)
        return result


class GatedConvModel(nn.Module):
    """A language model: embedding, gated convolutions, and logits of the next token at each place.

    Parameters
    ----------
    vocabulary, width, inner, layers, kernel : int
    """

    def __init__(self, vocabulary: int, width: int, inner: int, layers: int, kernel: int = 5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(*(GatedConvolution(width, inner, kernel) for _ in range(layers)))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) int64 tokens to (N, T, vocabulary) logits."""
        x = self.layers(self.embedding(tokens).transpose(1, 2))
        logits: Tensor = self.head(x.transpose(1, 2))
        return logits


def gated_conv_full() -> GatedConvModel:
    """About the published GCNN-14 on 33,278 words of WikiText-2: 14 bottlenecks of 850 channels, 5 places wide."""
    return GatedConvModel(33_278, 850, 850, 14)
