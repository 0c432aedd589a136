"""An image in words: convolutions see it, and an LSTM that looks at their positions writes one word after another.

The build of image-to-text models with Luong's attention: the state asks all positions, their weighted sum and the state
together give the next word, and are part of what the LSTM reads next (input feeding).  While it trains with given words
it reads those; else it reads its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from simhw_workloads.task import Batch
from simhw_workloads.train import Hook

_DROPOUT = 0.3
_HALVINGS = 3
"""Behind so many of the first convolutions the image is halved."""


class ImageToText(nn.Module):
    """Convolutions without batch norm, and a decoder.

    Parameters
    ----------
    channels : sequence of int
        Of the 3x3 convolutions; behind the ReLU of the first three the image is halved.
    cells : int
        Positions that the last convolution gives, for its images' size.
    vocabulary, hidden, words : int
        Words is how many it writes.
    start : int
        The token before the first word.
    embedding : int
    inputs : int
        Channels of an image.

    Attributes
    ----------
    given : (N, words) Tensor or None
        The words that it shall read while it trains, in place of its own.
    """

    def __init__(
        self,
        channels: Sequence[int],
        cells: int,
        vocabulary: int,
        hidden: int,
        words: int,
        start: int,
        embedding: int = 32,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, outputs in enumerate(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            if number < _HALVINGS:
                layers.append(nn.MaxPool2d(2))
            inputs = outputs
        self.encoder = nn.Sequential(*layers)
        self.places = nn.Parameter(0.1 * torch.randn(cells, inputs))
        self.words, self.start = words, start
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.cell = nn.LSTMCell(embedding + hidden, hidden)
        self.query = nn.Linear(hidden, inputs, bias=False)
        self.combine = nn.Linear(hidden + inputs, hidden, bias=False)
        self.dropout = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(hidden, vocabulary)
        self.given: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, words, vocabulary) logits."""
        features = self.encoder(images).flatten(2).transpose(1, 2) + self.places
        state = told = features.new_zeros(len(images), self.cell.hidden_size)
        memory = state
        word = torch.full((len(images),), self.start, device=images.device)
        logits = []
        for place in range(self.words):
            read = torch.cat([self.embedding(word), told], dim=1)
            state, memory = self.cell(read, (state, memory))
            told = self._looked(features, state)
            logits.append(self.head(self.dropout(told)))
            word = self.given[:, place] if self.training and self.given is not None else logits[-1].argmax(1)
        return torch.stack(logits, dim=1)

    def _looked(self, features: Tensor, state: Tensor) -> Tensor:
        """What the state sees where it looks, with the state itself."""
        scores = features @ self.query(state)[:, :, None]
        context = torch.softmax(scores, dim=1).transpose(1, 2) @ features
        result: Tensor = torch.tanh(self.combine(torch.cat([context[:, 0], state], dim=1)))
        return result


class GivenWords(Hook):
    """Lets an `ImageToText` read the right words while it trains: teacher forcing."""

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """Give it the words of the batch."""
        assert isinstance(model, ImageToText)
        model.given = batch.targets
        return batch

    def finish(self, model: nn.Module) -> None:
        """Leave it to its own words."""
        assert isinstance(model, ImageToText)
        model.given = None


def image_to_markup() -> ImageToText:
    """About the sizes of image to markup (Deng et al., ICML 2017), images of 1 x 64 x 320 and formulas of 64 signs."""
    return ImageToText((64, 128, 256, 256, 512, 512), 8 * 40, 500, 512, 64, 1, embedding=80, inputs=1)
