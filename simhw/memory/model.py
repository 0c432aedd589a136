"""What the memory hierarchy makes of an operation: its time and where it goes, and every event that costs energy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from simhw.errors import MachineError
from simhw.memory.activity import Activity, dram_activities, recorded_ns
from simhw.memory.blocking import Blocking, parse_blocking
from simhw.memory.dram import Dram, DramParameters
from simhw.memory.onchip import OnChip, PassShape, TileShape, on_chip
from simhw.memory.parameters import Memory
from simhw.memory.protocol import Protocol, double_buffering
from simhw.memory.schedule import Schedule, run_schedule
from simhw.memory.search import fixed, search
from simhw.memory.space import Space, space_of
from simhw.memory.steps import BlockSteps, steps_of
from simhw.memory.traffic import tensor_traffic
from simhw.trace.layer import TENSORS, Layer, Operation, TensorName, TensorStatistics
from simhw.trace.statistics import statistics_of

if TYPE_CHECKING:
    from simhw.machine.machine import Machine

BFLOAT16_BYTES = 2
MOST_CONTAINERS = 1 << 27
"""Containers that an operation moves at the most, since each is timed: in some 8 ns, so that this takes about a second
(275 GB in containers of 2 KB).
"""

SHARES = ("compute", "dram", "buffer_conflict", "transposer", "fill", "drain")
"""Where the time of an operation goes; the shares add up to it."""


@dataclass(frozen=True)
class DramUse:
    """Events of the DRAM in an operation."""

    activates: int
    row_hits: int
    row_misses: int
    read_bytes: int
    write_bytes: int
    turnarounds: int

    @staticmethod
    def of(dram: Dram) -> "DramUse":
        """What a DRAM has counted."""
        return DramUse(
            dram.activates, dram.row_hits, dram.row_misses, dram.read_bytes, dram.write_bytes, dram.turnarounds
        )


@dataclass(frozen=True)
class MemoryCost:
    """An operation on a machine with its memories.

    Attributes
    ----------
    blocking : Blocking
    cycles : float
        From the first byte's way in to the last byte's way out [cycles].
    shares : dict of str to float
        Cycles by `SHARES`; they add up to `cycles`.
    traffic_bytes : dict of str to int
        Bytes between memory and buffers, per tensor and way (``a_in``, ``w_in``, ``g_out``, ...), compressed.
    raw_bytes : dict of str to int
        The same before compression.
    buffer_reads, buffer_writes : dict of tensor name to float
        Accesses of each global buffer.
    on_chip : OnChip
    dram : DramUse
    shapes, tile_cycles
        What `memory_cost` was given, so that the operation can be run again.
    activities : list of Activity
        What units did, where it was asked for: tiles and DMA from start to end, the DRAM's channels and refreshes as
        far as they were to be recorded.
    recorded_ns : float
        Up to here the DRAM's intervals are complete; infinite where all of them are there.
    """

    blocking: Blocking
    cycles: float
    shares: dict[str, float]
    traffic_bytes: dict[str, int]
    raw_bytes: dict[str, int]
    buffer_reads: dict[TensorName, float]
    buffer_writes: dict[TensorName, float]
    on_chip: OnChip
    dram: DramUse
    shapes: Sequence[PassShape] = field(repr=False, compare=False)
    tile_cycles: npt.NDArray[np.float64] = field(repr=False, compare=False)
    activities: list[Activity] = field(default_factory=list, repr=False)
    recorded_ns: float = float("inf")

    @property
    def off_chip_bytes(self) -> int:
        """Bytes that cross the pins, compressed."""
        return sum(self.traffic_bytes.values())

    @property
    def bound_by(self) -> str:
        """What takes most of the time; waiting for the first block in and the last one out counts as DRAM."""
        return bound_by(self.shares)


def bound_by(shares: dict[str, float]) -> str:
    """The largest of compute, DRAM (fill and drain with it), buffer conflicts and transposers."""
    limits = {
        "compute": shares["compute"],
        "dram": shares["dram"] + shares["fill"] + shares["drain"],
        "buffer": shares["buffer_conflict"],
        "transposer": shares["transposer"],
    }
    return max(limits, key=limits.__getitem__)


def memory_cost(
    layer: Layer,
    operation: Operation,
    machine: "Machine",
    shapes: Sequence[PassShape],
    tile_cycles: npt.NDArray[np.float64],
    record: int = 0,
    protocol: Protocol = double_buffering,
) -> MemoryCost:
    """Run an operation through the memory hierarchy.

    Parameters
    ----------
    layer : Layer
        Its shapes and statistics are read, no tensor.
    operation : str
    machine : Machine
        With a memory whose model is not ideal.
    shapes : sequence of PassShape
        Its tile passes.
    tile_cycles : (tiles,) float64
        Cycles that each tile is busy, memories aside.
    record : int
        How many intervals of the DRAM's channels to keep, and with any those of the other units, for a timeline.
    protocol : callable
        Starts the processes that move blocks and work on them.

    Raises
    ------
    MachineError
        The blocking that the machine names does not fit its buffers.
    SimhwError
        The protocol leaves steps undone, or reads partial sums that it has not written.
    """
    memory = machine.values.memory
    assert memory is not None
    cycle_ns = 1e9 / machine.values.clock_hz
    tile = machine.tile
    chip = on_chip(
        layer, operation, shapes, TileShape(tile.tile_x, tile.tile_y, tile.lanes, machine.values.tiles), memory
    )
    compute = float(tile_cycles.max(initial=0.0))
    # All tiles wait alike for a buffer or transposer that cannot keep up with them.
    fed = max(compute, chip.buffer_cycles)
    turned = max(fed, chip.transposer_cycles)
    # Memories may be slower than idle tiles: then one of them stands for all.
    ratios = compression_ratios(layer, memory)
    space = space_of(layer, operation, memory.container.channels)
    blocking, steps = _steps(space, memory, f"layer {layer.name!r}, operation {operation}")

    def busy_ns(cycles: float) -> npt.NDArray[np.float64]:
        # A memory may be slower than tiles that have next to nothing to do: then one of them stands for all.
        return (tile_cycles * (cycles / compute) if compute else np.full(1, cycles)) * cycle_ns

    def scheduled(cycles: float) -> tuple[Schedule, DramUse]:
        if protocol is double_buffering:
            busiest_ns = float(busy_ns(cycles).max())
            return _double_buffered(steps, tuple(ratios.items()), busiest_ns, memory.dram, memory.container_bytes)
        dram = Dram(memory.dram, memory.container_bytes)
        return run_schedule(steps, ratios, busy_ns(cycles), dram, False, protocol), DramUse.of(dram)

    schedule, use = scheduled(turned)
    # What a slow buffer or transposer costs is what would be saved without it.
    unturned = scheduled(fed)[0] if turned > fed else schedule
    unfed = scheduled(compute)[0] if fed > compute else unturned
    activities, complete_ns = [], inf
    if record:
        dram = Dram(memory.dram, memory.container_bytes, record)
        seen = run_schedule(steps, ratios, busy_ns(turned), dram, True, protocol)
        activities = [*seen.transfers, *seen.tile_work, *dram_activities(seen.transfers, dram, seen.end_ns)]
        complete_ns = recorded_ns(dram)
    reads, writes = _buffer_accesses(steps, chip, memory)
    return MemoryCost(
        blocking=blocking,
        cycles=schedule.end_ns / cycle_ns,
        shares=_shares(schedule, unturned, unfed, cycle_ns, compute),
        traffic_bytes={**steps.traffic(ratios)},
        raw_bytes={**steps.raw_bytes},
        buffer_reads=reads,
        buffer_writes=writes,
        on_chip=chip,
        dram=use,
        shapes=shapes,
        tile_cycles=tile_cycles,
        activities=activities,
        recorded_ns=complete_ns,
    )


def _steps(space: Space, memory: Memory, where: str) -> tuple[Blocking, BlockSteps]:
    # Blocks are made before values are known, so machines that differ in compression alone share them: a machine and
    # its baseline.
    alike = memory.model_copy(update={"compression": "none"})
    wanted = parse_blocking(memory.blocking)
    blocking = search(space, alike) if wanted is None else fixed(space, memory, wanted, where)
    moved, steps = _cached_steps(space, blocking, alike)
    if steps is None:
        raise MachineError(
            f"{where}: it moves {moved / 1e9:,.0f} GB off chip, over the "
            f"{MOST_CONTAINERS * memory.container_bytes / 1e9:,.0f} GB whose "
            "containers are timed one by one; grow the step to fewer images, or leave memories out: memory.model=ideal"
        )
    return blocking, steps


@lru_cache(maxsize=1024)
def _cached_steps(space: Space, blocking: Blocking, memory: Memory) -> tuple[float, BlockSteps | None]:
    """Bytes that go off chip and come in, and the steps unless that is more than is timed.

    Networks repeat shapes, and machines share memories.
    """
    moved = sum(
        space.values(tensor) * memory.value_bytes * tensor_traffic(space, blocking, tensor, memory).passes
        for tensor in TENSORS
    )
    return moved, steps_of(space, blocking, memory) if moved <= MOST_CONTAINERS * memory.container_bytes else None


@lru_cache(maxsize=1024)
def _double_buffered(
    steps: BlockSteps,
    ratios: tuple[tuple[TensorName, float], ...],
    busiest_ns: float,
    parameters: DramParameters,
    container_bytes: int,
) -> tuple[Schedule, DramUse]:
    """Our protocol's schedule, which no tile but the busiest decides.

    Layers of one shape share it where their values do not matter, as on most baselines.
    """
    dram = Dram(parameters, container_bytes)
    schedule = run_schedule(steps, dict(ratios), np.array([busiest_ns]), dram)
    return schedule, DramUse.of(dram)


def compression_ratios(layer: Layer, memory: Memory) -> dict[TensorName, float]:
    """Compressed size of each tensor over its size; 1 where compression is off or the tensor would grow.

    An output is taken to compress as the operand that has its shape: its own values are not in a trace.
    """
    ratios: dict[TensorName, float] = dict.fromkeys(TENSORS, 1.0)
    if memory.compression == "none":
        return ratios
    for tensor in TENSORS:
        if tensor in layer.statistics or layer.holds(tensor):
            statistics = statistics_of(layer, tensor)
            ratios[tensor] = min(
                1.0, _compressed_bytes(statistics, memory) / max(1, statistics.size * memory.value_bytes)
            )
    return ratios


def _compressed_bytes(statistics: TensorStatistics, memory: Memory) -> float:
    """Compressed size of a tensor of the machine's values, from that of its bfloat16 values."""
    wider = memory.value_bytes - BFLOAT16_BYTES
    # Base-delta leaves fractions as they are; zero compression leaves out the zeros whole.
    kept = statistics.size - statistics.zeros if memory.compression == "zero" else statistics.size
    return statistics.compressed_bytes[memory.compression] + wider * kept


