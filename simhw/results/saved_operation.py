"""An operation's result as a saved file has it; see `simhw.results.saved`.

An estimate is ``[value]`` where it is exact, else ``[value, variance, degrees of freedom]``, of which null stands for
infinity.  A range is ``[low, mid, high]``.  A share of nothing is null.
"""

from math import inf, isfinite, isnan, nan
from typing import Annotated, Self, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from simhw.machine.costs import Range
from simhw.machine.energy import COMPONENTS
from simhw.memory.blocking import Blocking, parse_blocking
from simhw.memory.model import SHARES, DramUse, MemoryCost
from simhw.memory.onchip import OnChip
from simhw.results.estimate import Estimate
from simhw.results.operation import OperationCost, OperationResult
from simhw.trace.layer import TENSORS, TensorName
from simhw.trace.operation import Operation

Name = Annotated[str, Field(max_length=1000)]
Amount = Annotated[float, Field(ge=0, le=1e100, allow_inf_nan=False)]
Signed = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=10**60)]
Share = Annotated[float, Field(ge=0, le=1 + 1e-6, allow_inf_nan=False)] | None
RangeRecord = Annotated[list[Amount], Field(min_length=3, max_length=3)]
WAYS = tuple(f"{tensor}_{way}" for tensor in TENSORS for way in ("in", "out"))
"""Of bytes between memory and buffers."""
Found = TypeVar("Found")


def _check_estimate(record: list[float | None]) -> list[float | None]:
    if len(record) == 2 or record[0] is None:
        raise ValueError("give [value] or [value, variance, degrees of freedom]")
    return record


def _check_counter(record: list[float | None]) -> list[float | None]:
    if any(each is not None and each < 0 for each in _check_estimate(record)[1:]):
        raise ValueError("variance and degrees of freedom are at least 0")
    return record


EstimateRecord = Annotated[list[Amount | None], Field(min_length=1, max_length=3), AfterValidator(_check_estimate)]
# A total estimated without bias from cells of several sizes may fall below zero where its true value is small.
CounterRecord = Annotated[list[Signed | None], Field(min_length=1, max_length=3), AfterValidator(_check_counter)]


def _written(estimate: Estimate) -> list[float | None]:
    if estimate.variance == 0:
        return [float(estimate.value)]
    return [float(each) if isfinite(each) else None for each in (estimate.value, estimate.variance, estimate.degrees)]


def _estimate(record: list[float | None]) -> Estimate:
    value, variance, degrees = [*record, 0.0, inf][:3] if len(record) == 1 else record
    assert value is not None
    return Estimate(value, inf if variance is None else variance, inf if degrees is None else degrees)


def _has_exactly(found: dict[str, Found], names: tuple[str, ...]) -> dict[str, Found]:
    if found.keys() != set(names):
        raise ValueError(f"has to name exactly {', '.join(names)}")
    return {name: found[name] for name in names}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class MemoryRecord(_Record):
    blocking: Annotated[str, Field(max_length=200)]
    cycles: Amount
    shares: dict[str, Annotated[float, Field(ge=-1e-3, le=1e100, allow_inf_nan=False)]]
    traffic_bytes: dict[str, Count]
    raw_bytes: dict[str, Count]
    buffer_reads: dict[TensorName, Amount]
    buffer_writes: dict[TensorName, Amount]
    tile_reads: dict[TensorName, Amount]
    scratchpad_reads: Amount
    scratchpad_writes: Amount
    transposed: Amount
    buffer_cycles: Amount
    transposer_cycles: Amount
    dram: dict[str, Count]

    @field_validator("blocking")
    @classmethod
    def _is_a_blocking(cls, text: str) -> str:
        if parse_blocking(text) is None:
            raise ValueError("give loops and counts")
        return text

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        _has_exactly(self.shares, SHARES)
        _has_exactly(self.traffic_bytes, WAYS)
        _has_exactly(self.raw_bytes, WAYS)
        _has_exactly(self.dram, tuple(DramUse.__dataclass_fields__))
        for accesses in (self.buffer_reads, self.buffer_writes):
            if accesses.keys() != set(TENSORS):
                raise ValueError(f"buffers are of {', '.join(TENSORS)}")
        return self

    @staticmethod
    def of(memory: MemoryCost) -> "MemoryRecord":
        chip = memory.on_chip
        return MemoryRecord(
            blocking=str(memory.blocking),
            cycles=float(memory.cycles),
            shares={name: float(part) for name, part in memory.shares.items()},
            traffic_bytes={name: int(number) for name, number in memory.traffic_bytes.items()},
            raw_bytes={name: int(number) for name, number in memory.raw_bytes.items()},
            buffer_reads={name: float(number) for name, number in memory.buffer_reads.items()},
            buffer_writes={name: float(number) for name, number in memory.buffer_writes.items()},
            tile_reads={name: float(number) for name, number in chip.buffer_reads.items()},
            scratchpad_reads=float(chip.scratchpad_reads),
            scratchpad_writes=float(chip.scratchpad_writes),
            transposed=float(chip.transposed),
            buffer_cycles=float(chip.buffer_cycles),
            transposer_cycles=float(chip.transposer_cycles),
            dram={name: int(number) for name, number in vars(memory.dram).items()},
        )

    def cost(self) -> MemoryCost:
        """All but what it takes to run the operation through the memories again."""
        blocking = parse_blocking(self.blocking)
        assert isinstance(blocking, Blocking)
        return MemoryCost(
            blocking=blocking,
            cycles=self.cycles,
            shares=_has_exactly(self.shares, SHARES),
            traffic_bytes=_has_exactly(self.traffic_bytes, WAYS),
            raw_bytes=_has_exactly(self.raw_bytes, WAYS),
            buffer_reads=dict(self.buffer_reads),
            buffer_writes=dict(self.buffer_writes),
            on_chip=OnChip(
                dict(self.tile_reads),
                self.scratchpad_reads,
                self.scratchpad_writes,
                self.transposed,
                self.buffer_cycles,
                self.transposer_cycles,
            ),
            dram=DramUse(**self.dram),
            shapes=(),
            tile_cycles=np.zeros(0),
        )


