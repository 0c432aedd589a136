"""Which of PyTorch's operators are layers of a network by shape, which are free, and which are refused.

Refused are those that multiply, or may, in a way that has no layer, and solvers and transforms.  Every other operator
moves values or computes on them one by one, along an axis or not: by its sizes it is a pass over its largest tensor.
"""

from functools import cache
from typing import Literal

import torch
from torch._ops import OpOverload

from simhw.capture.operators import role

Role = Literal[
    "convolution",
    "product",
    "experts",
    "batchnorm",
    "layernorm",
    "rmsnorm",
    "groupnorm",
    "softmax",
    "pool",
    "reduction",
    "embedding",
    "embedding_bag",
    "dropout",
    "pointwise",
    "pass",
    "slice",
    "free",
    "refused",
]

# Layouts are changed by a kernel that reads and writes every value.
_COPIES = """
    cat stack clone contiguous copy_ constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d
    replication_pad2d replication_pad3d roll flip repeat pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle
    index_select index gather im2col _to_copy tril triu
"""
COPIES = frozenset(_COPIES.split())
_UPSAMPLES = ("upsample_", "_upsample_")

_NAMED: dict[Role, str] = {
    "convolution": "convolution _convolution",
    "product": "mm addmm bmm baddbmm",
    "batchnorm": """
        native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm
        _batch_norm_with_update _batch_norm_no_update batch_norm_with_update
    """,
    "experts": "_grouped_mm",
    "layernorm": "native_layer_norm",
    "rmsnorm": "_fused_rms_norm",
    "groupnorm": "native_group_norm",
    "softmax": "_softmax _log_softmax _safe_softmax",
    "pool": """
        max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices mkldnn_max_pool2d
        mkldnn_max_pool3d
        avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d
        adaptive_max_pool2d adaptive_max_pool3d
    """,
    "reduction": "mean sum amax amin",
    "embedding": "embedding",
    "embedding_bag": "_embedding_bag _embedding_bag_forward_only",
    "dropout": "native_dropout",
    # Beside those that PyTorch marks as such.
    "pointwise": _COPIES + "hardswish _prelu_kernel masked_fill",
    "slice": "split split_with_sizes slice narrow",
    # Tensors that are made without reading any, queries, and views that PyTorch does not mark as such.
    "free": """
        empty empty_like new_empty empty_strided new_empty_strided zeros zeros_like new_zeros ones ones_like new_ones
        full full_like new_full fill zero arange linspace eye scalar_tensor lift_fresh lift_fresh_copy detach
        _unsafe_view _reshape_alias as_strided _local_scalar_dense _assert_async is_same_size sym_size sym_stride
    """,
}
_ROLES: dict[str, Role] = {name: role for role, names in _NAMED.items() for name in names.split()}

FUNCTIONS = {
    **{
        "sub": "add",
        "rsub": "add",
        "div": "scale",
        "masked_fill": "mask",
        "where": "mask",
        "threshold": "relu",
        "_prelu_kernel": "prelu",
    },
    **dict.fromkeys(COPIES, "copy"),
}
"""Operators whose elementwise function has another name in a network."""


def plain_name(operator: OpOverload) -> str:
    """An operator's name without name space and overload; an in-place form counts as the plain one."""
    name = operator._schema.name.removeprefix("aten::")
    return name if name in _ROLES or name.endswith("__") else name.removesuffix("_")


@cache
def role_of(operator: OpOverload) -> Role:
    """What an operator is in a network by shape; ``refused`` where it may multiply in a way that no layer has."""
    if operator._schema.name == "transformers::grouped_mm_fallback":  # where PyTorch has no product for the numbers
        return "experts"
    if operator.namespace != "aten":
        return "free" if role(operator.namespace, "") == "harmless" else "refused"
    name = plain_name(operator)
    known = _ROLES.get(name)
    if known is not None:
        return known
    if _pointwise(operator, name) or name.startswith(_UPSAMPLES):
        return "pointwise"
    if operator.is_view or name.endswith("_like"):
        return "free"
    if role("aten", name) not in ("harmless", "sum_elsewhere") or ("linalg_" in name and name != "linalg_vector_norm"):
        return "refused"
    return "pass"


def _pointwise(operator: OpOverload, name: str) -> bool:
    """Whether PyTorch marks an operator as elementwise; some that are written in place only in their other form."""
    if torch.Tag.pointwise in operator.tags or operator._schema.name.removeprefix("aten::") == name:
        return torch.Tag.pointwise in operator.tags
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )


def function_name(name: str, constant: bool, parameter: bool) -> str:
    """The elementwise function of an operator.

    Parameters
    ----------
    name : str
        As `plain_name` gives it.
    constant, parameter : bool
        The operator has one tensor alone (its other operand, if any, is a number), or its other operand is a parameter.
    """
    if name.startswith(_UPSAMPLES):
        return "upsample"
    if name == "mul" and (constant or parameter):
        return "scale"
    if name == "div" and not (constant or parameter):
        return "div"
    function = FUNCTIONS.get(name, name)
    return "bias" if function == "add" and parameter else function
