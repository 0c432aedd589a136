"""The version of simhw, which every result and file states."""

__version__ = "0.1.0"
