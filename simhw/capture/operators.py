"""Which of PyTorch's operators multiply and accumulate, and what capture does about each.

Three lists: operators whose operands are recorded; operators that hide such work, so that a step that runs one is
refused rather than under-counted; and solvers and transforms, which no layer of a network is made of, and which are
counted in the trace's metadata.  Everything else in PyTorch's own name spaces moves, adds or maps values one by one.
Operators of other libraries are refused unless the user says that they do no such work.
"""

from functools import cache
from typing import Literal

Role = Literal[
    "product",
    "convolution",
    "convolution_backward",
    "multiplication",
    "sum",
    "sum_elsewhere",
    "bag",
    "refused",
    "noted",
    "harmless",
]

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm"})

# Vector products are here because a captured step runs them as matrix products (`simhw.capture.functions`); what still
# reaches the dispatcher came by a way that could not be rewritten.
_REFUSED = """
    affine_grid_generator mv addmv dot vdot addr addbmm mkldnn_linear
    _addmm_activation _foreach_mm _grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2 _scaled_mm _scaled_mm_v2 _int_mm
    _weight_int4pack_mm _weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros _weight_int8pack_mm
    _dyn_quant_matmul_4bit _mixed_dtypes_linear _wrapped_linear_prepack _wrapped_quantized_linear_prepacked
    fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation fbgemm_linear_int8_weight
    fbgemm_linear_int8_weight_fp32_activation
    mkldnn_linear_backward mkldnn_linear_backward_input mkldnn_linear_backward_weights linear_backward matmul_backward
    _sparse_addmm _sparse_mm _sparse_mm_reduce_impl _sparse_mm_reduce_impl_backward _sparse_semi_structured_addmm
    _sparse_semi_structured_linear _sparse_semi_structured_mm _sparse_sparse_matmul sparse_sampled_addmm smm hspmm
    sspaddmm
    _cslt_sparse_mm _cslt_sparse_mm_search
    _trilinear _cdist_forward _cdist_backward _euclidean_dist _pdist_forward _pdist_backward
    _convolution_double_backward _conv_depthwise2d conv_depthwise3d conv_tbc conv_tbc_backward
    convolution_overrideable convolution_backward_overrideable mkldnn_convolution _nnpack_spatial_convolution
    cudnn_convolution cudnn_convolution_add_relu cudnn_convolution_relu cudnn_convolution_transpose
    miopen_convolution miopen_convolution_add_relu miopen_convolution_relu miopen_convolution_transpose
    miopen_depthwise_convolution _mps_convolution _mps_convolution_transpose mps_convolution_backward
    mps_convolution_transpose_backward _slow_conv2d_forward _slow_conv2d_backward slow_conv3d slow_conv3d_forward
    slow_conv_dilated2d slow_conv_dilated3d slow_conv_transpose2d slow_conv_transpose3d thnn_conv2d
    mkldnn_rnn_layer mkldnn_rnn_layer_backward _cudnn_rnn _cudnn_rnn_backward miopen_rnn miopen_rnn_backward
    _lstm_mps lstm_mps_backward quantized_gru quantized_gru_cell quantized_lstm quantized_lstm_cell
    quantized_rnn_relu_cell quantized_rnn_tanh_cell
    _scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_backward
    _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention_for_cpu_backward
    _scaled_dot_product_efficient_attention _scaled_dot_product_efficient_attention_backward
    _scaled_dot_product_cudnn_attention _scaled_dot_product_cudnn_attention_backward
    _scaled_dot_product_attention_math_for_mps
    _scaled_dot_product_fused_attention_overrideable _scaled_dot_product_fused_attention_overrideable_backward
    _flash_attention_forward _flash_attention_forward_no_dropout_inplace _flash_attention_backward
    _efficient_attention_forward _efficient_attention_backward
    _cudnn_attention_forward _cudnn_attention_backward _triton_multi_head_attention _triton_scaled_dot_attention
    _native_multi_head_attention _transformer_encoder_layer_fwd
"""
# Made of other operators, and seen as those: these arrive whole on nested tensors alone.
_WHOLE = """
    linear matmul linalg_matmul linalg_multi_dot chain_matmul einsum bilinear cdist pdist scaled_dot_product_attention
    _scaled_dot_product_attention_math _convolution_mode conv1d conv2d conv3d conv_transpose1d conv_transpose2d
    conv_transpose3d
    lstm lstm_cell gru gru_cell rnn_tanh rnn_tanh_cell rnn_relu rnn_relu_cell
"""
REFUSED = frozenset((*_REFUSED.split(), *_WHOLE.split()))

_EMBEDDING_BAGS = """
    _embedding_bag _embedding_bag_forward_only _embedding_bag_backward _embedding_bag_dense_backward
    _embedding_bag_per_sample_weights_backward
"""
EMBEDDING_BAGS = frozenset(_EMBEDDING_BAGS.split())

_NOTED = """
    _cholesky_solve_helper _compute_linear_combination _fft_c2c _fft_c2r _fft_r2c _linalg_eigh _linalg_eigvals
    _linalg_solve_ex _linalg_svd _lu_with_info _spsolve cholesky cholesky_inverse cholesky_solve geqrf
    linalg_cholesky_ex
    linalg_eig linalg_inv_ex linalg_ldl_factor_ex linalg_ldl_solve linalg_lstsq linalg_lu linalg_lu_factor_ex
    linalg_lu_solve
    linalg_matrix_exp linalg_qr linalg_solve_triangular linalg_householder_product lu_unpack ormqr orgqr
    triangular_solve
"""
NOTED = frozenset(_NOTED.split())

# Name spaces of PyTorch itself that hold no arithmetic of their own beside `aten`.
_PLUMBING = frozenset(
    (
        # Copies into and out of the buffers that shards are gathered in; queries of a tensor's device and layout.
        *("fsdp", "prim"),
        *("prims", "rngprims", "debugprims", "debug_mode_ops", "profiler", "export"),
        *("c10d", "_c10d_functional", "_c10d_functional_autograd", "_dtensor", "symm_mem"),
    )
)


INSTEAD: dict[str, str] = {
    **dict.fromkeys(("mv", "addmv", "dot", "vdot", "addr"), "give vectors as matrices of one row or column"),
    **dict.fromkeys(
        ("_cdist_forward", "_euclidean_dist", "_pdist_forward"), "write the distances out with a product or a sum"
    ),
    "addbmm": "use baddbmm and sum",
    "_trilinear": "run nn.Bilinear in Python, not scripted",
}
"""What to use in place of a refused operator, where it is known."""


@cache
def role(namespace: str, name: str) -> Role:
    """What capture does with the operator ``namespace::name`` (without overload; an in-place form counts as the plain
    one).
    """
    if namespace in _PLUMBING:
        return "harmless"
    if namespace != "aten":
        return "refused"
    plain = name if name in REFUSED or name.endswith("__") else name.removesuffix("_")
    if plain in PRODUCTS:
        return "product"
    if plain == "convolution" or name == "_convolution":
        return "convolution"
    if plain == "convolution_backward":
        return "convolution_backward"
    if plain in ("mul", "pow"):
        return "multiplication"
    if plain in ("nansum", "cumsum", "index_add", "scatter_add", "segment_reduce"):
        return "sum_elsewhere"
    if plain in ("sum", "mean"):
        return "sum"
    if plain in EMBEDDING_BAGS:
        return "bag"
    if plain in REFUSED:
        return "refused"
    return "noted" if plain in NOTED else "harmless"
