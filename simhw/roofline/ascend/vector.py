"""Elementwise functions, normalisation, softmax, pooling and copies: the vector unit between two ways of the unified buffer."""

from simhw.roofline.ascend.hardware import Achieved, Hardware
from simhw.roofline.operators import Streaming
from simhw.roofline.prediction import Limit, Prediction


def predict_streaming(streaming: Streaming, hardware: Hardware, achieved: Achieved) -> Prediction:
    """Reads, arithmetic and writes overlap; the slowest decides."""
    per_cycle = hardware.cores * hardware.clock_hz
    moved = streaming.read_bytes + streaming.written_bytes
    hit = min(1.0, hardware.l2_bytes / moved) if moved else 1.0
    dram_bytes = moved * (1.0 - hit)
    times: dict[Limit, float] = {
        "vector": streaming.vector_operations / (hardware.vector_flops_per_s(streaming.number) * achieved.vector),
        "buffer": streaming.written_bytes / (per_cycle * min(hardware.ub_to_l2, hardware.l2_write)),
        "l2": streaming.read_bytes / (per_cycle * hardware.l2_read),
        "dram": dram_bytes / (hardware.dram_bytes_per_s * achieved.dram),
    }
    return Prediction(
        operator=streaming,
        seconds=achieved.operator_s + max(times.values()),
        times_s={**times, "launch": achieved.operator_s},
        mapping=f"vector unit, {hit:.0%} of the data in the L2",
        peak_flops_per_s=hardware.vector_flops_per_s(streaming.number),
        dram_bytes=dram_bytes,
    )
