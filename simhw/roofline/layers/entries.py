"""Entries of a layer list: one layer as a person writes it, with what the layer before it says left out.

A size is a whole number, the name of a size of the list, or a list of these, whose product it is.  There is no other
arithmetic, and nothing is evaluated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from simhw.errors import ShapeError, quoted

MAX_SIZE = 10**12
MAX_NAME = 200


@dataclass(frozen=True)
class Image:
    """What flows from layer to layer: channels over one to three spatial dimensions."""

    channels: int
    size: tuple[int, ...]


@dataclass(frozen=True)
class Tokens:
    """What flows from layer to layer: rows of features; a classifier has one row."""

    rows: int
    features: int


Flow = Image | Tokens


def _size(value: Any) -> Any:
    parts = value if isinstance(value, list) else [value]
    if not parts or len(parts) > 8 or any(isinstance(part, bool) or not isinstance(part, int | str) for part in parts):
        raise ValueError("a size is a whole number, the name of a size, or a list of them")
    return value


def _name(text: str) -> str:
    if not text or len(text) > MAX_NAME or text != text.strip():
        raise ValueError(f"a name has 1 to {MAX_NAME} characters and no blanks around it")
    return text


SizePart = int | str
Size = Annotated[SizePart | list[SizePart], PlainValidator(_size)]
"""One number: of a list, the product."""
Extents = Annotated[SizePart | list[SizePart], PlainValidator(_size)]
"""A number per spatial dimension: of a single one, the same for each."""
Name = Annotated[str, AfterValidator(_name)]


class Entry(BaseModel):
    """What every layer has: a name, and the earlier layer whose output it reads (default: the one before it)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)

    name: Name
    source: Name | None = Field(None, alias="from")


class ConvEntry(Entry):
    """A convolution; `in` and `size` come from the layer before."""

    inputs: Size | None = Field(None, alias="in")
    out: Size
    size: Extents | None = None
    kernel: Extents
    stride: Extents = 1
    padding: Extents = 0
    dilation: Extents = 1
    groups: Size = 1
    bias: bool = False
    trainable: bool = True


class LinearEntry(Entry):
    """A linear layer; `in` and `rows` come from the layer before, an image being flattened."""

    inputs: Size | None = Field(None, alias="in")
    out: Size
    rows: Size | None = None
    bias: bool = True
    trainable: bool = True
    tied: bool = False


class ExpertsEntry(Entry):
    """A linear layer in each of some experts; `in` comes from the layer before."""

    experts: Size
    inputs: Size | None = Field(None, alias="in")
    out: Size
    rows: Size
    trainable: bool = True


class MatMulEntry(Entry):
    """Products of two activations."""

    products: Size = 1
    m: Size
    n: Size
    k: Size
    fixed: bool = False


class AttentionEntry(Entry):
    """Attention; `keys` are as many as `queries` where they are not given."""

    heads: Size
    queries: Size
    keys: Size | None = None
    width: Size
    shared: Size = 1
    causal: bool = False


class RecurrentEntry(Entry):
    """A recurrent layer; `in` and `steps` come from the layer before."""

    inputs: Size | None = Field(None, alias="in")
    hidden: Size
    steps: Size | None = None
    trainable: bool = True


class NormalizationEntry(Entry):
    """Batch, layer or RMS norm; both sizes come from the layer before."""

    channels: Size | None = None
    elements: Size | None = None
    trainable: bool = True


class PointwiseEntry(Entry):
    """An elementwise function; `elements` comes from the layer before.  A list gives the shape that flows on."""

    elements: Size | None = None
    inputs: Size | None = None
    part: Size = 1


class FunctionEntry(PointwiseEntry):
    """An elementwise function that has no short form."""

    function: Name


class SoftmaxEntry(Entry):
    """Softmax; both sizes come from the layer before."""

    rows: Size | None = None
    columns: Size | None = None


class PoolEntry(Entry):
    """Pooling; without a kernel, over the whole size.  `channels` and `size` come from the layer before, `out_size`
    from the geometry.
    """

    channels: Size | None = None
    size: Extents | None = None
    kernel: Extents | None = None
    stride: Extents | None = None
    padding: Extents = 0
    out_size: Extents | None = None


class EmbeddingEntry(Entry):
    """A table of vectors."""

    vocabulary: Size
    width: Size
    rows: Size
    trainable: bool = True
    tied: bool = False


