"""What the stages of a pipeline of devices send each other, compressed: activations forward, their gradients backward.

A compressor makes a message of fewer bits.  A link counts the bits.  A rule says what is put on the link: the tensor
itself, or what is left after what was sent before.  A cut sits between two stages and has a rule for either direction.
Source: arXiv 2401.07788; AQ-SGD is arXiv 2206.01299.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from simhw.errors import WorkloadError
from simhw_workloads.task import Batch
from simhw_workloads.train import Hook

VALUE_BITS = 16
"""Of a value that is sent whole: bfloat16."""


class Compressor(Protocol):
    """Makes a message of each sample."""

    def __call__(self, x: Tensor) -> Tensor:
        """What arrives of (N, ...), in the same shape."""

    def bits(self, values: int) -> int:
        """Of the message of a sample of so many values."""


class Whole:
    """Sends everything."""

    def __call__(self, x: Tensor) -> Tensor:
        """All of it."""
        return x

    def bits(self, values: int) -> int:
        """Of the message of a sample."""
        return VALUE_BITS * values


class TopK:
    """Sends the share of a sample's values that are largest in magnitude; the others arrive as zero.

    The message holds these values, and says where they stand: by a bit for every value or by a number for every one
    that is sent, whichever is shorter.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise WorkloadError(f"top-k keeps a share of {share}; give 0 < share <= 1")
        self.share = share

    def __call__(self, x: Tensor) -> Tensor:
        """Zeros but for the largest values of each sample."""
        flat = x.flatten(1)
        places = flat.abs().topk(self._count(flat.shape[1]), 1, sorted=False).indices
        return torch.zeros_like(flat).scatter(1, places, flat.gather(1, places)).view_as(x)

    def bits(self, values: int) -> int:
        """Of the message of a sample."""
        count = self._count(values)
        return VALUE_BITS * count + min(values, count * math.ceil(math.log2(values)))

    def _count(self, values: int) -> int:
        return max(1, round(self.share * values))


class Quantised:
    """Sends each value as one of ``2**bits`` levels from the smallest to the largest value of its sample.

    The message holds the levels' numbers, and both ends.
    """

    def __init__(self, bits: int) -> None:
        if not 1 <= bits <= VALUE_BITS:
            raise WorkloadError(f"quantisation to {bits} bits; give 1 to {VALUE_BITS}")
        self.each = bits

    def __call__(self, x: Tensor) -> Tensor:
        """The nearest levels."""
        flat = x.flatten(1)
        low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
        step = (high - low) / (2**self.each - 1)
        # A sample of one value alone has no steps: it arrives as it is.
        number = torch.where(step > 0, (flat - low) / step, 0.0).round()
        levels: Tensor = low + number * step
        return levels.view_as(x)

    def bits(self, values: int) -> int:
        """Of the message of a sample."""
        return self.each * values + 2 * VALUE_BITS


class Link:
    """One direction between two stages.

    Attributes
    ----------
    compressor : Compressor
    sent_bits, whole_bits : int
        Of all messages so far, and what they would have taken whole.
    """

    def __init__(self, compressor: Compressor) -> None:
        self.compressor = compressor
        self.sent_bits = 0
        self.whole_bits = 0

    def carry(self, x: Tensor, whole: bool = False) -> Tensor:
        """What arrives of (N, ...)."""
        if len(x) == 0:
            return x
        compressor = Whole() if whole else self.compressor
        values = x[0].numel()
        self.sent_bits += len(x) * compressor.bits(values)
        self.whole_bits += len(x) * VALUE_BITS * values
        return compressor(x)


class Rule(Protocol):
    """What is put on a link."""

    link: Link

    def send(self, x: Tensor, rows: Tensor) -> Tensor:
        """What the other stage works with, of (N, ...) values of those rows (N,) of the data set."""


class Direct:
    """The tensor itself."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def send(self, x: Tensor, rows: Tensor) -> Tensor:
        """C(x)."""
        return self.link.carry(x)


class ErrorFeedback:
    """An example's values, and what was lost of them the last time: C(x + e), e = x + e - C(x + e).

    The paper does not say whose loss is added.  Here each example has its own: added to another one's values it is
    noise, with which the network does not learn.

    Parameters
    ----------
    link : Link
    samples : int
        Of the data set.
    """

    def __init__(self, link: Link, samples: int) -> None:
        self.link, self._samples = link, samples
        self._lost: Tensor | None = None

    def send(self, x: Tensor, rows: Tensor) -> Tensor:
        """C(x + e)."""
        if self._lost is None:
            self._lost = x.new_zeros(self._samples, *x.shape[1:])
        wanted = x + self._lost[rows]
        arrived = self.link.carry(wanted)
        self._lost[rows] = wanted - arrived
        return arrived


class ExampleDifferences:
    """The change of an example's values since it was sent last, and the whole of it the first time: AQ-SGD.

    Parameters
    ----------
    link : Link
    samples : int
        Of the data set; both stages hold the last values of each.
    """

    def __init__(self, link: Link, samples: int) -> None:
        self.link, self._samples = link, samples
        self._known: Tensor | None = None
        self._seen = torch.zeros(samples, dtype=torch.bool)

    def send(self, x: Tensor, rows: Tensor) -> Tensor:
        """What the other stage knows of these examples now."""
        if self._known is None:
            self._known = x.new_zeros(self._samples, *x.shape[1:])
        seen = self._seen[rows]
        known = self._known[rows]
        known[seen] += self.link.carry(x[seen] - known[seen])
        known[~seen] = self.link.carry(x[~seen], whole=True)
        self._known[rows] = known
        self._seen[rows] = True
        return known


class Cut(nn.Module):
    """Between two stages: activations go forward by one rule, gradients come back by another.

    In evaluation nothing comes back and nothing is remembered.

    Parameters
    ----------
    forth, back : Rule

    Attributes
    ----------
    at_inference : bool
        Whether activations are compressed in evaluation, too.
    rows : (N,) int64 Tensor
        Of the batch, which `Rows` tells.
    """

    def __init__(self, forth: Rule, back: Rule) -> None:
        super().__init__()
        self.forth, self.back = forth, back
        self.at_inference = True
        self.rows = torch.zeros(0, dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        """What arrives of (N, ...)."""
        if not self.training:
            return self.forth.link.compressor(x) if self.at_inference else x
        result: Tensor = _Sent.apply(x, self)  # type: ignore[no-untyped-call]  # torch's
        return result


class _Sent(torch.autograd.Function):
    """Both directions of a cut."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cut: Cut) -> Tensor:
        ctx.cut = cut
        return cut.forth.send(x, cut.rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.cut.back.send(gradients[0], ctx.cut.rows), None


def cuts_of(model: nn.Module) -> list[Cut]:
    """The cuts of a model, in their order."""
    return [module for module in model.modules() if isinstance(module, Cut)]


class Rows(Hook):
    """Tells the cuts of a model which rows a batch has."""

    def batch(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch as it is."""
        for cut in cuts_of(model):
            cut.rows = batch.indices
        return batch
