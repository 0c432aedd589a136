"""Vector files: what a testbench reads with `$readmemh`, a word a line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Fields = npt.NDArray[np.uint16]
FIELD_BITS = 16
_WORDS_AT_ONCE = 1 << 14
_DIGITS = np.frombuffer("".join(f"{value:04x}" for value in range(1 << FIELD_BITS)).encode(), np.uint8).reshape(-1, 4)


@dataclass(frozen=True)
class Memory:
    """A memory of words of 16-bit fields.

    Attributes
    ----------
    name : str
        In the testbench, and of its file.
    fields : (words, fields) uint16
        The first field of a word is its lowest bits.
    """

    name: str
    fields: Fields

    @property
    def words(self) -> int:
        """How many there are."""
        return len(self.fields)

    @property
    def bits(self) -> int:
        """Of a word."""
        return FIELD_BITS * int(self.fields.shape[1])

    def write(self, path: Path) -> None:
        """Write the words in hexadecimal, fields apart by ``_``."""
        with path.open("wb") as file:
            for lines in self._lines():
                file.write(lines.tobytes())

    def _lines(self) -> Iterator[npt.NDArray[np.uint8]]:
        words, fields = self.fields.shape
        for first in range(0, words, _WORDS_AT_ONCE):
            part = self.fields[first : first + _WORDS_AT_ONCE, ::-1]
            text = np.full((len(part), fields, 5), ord("_"), np.uint8)
            text[:, :, :4] = _DIGITS[part]
            text[:, -1, 4] = ord("\n")
            yield text


def halves(values: npt.NDArray[np.integer]) -> Fields:
    """Integers (words,) as two fields each, the lower half first; negative ones in two's complement."""
    return np.ascontiguousarray(values.astype("<i4")).view("<u2").reshape(-1, 2)


def word(*parts: npt.NDArray[np.integer]) -> Fields:
    """Fields side by side: (words,) or (words, fields) each."""
    return np.concatenate([part.reshape(len(part), -1).astype(np.uint16) for part in parts], axis=1)
