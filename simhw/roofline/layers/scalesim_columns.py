"""The columns of SCALE-Sim topologies: what a header calls them, and what stands where it says nothing that is known.

SCALE-Sim itself skips the first row and goes by positions, so that published files have headers of all kinds.  Here a
header decides where its words are known, in any order; a word that is not known stands for what SCALE-Sim has in its
place, unless it speaks of something else.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from simhw.errors import ShapeError, quoted
from simhw.roofline.layers.tables import Row

CONVOLUTION = ("IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter", "Strides")
GEMM = ("M", "N", "K")
STRIDE_WIDTH, BATCH, SPARSITY, NAME, IGNORED = "Stride Width", "Batch", "Sparsity", "Layer name", "ignored"
PADDING, PADDING_WIDTH = "Padding", "Padding Width"
_FURTHER = {CONVOLUTION: (STRIDE_WIDTH, PADDING, PADDING_WIDTH, BATCH, SPARSITY), GEMM: (BATCH, SPARSITY)}
"""Columns that a topology may have besides; the first is what a number behind the others means where no header names
it.
"""

_NUMBER = r"(?:num(?:ber)?(?: of)?|no(?: of)?|n|#)"
_INPUT = r"(?:ifmaps?|ifm|inputs?|in|i|images?|input feature maps?|input images?)(?: size| dim)?"
_FILTER = r"(?:filters?|filt|f|kernels?|k|weights?)(?: size| dim)?"
_HEIGHT, _WIDTH = r"(?:height|h|rows?|y)", r"(?:width|w|col(?:umn)?s?|x)"
_WORDS = {
    NAME: r"(?:layers?(?: names?)?|names?|layername)",
    "IFMAP Height": rf"{_INPUT} {_HEIGHT}|ih|hin|h in",
    "IFMAP Width": rf"{_INPUT} {_WIDTH}|iw|win|w in",
    "Filter Height": rf"{_FILTER} {_HEIGHT}|fh|kh",
    "Filter Width": rf"{_FILTER} {_WIDTH}|fw|kw",
    "Channels": rf"(?:{_NUMBER} )?(?:in(?:put)? |ifmap )?(?:channels?|ch)|in(?:put)? c|c in|cin|ic",
    "Num Filter": rf"(?:{_NUMBER} )?(?:filters?|filt|kernels?|(?:out(?:put)?|ofmap) (?:channels?|ch))(?: "
    r"num(?:ber)?| count)?"
    r"|out(?:put)? c|c out|cout|oc",
    "Strides": rf"strides?(?: {_HEIGHT})?|sh",
    STRIDE_WIDTH: rf"strides? {_WIDTH}|sw",
    PADDING: rf"pad(?:ding)?s?(?: {_HEIGHT})?",
    PADDING_WIDTH: rf"pad(?:ding)?s? {_WIDTH}",
    BATCH: rf"(?:{_NUMBER} )?batch(?:es)?(?: ?size| count)?",
    SPARSITY: r"(?:n m )?sparsity(?: ratio| n m)?",
    "M": "m",
    "N": "n",
    "K": "k",
    # Addresses, remarks, and cycles of a simulator's multiplier: they change no product.
    IGNORED: r"(?:ifmap|filter|ofmap) offset|comments?|notes?|remarks?|mac cycles",
}
_LETTERS = {
    **{
        "h": "IFMAP Height",
        "y": "IFMAP Height",
        "w": "IFMAP Width",
        "x": "IFMAP Width",
        "r": "Filter Height",
        "s": "Filter Width",
    },
    **{"c": "Channels", "k": "Num Filter", "m": "Num Filter", "n": BATCH},
}
"""What papers on accelerators call the sizes of a convolution; only where a header has r, s and c."""
_SPEAKS = {
    r"stride": ("Strides", STRIDE_WIDTH),
    r"pad": (PADDING, PADDING_WIDTH),
    r"batch": (BATCH,),
    r"spars": (SPARSITY,),
    r"chan|depth": ("Channels", "Num Filter"),
    r"\bout|ofm": ("Num Filter",),
    r"height": ("IFMAP Height", "Filter Height", "M"),
    r"width": ("IFMAP Width", "Filter Width", "N"),
    r"dilat|group|depth ?wise|transpos": (),
}
"""What words that are not known may mean nevertheless, by what stands in them: no other place is theirs."""
_PLAIN = (
    r"(?:conv(?:olution)?(?:al)?(?: ?[12]d)?|fc|fully "
    r"connected|linear|dense|gemm|matmul|mm|standard|normal|false|no|none|others?)"
)
_OTHERWISE = r"\b(?:dw|add|relu|true|yes)|depth|group|dilat|transpos|deconv|pool|softmax|norm\b|concat|embed"
"""Words that name another operation than a convolution or a product, or say yes to it."""


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
            In a column of which nothing is known stands a number, or a word for another operation.
        """
        found: dict[str, str] = {}
        for index, cell in enumerate(row):
            role = self._role(index, cell)
            if role is None and cell and _matters(cell):
                called = (
                    quoted(self.given[index]) if index < len(self.given) and self.given[index] else "without a name"
                )
                raise ShapeError(
                    f"{place}: column {index + 1}, {called}, holds {quoted(cell)}: what that changes is not known "
                    "here; "
                    f"known besides the sizes are {', '.join(_FURTHER[CONVOLUTION if self.convolutions else GEMM])}"
                )
            if cell and role not in (None, IGNORED):
                found[str(role)] = cell
        return found

    def words(self, row: list[str]) -> list[str]:
        """Cells of unknown columns that are left out, as they hold no number; those that name a plain layer need no
        mention.
        """
        left = [cell for index, cell in enumerate(row) if cell and self._role(index, cell) is None]
        return [cell for cell in left if is_word(cell) and not re.fullmatch(_PLAIN, _spaced(cell))]

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
    headless = sum(not is_word(cell) for cell in first[1:] if cell) >= len(GEMM)
    header, layers = ((), rows) if headless else (tuple(first), rows[1:])
    named = _named(header)
    if set(GEMM) <= set(named):
        standard: tuple[str, ...] = GEMM
    else:
        standard = CONVOLUTION if set(CONVOLUTION) <= set(named) else _standard(layers, where)
    known = (NAME, *standard, *_FURTHER[standard], IGNORED)
    roles = [role if role in known else None for role in named]
    if not set(standard) <= set(roles):
        _fill(roles, (NAME, *standard))
        _check_places(roles, header, where)
    elif NAME not in roles and roles[0] is None:
        roles[0] = NAME
    if len(roles) == len(standard) + 1 and _FURTHER[standard][0] not in roles:
        roles.append(_FURTHER[standard][0])
    for role in (NAME, *standard, *_FURTHER[standard]):
        if roles.count(role) > 1:
            raise ShapeError(
                f"{where}: the header names {role} {roles.count(role)} times; give every column its own name"
            )
        if role not in (*roles, *_FURTHER[standard]):
            raise ShapeError(
                f"{where}: the header has no column {role}, and another stands in its place: "
                f"{quoted(', '.join(header))}"
            )
    return Columns(standard == CONVOLUTION, tuple(roles), header), layers


