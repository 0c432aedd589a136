"""Where figures come from: what results are called, their constants, traces, machines and versions."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from simhw.machine.constants import constants
from simhw.machine.machine import Machine
from simhw.quantities import count
from simhw.report.page.model import ConstantsPart, Facts
from simhw.report.result_tables import labels, machine_facts
from simhw.report.sheet import Sheet
from simhw.results.step import Results


def trace_name(results: Results) -> str:
    """Which trace, for a reader: the file's name without its folder."""
    return Path(str(results.provenance["trace"] or "")).name or "a trace in memory"


def names_of(results: Sequence[Results], traces: Sequence[str] = ()) -> list[str]:
    """A label for each result: its machine's, with the trace where there are several; numbered where that is not
    enough.

    Parameters
    ----------
    results : sequence of Results
    traces : sequence of str
        What the trace of each is called; by default as its file is.
    """
    several = len({each.provenance["trace_hash"] for each in results}) > 1 or len(set(traces)) > 1
    called = traces or [trace_name(each) for each in results]
    on = [f"{each.machine.label} on {trace}" for each, trace in zip(results, called, strict=True)]
    own = on if several else labels(results)
    counts, seen = Counter(own), Counter[str]()
    names = []
    for name in own:
        seen[name] += 1
        names.append(f"{name} ({seen[name]})" if counts[name] > 1 else name)
    return names


def title_of(results: Sequence[Results], names: Sequence[str]) -> str:
    traces = list(dict.fromkeys(map(trace_name, results)))
    machines = names[0] if len(names) == 1 else f"{len(names)} machines"
    if len(traces) > 1:
        return f"{len(results)} results on {len(traces)} traces"
    return f"{traces[0]} on {machines}"


def subtitle_of(results: Sequence[Results]) -> str:
    facts = results[0].provenance
    if len({each.provenance["trace_hash"] for each in results}) > 1:
        return "A training step each, beside the machine's baseline."
    parts = [facts["model"], facts["dataset"], facts["technique"]]
    parts += [f"{name} {facts[name]}" for name in ("step", "batch") if facts[name] is not None]
    parts += [f"grown to {facts['grown_to']} images"] if facts["grown_to"] else []
    parts += [f"{len(results[0].operations)} operations, {count(results[0].total.macs)} multiply-accumulates"]
    return ", ".join(str(part) for part in parts if part)


def constants_of(named: Sequence[tuple[str, Results]]) -> Iterable[ConstantsPart]:
    """Machines and baselines, each once."""
    roles: dict[tuple[str, str], list[str]] = {}
    machines: dict[tuple[str, str], Machine] = {}
    for name, each in named:
        for machine, role in ((each.machine, "machine"), (each.baseline, f"baseline of {name}")):
            if machine is not None:
                key = (machine.label, machine.content_hash)
                machines[key] = machine
                roles.setdefault(key, []).append(role)
    for number, (key, machine) in enumerate(machines.items(), 1):
        role = "; ".join(dict.fromkeys(roles[key]))
        yield ConstantsPart(f"constants-{number}", machine.label, machine.values.description, role, _sheet(machine))


def _sheet(machine: Machine) -> Sheet:
    """Every constant; what the user set is marked."""
    columns = [("constant", False), ("value", True), ("unit", False), ("confidence", True), ("uncertainty", True)]
    rows = []
    for each in constants(machine):
        source = each.source
        rows.append(
            [
                each.name,
                each.text,
                each.unit,
                f"{source.confidence:.0%}" if source else "-",
                f"± {source.uncertainty:.0%}" if source and source.uncertainty else "-",
                source.source if source else "-",
            ]
        )
    return Sheet([*columns, ("source", False)], rows)


def origin_of(results: Results, name: str) -> Facts:
    """Where the figures come from: trace, machines, how they were simulated, and with what."""
    facts = results.provenance
    digest = facts["trace_hash"]
    trace = f"{facts['trace'] or 'in memory'}{f', hash {digest}' if digest else ''}"
    return (
        ("trace", trace),
        *machine_facts(results, name),
        ("seed", str(facts["seed"])),
        ("versions", f"simhw {facts['simhw']}, NumPy {facts['numpy']}"),
    )
