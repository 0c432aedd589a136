"""Fused attention on a GPU: a block takes some queries of a head and walks along the keys (FlashAttention, arXiv
2205.14135).

Per piece of keys it multiplies queries by keys, takes exponentials of the scores and multiplies by the values; scores
never leave the multiprocessor.  Backwards a block takes some keys and walks along the queries, with five products.
Causal blocks leave out pieces that none of their queries sees.  Where few queries leave multiprocessors without a
block, the keys are split among more of them, as in decoding.
"""

from dataclasses import dataclass
from math import ceil
from typing import Annotated

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.operators import Attention
from simhw.roofline.prediction import Limit, Prediction
from simhw.roofline.quantities import ByNumber, Count, Rate, Seconds, Share, every
from simhw.trace.layer import Operation

ATTENTION_OPERATIONS: tuple[Operation, ...] = ("forward", "input_grad")


class AttentionKernel(Section):
    """The library's kernel for one kind of numbers and operation.

    Attributes
    ----------
    queries, keys : int
        Of a block, and of the piece that it works on at a time; backwards the other way round.
    fewest : int
        Queries to which a block with fewer is padded: rows of the matrix instruction.
    matrix_share : float
        Of the peak, in products.
    scores_per_cycle : float
        Exponentials and rescaling of one multiprocessor.
    block_cycles : float
        Of a block, beside its pieces: loads before the first, and the output after the last.
    launch_s : float
        Of the kernel; backwards of the smaller kernels before and after it, too.
    bytes_per_s : float
        Rate at which queries, keys, values and outputs are read and written.
    """

    queries: Count
    keys: Count
    fewest: Count
    matrix_share: Share
    scores_per_cycle: Rate
    block_cycles: Annotated[float, Field(ge=0, le=1e6)]
    launch_s: Seconds
    bytes_per_s: Rate


class AttentionParameters(Section):
    """Constants for fused attention.

    Attributes
    ----------
    kernels : dict of number to dict of operation to AttentionKernel
    host_s : float
        Time in which the framework issues a call.
    """

    kernels: ByNumber[Annotated[dict[Operation, AttentionKernel], every(ATTENTION_OPERATIONS)]]
    host_s: Seconds


@dataclass(frozen=True)
class _Work:
    """Blocks, pieces that each walks along in the mean, rows of a block, and parts that share one walk."""

    blocks: int
    pieces: float
    rows: int
    parts: int


def predict_attention(attention: Attention, hardware: GpuHardware, parameters: AttentionParameters) -> Prediction:
    """Time of fused attention."""
    kernel = parameters.kernels[attention.number][attention.operation]
    work = _work(attention, kernel, hardware)
    products = 2 if attention.operation == "forward" else 5
    scores = work.rows * kernel.keys
    peak = hardware.matrix_flops_per_cycle[attention.number]
    multiply = 2.0 * products * scores * attention.width / peak / kernel.matrix_share
    exponentials = scores / kernel.scores_per_cycle
    queue = ceil(work.blocks / hardware.sms)
    walked = queue * work.pieces / hardware.clock_hz
    per_block_s = queue * kernel.block_cycles / hardware.clock_hz
    moved = attention.dram_bytes
    if work.parts > 1:
        # 32-bit outputs of each part, and their sums, written and read again.
        moved += 8.0 * work.blocks * work.rows * (attention.width + 1)
    memory_s = moved / kernel.bytes_per_s
    launch_s = kernel.launch_s * (2 if work.parts > 1 else 1)
    busy_s = walked * (multiply + exponentials) + per_block_s
    resident = attention.dram_bytes <= hardware.l2_bytes
    times_s: dict[Limit, float] = {
        "matrix": walked * multiply,
        "vector": walked * exponentials + per_block_s,
        "l2": memory_s if resident else 0.0,
        "dram": 0.0 if resident else memory_s,
        "launch": launch_s,
    }
    split = f", keys split {work.parts}" if work.parts > 1 else ""
    return Prediction(
        operator=attention,
        seconds=launch_s + max(busy_s, memory_s),
        times_s=times_s,
        mapping=f"fused, {work.rows}x{kernel.keys} pieces, {work.blocks} blocks{split}",
        peak_flops_per_s=hardware.matrix_flops_per_s(attention.number),
        dram_bytes=moved,
        host_s=parameters.host_s,
    )


def _work(attention: Attention, kernel: AttentionKernel, hardware: GpuHardware) -> _Work:
    """Blocks over the heads of all samples."""
    forward = attention.operation == "forward"
    own, walked = (attention.queries, attention.keys) if forward else (attention.keys, attention.queries)
    rows = min(kernel.queries, ceil(own / kernel.fewest) * kernel.fewest)
    down = ceil(own / rows)
    along = ceil(walked / kernel.keys)
    pieces = float(along)
    if attention.causal:
        pieces = sum(_seen(attention, block * rows, rows, kernel.keys, along, forward) for block in range(down)) / down
    blocks = attention.batch * attention.heads * down
    parts = min(max(1, hardware.sms // blocks), along) if forward else 1
    return _Work(blocks * parts, max(1.0, pieces / parts), rows, parts)


def _seen(attention: Attention, first: int, rows: int, piece: int, along: int, forward: bool) -> int:
    """Pieces that a causal block walks along: none of its queries sees the others.

    The last query sees all keys, each before it one fewer.
    """
    more = attention.keys - attention.queries
    if forward:
        last = min(first + rows, attention.queries) - 1
        return min(along, max(0, ceil((last + 1 + more) / piece)))
    # A key is seen by the queries from its own position on.
    before = min(attention.queries, max(0, first - more))
    return along - before // piece
