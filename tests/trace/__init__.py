"""Tests of traces, mirroring simhw/trace/."""
