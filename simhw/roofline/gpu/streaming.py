"""Operators limited by data movement on a GPU: what a kernel reads and writes, at the rate that its kind achieves.

Data that fit in the L2 come from there.  A kernel that works on rows reads each again once it has their sums: what the
rows in flight hold beyond the L2 comes from memory a second time.  Long rows may be another kernel's.

A kernel alone waits for its launch, which a stream of kernels hides, and for the framework, whose time is the floor of
every measurement in it.
"""

from typing import Annotated, get_args

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.operators import Streaming, StreamingKind
from simhw.roofline.prediction import Limit, Prediction
from simhw.roofline.quantities import Rate, Seconds, every


class StreamingKernel(Section):
    """What one kind of kernel achieves.

    Attributes
    ----------
    dram_bytes_per_s : float
        Off-chip bandwidth of large tensors.
    latency_s : float
        From the launch of a kernel that runs alone to its start.
    host_s : float
        Time in which the framework issues one.
    """

    dram_bytes_per_s: Rate
    latency_s: Seconds
    host_s: Seconds


class LongRows(Section):
    """The kernel that the library takes for rows too long for its usual one.

    Attributes
    ----------
    columns : int
        Of the longest row that the usual kernel takes.
    kernel : StreamingKernel
        The other one.
    """

    columns: int = Field(ge=1, le=1 << 40)
    kernel: StreamingKernel


class SecondReading(Section):
    """A kernel that reads its rows twice: for their sums, and to apply them.

    Attributes
    ----------
    rows_per_sm : int
        Rows that a multiprocessor works on at a time.
    missing_share : float
        Of what the rows in flight hold beyond the L2, the share that comes from memory again.
    """

    rows_per_sm: int = Field(ge=1, le=1 << 40)
    missing_share: Annotated[float, Field(ge=0, le=1)]

    def bytes_again(self, streaming: Streaming, hardware: GpuHardware) -> float:
        """Off-chip traffic of the second reading."""
        in_flight = min(streaming.rows, self.rows_per_sm * hardware.sms) * streaming.read_bytes / streaming.rows
        if in_flight <= hardware.l2_bytes:
            return 0.0
        return self.missing_share * streaming.read_bytes * (1.0 - hardware.l2_bytes / in_flight)


class StreamingParameters(Section):
    """Constants for operators limited by data movement.

    Attributes
    ----------
    launch_s : float
        From the end of one kernel of a stream to the work of the next.
    vector_share : float
        Share of the peak of the FMA units that elementwise arithmetic achieves.
    kernels : dict of kind to StreamingKernel
    long_rows : dict of kind to LongRows
        Kinds whose long rows are another kernel's.
    second_reading : dict of kind to SecondReading
        Kinds that read their rows twice.
    """

    launch_s: Seconds
    vector_share: Annotated[float, Field(gt=0, le=1)]
    kernels: Annotated[dict[StreamingKind, StreamingKernel], every(get_args(StreamingKind))]
    long_rows: dict[StreamingKind, LongRows]
    second_reading: dict[StreamingKind, SecondReading]

    def kernel_of(self, streaming: Streaming) -> StreamingKernel:
        """The kernel that the library takes."""
        long_rows = self.long_rows.get(streaming.kind)
        if long_rows is not None and streaming.columns > long_rows.columns:
            return long_rows.kernel
        return self.kernels[streaming.kind]


def predict_streaming(streaming: Streaming, hardware: GpuHardware, parameters: StreamingParameters) -> Prediction:
    """Time of an operator that moves data: launch, and the longest of its traffic and its arithmetic."""
    kernel = parameters.kernel_of(streaming)
    resident = streaming.dram_bytes <= hardware.l2_bytes
    again = parameters.second_reading.get(streaming.kind)
    bytes_moved = streaming.dram_bytes + (again.bytes_again(streaming, hardware) if again and not resident else 0.0)
    vector_peak = hardware.vector_flops_per_s(streaming.number)
    launch_s = 0.0 if streaming.joined else parameters.launch_s
    # The L2 cannot be slower than what lies behind it.
    l2_bytes_per_s = max(hardware.l2_bytes_per_s, kernel.dram_bytes_per_s)
    times_s: dict[Limit, float] = {
        "dram": 0.0 if resident else bytes_moved / kernel.dram_bytes_per_s,
        "l2": bytes_moved / l2_bytes_per_s,
        "vector": streaming.vector_operations / (vector_peak * parameters.vector_share),
        "launch": launch_s,
    }
    return Prediction(
        operator=streaming,
        seconds=launch_s + max(times_s["dram"], times_s["l2"], times_s["vector"]),
        times_s=times_s,
        mapping=f"{streaming.name}: "
        f"{'part of the kernel before' if streaming.joined else 'in the L2' if resident else 'off chip'}",
        peak_flops_per_s=vector_peak,
        dram_bytes=0.0 if resident else bytes_moved,
        host_s=0.0 if streaming.joined else kernel.host_s,
        latency_s=0.0 if streaming.joined else kernel.latency_s,
    )
