"""Kernels and steps that were measured in PyTorch: their files, read; which half a fit may see; the fits."""