def _matters(cell: str) -> bool:
    """Whether a cell of an unknown column may change what the layer computes; dashes say nothing."""
    return bool(re.search(_OTHERWISE, _spaced(cell))) if is_word(cell) else cell.strip("-") != ""


def is_word(cell: str) -> bool:
    """Whether a cell is a name or a remark, and nothing that could be a size or a ratio."""
    return not re.match(r"[-+.:]?\d|:", cell) and any(letter.isalpha() for letter in cell)


def _named(header: Sequence[str]) -> list[str | None]:
    """What the words of a header mean, as far as they are known."""
    words = [_spaced(word) for word in header]
    letters = _LETTERS if {"r", "s", "c"} <= set(words) else {}
    named = [letters.get(words_) or _role(words_) for words_ in words]
    if NAME in named[1:] and not words[0]:
        named[0] = IGNORED  # the numbers of rows, as tables are written with
    return named


def _spaced(text: str) -> str:
    """Words in small letters, with single blanks between them; without what stands in brackets, such as a unit."""
    bare = re.sub(r"[(\[][^)\]]*[)\]]", " ", text[:100])
    return re.sub(r"[^a-z0-9#]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", bare).lower()).strip()


def _role(words: str) -> str | None:
    return next((role for role, pattern in _WORDS.items() if re.fullmatch(pattern, words)), None)


def _check_places(roles: Sequence[str | None], header: Sequence[str], where: str) -> None:
    """Refuse words that are not known and stand in the place of something else than they speak of."""
    for word, role in zip(header, roles, strict=False):
        for pattern, meant in _SPEAKS.items():
            spaced = _spaced(word)
            twice = sum(_spaced(other) == spaced for other in header) > 1
            if (
                role is not None
                and _role(spaced) is None
                and not twice
                and re.search(pattern, spaced)
                and role not in (*meant, IGNORED)
            ):
                raise ShapeError(
                    f"{where}: the header has {quoted(word)} in the place of {role}; call it "
                    f"{' or '.join(meant) or 'otherwise'}"
                )


def _standard(layers: Sequence[Row], where: str) -> tuple[str, ...]:
    """The columns that the first layer has: the seven sizes of a convolution, or the three of a product and maybe two
    more.
    """
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
    """Give columns of unknown names their meaning by position; so also where a header has the width of a
    thing twice.
    """
    roles += [None] * (len(standard) - len(roles))
    for index, role in enumerate(standard):
        given = roles[index]
        if (
            given is None
            or given == NAME
            or {given, role} in ({"IFMAP Height", "IFMAP Width"}, {"Filter Height", "Filter Width"})
        ):
            roles[index] = role
