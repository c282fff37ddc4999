"""Attention: heads apart on CPUs, fused where cuDNN can.

On CPUs XLA's products for all heads at once, [batch, queries, heads, features] by [batch, keys, heads, features], take longer
than those of [batch, heads, queries, features] by [batch, heads, features, keys], though arrays are copied into that order
first. The larger ones are oneDNN's where it may be used.

On NVIDIA GPUs from compute capability 8.0 up, 16-bit numbers go through cuDNN's flash attention, which never writes the scores
of all queries and keys to memory. It has gradients for even numbers of both; others, such as those of a vision transformer with
its class token, stay XLA's.
"""

from functools import partial

import jax
from jaxtyping import Array, Float

from fcn.kernels.call import Call
from fcn.kernels.mode import or_xla
from fcn.kernels.products import matmul
from fcn.kernels.table import by_platform


@or_xla(jax.nn.dot_product_attention)
def attend(
    query: Float[Array, "b q heads f"], key: Float[Array, "b k heads f"], value: Float[Array, "b k heads f"]
) -> Float[Array, "b q heads f"]:
    """softmax(Q K^T / sqrt(f)) V for each head (Vaswani et al., NeurIPS 2017, equation 1); the softmax is float32.

    Where cuDNN may compute it has first derivatives only, in reverse mode, and `jax.export` cannot keep it (one with symbolic
    sizes is XLA's, and can be kept).
    """
    dtype = query.dtype if query.dtype == key.dtype == value.dtype else None
    call = Call("attention", "attention", "other", query.shape, key.shape, value.shape, dtype)
    return by_platform(call, ALGORITHMS, query, key, value)


def _attend_with_heads_apart(query, key, value):
    query, key, value = query.swapaxes(1, 2), key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
    weights = jax.nn.softmax(matmul(query / query.shape[-1] ** 0.5, key))
    return matmul(weights, value).swapaxes(1, 2)


ALGORITHMS = {
    "heads apart": _attend_with_heads_apart,
    "cudnn": partial(jax.nn.dot_product_attention, implementation="cudnn"),
    "native": jax.nn.dot_product_attention,
}