def _shares(
    schedule: Schedule, unturned: Schedule, unfed: Schedule, cycle_ns: float, compute: float
) -> dict[str, float]:
    """Cycles by cause: of the schedule, of that without slow transposers, and of that without slow buffers either."""
    shares = {
        "compute": compute * cycle_ns,
        "dram": max(0.0, unfed.last_computed_ns - unfed.first_ready_ns - compute * cycle_ns),
        "buffer_conflict": unturned.end_ns - unfed.end_ns,
        "transposer": schedule.end_ns - unturned.end_ns,
        "fill": unfed.first_ready_ns,
        "drain": unfed.end_ns - unfed.last_computed_ns,
    }
    return {name: time / cycle_ns for name, time in shares.items()}


def _buffer_accesses(
    steps: BlockSteps, chip: OnChip, memory: Memory
) -> tuple[dict[TensorName, float], dict[TensorName, float]]:
    """Accesses of each global buffer: by the tiles, and by blocks that come and go."""
    writes, leaving = _block_accesses(steps, tuple(getattr(memory.buffers, each).access_bytes for each in TENSORS))
    # What leaves was written by the tiles before; what comes in is written alone.
    reads = {tensor: _added(chip.buffer_reads.get(tensor, 0.0), leaving[tensor]) for tensor in TENSORS}
    return reads, {**writes}


