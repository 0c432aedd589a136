"""Numbers and names as tables, sentences and pictures show them."""

from math import isinf, isnan


def count(value: float) -> str:
    """A large number in K, M, G or T."""
    for factor, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= factor:
            return f"{value / factor:.4g}{letter}"
    return f"{value:.0f}"


def short(name: str, longest: int) -> str:
    """A name that may be of any length, its end kept: that is what tells a layer or a variant apart."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def ratio(value: float, half_width: float = 0.0) -> str:
    """A ratio and, where it is an estimate, the half-width of its 95% confidence interval; a dash for NaN."""
    if isnan(value):
        return "-"
    error = "unknown" if isinf(half_width) else f"{half_width:.3f}"
    return f"{value:.3f} ± {error}" if half_width else f"{value:.3f}"


def percent(value: float) -> str:
    """A share; a dash for NaN."""
    return "-" if isnan(value) else f"{value:.1%}"
