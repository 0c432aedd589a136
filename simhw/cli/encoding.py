"""Output in whatever encoding the terminal or pipe has: what it lacks is spelt out, nothing fails."""

import codecs
import sys
import unicodedata

SPELLINGS = {"±": "+-", "×": "x", "–": "-", "—": "-", "…": "...", "µ": "u", "μ": "u", "→": "->", "≤": "<=", "≥": ">="}


def _spelt_out(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: the characters in plain letters, a question mark where there are none."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end]
    return "".join(SPELLINGS.get(character) or _letters(character) or "?" for character in wanted), error.end


def _letters(character: str) -> str:
    """What is left of a character without accents, as ASCII has it; empty where that is nothing."""
    return "".join(part for part in unicodedata.normalize("NFKD", character) if part.isascii())


codecs.register_error("simhw.spelt-out", _spelt_out)


def spell_out_what_cannot_be_encoded() -> None:
    """Make standard output and error write every text, as well as their encodings can."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # what stands in for a stream may have none
        if reconfigure is not None:
            reconfigure(errors="simhw.spelt-out")
