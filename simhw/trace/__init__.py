"""Traces: the file format, the layers it holds, their statistics and samples.  Nothing here needs torch."""
