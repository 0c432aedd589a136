"""A network by shape from a PyTorch model, whose forward pass runs without values.  Needs PyTorch."""

import simhw.capture  # noqa: F401  # says plainly where PyTorch is missing
from simhw.roofline.from_model.shapes import network_of

__all__ = ["network_of"]
