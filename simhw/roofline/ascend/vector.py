"""Elementwise functions, normalisation, softmax, pooling and copies: the vector unit between two ways of the unified
buffer.
"""

from math import prod

from simhw.roofline.ascend.hardware import Achieved, AscendHardware
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Convolution, Streaming
from simhw.roofline.prediction import Limit, Prediction
from simhw.roofline.step.forward import is_relayout

JOINED_TENSORS = 3
"""What a fused function reads besides shares the L2 with the input and the output of the kernel that it runs in."""


def predict_streaming(streaming: Streaming, hardware: AscendHardware, achieved: Achieved) -> Prediction:
    """Reading, computing and writing back, overlapped as products are; a joined function launches nothing."""
    per_cycle = hardware.cores * hardware.clock_hz
    moved = streaming.read_bytes + streaming.written_bytes
    room = hardware.l2_bytes / JOINED_TENSORS if streaming.joined else hardware.l2_bytes
    dram_bytes = max(0.0, moved - room)
    launch = 0.0 if streaming.joined else achieved.operator_s
    if is_relayout(streaming):
        return _relayout(streaming, dram_bytes, hardware, achieved)
    times: dict[Limit, float] = {
        "vector": streaming.vector_operations / (hardware.vector_flops_per_s(streaming.number) * achieved.vector),
        "buffer": streaming.written_bytes / (per_cycle * min(hardware.ub_to_l2, hardware.l2_write)),
        "l2": streaming.read_bytes / (per_cycle * hardware.l2_read),
        "dram": dram_bytes / (hardware.dram_bytes_per_s * achieved.dram),
    }
    stages = max(times["l2"], times["dram"]), times["vector"], times["buffer"]
    where = " inside the kernel before" if streaming.joined else ""
    in_l2 = 1 - dram_bytes / max(moved, 1.0)
    return Prediction(
        operator=streaming,
        seconds=launch + achieved.overlapped(*stages),
        times_s={**times, "launch": launch},
        mapping=f"vector unit{where}, {in_l2:.0%} of the data in the L2",
        peak_flops_per_s=hardware.vector_flops_per_s(streaming.number),
        dram_bytes=dram_bytes,
    )


def _relayout(streaming: Streaming, dram_bytes: float, hardware: AscendHardware, achieved: Achieved) -> Prediction:
    """A change of layout picks values out of every block, so that its rate is far below the buffers'."""
    moved = streaming.read_bytes + streaming.written_bytes
    times: dict[Limit, float] = {
        "buffer": moved / (hardware.cores * hardware.clock_hz * achieved.relayout),
        "dram": dram_bytes / (hardware.dram_bytes_per_s * achieved.dram),
        "launch": achieved.operator_s,
    }
    return Prediction(
        operator=streaming,
        seconds=achieved.operator_s + max(times["buffer"], times["dram"]),
        times_s=times,
        mapping="between blocks of channels and the plain layout",
        peak_flops_per_s=hardware.vector_flops_per_s(streaming.number),
        dram_bytes=dram_bytes,
    )


def input_layout(convolution: Convolution, hardware: AscendHardware, achieved: Achieved) -> tuple[float, float]:
    """Seconds and off-chip bytes of bringing a network's input into the layout NC1HWC0, before its first convolution.

    The image arrives in fp32 as (images, channels, height, width); a cast reads it and writes it in the network's
    numbers, another operator reads that and writes every pixel with C0 channels.  Nothing of it was in the L2.
    """
    width, depth = BYTES[convolution.number], hardware.cube_depth[convolution.number]
    pixels = convolution.images * prod(convolution.size)
    cast = (BYTES["fp32"] + width) * convolution.in_channels if convolution.number != "fp32" else 0
    moved = float(pixels * (cast + width * convolution.in_channels + width * depth))
    return moved / (hardware.dram_bytes_per_s * achieved.dram), moved


def is_network_input(convolution: Convolution, hardware: AscendHardware) -> bool:
    """Whether a convolution reads images: so few channels that no layer before it can have made them."""
    few = convolution.in_channels * 4 <= hardware.cube_depth[convolution.number]
    return convolution.operation == "forward" and convolution.groups == 1 and few