@lru_cache(maxsize=1024)
def _block_accesses(
    steps: BlockSteps, access_bytes: tuple[int, ...]
) -> tuple[dict[TensorName, float], dict[TensorName, npt.NDArray[np.float64]]]:
    """Accesses of each global buffer by blocks that come and go in all, and by each that leaves."""
    jobs, writes, leaving = steps.jobs, {}, {}
    for number, (tensor, size) in enumerate(zip(TENSORS, access_bytes, strict=True)):
        writes[tensor] = _added(0.0, jobs.raw_bytes[jobs.tensor == number] / size)
        leaving[tensor] = jobs.raw_bytes[steps.moves[tensor, True]] / size
    return writes, leaving


def _added(start: float, numbers: npt.NDArray[np.float64]) -> float:
    """The sum, one number after another: in pairs it would be rounded otherwise."""
    return float(np.cumsum(np.concatenate([[start], numbers]))[-1]) if len(numbers) else start


def sram_instances(machine: "Machine") -> dict[str, int]:
    """How many memories of each kind a machine has, as the machine file's `sram` section names them."""
    memory, tile, tiles = machine.values.memory, machine.tile, machine.values.tiles
    if memory is None:
        return {}
    buffers = {f"buffer_{tensor}": buffer.instances * buffer.banks for tensor, buffer in memory.buffers}
    # An operand scratchpad for each row of X and of Y, one for partial sums for each row of PEs.
    pads = tiles * (tile.tile_x + 2 * tile.tile_y) * memory.scratchpads.banks
    return {**buffers, "scratchpad": pads, "transposer": memory.transposers.count}
