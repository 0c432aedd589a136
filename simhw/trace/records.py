"""What a trace file's ``metadata.json`` says: its schema, checked strictly, and its way from and to layers.

The page docs/trace-format.md describes every field for readers of the file.
"""

import re
from collections.abc import Iterable
from math import isfinite, prod
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import from_json

from simhw.bfloat16 import term_counts
from simhw.errors import TraceError
from simhw.trace.layer import BLOCK_ROWS, Layer, Operation, TensorName, TensorStatistics
from simhw.trace.members import METADATA
from simhw.trace.metadata import Metadata
from simhw.trace.statistics import COMPRESSED, per_image
from simhw.version import __version__

FORMAT = "simhw-trace"
READABLE_VERSIONS = (1,)

# Every count fits int64, and every float64 on the way.
Count = Annotated[int, Field(ge=0, le=2**53)]
Extent = Annotated[int, Field(ge=1, le=2**40)]
Rows = Annotated[int, Field(ge=1, le=BLOCK_ROWS)]
RowStart = Annotated[int, Field(ge=0, le=2**53, multiple_of=BLOCK_ROWS)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**64)]

MARK_BYTES = {b"{": 400, b"[": 120, b":": 150, b",": 24, b'"': 28, b".": 24, b"e": 24, b"E": 24}
"""Memory that a mark of JSON brings with it once parsed and checked, at the most: the object that it begins, and its
place in another.
"""
LONG_NUMBER = re.compile(rb"[0-9]{3}")
LONG_NUMBER_BYTES = 32
"""Python keeps the integers up to 256 anyway; histograms are mostly zeros."""
CHARACTER_BYTES = {True: 2, False: 7}
"""Memory of a character of JSON, plain ASCII or not: the text itself and what it is part of."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StatisticsRecord(_Record):
    size: Count
    zeros: Count
    exponents: Annotated[list[Count], Field(min_length=256, max_length=256)]
    fractions: Annotated[list[Count], Field(min_length=128, max_length=128)]
    zeros_per_image: Annotated[list[Count], Field(min_length=1)]
    terms_per_image: Annotated[list[Count], Field(min_length=1)]
    compressed_bytes: dict[str, Count]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        terms = int(np.array(self.fractions, dtype=np.int64) @ term_counts("naf"))
        if not (
            self.size == sum(self.exponents)
            and self.zeros == self.exponents[0] == sum(self.zeros_per_image)
            and self.size - self.zeros == sum(self.fractions)
            and terms == sum(self.terms_per_image)
            and len(self.zeros_per_image) == len(self.terms_per_image)
        ):
            raise ValueError("its sums do not agree with each other")
        return self


class TensorRecord(_Record):
    shape: Annotated[list[Extent], Field(min_length=1, max_length=16)]
    held: bool
    statistics: StatisticsRecord | None
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_serializer(mode="wrap")
    def _only_where_there_is_one(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files without a scale are as they were before there were any."""
        fields: dict[str, Any] = serialize(self)
        if self.scale is None:
            del fields["scale"]
        return fields

    @model_validator(mode="after")
    def _statistics_are_of_this_shape(self) -> Self:
        if self.statistics is not None:
            if self.statistics.size != prod(self.shape):
                raise ValueError(f"its statistics count {self.statistics.size} values, its shape {prod(self.shape)}")
            if not self.held and (missing := set(COMPRESSED) - set(self.statistics.compressed_bytes)):
                raise ValueError(
                    f"its statistics lack the compressed size {min(missing)!r}, and it is not there to be measured"
                )
        return self


class BlockRecord(_Record):
    family: Count
    product: Count
    x_start: RowStart
    y_start: RowStart
    x_rows: Rows
    y_rows: Rows
    reduction: Extent


