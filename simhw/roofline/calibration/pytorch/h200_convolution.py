"""Where the constants of an H200's convolutions are searched, and from where.

Starts are read from kernels of whole steps: how long a conversion takes, what share of the peak a tile reaches.  Bounds
are physics where it has them (no share above 1, no more than the peak off chip), else three times either way.
"""

from collections.abc import Mapping

from simhw.roofline.calibration.benchmarks import Search
from simhw.roofline.numbers import Number
from simhw.trace.layer import OPERATIONS

DRAM = (2e12, 3.6e12, 4.2e12)
"""[bytes/s]; a copy reaches 4.2 TB/s (spec page h200.md)."""
L2 = (4.2e12, 5.5e12, 1.1e13)
WIDE = 3.0


def _near(first: float, low: float = 0.0, high: float = float("inf")) -> tuple[float, float, float]:
    return max(first / WIDE, low), first, min(first * WIDE, high)


def _share(first: float, low: float = 0.05) -> tuple[float, float, float]:
    return low, first, 1.0


def _tensor_cores(
    number: Number,
    shares: tuple[float, float, float],
    pointwise_shares: tuple[float, float, float],
    start_steps: tuple[float, float],
    staged: tuple[float, float],
    others: Mapping[str, tuple[float, float, float]],
) -> Search:
    """Of the engines of one number; `others` are those that the file's layouts and sizes tell."""
    found = {
        "memory.dram_bytes_per_s": DRAM,
        "memory.l2_bytes_per_s": L2,
        "conversions.kernel_s": _near(1.8e-6),
        "conversions.bytes_per_s": _near(2.2e12),
        "conversions.repacked_weights_s": _near(6e-6),
        "few_share": _share(0.6),
        "padded_share": _share(0.6),
        "implicit.reduce_s": _near(8e-6),
        "pointwise.reduce_s": _near(3e-6),
        "implicit.start_steps": (5.0, start_steps[0], 1500.0),
        "pointwise.start_steps": (5.0, start_steps[1], 1500.0),
        "implicit.staged_bytes_per_cycle": _near(staged[0], high=128.0),
        "pointwise.staged_bytes_per_cycle": _near(staged[1], high=128.0),
        **others,
    }
    for place, operation in enumerate(OPERATIONS):
        found |= {
            f"implicit.launch_s.{operation}": _near(3e-6),
            f"implicit.matrix_share.{operation}": _share(shares[place], 0.2),
            f"pointwise.launch_s.{operation}": _near(2.5e-6),
            f"pointwise.matrix_share.{operation}": _share(pointwise_shares[place], 0.2),
        }
    return {f"kernels.{number}.tensor_cores.{name}": search for name, search in found.items()}


def _multiply_add() -> Search:
    found = {
        "memory.dram_bytes_per_s": DRAM,
        "memory.l2_bytes_per_s": L2,
        "medium_alone": (1.0, 1.1, 6.0),
        "fills": (0.2, 0.49, 1.2),
        "start_steps": _near(20.0),
        "grouped_share": _share(0.5, 0.02),
        "direct_pointwise_share": _share(0.16),
        "direct_share": _share(0.22),
        "transforms.fourier_s": _near(2e-5),
        "transforms.fourier_share": _share(0.6, 0.15),
        "transforms.winograd_s": _near(1e-5),
        "transforms.winograd_share": _share(0.6, 0.15),
        "transforms.small_share": _share(0.6, 0.15),
        "transforms.small_alone": (1.0, 3.0, 6.0),
        "transforms.scratch_bytes_per_s": (1e12, 2.5e12, 5.5e12),
    }
    starts = {
        "forward": {"matrix_share": 0.63, "medium_share": 0.73, "small_share": 0.6, "small_alone": 2.4},
        "input_grad": {"matrix_share": 0.45, "medium_share": 0.8, "small_share": 0.8, "small_alone": 2.0},
        "weight_grad": {"matrix_share": 0.45, "small_share": 0.95, "small_alone": 2.7},
    }
    for operation, first in starts.items():
        kernels = {name: _share(value, 0.15) for name, value in first.items() if name != "small_alone"}
        kernels["small_alone"] = (1.0, first["small_alone"], 6.0)
        kernels["launch_s"] = (1.5e-6, 2.5e-6, 4e-6)
        kernels["pointwise_share"] = (0.3, 1.0, 1.5)
        kernels["strided_share"] = (0.3, 0.8, 1.5)
        found |= {f"operations.{operation}.{name}": search for name, search in kernels.items()}
    return {f"kernels.fp32.multiply_add.{name}": search for name, search in found.items()}


SEARCHED: Mapping[Number, Search] = {
    "fp32": _multiply_add(),
    "tf32": _tensor_cores(
        "tf32",
        shares=(0.8, 0.8, 0.75),
        pointwise_shares=(0.8, 0.5, 0.5),
        start_steps=(150.0, 150.0),
        staged=(45.0, 50.0),
        others={"narrow_bytes_per_cycle.aligned_2": _near(8.0), "narrow_bytes_per_cycle.aligned_1": _near(4.0)},
    ),
    "bf16": _tensor_cores(
        "bf16",
        shares=(0.8, 0.8, 0.8),
        pointwise_shares=(0.8, 0.8, 0.8),
        start_steps=(300.0, 200.0),
        staged=(60.0, 100.0),
        others={
            "conversions.padding_bytes_per_s": _near(1e12),
            "conversions.padded_weights_s": _near(3e-6),
            "narrow_bytes_per_cycle.aligned_4": _near(12.0),
            "narrow_bytes_per_cycle.aligned_2": _near(8.0),
            "narrow_bytes_per_cycle.aligned_1": _near(4.0),
        },
    ),
}
