"""Numbers as people read them."""


def count(value: float) -> str:
    """A large number in K, M, G or T."""
    for factor, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= factor:
            return f"{value / factor:.4g}{letter}"
    return f"{value:.0f}"
