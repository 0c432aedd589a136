"""An operation of a simulated step once more, with what every unit of the memories did."""

from simhw.errors import SimhwError, TraceError
from simhw.memory.model import MemoryCost, memory_cost
from simhw.results.step import Results
from simhw.simulation.growth import grow_layer, growth
from simhw.trace.layer import Operation
from simhw.trace.trace import Trace


def timeline(trace: Trace, results: Results, layer: str, operation: Operation, record: int) -> MemoryCost:
    """Run an operation of a simulated step through the memories once more, and keep what every unit did.

    Tiles are as busy as in `results`, sampled or grown as they are; so the operation takes exactly as long.

    Parameters
    ----------
    trace : Trace
    results : Results
        Of this trace.
    layer : str
        By name; the first where several have it.
    operation : {"forward", "input_grad", "weight_grad"}
    record : int
        Containers on the DRAM's channels to keep at the most, at least 1.

    Raises
    ------
    TraceError
        There is no such layer, or training did not run the operation.
    SimhwError
        Memories are ideal, or the results come from a file.
    """
    item = next((each for each in results.operations if (each.layer, each.operation) == (layer, operation)), None)
    if item is None:
        raise TraceError(f"{trace.path or 'the trace'}: training ran no {operation} of a layer {layer!r}")
    cost = item.cost.memory
    if cost is None:
        raise SimhwError(f"{results.machine.label}: memories are ideal, so there is no timeline of them")
    if not cost.shapes:
        raise SimhwError(f"{results.machine.label}: a saved result does not keep tile passes; simulate the trace again")
    # Layers may share a name, and not all ran every operation.
    index, found = next(
        (i, each) for i, each in enumerate(trace.layers) if each.name == layer and operation in each.operations
    )
    if batch := results.provenance["grown_to"]:
        grown = growth(trace, batch)
        found = grow_layer(found, grown.axes[index], grown.factor)
    return memory_cost(found, operation, results.machine, cost.shapes, cost.tile_cycles, record)
