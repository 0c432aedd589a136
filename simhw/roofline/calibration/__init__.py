"""Fits of device constants to measured kernels, and scores on kernels that were not fitted to."""
