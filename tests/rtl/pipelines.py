"""Pipelined units in Amaranth's simulator: inputs without a bubble, and what comes out so many stages later."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from amaranth.hdl import Value
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator


class Given(NamedTuple):
    """What a unit is given in a cycle.

    Attributes
    ----------
    where : str
        For a message.
    inputs : mapping
        By port.
    expected
        What `read` gives then.
    """

    where: str
    inputs: Mapping[str, int]
    expected: Any


def outputs_equal(
    dut: Component, stages: int, givens: Iterable[Given], read: Callable[[Any], Any], pause_every: int
) -> int:
    """Give a unit one after the other, compare every output, and give how many were.

    In the cycle after every so many of them, the first included, the unit is not enabled and has to hold its state.
    """
    due: deque[tuple[str, Any]] = deque()
    compared = 0

    async def tick(context: Any) -> None:
        await context.tick()
        if len(due) == stages:
            where, expected = due.popleft()
            found = read(context)
            assert found == expected, f"{where}: {found}, not {expected}"

    async def bench(context: Any) -> None:
        nonlocal compared
        for index, given in enumerate(givens):
            for port, value in {**given.inputs, "enable": 1}.items():
                context.set(Value.cast(getattr(dut, port)), value)
            due.append((given.where, given.expected))
            await tick(context)
            if index % pause_every == 0:
                context.set(dut.enable, 0)
                due.append((f"{given.where}, a cycle later", given.expected))
                await tick(context)
            compared += 1
        for _ in range(stages):
            await tick(context)

    run(dut, bench)
    return compared


def run(dut: Component, bench: Callable[[Any], Any]) -> None:
    """Run a testbench on a unit from its reset on."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def packed(values: Any, width: int) -> int:
    """Bit patterns as the value of an array of them, the first one lowest."""
    return int.from_bytes(values.astype(f"<u{width // 8}").tobytes(), "little")
