"""The registers between two stages of a pipeline."""

from collections.abc import Sequence

from amaranth.hdl import Module, Signal, Value


def registered(m: Module, name: str, values: Sequence[Value]) -> list[Value]:
    """The values as they were a cycle ago; `name` tells the registers from those of other stages."""
    registers = [Signal(value.shape(), name=f"{name}_{index}") for index, value in enumerate(values)]
    m.d.sync += [register.eq(value) for register, value in zip(registers, values, strict=True)]
    return list(registers)
