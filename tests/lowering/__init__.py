"""Tests of the lowering, mirroring simhw/lowering/."""