class CostRecord(_Record):
    cycles: EstimateRecord
    tile_cycles: EstimateRecord
    busy: Share
    occupancy: Share
    clock_hz: Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)]
    power_w: Amount
    memory: MemoryRecord | None
    energy: dict[str, RangeRecord]

    @field_validator("energy")
    @classmethod
    def _has_every_component(cls, energy: dict[str, list[float]]) -> dict[str, list[float]]:
        return _has_exactly(energy, COMPONENTS) if energy else energy

    @staticmethod
    def of(cost: OperationCost) -> "CostRecord":
        return CostRecord(
            cycles=_written(cost.cycles),
            tile_cycles=_written(cost.tile_cycles),
            busy=None if isnan(cost.busy) else float(cost.busy),
            occupancy=None if isnan(cost.occupancy) else float(cost.occupancy),
            clock_hz=float(cost.clock_hz),
            power_w=float(cost.power_w),
            memory=MemoryRecord.of(cost.memory) if cost.memory else None,
            energy={name: [float(part.low), float(part.mid), float(part.high)] for name, part in cost.energy.items()},
        )

    def cost(self) -> OperationCost:
        return OperationCost(
            cycles=_estimate(self.cycles),
            tile_cycles=_estimate(self.tile_cycles),
            busy=nan if self.busy is None else self.busy,
            occupancy=nan if self.occupancy is None else self.occupancy,
            clock_hz=self.clock_hz,
            power_w=self.power_w,
            memory=self.memory.cost() if self.memory else None,
            energy={name: Range(*ends) for name, ends in self.energy.items()},
        )


class OperationRecord(_Record):
    layer: Name
    kind: Name
    operation: Operation
    operand: Name
    macs: Count
    fed_macs: Count
    padding_macs: Count
    passes: Count
    simulated: Annotated[float, Field(ge=0, le=1)]
    dense_sets: Count
    classes: Annotated[list[Name], Field(max_length=100)]
    counters: Annotated[dict[Name, CounterRecord], Field(max_length=1000)]
    cost: CostRecord
    baseline: CostRecord | None

    @staticmethod
    def of(item: OperationResult) -> "OperationRecord":
        """Write a result down."""
        return OperationRecord.model_validate(
            {
                "layer": item.layer,
                "kind": item.kind,
                "operation": item.operation,
                "operand": item.operand,
                "macs": int(item.macs),
                "fed_macs": int(item.fed_macs),
                "padding_macs": int(item.padding_macs),
                "passes": int(item.passes),
                "simulated": float(item.simulated),
                "dense_sets": int(item.dense_sets),
                "classes": list(item.classes),
                "counters": {name: _written(each) for name, each in item.counters.items()},
                "cost": CostRecord.of(item.cost),
                "baseline": CostRecord.of(item.baseline) if item.baseline else None,
            }
        )

    def result(self) -> OperationResult:
        """Build it anew."""
        return OperationResult(
            layer=self.layer,
            kind=self.kind,
            operation=self.operation,
            operand=self.operand,
            macs=self.macs,
            passes=self.passes,
            simulated=self.simulated,
            cost=self.cost.cost(),
            baseline=self.baseline.cost() if self.baseline else None,
            counters={name: _estimate(record) for name, record in self.counters.items()},
            classes=tuple(self.classes),
            dense_sets=self.dense_sets,
            fed_macs=self.fed_macs,
            padding_macs=self.padding_macs,
        )
