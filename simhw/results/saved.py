"""Results in a file: everything of a run but its tensors, so that tables, pictures and pages can be made again.

The file is JSON that says its version.  It is read as a stranger's: every field is checked, and its machines are built
as machine files are.  Floating-point numbers come back to the bit.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simhw.errors import ResultsError, quoted
from simhw.files.reading import parse_json, read_text
from simhw.files.writing import check_suffix, replacing
from simhw.machine.files import content_hash
from simhw.machine.machine import Machine, described_machine
from simhw.machine.provenance import Provenance
from simhw.results.saved_operation import Name, OperationRecord
from simhw.results.step import Results
from simhw.results.values import LayerValues, TensorValues
from simhw.trace.layer import TensorName
from simhw.version import __version__

FORMAT = "simhw-results"
READABLE_VERSIONS = (1, 2)
"""Version 2 says what traces are called."""
MAX_FILE_BYTES = 64 << 20
"""A step of 54 layers takes some 700 KB a machine."""
SUFFIXES = (".json",)

Text = Annotated[str, Field(max_length=10_000)]
Whole = Annotated[int, Field(ge=0, le=2**63 - 1)]
Fact = Text | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[float, Field(allow_inf_nan=False)] | None
FACTS = {
    *("machine", "machine_hash", "baseline", "baseline_hash", "compression", "baseline_compression"),
    *("trace", "trace_hash", "model", "dataset", "technique", "step", "batch", "grown_to"),
    *("sampling", "seed", "checked", "seconds", "simhw", "numpy"),
}
"""What `Results.provenance` says."""


@dataclass(frozen=True)
class SavedResults:
    """What a file holds.

    Attributes
    ----------
    results : list of Results
        One per machine.
    command : str
        The command that made them; empty where they were made from Python.
    traces : list of str
        What the trace of each result is called; empty where traces were not set beside each other.
    """

    results: list[Results]
    command: str = ""
    traces: Sequence[str] = ()


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Version(BaseModel):
    model_config = ConfigDict(strict=True)
    format: Annotated[str, Field(max_length=100)]
    format_version: int


class SourceRecord(_Record):
    source: Text
    confidence: Annotated[float, Field(ge=0, le=1)]
    uncertainty: Annotated[float, Field(ge=0, le=1000)]


class MachineRecord(_Record):
    values: dict[str, Any]
    provenance: Annotated[dict[Name, SourceRecord], Field(max_length=4096)]
    overrides: Annotated[dict[Name, Any], Field(max_length=4096)]

    @staticmethod
    def of(machine: Machine) -> "MachineRecord":
        """Write a machine down."""
        sources = {name: SourceRecord(**vars(each)) for name, each in machine.provenance.items()}
        values = machine.values.model_dump(mode="json")
        return MachineRecord(values=values, provenance=sources, overrides=dict(machine.overrides))

    def machine(self, where: str) -> Machine:
        """Build it anew."""
        sources = {name: Provenance(**vars(each)) for name, each in self.provenance.items()}
        return described_machine(self.values, sources, self.overrides, where)


class TensorRecord(_Record):
    size: Whole
    zeros: Whole
    terms: Whole


class ValuesRecord(_Record):
    layer: Name
    kind: Name
    tensors: dict[TensorName, TensorRecord]


class ResultRecord(_Record):
    provenance: dict[Name, Fact]
    machine: MachineRecord
    baseline: MachineRecord | None
    doubts: Annotated[list[Text], Field(max_length=100_000)]
    values: Annotated[list[ValuesRecord], Field(max_length=100_000)]
    operations: Annotated[list[OperationRecord], Field(max_length=300_000)]

    @staticmethod
    def of(results: Results) -> "ResultRecord":
        """Write a result down."""
        return ResultRecord(
            provenance={
                name: _unicode(fact) if isinstance(fact, str) else fact for name, fact in results.provenance.items()
            },
            machine=MachineRecord.of(results.machine),
            baseline=MachineRecord.of(results.baseline) if results.baseline else None,
            doubts=list(results.doubts),
            values=[
                ValuesRecord(
                    layer=each.layer,
                    kind=each.kind,
                    tensors={name: TensorRecord(**vars(found)) for name, found in each.tensors.items()},
                )
                for each in results.values
            ],
            operations=[OperationRecord.of(item) for item in results.operations],
        )

    def results(self, where: str) -> Results:
        """Build it anew.

        Raises
        ------
        ResultsError
            What it says of its machines does not agree with itself.
        """
        if self.provenance.keys() != FACTS:
            odd = min(self.provenance.keys() ^ FACTS)
            raise ResultsError(f"{where}: provenance: {quoted(odd)} is missing or unknown; save the run again")
        machine = self.machine.machine(f"{where}: machine")
        baseline = self.baseline.machine(f"{where}: baseline") if self.baseline else None
        for side, each in (("machine", machine), ("baseline", baseline)):
            if (content_hash(each.values) if each else "") != self.provenance[f"{side}_hash"]:
                raise ResultsError(
                    f"{where}: the constants of its {side} are not those that were simulated (their hash differs): "
                    "the file was changed; run the simulation again"
                )
        classes = machine.pe.class_names
        for record in self.operations:
            if tuple(record.classes) != classes or not set(classes) <= record.counters.keys():
                raise ResultsError(
                    f"{where}: layer {quoted(record.layer)}: lane-cycle classes are {', '.join(classes)}; save the run "
                    "again"
                )
            if (record.baseline is None) != (baseline is None):
                raise ResultsError(f"{where}: layer {quoted(record.layer)}: has no baseline, or one too many")
        values = tuple(
            LayerValues(each.layer, each.kind, {name: TensorValues(**vars(t)) for name, t in each.tensors.items()})
            for each in self.values
        )
        operations = [record.result() for record in self.operations]
        return Results(operations, dict(self.provenance), machine, baseline, tuple(self.doubts), values)


class SavedRecord(_Record):
    format: Literal["simhw-results"]
    format_version: int
    simhw_version: Annotated[str, Field(max_length=100)]
    command: Annotated[str, Field(max_length=1_000_000)]
    results: Annotated[list[ResultRecord], Field(min_length=1, max_length=1000)]
    traces: Annotated[list[Text], Field(max_length=1000)] = []


def save_results(
    results: Sequence[Results], path: str | PathLike[str], command: str = "", traces: Sequence[str] = ()
) -> None:
    """Write results to a file that `load_results` reads.

    Parameters
    ----------
    results : sequence of Results
        At least one.
    path : str or path
        Ends in ``.json``.
    command : str
        That made them.
    traces : sequence of str
        What the trace of each result is called, where traces are set beside each other.

    Raises
    ------
    SimhwError
        Another suffix, or a place that cannot be written.
    """
    check_suffix(path, SUFFIXES)
    record = SavedRecord(
        format="simhw-results",
        format_version=READABLE_VERSIONS[-1],
        simhw_version=__version__,
        command=_unicode(command),
        results=[ResultRecord.of(each) for each in results],
        traces=[_unicode(name) for name in traces],
    )
    text = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _unicode(text: str) -> str:
    """Text that JSON can hold; a path may have bytes that are none."""
    return text.encode("utf-8", "replace").decode("utf-8")


def load_results(path: str | PathLike[str]) -> SavedResults:
    """Read what `save_results` wrote, as ``--save`` of `simhw run` and `simhw compare` does.

    Raises
    ------
    ResultsError
        The file cannot be read, is none of this kind or version, or a field of it cannot be used.
    MachineError
        A constant of one of its machines cannot be used, or their processing element is not installed.
    """
    where = str(Path(path))
    document = parse_json(read_text(path, MAX_FILE_BYTES, ResultsError, "a saved result"), where, ResultsError)
    if isinstance(document, list):
        raise ResultsError(f"{where}: is a table of rows, as --out writes it; give what `simhw run --save` wrote")
    try:
        version = _Version.model_validate(document)
        if version.format != FORMAT:
            raise ResultsError(f"{where}: format is {quoted(version.format)}, not {FORMAT!r}; this is no saved result")
        if version.format_version not in READABLE_VERSIONS:
            readable = ", ".join(map(str, READABLE_VERSIONS))
            raise ResultsError(
                f"{where}: format version {quoted(version.format_version)} is unknown; simhw {__version__} reads "
                f"version {readable}: upgrade simhw, or run the simulation again"
            )
        record = SavedRecord.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = quoted(".".join(map(str, first["loc"])))[1:-1]
        raise ResultsError(f"{where}: {place}: {first['msg']}; give what `simhw run --save` wrote") from None
    if record.traces and len(record.traces) != len(record.results):
        raise ResultsError(
            f"{where}: traces: {len(record.traces)} names of {len(record.results)} results; save the run again"
        )
    return SavedResults([each.results(where) for each in record.results], record.command, record.traces)
