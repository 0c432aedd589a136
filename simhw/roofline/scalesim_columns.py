"""The columns of SCALE-Sim topologies: what a header calls them, and what stands where it says nothing that is known.

SCALE-Sim itself skips the first row and goes by positions, so that published files have headers of all kinds.  Here a header
decides where its words are known, in any order; a word that is not known stands for what SCALE-Sim has in its place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from simhw.errors import ShapeError
from simhw.input import quoted
from simhw.roofline.layer_table import Row

CONVOLUTION = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter", "Strides")
GEMM = ("M", "N", "K")
STRIDE_WIDTH, BATCH, PADDING, SPARSITY, NAME, IGNORED = "Stride Width", "Batch", "Padding", "Sparsity", "Layer name", "ignored"
_FURTHER = {CONVOLUTION: (STRIDE_WIDTH, PADDING, BATCH, SPARSITY), GEMM: (BATCH, SPARSITY)}
"""Columns that a topology may have besides; the first is what a number behind the others means where no header names it."""

_NUMBER = r"(?:num(?:ber)?(?: of)?|no(?: of)?|n|#)"
_INPUT = r"(?:ifmaps?|ifm|inputs?|in|images?|input feature maps?|input images?)(?: size| dim)?"
_FILTER = r"(?:filters?|filt|kernels?|weights?)(?: size| dim)?"
_HEIGHT, _WIDTH = r"(?:height|h|rows?)", r"(?:width|w|col(?:umn)?s?)"
_WORDS = {
    NAME: r"(?:layers?(?: names?)?|names?|layername)",
    "IFMAP Height": rf"{_INPUT} {_HEIGHT}",
    "IFMAP Width": rf"{_INPUT} {_WIDTH}",
    "Filter Height": rf"{_FILTER} {_HEIGHT}",
    "Filter Width": rf"{_FILTER} {_WIDTH}",
    "Channels": rf"(?:{_NUMBER} )?(?:in(?:put)? |ifmap )?(?:channels?|ch)",
    "Num Filter": rf"(?:{_NUMBER} )?(?:filters?|filt|kernels?|(?:out(?:put)?|ofmap) (?:channels?|ch))(?: num(?:ber)?| count)?",
    "Strides": rf"strides?(?: {_HEIGHT})?",
    STRIDE_WIDTH: rf"strides? {_WIDTH}",
    PADDING: r"pad(?:ding)?s?",
    BATCH: rf"(?:{_NUMBER} )?batch(?:es)?(?: ?size| count)?",
    SPARSITY: r"(?:n m )?sparsity(?: ratio| n m)?",
    "M": "m",
    "N": "n",
    "K": "k",
    # Addresses and remarks: they change no product.
    IGNORED: r"(?:ifmap|filter|ofmap) offset|comments?|notes?|remarks?",
}


@dataclass(frozen=True)
class Columns:
    """Where the sizes of a row stand.

    Attributes
    ----------
    convolutions : bool
        Else products.
    roles : tuple of (str or None)
        What each column holds, the layer's name included; None where nothing is known of it.
    given : tuple of str
        The header's words, for errors; shorter than `roles`, or empty, where there is none.
    """

    convolutions: bool
    roles: tuple[str | None, ...]
    given: tuple[str, ...]

    def cells(self, row: list[str], place: str) -> dict[str, str]:
        """The cells of a row that hold something, by what they are.

        Raises
        ------
        ShapeError
            A number stands in a column of which nothing is known.
        """
        found: dict[str, str] = {}
        for index, cell in enumerate(row):
            role = self._role(index, cell)
            if role is None and cell and not is_word(cell):
                called = quoted(self.given[index]) if index < len(self.given) and self.given[index] else "without a name"
                raise ShapeError(
                    f"{place}: column {index + 1}, {called}, holds {quoted(cell)}: what that changes is not known here; "
                    f"known besides the sizes are {', '.join(_FURTHER[CONVOLUTION if self.convolutions else GEMM])}"
                )
            if cell and role not in (None, IGNORED):
                found[str(role)] = cell
        return found

    def words(self, row: list[str]) -> list[str]:
        """Cells of unknown columns that are left out, as they hold no number."""
        return [cell for index, cell in enumerate(row) if cell and self._role(index, cell) is None]

    def _role(self, index: int, cell: str) -> str | None:
        if index >= len(self.given) and ":" in cell:
            return SPARSITY  # a ratio says itself what it is
        return self.roles[index] if index < len(self.roles) else None


def columns_of(rows: Sequence[Row], where: str) -> tuple[Columns, Sequence[Row]]:
    """The columns of a topology, and the rows of its layers.

    Raises
    ------
    ShapeError
        The file is no topology, or its header says a thing twice, or another in place of one that is needed.
    """
    first = rows[0][1]
    headless = len(first) > len(GEMM) and not any(is_word(cell) for cell in first[1:])
    header, layers = ((), rows) if headless else (tuple(first), rows[1:])
    named = [_role(word) for word in header]
    if set(GEMM) <= set(named):
        standard: tuple[str, ...] = GEMM
    else:
        standard = CONVOLUTION if set(CONVOLUTION) <= set(named) else _standard(layers, where)
    known = (NAME, *standard, *_FURTHER[standard], IGNORED)
    roles = [role if role in known else None for role in named]
    if not set(standard) <= set(roles):
        _fill(roles, (NAME, *standard))
    elif NAME not in roles and roles[0] is None:
        roles[0] = NAME
    if len(roles) == len(standard) + 1 and _FURTHER[standard][0] not in roles:
        roles.append(_FURTHER[standard][0])
    for role in (NAME, *standard, *_FURTHER[standard]):
        if roles.count(role) > 1:
            raise ShapeError(f"{where}: the header names {role} {roles.count(role)} times; give every column its own name")
        if role not in (*roles, *_FURTHER[standard]):
            raise ShapeError(f"{where}: the header has no column {role}, and another stands in its place: {quoted(', '.join(header))}")
    return Columns(standard == CONVOLUTION, tuple(roles), header), layers


def is_word(cell: str) -> bool:
    """Whether a cell is a name or a remark, and nothing that could be a size or a ratio."""
    return not re.match(r"[-+.:]?\d|:", cell) and any(letter.isalpha() for letter in cell)


def _role(word: str) -> str | None:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word[:100]).lower()
    words = re.sub(r"[^a-z0-9#]+", " ", spaced).strip()
    return next((role for role, pattern in _WORDS.items() if re.fullmatch(pattern, words)), None)


def _standard(layers: Sequence[Row], where: str) -> tuple[str, ...]:
    """The columns that the first layer has: the seven sizes of a convolution, or the three of a product and maybe two more."""
    for _, row in layers:
        sizes = sum(not is_word(cell) for cell in row[1:])
        if sizes >= len(CONVOLUTION):
            return CONVOLUTION
        if len(GEMM) <= sizes <= len(GEMM) + len(_FURTHER[GEMM]):
            return GEMM
        if sizes:
            break
    raise ShapeError(
        f"{where}: the header has no column 'kind', as a table of layers has, and the rows are no SCALE-Sim topology: "
        "Layer name and seven sizes of a convolution, or Layer, M, N, K"
    )


def _fill(roles: list[str | None], standard: Sequence[str]) -> None:
    """Give columns of unknown names their meaning by position; so also where a header has the width of a thing twice."""
    roles += [None] * (len(standard) - len(roles))
    for index, role in enumerate(standard):
        given = roles[index]
        if given is None or given == NAME or {given, role} in ({"IFMAP Height", "IFMAP Width"}, {"Filter Height", "Filter Width"}):
            roles[index] = role
