"""Attention: heads apart on CPUs, fused where cuDNN can.

On CPUs XLA's products for all heads at once, [batch, queries, heads, features] by [batch, keys, heads, features], take longer
than those of [batch, heads, queries, features] by [batch, heads, features, keys], though arrays are copied into that order
first. The larger ones are oneDNN's where it may be used. Milliseconds on two processors of an Intel Xeon (float32, jax 0.10.2;
batch, queries, keys, heads, features of a head), forward | forward and gradients:

    shape                      XLA            heads apart    with oneDNN
    2,  197, 197,  6, 64       2.1 |  6.3     1.4 | 3.5      1.5 | 3.2
    2,  197, 197, 12, 64       4.2 | 12.8     2.6 | 8.1      2.0 | 5.8
    2, 3136,  49,  1, 32       1.2 |  2.9     0.9 | 2.7
    2,  784,  49,  2, 64       1.0 |  2.8     0.8 | 1.7
    2,  196,  49,  5, 64       0.7 |  2.0     0.6 | 1.6

Largest error against float64, relative to the largest result (the first of these shapes), forward | of gradients: 6e-7 | 5e-6,
with oneDNN 6e-7 | 3e-6, XLA's 3e-7 | 5e-6.

On NVIDIA GPUs from compute capability 8.0 up, 16-bit numbers go through cuDNN's flash attention, which never writes the scores
of all queries and keys to memory. It has gradients for even numbers of both; others, such as those of a vision transformer with
its class token, stay XLA's. Milliseconds on an H200, while other processes compiled (bfloat16; batch, queries, keys, heads,
features of a head), forward | forward and gradients:

    shape                      XLA            cuDNN
    32, 16384, 256, 1, 32      0.44 | 1.29    0.13 | 0.63
    32,  4096, 256, 2, 32      0.26 | 0.74    0.07 | 0.25
    32,   256, 256, 8, 32      0.08 | 0.23    0.06 | 0.12
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fcn.kernels.mode import is_xla
from fcn.kernels.products import matmul
from fcn.kernels.windows import is_known

LARGEST_HEAD = 128
"""Features of a head that cuDNN takes on all those GPUs, where they are also a multiple of 8."""


def attend(
    query: Float[Array, "b q heads f"], key: Float[Array, "b k heads f"], value: Float[Array, "b k heads f"]
) -> Float[Array, "b q heads f"]:
    """softmax(Q K^T / sqrt(f)) V for each head (Vaswani et al., NeurIPS 2017, equation 1); the softmax is float32.

    Where cuDNN may compute it has first derivatives only, in reverse mode, and `jax.export` cannot keep it (one with symbolic
    sizes is XLA's, and can be kept).
    """
    if is_xla():
        return jax.nn.dot_product_attention(query, key, value)
    forms = {}
    if _suits_heads_apart(query, key, value):
        forms["cpu"] = _attend_with_heads_apart
    if _suits_cudnn(query, key):
        forms["cuda"] = partial(jax.nn.dot_product_attention, implementation="cudnn")
    if not forms:
        return jax.nn.dot_product_attention(query, key, value)
    return lax.platform_dependent(query, key, value, **forms, default=jax.nn.dot_product_attention)


def _suits_heads_apart(query, key, value) -> bool:
    """Whether all three are float32 and have the same images, heads and features; the rest XLA's own computes, or refuses."""
    if {query.dtype, key.dtype, value.dtype} != {jnp.dtype(jnp.float32)} or query.ndim != 4:
        return False
    images, _, *heads = query.shape
    return key.shape == value.shape == (images, *key.shape[1:2], *heads)


def _attend_with_heads_apart(query, key, value):
    query, key, value = query.swapaxes(1, 2), key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
    weights = jax.nn.softmax(matmul(query / query.shape[-1] ** 0.5, key))
    return matmul(weights, value).swapaxes(1, 2)


def _suits_cudnn(query, key) -> bool:
    if query.dtype not in (jnp.bfloat16, jnp.float16) or query.shape[-1] % 8 or query.shape[-1] > LARGEST_HEAD:
        return False
    if not is_known(query.shape) or query.shape[1] % 2 or key.shape[1] % 2:
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "")  # "9.0"; AMD's are words
    return re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= 8
