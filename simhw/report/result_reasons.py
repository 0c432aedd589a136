"""Why a machine is as fast as it is: the factors of its speed-up, and sentences that say them with a run's
own figures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from simhw.machine.machine import Machine
from simhw.quantities import percent
from simhw.report.result_tables import operand_counts
from simhw.results.operation import OperationResult
from simhw.results.step import Results

SMALLEST_TOLD = 0.005
"""A factor that is closer to 1 than this explains nothing."""


def lane_count(machine: Machine) -> int:
    """Lanes of all tiles: the multiply-accumulates a cycle of a machine that takes one cycle a set."""
    return machine.values.tiles * lanes_per_tile(machine)


def lanes_per_tile(machine: Machine) -> int:
    """Lanes of all PEs of a tile."""
    return machine.tile.lanes * machine.tile.tile_x * machine.tile.tile_y


@dataclass(frozen=True)
class Factors:
    """A speed-up as a product: `lanes` * `clock` / `cycles_per_set` * `busy` * `occupancy`.

    Each is the machine's figure over the baseline's, but for `cycles_per_set`, which is the machine's in units of the
    baseline's (1 where the baseline is dense).
    """

    lanes: float
    clock: float
    cycles_per_set: float
    busy: float
    occupancy: float

    @property
    def speedup(self) -> float:
        """The product of all of them."""
        return self.lanes * self.clock / self.cycles_per_set * self.busy * self.occupancy


def factors(results: Results) -> Factors | None:
    """What the total speed-up is made of; None without a baseline or without work."""
    total, base, machine = results.total, results.baseline, results.machine
    if base is None or not total.time_s or not total.baseline_time_s or not total.macs:
        return None
    base_sets, base_occupancy = _baseline_sets(results.operations, base), _baseline_occupancy(results.operations)
    base_tile_cycles = sum(item.baseline.tile_cycles.value for item in results.operations if item.baseline)
    return Factors(
        lanes=lane_count(machine) / lane_count(base),
        clock=machine.values.clock_hz / base.values.clock_hz,
        cycles_per_set=total.cycles_per_set / (base_tile_cycles / base_sets),
        busy=total.busy / total.baseline_busy,
        occupancy=total.occupancy / base_occupancy,
    )


def _baseline_occupancy(operations: Sequence[OperationResult]) -> float:
    worked = [item for item in operations if item.baseline and item.baseline.occupancy]
    return sum(item.fed_macs for item in worked) / sum(
        item.fed_macs / item.baseline.occupancy for item in worked if item.baseline
    )


def _baseline_sets(operations: Sequence[OperationResult], baseline: Machine) -> float:
    """Sets of the baseline's tile passes, from the share of their lane slots that products fill."""
    slots = sum(
        item.fed_macs / item.baseline.occupancy for item in operations if item.baseline and item.baseline.occupancy
    )
    return slots / lanes_per_tile(baseline)


def sampling_error(results: Results) -> str:
    """How far the total may be off."""
    relative = results.total.cycles.relative_half_width
    if relative == 0:
        return "Sampling error of the total: none, all of it was simulated."
    if not isfinite(relative):
        return "Sampling error of the total: unknown, one simulated piece is all there is to judge from; simulate more."
    return (
        f"Sampling error of the total: ±{relative:.2%} of its cycles at 95% confidence; ± in the tables is the "
        "same kind of half-width."
    )


def reason(results: Results) -> str:
    """Why the tiles alone are as fast as they are, in one sentence."""
    total, base = results.total, results.baseline
    useful, loss = total.class_shares.get("useful", 0.0), largest_loss(results)
    lanes = f"{percent(useful)} of the lane-cycles are useful{f', {loss}' if loss else ''}"
    made_of = factors(results)
    if made_of is None or base is None:
        return (
            f"A set takes {total.cycles_per_set:.3f} cycles, and {lanes}; there is no baseline (--baseline names one)."
        )
    speed = made_of.lanes * made_of.clock
    parts = [
        f"{made_of.lanes:.3g} times the lanes of {base.name}" if made_of.lanes != 1 else f"as many lanes as {base.name}"
    ]
    if made_of.clock != 1:
        parts.append(f"{made_of.clock:.3g} times its clock")
    if base.tile.fixed_time:
        parts.append(f"{made_of.cycles_per_set:.3f} cycles a set (even at {speed:.3g})")
    else:
        parts.append(f"{made_of.cycles_per_set:.3f} times its cycles a set")
    for share, what in ((made_of.busy, "tiles {} as busy"), (made_of.occupancy, "lanes {} as full")):
        if abs(share - 1) >= SMALLEST_TOLD:
            parts.append(what.format(percent(share)))
    return f"Why {total.speedup:.3f}: {', '.join(parts)}; {lanes}."


def largest_loss(results: Results) -> str:
    """The class of lane-cycles that takes most of those that are not useful; empty where all are useful."""
    shares = {name: share for name, share in results.total.class_shares.items() if name != "useful" and share > 0}
    if not shares:
        return ""
    worst = max(shares, key=lambda name: shares[name])
    (meaning,) = [each.meaning for each in results.machine.pe.lane_classes if each.name == worst]
    # What comes after is a finer point of the class: see the legend.
    return f"{percent(shares[worst])} {worst} ({re.split(r' [(]|, or ', meaning)[0]})"


