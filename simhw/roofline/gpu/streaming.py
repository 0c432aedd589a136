"""Operators limited by data movement on a GPU: what a kernel reads and writes, at the rate that its kind achieves.

Data that fit in the L2 come from there.  A kernel that works on rows reads each again once it has their sums: what the
rows in flight hold beyond the L2 comes from memory a second time.  Long rows may be another kernel's.

Kernels that work through rows or planes may be held back by their own instructions instead: each multiprocessor takes
a time for a row and for each of its values, and with fewer rows than it wants at once some of it stays idle.  Where a
file states no such times, bytes alone count.

A kernel alone waits for its launch, which a stream of kernels hides, and for the framework, whose time is the floor of
every measurement in it.
"""

from math import ceil
from typing import Annotated, get_args

from pydantic import Field

from simhw.machine.described import Section
from simhw.roofline.gpu.column_sums import ColumnSums, column_sums_s
from simhw.roofline.gpu.hardware import GpuHardware
from simhw.roofline.gpu.multi_tensor import MultiTensor
from simhw.roofline.gpu.residency import Residency
from simhw.roofline.numbers import BYTES
from simhw.roofline.operators import Layout, Streaming, StreamingKind
from simhw.roofline.prediction import Limit, Prediction
from simhw.roofline.quantities import Count, Rate, Seconds, every


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
    launches : int
        Kernels that the library runs for one.
    start_s : float
        What it takes beyond its launch before any byte or value counts.
    row_s, piece_s, value_s, byte_s : float
        Time of a multiprocessor for each row, for each of its pieces (`Streaming.pieces`), for each value, and for each
        byte of the operator's traffic.
    step_values : int
        Values of a row that its threads take in a step; a part of a step costs a whole one.
    powers_of_two : bool
        A row is as long as the next power of two: the kernel is compiled for those.
    rows_to_fill, cold_rows_to_fill : float
        Rows of a multiprocessor with fewer of which it is no faster through them: of data in the L2, and of data that
        come from memory, which takes longer to answer (Little's law).
    passes : float
        Times that the operator's traffic moves in all launches together.
    """

    dram_bytes_per_s: Rate
    latency_s: Seconds = 0.0
    host_s: Seconds = 0.0
    launches: Count = 1
    start_s: Seconds = 0.0
    row_s: Seconds = 0.0
    piece_s: Seconds = 0.0
    value_s: Seconds = 0.0
    byte_s: Seconds = 0.0
    step_values: Count = 1
    powers_of_two: bool = False
    rows_to_fill: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    cold_rows_to_fill: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    passes: Annotated[float, Field(gt=0, le=100)] = 1.0

    def work_s(self, streaming: Streaming, hardware: GpuHardware, cold: float) -> float:
        """Time of the multiprocessors for all rows, a share of which waits for memory."""
        to_fill = (1.0 - cold) * self.rows_to_fill + cold * max(self.rows_to_fill, self.cold_rows_to_fill)
        values = ceil(streaming.columns / self.step_values) * self.step_values
        if self.powers_of_two:
            values = 1 << (values - 1).bit_length()
        row_s = self.row_s + streaming.pieces * self.piece_s + values * self.value_s
        row_s += streaming.dram_bytes / streaming.rows * self.byte_s
        return row_s * max(streaming.rows / hardware.sms, to_fill)


class FunctionCase(Section):
    """The kernel that the library takes for a function in some case; what is not stated does not matter.

    Attributes
    ----------
    value_bytes : int or None
        Of a value.
    layout : str or None
        Of images.
    columns_multiple_of, most_columns : int or None
        What the length of a row must be.
    most_bytes : int or None
        Largest traffic.
    kernel : StreamingKernel
    """

    value_bytes: Count | None = None
    layout: Layout | None = None
    columns_multiple_of: Count | None = None
    most_columns: Count | None = None
    most_bytes: Count | None = None
    kernel: StreamingKernel

    def takes(self, streaming: Streaming) -> bool:
        """Whether an operator is of the case."""
        columns = streaming.columns
        return (
            self.value_bytes in (None, BYTES[streaming.number])
            and self.layout in (None, streaming.layout)
            and (self.columns_multiple_of is None or columns % self.columns_multiple_of == 0)
            and (self.most_columns is None or columns <= self.most_columns)
            and (self.most_bytes is None or streaming.dram_bytes <= self.most_bytes)
        )


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
    functions : dict of function to dict of case to FunctionCase
        Functions with kernels of their own, by `Streaming.name`: the first case that takes an operator, else that of
        its kind.
    residency : Residency or None
        What the L2 serves; None: all that is no larger than it, at its rate.
    column_sums : ColumnSums or None
        Sums over rows (kind reduction), where no function has a kernel of its own; None: as any kernel.
    multi_tensor : MultiTensor or None
        Kernels of an optimizer (kind optimizer); None: one for all tensors, as any kernel.
    """

    launch_s: Seconds
    vector_share: Annotated[float, Field(gt=0, le=1)]
    kernels: Annotated[dict[StreamingKind, StreamingKernel], every(get_args(StreamingKind))]
    long_rows: dict[StreamingKind, LongRows] = Field(default_factory=dict)
    second_reading: dict[StreamingKind, SecondReading] = Field(default_factory=dict)
    functions: dict[str, dict[str, FunctionCase]] = Field(default_factory=dict)
    residency: Residency | None = None
    column_sums: ColumnSums | None = None
    multi_tensor: MultiTensor | None = None

    def launches(self, streaming: Streaming) -> int:
        """Kernels that the library runs for an operator; none for one that is joined to another."""
        if streaming.joined:
            return 0
        if self.multi_tensor is not None and streaming.kind == "optimizer":
            return self.multi_tensor.launches(streaming)
        return self.kernel_of(streaming).launches

    def kernel_of(self, streaming: Streaming) -> StreamingKernel:
        """The kernel that the library takes."""
        for case in self.functions.get(streaming.name, {}).values():
            if case.takes(streaming):
                return case.kernel
        long_rows = self.long_rows.get(streaming.kind)
        if long_rows is not None and streaming.columns > long_rows.columns:
            return long_rows.kernel
        return self.kernels[streaming.kind]


def predict_streaming(streaming: Streaming, hardware: GpuHardware, parameters: StreamingParameters) -> Prediction:
    """Time of an operator that moves data: launch, and the longest of its traffic, its arithmetic and its rows."""
    kernel = parameters.kernel_of(streaming)
    launch_s = parameters.launches(streaming) * parameters.launch_s
    bytes_moved, missing, moving_s = _moving(streaming, kernel, hardware, parameters)
    vector_peak = hardware.vector_flops_per_s(streaming.number)
    arithmetic_s = streaming.vector_operations / (vector_peak * parameters.vector_share)
    times_s: dict[Limit, float] = {
        **moving_s,
        "vector": max(arithmetic_s, kernel.work_s(streaming, hardware, 1.0 if streaming.kept_bytes else missing)),
        "launch": launch_s + (0.0 if streaming.joined else kernel.start_s),
    }
    if _is_column_sum(streaming, parameters):
        assert parameters.column_sums is not None
        rows, columns = streaming.columns, streaming.rows  # an operator's rows are the sums, its columns what they add
        times = column_sums_s(columns, rows, parameters.column_sums, hardware)
        times_s |= {"launch": launch_s + times.fixed_s, "vector": max(arithmetic_s, times.adding_s)}
    elif parameters.multi_tensor is not None and streaming.kind == "optimizer":
        times_s["launch"] += parameters.multi_tensor.tails_s(streaming)
    return Prediction(
        operator=streaming,
        seconds=times_s["launch"] + max(times_s["dram"] + times_s["l2"], times_s["vector"]),
        times_s=times_s,
        mapping=f"{streaming.name}: "
        f"{'part of the kernel before' if streaming.joined else 'off chip' if missing else 'in the L2'}",
        peak_flops_per_s=vector_peak,
        dram_bytes=missing * bytes_moved,
        host_s=0.0 if streaming.joined else kernel.host_s,
        latency_s=0.0 if streaming.joined else kernel.latency_s,
        launches=parameters.launches(streaming),
    )


def _moving(
    streaming: Streaming, kernel: StreamingKernel, hardware: GpuHardware, parameters: StreamingParameters
) -> tuple[float, float, dict[Limit, float]]:
    """Bytes that move, the share of them that memory serves, and the seconds of both."""
    moved = kernel.passes * streaming.dram_bytes
    if parameters.residency is not None:
        missing = max(parameters.residency.missing(moved), streaming.kept_bytes / moved) if moved else 0.0
        cached_s = (1.0 - missing) * parameters.residency.cached_s(moved)
        return moved, missing, {"dram": missing * moved / kernel.dram_bytes_per_s, "l2": cached_s}
    if moved > hardware.l2_bytes:
        again = parameters.second_reading.get(streaming.kind)
        moved += again.bytes_again(streaming, hardware) if again else 0.0
        return moved, 1.0, {"dram": moved / kernel.dram_bytes_per_s, "l2": 0.0}
    # The L2 cannot be slower than what lies behind it.
    return moved, 0.0, {"dram": 0.0, "l2": moved / max(hardware.l2_bytes_per_s, kernel.dram_bytes_per_s)}


def _is_column_sum(streaming: Streaming, parameters: StreamingParameters) -> bool:
    return (
        parameters.column_sums is not None
        and streaming.kind == "reduction"
        and streaming.name not in parameters.functions
    )
