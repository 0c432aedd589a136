"""Compression by shape: low-rank decomposition for a device, and the effects that papers measured."""
