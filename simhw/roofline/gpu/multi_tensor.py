"""Multi-tensor kernels, in which PyTorch's optimizers update all parameters: few launches for many tensors.

Every tensor is cut into chunks, a block of threads for each.  A launch carries the addresses of so many tensors and the
numbers of so many chunks as its arguments hold; more take another launch.  While the last chunks of a launch are worked
on, most of the chip waits.  Source: PyTorch 2, aten/src/ATen/native/cuda/MultiTensorApply.cuh (recalled).
"""

from math import ceil

from simhw.machine.described import Section
from simhw.roofline.operators import Streaming
from simhw.roofline.quantities import Count, Rate


class MultiTensor(Section):
    """How the library cuts lists of tensors, and what the cuts cost.

    Attributes
    ----------
    chunk_values : int
        Of a chunk.
    chunks_per_launch, tensors_per_launch : int
        What the arguments of a launch hold.
    block_bytes_per_s : float
        Rate at which one block works through the last chunk of a launch.
    """

    chunk_values: Count
    chunks_per_launch: Count
    tensors_per_launch: Count
    block_bytes_per_s: Rate

    def launches(self, streaming: Streaming) -> int:
        """Kernels that the library launches for one function of the update."""
        chunks = max(streaming.pieces, ceil(streaming.columns / self.chunk_values))
        return max(ceil(chunks / self.chunks_per_launch), ceil(streaming.pieces / self.tensors_per_launch))

    def tails_s(self, streaming: Streaming) -> float:
        """Seconds in which the last chunks of all launches run."""
        chunk = min(streaming.columns / streaming.pieces, float(self.chunk_values))
        moved = streaming.dram_bytes * chunk / streaming.columns
        return self.launches(streaming) * moved / self.block_bytes_per_s