class WeightEntry(Entry):
    """Parameters of no other layer."""

    parameters: Size
    trainable: bool = True


ENTRIES: dict[str, type[Entry]] = {
    "conv": ConvEntry,
    "linear": LinearEntry,
    "experts": ExpertsEntry,
    "matmul": MatMulEntry,
    "attention": AttentionEntry,
    "rnn": RecurrentEntry,
    "lstm": RecurrentEntry,
    "gru": RecurrentEntry,
    "batchnorm": NormalizationEntry,
    "layernorm": NormalizationEntry,
    "rmsnorm": NormalizationEntry,
    "softmax": SoftmaxEntry,
    "maxpool": PoolEntry,
    "avgpool": PoolEntry,
    "embedding": EmbeddingEntry,
    "weight": WeightEntry,
    "pointwise": FunctionEntry,
}
"""Kinds of layers; the names of elementwise functions are kinds besides."""


def checked(kind: str, model: type[Entry], values: Any, where: str) -> Entry:
    """An entry with its fields checked.

    Raises
    ------
    ShapeError
        A field is missing, unknown or of the wrong type; says which.
    """
    if not isinstance(values, Mapping):
        raise ShapeError(f"{where}: {kind} needs its fields: {kind}: {{name: ...}}")
    name = values.get("name")
    called = f"{where} {quoted(name)}" if isinstance(name, str) else where
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A misspelt name comes before the field that it leaves missing.
        first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
        field = ".".join(str(part) for part in first["loc"]) or kind
        if first["type"] == "extra_forbidden":
            known = ", ".join(each.alias or name for name, each in model.model_fields.items())
            raise ShapeError(f"{called}: {kind} has no field {field!r}; it has {known}") from None
        if first["type"] == "missing":
            raise ShapeError(f"{called}: {kind} needs {field}") from None
        raise ShapeError(
            f"{called}: {field}: {first['msg'].removeprefix('Value error, ')}, given {quoted(first['input'])}"
        ) from None


@dataclass(frozen=True)
class Resolver:
    """Turns written sizes into numbers.

    Attributes
    ----------
    sizes : mapping of str to int
        Named sizes of the list.
    where : str
        File and layer, for errors.
    """

    sizes: Mapping[str, int]
    where: str

    def number(self, field: str, value: SizePart | list[SizePart], least: int = 1) -> int:
        """A single number: of a list, the product."""
        parts = value if isinstance(value, list) else [value]
        return self._checked(field, prod(self._part(field, part) for part in parts), least)

    def extents(self, field: str, value: SizePart | list[SizePart], dims: int, least: int = 1) -> tuple[int, ...]:
        """A number per spatial dimension."""
        parts = value if isinstance(value, list) else [value] * dims
        if len(parts) != dims:
            self.fail(field, f"{len(parts)} numbers for {dims} spatial dimensions")
        return tuple(self._checked(field, self._part(field, part), least) for part in parts)

    def shape(self, field: str, value: SizePart | list[SizePart]) -> Flow:
        """What flows on: [rows, features], or [channels, height, width] with one to three spatial dimensions, or a
        number of features.
        """
        parts = [
            self._checked(field, self._part(field, part), 1) for part in (value if isinstance(value, list) else [value])
        ]
        if len(parts) < 3:
            return Tokens(parts[0] if len(parts) == 2 else 1, parts[-1])
        if len(parts) > 4:
            self.fail(field, f"a shape has at most channels and three spatial dimensions, given {len(parts)} numbers")
        return Image(parts[0], tuple(parts[1:]))

    def fail(self, field: str, problem: str) -> NoReturn:
        """Say what is wrong with a field."""
        raise ShapeError(f"{self.where}: {field}: {problem}")

    def _part(self, field: str, part: SizePart) -> int:
        if isinstance(part, int):
            return part
        if part[:1].isdigit() or part[:1] in "+-.":
            self.fail(field, f"{quoted(part)} is neither a whole number of at most 13 digits nor the name of a size")
        if part not in self.sizes:
            known = ", ".join(self.sizes) or "none"
            self.fail(field, f"no size is called {quoted(part)}; the list's `sizes` are: {known}")
        return self.sizes[part]

    def _checked(self, field: str, value: int, least: int) -> int:
        if value > MAX_SIZE:  # it may have more digits than Python prints
            self.fail(field, f"over {MAX_SIZE:,}")
        if value < least:
            self.fail(field, f"{max(value, -MAX_SIZE)} is less than {least}")
        return value