def explanation(results: Results) -> list[str]:
    """Why the machine is as fast as it is, from this run's figures and the machine's file."""
    lines = [sampling_error(results)]
    made_of = factors(results)
    if made_of is not None:
        lines += _why(results, made_of)
    lines += _of_padding(results)
    lines += _of_the_pe(results)
    overflows = results.total.counters.get("overflows")
    if overflows is not None and overflows.value:
        lines.append(f"Overflow: {overflows.value:,.0f} outputs do not fit bfloat16 and read as an infinity.")
    return lines


def _why(results: Results, made_of: Factors) -> list[str]:
    machine, base, total = results.machine, results.baseline, results.total
    assert base is not None
    lanes = f"{lane_count(machine):,} lanes / {lane_count(base):,} of {base.name}"
    if made_of.clock != 1:
        lanes += f" x {machine.values.clock_hz / 1e6:g} MHz / {base.values.clock_hz / 1e6:g} MHz"
    speed = made_of.lanes * made_of.clock
    per_set = "cycles/set" if base.tile.fixed_time else "times the baseline's cycles/set"
    lines = [
        f"Why {total.speedup:.3f}x: {lanes} = {speed:.3f}, / {made_of.cycles_per_set:.3f} {per_set}, "
        f"x {made_of.busy:.3f} for busy tiles and x {made_of.occupancy:.3f} for filled lanes (each against the "
        "baseline).",
    ]
    if base.tile.fixed_time:
        lines.append(_bound(speed, machine.pe.least_cycles_per_set))
    if total.speedup < 1:
        shares = {name: share for name, share in total.class_shares.items() if name != "useful"}
        worst = max(shares, key=lambda name: shares[name])
        meanings = {each.name: each.meaning for each in machine.pe.lane_classes}
        lines.append(
            f"SLOWER than its baseline on this trace: {total.class_shares['useful']:.1%} of the lane-cycles are "
            "useful, "
            f"the largest other share, {shares[worst]:.1%}, goes to {worst} "
            f"({meanings[worst]})."
        )
    power, base_power = total.energy_j / total.time_s, total.baseline_energy_j / total.baseline_time_s
    lines.append(
        f"Energy efficiency {total.energy_efficiency:.3f}x = speed-up / {power / base_power:.4f}: compute power "
        f"{power:.4g} W "
        f"against {base_power:.4g} W; memory is not included."
    )
    return lines


def _bound(speed: float, least: float) -> str:
    """How fast a machine could be whatever the values, from its lanes and clock and the fewest cycles of a set."""
    even = f"break-even is at {speed:.3f} cycles/set."
    if not least:
        return f"Bound: none, since a set may take no time; {even}"
    return (
        f"Bound: a set takes at least {least:.3g} cycles, so at most {speed:.3f} / {least:.3g} = {speed / least:.3f}x "
        f"where tiles are as busy and filled as the baseline's; {even}"
    )


def _of_padding(results: Results) -> list[str]:
    """How much of what tiles are fed is a convolution's padding: a machine that skips zeros is fast on it, and no
    product is lost.
    """
    shares = {
        name: sum(item.padding_macs for item in operations) / max(1, sum(item.fed_macs for item in operations))
        for name, operations in _by_operation(results).items()
    }
    if not any(shares.values()):
        return []
    told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    gain = "" if results.machine.tile.fixed_time else "; skipping them is part of the speed-up"
    return [
        f"Padding: zeros around the inputs and gradients of convolutions are fed as values, {told} of the "
        f"products{gain}; "
        "lowering.padding=skip leaves them out."
    ]


def _by_operation(results: Results) -> dict[str, list[OperationResult]]:
    return {name: [item for item in results.operations if item.operation == name] for name in results.by_operation()}


def _of_the_pe(results: Results) -> list[str]:
    """Which operand was treated apart, and what the PE's own counters say."""
    pe = results.machine.pe
    role = pe.operand_role
    layers = "; ".join(f"{name} {operand_counts(operations)}" for name, operations in _by_operation(results).items())
    lines = [f"{role.capitalize()} operand, and how many layers took it: {layers}."] if role else []
    counters = {name: estimate.value for name, estimate in results.total.counters.items()}
    return lines + (pe.counter_lines(counters) if counters else [])


def legend(results: Sequence[Results]) -> list[str]:
    """What columns and lane-cycle classes mean."""
    lines = [
        "speed-up, energy eff.: time and compute energy of the baseline over the machine's.  cycles/set: tile cycles "
        "per set (or step) of "
        "dense work.",
        "busy: share of the tiles' time in which they run a pass.  occupancy: share of the lane slots of dense "
        "passes that hold a "
        "product; the rest is partial tiles and sets.",
    ]
    for pe in {type(each.machine.pe): each.machine.pe for each in results}.values():
        lines.append(f"Lane-cycles of {pe.kind} (every lane is in one class in every cycle of a tile pass):")
        lines += [f"  {each.name}: {each.meaning}" for each in pe.lane_classes]
    return lines
