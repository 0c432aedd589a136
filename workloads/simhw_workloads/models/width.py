"""Makes a published network narrower: every channel count by the same share, with the same depth and kernels."""


def scaled(channels: int, width: float) -> int:
    """A channel count times `width`, rounded to a multiple of 4, of which it is at least one.

    Multiples of 4 leave room for groups and ranks.  At `width` 1 a published count stays what it is, whatever it is.
    """
    if width == 1:
        return channels
    return max(4, 4 * round(channels * width / 4))
