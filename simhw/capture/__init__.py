"""Capture of training steps from PyTorch; the only room of simhw that imports torch."""

from simhw.errors import CaptureError

try:
    import torch  # noqa: F401  # looked for here, so that what is missing is said once and plainly
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise CaptureError("capture needs PyTorch, which is not installed: pip install 'simhw[capture]'") from None

from simhw.capture.capture import Capture

__all__ = ["Capture"]
