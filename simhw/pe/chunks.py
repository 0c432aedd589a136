"""Chunked accumulation: how far apart the accumulator is read out into a float32 sum."""


def check_chunk(chunk: str | int, fraction_bits: int) -> None:
    """A chunked accumulator is read out exactly into float32, which holds 24 significant bits.

    Raises
    ------
    ValueError
        Chunking is on and the accumulator is wider than that.
    """
    if chunk != "off" and fraction_bits > 23:
        raise ValueError(
            "chunked accumulation reads the accumulator into float32: accumulator_fraction_bits may be at most 23"
        )
