"""Off-chip compression, for real: tensors to bytes and back, in the two formats whose sizes the traces record.

`CODECS` holds them under the names that `TensorStatistics.compressed_bytes` uses: ``bdc``, exponent base-delta
(FPRaker), and ``zero``, a bit mask and the non-zero values (TensorDash's CompressingDMA).
"""

from collections.abc import Mapping
from types import MappingProxyType

from simhw.compression import base_delta, zero
from simhw.compression.encoded import Codec, Encoded

CODECS: Mapping[str, Codec] = MappingProxyType({base_delta.NAME: base_delta, zero.NAME: zero})

__all__ = ["CODECS", "Codec", "Encoded", "base_delta", "zero"]
