"""One algorithm for a convolution, timed: thread blocks in waves, limited by arithmetic, staging of operands and
memory.
"""

from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from simhw.roofline.gpu.convolution_parameters import ConvolutionParameters, TileSize
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.tiles import overlapped
from simhw.roofline.numbers import BYTES, Number
from simhw.roofline.operators import Convolution
from simhw.roofline.prediction import Prediction


@dataclass(frozen=True)
class TimedAlgorithm:
    """An algorithm and its time.

    Attributes
    ----------
    algorithm, mapping : str
        Its name, and how it is laid out on the device.
    seconds : float
        In all, launch included.
    matrix_s, staging_s, dram_s, launch_s : float
        What each would take alone.
    dram_bytes : float
        Off-chip traffic.
    """

    algorithm: str
    mapping: str
    seconds: float
    matrix_s: float
    staging_s: float
    dram_s: float
    launch_s: float
    dram_bytes: float

    def prediction(
        self, convolution: Convolution, hardware: GpuHardware, host_s: float, latency_s: float = 0.0
    ) -> Prediction:
        """What it says of the convolution; `latency_s` passes before it starts where nothing runs before."""
        return Prediction(
            operator=convolution,
            seconds=self.seconds,
            times_s={"matrix": self.matrix_s, "l2": self.staging_s, "dram": self.dram_s, "launch": self.launch_s},
            mapping=self.mapping,
            peak_flops_per_s=hardware.matrix_flops_per_s(convolution.number),
            dram_bytes=self.dram_bytes,
            host_s=host_s,
            latency_s=latency_s,
        )


class BlockTimes(NamedTuple):
    """Thread blocks of one shape over a device.

    Attributes
    ----------
    seconds, matrix_s, staging_s : float
        In all; and of arithmetic and of staging alone.
    blocks, waves : int
        Thread blocks, and how many the busiest multiprocessor computes.
    """

    seconds: float
    matrix_s: float
    staging_s: float
    blocks: int
    waves: int


def in_waves(
    tile: TileSize,
    depth: float,
    blocks: int,
    number: Number,
    hardware: GpuHardware,
    parameters: ConvolutionParameters,
    *,
    staging: float = 1.0,
    column_reuse: int = 1,
) -> BlockTimes:
    """Time of `blocks` thread blocks that each compute a tile with a reduction of `depth`.

    A block multiplies rows x columns values per step of the reduction and stages rows + columns operands for it,
    columns the fewer where `column_reuse` of them (the taps of a weight gradient) lie on the same input.  The busiest
    multiprocessor decides; filling and draining its pipeline cost a part of a wave.
    """
    kernels = parameters.kernels[number]
    rows, columns = tile
    waves = ceil(blocks / hardware.sms)
    steps = depth * (waves + kernels.tail_waves)
    matrix_s = (
        2.0
        * rows
        * columns
        * steps
        / (hardware.clock_hz * hardware.matrix_flops_per_cycle[number] * kernels.matrix_share)
    )
    staged = BYTES[number] * (rows + columns / column_reuse) * steps
    staging_s = staged * hardware.sms / (kernels.staged_bytes_per_s * staging)
    return BlockTimes(overlapped(matrix_s, staging_s, parameters.overlap), matrix_s, staging_s, blocks, waves)
