"""The bit-parallel processing element, the baseline of the others."""