class GeometryRecord(_Record):
    stride: list[Extent]
    padding: list[Count]
    dilation: list[Extent]
    groups: Extent
    output_padding: list[Count] = []

    @model_serializer(mode="wrap")
    def _only_where_there_is_one(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files without a transposed convolution are as they were before there were any."""
        fields: dict[str, Any] = serialize(self)
        if not self.output_padding:
            del fields["output_padding"]
        return fields


class LayerRecord(_Record):
    name: Name
    kind: Name
    geometry: GeometryRecord
    tensors: dict[TensorName, TensorRecord]
    operations: list[Operation]
    blocks: dict[Operation, list[BlockRecord]]
    blocks_by_size: bool = False

    @model_serializer(mode="wrap")
    def _only_where_blocks_are(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Files without such blocks are as they were before there were any; readers of those refuse files with them."""
        fields: dict[str, Any] = serialize(self)
        if not self.blocks_by_size:
            del fields["blocks_by_size"]
        return fields

    @field_validator("name")
    @classmethod
    def _can_be_printed(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("a layer's name must consist of printable characters")
        return name

    @model_validator(mode="after")
    def _statistics_are_of_its_images(self) -> Self:
        for tensor, entry in self.tensors.items():
            entries = entry.shape[0] if per_image(self.kind, tensor) else 1
            if entry.statistics is not None and len(entry.statistics.zeros_per_image) not in (1, entries):
                raise ValueError(
                    f"the statistics of {tensor.upper()} have neither one entry nor one per index of the leading axis"
                )
        return self


class TraceRecord(_Record):
    format: Literal["simhw-trace"]
    format_version: Literal[1]
    simhw_version: str
    model: str
    dataset: str
    technique: str
    framework: str
    step: Whole | None
    batch: Whole | None
    seed: Whole | None
    capture_command: str
    extra: dict[str, Any]
    layers: Annotated[list[LayerRecord], Field(min_length=1)]

    @field_validator("layers")
    @classmethod
    def _names_are_unique(cls, layers: list[LayerRecord]) -> list[LayerRecord]:
        seen: set[str] = set()
        for layer in layers:
            if layer.name in seen:
                raise ValueError(f"two layers have the name {layer.name!r}")
            seen.add(layer.name)
        return layers

    @field_validator("extra")
    @classmethod
    def _has_numbers_that_json_has(cls, extra: dict[str, Any]) -> dict[str, Any]:
        # JSON's grammar has 1e999, which is read as infinity and could not be written again.
        rest: list[Any] = [extra]
        while rest:
            value = rest.pop()
            if isinstance(value, float) and not isfinite(value):
                raise ValueError("has a number that is infinite or none")
            rest.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ())
        return extra

    def metadata(self) -> Metadata:
        """The part that `Metadata` keeps."""
        return Metadata(**{name: getattr(self, name) for name in Metadata.__dataclass_fields__})


class _Version(BaseModel):
    """The two fields that every version has, so that a newer file gets a better message than a list of odd fields."""

    format: str = ""
    format_version: int | None = None


def statistics_record(statistics: TensorStatistics) -> StatisticsRecord:
    """Statistics as the file keeps them."""
    return StatisticsRecord(
        size=statistics.size,
        zeros=statistics.zeros,
        exponents=statistics.exponents.tolist(),
        fractions=statistics.fractions.tolist(),
        zeros_per_image=statistics.zeros_per_image.tolist(),
        terms_per_image=statistics.terms_per_image.tolist(),
        compressed_bytes=dict(statistics.compressed_bytes),
    )


def recorded_statistics(record: StatisticsRecord) -> TensorStatistics:
    """Statistics as the file had them."""
    return TensorStatistics(
        size=record.size,
        zeros=record.zeros,
        exponents=np.array(record.exponents, np.int64),
        fractions=np.array(record.fractions, np.int64),
        zeros_per_image=np.array(record.zeros_per_image, np.int64),
        terms_per_image=np.array(record.terms_per_image, np.int64),
        compressed_bytes=dict(record.compressed_bytes),
    )


def layer_record(layer: Layer, statistics: dict[TensorName, TensorStatistics]) -> LayerRecord:
    """What the file says of a layer, with these statistics."""
    geometry = layer.geometry
    return LayerRecord(
        name=layer.name,
        kind=layer.kind,
        geometry=GeometryRecord(
            stride=list(geometry.stride),
            padding=list(geometry.padding),
            dilation=list(geometry.dilation),
            groups=geometry.groups,
            output_padding=list(geometry.output_padding),
        ),
        tensors={
            tensor: TensorRecord(
                shape=list(shape),
                held=layer.holds(tensor),
                statistics=statistics_record(statistics[tensor]) if tensor in statistics else None,
                scale=layer.scales.get(tensor),
            )
            for tensor, shape in layer.shapes.items()
        },
        operations=list(layer.operations),
        blocks={
            operation: [
                BlockRecord(
                    family=block.family,
                    product=block.product,
                    x_start=block.x_start,
                    y_start=block.y_start,
                    x_rows=block.x.shape[0],
                    y_rows=block.y.shape[0],
                    reduction=block.x.shape[1],
                )
                for block in blocks
            ]
            for operation, blocks in layer.blocks.items()
        },
        blocks_by_size=layer.blocks_by_size,
    )


def trace_record(metadata: Metadata, layers: list[LayerRecord]) -> TraceRecord:
    """What the file says as a whole."""
    return TraceRecord(
        format="simhw-trace", format_version=1, simhw_version=__version__, layers=layers, **vars(metadata)
    )


def first_problem(error: ValidationError) -> str:
    """The first of a schema's complaints in one line: where and what."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


def bounded(pieces: Iterable[bytes], limit_bytes: int, file_name: str) -> bytes:
    """The text of ``metadata.json``, once it is known what it will take in memory.

    Raises
    ------
    TraceError
        Parsing it could take more than `limit_bytes`.
    """
    kept: list[bytes] = []
    needed = 0
    for piece in pieces:
        # An escape may stand for any character.
        needed += len(piece) * CHARACTER_BYTES[piece.isascii() and b"\\u" not in piece]
        needed += sum(piece.count(mark) * each for mark, each in MARK_BYTES.items())
        needed += len(LONG_NUMBER.findall(piece)) * LONG_NUMBER_BYTES
        if needed > limit_bytes:
            raise TraceError(
                f"{file_name}: {METADATA}: would take over {limit_bytes / 1e6:.0f} MB of memory, more than a trace of "
                "this size needs; "
                "set SIMHW_MAX_METADATA_BYTES to allow more"
            )
        kept.append(piece)
    return b"".join(kept)


def parse(text: bytes, file_name: str) -> TraceRecord:
    """Read ``metadata.json``.

    Raises
    ------
    TraceError
        It is not JSON, not of this format or a readable version, or a field is missing, unknown, of another type or
        absurd.
    """
    where = f"{file_name}: {METADATA}"
    try:
        record = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise TraceError(f"{where}: not JSON: {error}") from None
    try:
        version = _Version.model_validate(record)
        if version.format != FORMAT:
            raise TraceError(f"{where}: format is {version.format!r}, not {FORMAT!r}; this is no trace")
        if version.format_version not in READABLE_VERSIONS:
            readable = ", ".join(map(str, READABLE_VERSIONS))
            raise TraceError(
                f"{where}: format version {version.format_version} is unknown; simhw {__version__} reads version "
                f"{readable}: "
                "upgrade simhw, or capture anew"
            )
        return TraceRecord.model_validate(record)
    except ValidationError as error:
        raise TraceError(f"{where}: {first_problem(error)}") from error
