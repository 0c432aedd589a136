"""Tests of the memory model, mirroring simhw/memory/."""
