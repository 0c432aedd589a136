"""Tests, mirroring simhw/; a package so that the oracles are importable wherever pytest is started from."""
