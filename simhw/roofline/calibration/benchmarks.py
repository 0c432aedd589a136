"""What a GPU's constants are fitted to: the boards that benchmarks ran on, and where each fit searches.

The fits are the same for every GPU.  Another is added by a `Benchmarks` as below, a line of
`simhw.roofline.calibration.devices` and its files of measurements, which are named after the chip:
``deepbench_CHIP_gemm_fp32.csv``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from simhw.errors import SimhwError, quoted
from simhw.roofline.device import load_device
from simhw.roofline.gpu.values import GpuValues
from simhw.roofline.numbers import Number

Search = Mapping[str, tuple[float, float, float]]
"""Lowest, first and highest value of a search, by a constant's dotted name."""
Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value that physics allows, by a constant's dotted name."""


@dataclass(frozen=True)
class Benchmarks:
    """Measurements of one chip, and the search for its constants.

    Attributes
    ----------
    chip : str
        As the files' names have it.
    library_board, framework_board : str
        Devices on which DeepBench timed library calls, and NeuSight PyTorch.
    gemm : dict of number to Search
        Constants of products that rows in these numbers tell.  Operands are staged no faster than shared
        memory takes them; data takes at least 0.4 us from memory (recalled), and a wave not much less; a further kernel
        of a stream costs no more than launching the first.  DeepBench has too few sizes off multiples of 8 to tell what
        these cost in fp16.
    convolution : dict of number to Ranges
        In this order: fp32 fixes what both share.
    streaming_start : (float, float, float)
        Latency [s], bandwidth [bytes/s] and missing share of a second reading from which the fit sets out.
    power_shares : dict of str to float
        Share of the peak at which a measured kernel is taken to run.
    sgemm, tensor, stream : str
        Kernels of that table: a tiled fp32 product, an unoptimised tensor-core product, off-chip streaming.
    """

    chip: str
    library_board: str
    framework_board: str
    gemm: Mapping[Number, Search]
    convolution: Mapping[Number, Ranges]
    streaming_start: tuple[float, float, float]
    power_shares: Mapping[str, float]
    sgemm: str
    tensor: str
    stream: str

    def file(self, kernels: str) -> str:
        """Name of a file, without ``.csv``, by what is measured in it: ``deepbench_gemm_fp32``."""
        source, _, rest = kernels.partition("_")
        return f"{source}_{self.chip}_{rest}"

    @property
    def library(self) -> GpuValues:
        """The board on which library calls were timed."""
        return _gpu(self.library_board)

    @property
    def framework(self) -> GpuValues:
        """The board on which the framework was timed."""
        return _gpu(self.framework_board)


def _gpu(name: str) -> GpuValues:
    values = load_device(name).values
    if not isinstance(values, GpuValues):
        raise SimhwError(f"device {quoted(name)} is no GPU; only those are fitted to single kernels")
    return values


V100 = Benchmarks(
    chip="v100",
    library_board="v100",
    framework_board="v100-pcie",
    gemm={
        "fp32": {
            "kernels.fp32.matrix_share": (0.7, 0.95, 1.0),
            "kernels.fp32.staged_bytes_per_cycle": (10.0, 50.0, 128.0),
            "kernels.fp32.strided": (1.0, 3.0, 8.0),
            "kernels.fp32.line_bytes": (32.0, 256.0, 4096.0),
            "kernels.fp32.page_bytes": (256.0, 1500.0, 16384.0),
            "kernels.fp32.latency_s": (4e-7, 8e-7, 5e-6),
            "l2_latency_s": (1e-7, 3e-7, 2e-6),
            "wave_s": (5e-7, 1e-6, 1e-5),
            "reduce_s": (1e-6, 3e-6, 4.4e-6),
            "dram_bytes_per_s": (4e11, 7.9e11, 9e11),
            "overlap": (1.0, 4.0, 8.0),
        },
        "fp16": {
            "kernels.fp16.matrix_share": (0.7, 0.95, 1.0),
            "kernels.fp16.staged_bytes_per_cycle": (10.0, 60.0, 128.0),
            "kernels.fp16.strided": (1.0, 1.2, 5.0),
        },
    },
    convolution={
        "fp32": {
            "kernels.fp32.staged_bytes_per_s": (0.5e12, 4e12),
            "scratch_bytes_per_s": (0.6e12, 2.4e12),
            "overlap": (2.0, 6.0),
            "kernels.fp32.launch_s": (5e-6, 30e-6),
            "kernels.fp32.tail_waves": (0.01, 0.8),
            "kernels.fp32.weight_grad_staging": (0.1, 1.0),
            "kernels.fp32.strided_grad_staging": (0.1, 1.0),
            "winograd.fused_share": (0.4, 1.0),
            "winograd.fused_ends": (1.0, 64.0),
            "winograd.staging": (0.1, 1.0),
            "winograd.filter_share": (0.1, 1.0),
            "start_s": (5e-5, 2e-4),
        },
        "fp16": {
            "kernels.fp16.launch_s": (3e-6, 15e-6),
            "kernels.fp16.staged_bytes_per_s": (0.5e12, 4e12),
            "kernels.fp16.tail_waves": (0.01, 0.4),
        },
    },
    streaming_start=(1e-5, 7e11, 0.5),
    power_shares={"parboil_sgemm_k1": 0.6, "cudaTensorCoreGemm_k1": 0.4, "kmeans_k1": 0.8},
    sgemm="parboil_sgemm_k1",
    tensor="cudaTensorCoreGemm_k1",
    stream="kmeans_k1",
)
