"""Numbers and names as tables, sentences and pictures show them."""

from math import isinf, isnan


class Shown(str):
    """The text of a number that remembers the number: tables show the one, and data for scripts hold the other.

    Attributes
    ----------
    value : float
    half_width : float
        Of its 95% confidence interval; 0 where the number is exact.
    """

    value: float
    half_width: float

    def __new__(cls, text: str, value: float, half_width: float = 0.0) -> "Shown":
        shown = super().__new__(cls, text)
        shown.value, shown.half_width = value, half_width
        return shown


def figure(value: float, form: str) -> Shown:
    """A number in one of Python's formats, such as ``.4g``."""
    return Shown(format(value, form), value)


def printable(text: str) -> str:
    """Text without what could steer a terminal: names come from files."""
    return "".join(character if character.isprintable() else "?" for character in text)


def count(value: float) -> Shown:
    """A large number in K, M, G or T."""
    for factor, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= factor:
            return Shown(f"{value / factor:.4g}{letter}", value)
    return figure(value, ".0f")


def short(name: str, longest: int) -> str:
    """A name that may be of any length, its end kept: that is what tells a layer or a variant apart."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def ratio(value: float, half_width: float = 0.0) -> Shown:
    """A ratio and, where it is an estimate, the half-width of its 95% confidence interval; a dash for NaN."""
    if isnan(value):
        return Shown("-", value)
    error = "unknown" if isinf(half_width) else f"{half_width:.3f}"
    return Shown(f"{value:.3f} ± {error}" if half_width else f"{value:.3f}", value, half_width)


def percent(value: float) -> Shown:
    """A share; a dash for NaN."""
    return Shown("-" if isnan(value) else f"{value:.1%}", value)
