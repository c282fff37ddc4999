"""Attention, fused where cuDNN can.

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

from fcn.layers.windows import is_known

LARGEST_HEAD = 128
"""Features of a head that cuDNN takes on all those GPUs, where they are also a multiple of 8."""


def attend(
    query: Float[Array, "b q heads f"], key: Float[Array, "b k heads f"], value: Float[Array, "b k heads f"]
) -> Float[Array, "b q heads f"]:
    """softmax(Q K^T / sqrt(f)) V for each head (Vaswani et al., NeurIPS 2017, equation 1); the softmax is float32.

    Where cuDNN may compute it has first derivatives only, in reverse mode, and `jax.export` cannot keep it (one with symbolic
    sizes is XLA's, and can be kept).
    """
    if not _suits_cudnn(query, key):
        return jax.nn.dot_product_attention(query, key, value)
    fused = partial(jax.nn.dot_product_attention, implementation="cudnn")
    return lax.platform_dependent(query, key, value, cuda=fused, default=jax.nn.dot_product_attention)


def _suits_cudnn(query, key) -> bool:
    if query.dtype not in (jnp.bfloat16, jnp.float16) or query.shape[-1] % 8 or query.shape[-1] > LARGEST_HEAD:
        return False
    if not is_known(query.shape) or query.shape[1] % 2 or key.shape[1] % 2:
        return False
    capability = getattr(jax.local_devices()[0], "compute_capability", "")  # "9.0"; AMD's are words
    return re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= 8
