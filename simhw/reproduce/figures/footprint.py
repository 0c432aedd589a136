"""What exponent base-delta compression leaves of the networks' tensors."""

from simhw.quantities import percent
from simhw.reproduce.bench import Bench
from simhw.reproduce.figure import Figure
from simhw.reproduce.pictures import grouped_bars
from simhw.reproduce.section import Section, Table
from simhw.reproduce.simulations import Simulation
from simhw.reproduce.tensors import tensor_sums
from simhw.trace.layer import TENSORS


def _wanted(bench: Bench) -> list[Simulation]:  # noqa: ARG001  # sizes are measured at capture
    return []


def _made(bench: Bench) -> Section:
    import pandas as pd

    rows, bars, lines = [], {}, []
    for captured in bench.present:
        found = tensor_sums(captured.steps)
        cells = [
            (f"{found[tensor].footprint:.1%}", percent(found[tensor].exponent_footprint))
            if tensor in found
            else ("-", "-")
            for tensor in TENSORS
        ]
        rows.append([captured.name, *(cell for pair in cells for cell in pair)])
        bars[captured.name] = {tensor.upper(): each.exponent_footprint for tensor, each in found.items()}
        for tensor, each in found.items():
            lines.append(
                {
                    "network": captured.name,
                    "tensor": tensor,
                    "values": each.values,
                    "footprint": each.footprint,
                    "exponent_footprint": each.exponent_footprint,
                    "command": "; ".join(f"simhw trace stats {step.path}" for step in captured.steps),
                }
            )
    parts: list[str | Table] = [
        "Groups of 32 values along the channels, a base and deltas of exponents; signs and fractions stay. The first "
        "figure is the share that is left of all bytes, the second of the exponents alone.",
        Table(
            ["network", *(f"{tensor.upper()}: {what}" for tensor in TENSORS for what in ("bytes", "exponents"))], rows
        ),
    ]
    picture = grouped_bars(bars, "exponent bits left by base-delta compression, as a share") if bars else None
    return Section(parts, pd.DataFrame(lines), picture)


FIGURE = Figure("footprint", "Base-delta compression", _wanted, _made)
