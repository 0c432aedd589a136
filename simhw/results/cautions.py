"""What a reader must know before quoting the figures of a run, in sentences that hold its own."""

from collections.abc import Sequence

from simhw.machine.costs_of import memory_cost_cautions, stale_tile
from simhw.machine.machine import Machine
from simhw.results.operation import OperationResult

SMALL_BATCH_SHARE = 0.5
"""Where weights make more of the off-chip traffic than this, the batch decides what the run says."""


class Caution(str):
    """A sentence with what a reader must know.

    Attributes
    ----------
    short : str
        The same in a few words, for where there is little room; empty for what is assumed of every machine of its kind,
        and so does not change how a figure is read.
    """

    short: str

    def __new__(cls, sentence: str, short: str) -> "Caution":
        caution = super().__new__(cls, f"Caution: {sentence}")
        caution.short = short
        return caution

    def __reduce__(self) -> tuple[type["Caution"], tuple[str, str]]:
        """What makes the same caution again: in another process, results are copied with their cautions."""
        return Caution, (self.removeprefix("Caution: "), self.short)


def compute_cautions(
    machine: Machine, baseline: Machine | None, doubts: Sequence[str], grown_to: int | str
) -> list[Caution]:
    """What makes figures less than certain, or the comparison with the baseline less than fair, memories aside.

    Parameters
    ----------
    machine : Machine
    baseline : Machine or None
    doubts : sequence of str
        What was taken where shapes do not tell how a step grows; see `simhw.simulation.growth.Growth`.
    grown_to : int or ""
        Images of the grown step.
    """
    lines = [Caution(f"grown to a batch of {grown_to}: {doubt}.", f"grown: {doubt}") for doubt in doubts]
    for each in (machine, baseline):
        if each is not None and (stale := stale_tile(each, "tile_power_mw")):
            lines.append(
                Caution(
                    f"area and power of a tile of {each.name} are those of the file; they do not follow "
                    f"{', '.join(stale)}, so energy and equal area hold only as far as that costs nothing (give "
                    "tile_area_um2, tile_power_mw too; in a file, tile_costs_of).",
                    f"tile costs of {each.name} do not follow {', '.join(stale)}",
                )
            )
    if baseline is not None:
        ours, theirs = machine.values.lowering.streams, baseline.values.lowering.streams
        differing = [f"{name} {value} against {theirs[name]}" for name, value in ours.items() if value != theirs[name]]
        if differing:
            what = ", ".join(differing)
            lines.append(
                Caution(
                    f"machine and baseline lower layers differently ({what}); overrides of --baseline can make them "
                    "alike.",
                    f"its baseline lowers layers differently ({what})",
                )
            )
    return lines


def memory_cautions(
    machine: Machine, baseline: Machine | None, operations: Sequence[OperationResult], batch: int | str | None
) -> list[Caution]:
    """What must be known of figures with memories; nothing where there are none.

    Parameters
    ----------
    machine : Machine
    baseline : Machine or None
    operations : sequence of OperationResult
    batch : int, "" or None
        Images of the step, where they are known.
    """
    lines: list[Caution] = []
    weights = weight_share(operations)
    if weights > SMALL_BATCH_SHARE:
        lines.append(
            Caution(
                f"{weights:.0%} of the off-chip bytes are weights and their gradients, which all images of a batch "
                f"share, and the batch{f' of {batch}' if batch else ''} is small; --batch N grows the step to N "
                "images.",
                f"{weights:.0%} of the off-chip bytes are weights, as the batch is small (--batch)",
            )
        )
    memory = machine.modelled_memory
    if memory is not None and memory.compression != "none":
        lines.append(
            Caution(
                f"outputs are taken to compress ({memory.compression}) as the operand of their shape; their values are "
                "not in a trace.",
                "",
            )
        )
    if memory is not None:
        of_costs = memory_cost_cautions(machine)
        if baseline is not None and baseline.modelled_memory is not None:
            of_costs += memory_cost_cautions(baseline)
        lines += [
            Caution(line.removeprefix("Caution: "), "costs of its memories are of other sizes") for line in of_costs
        ]
    if baseline is not None and (differing := _differing_memories(machine, baseline)):
        lines.append(
            Caution(
                f"machine and baseline have different memories ({differing}); overall figures compare those too.",
                f"its baseline has other memories ({differing})",
            )
        )
    theirs = baseline.modelled_memory if baseline is not None else None
    if memory is not None and theirs is not None and memory.compression != theirs.compression:
        lines.append(
            Caution(
                f"off-chip compression is {memory.compression} on the machine and {theirs.compression} on its "
                "baseline; overall figures hold the difference.",
                f"off-chip compression is {memory.compression}, of its baseline {theirs.compression}",
            )
        )
    return lines


def weight_share(operations: Sequence[OperationResult]) -> float:
    """Share of the machine's off-chip bytes that weights and their gradients have; 0 where memories are ideal.

    The second operand of a matmul is no weight: a larger batch has more of it.
    """
    memories = [(item.kind, item.cost.memory) for item in operations if item.cost.memory]
    everything = sum(memory.off_chip_bytes for _, memory in memories)
    weights = sum(
        memory.traffic_bytes["w_in"] + memory.traffic_bytes["w_out"] for kind, memory in memories if kind != "matmul"
    )
    return weights / everything if everything else 0.0


def _differing_memories(machine: Machine, baseline: Machine) -> str:
    """Values of the memories that the two do not share, compression aside."""
    ours, theirs = machine.modelled_memory, baseline.modelled_memory
    if ours is None or theirs is None:
        return (
            ""
            if ours is theirs
            else f"{'ideal' if ours is None else 'modelled'} against {'ideal' if theirs is None else 'modelled'}"
        )
    values = theirs.model_dump()
    return ", ".join(
        name for name, value in ours.model_dump().items() if value != values[name] and name != "compression"
    )
