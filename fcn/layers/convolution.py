from typing import Any, Callable

import flax.linen as nn
import jax.numpy as jnp


class Conv(nn.Module):
    features: int
    kernel_size: tuple[int, int] | int = 3
    strides: int = 1
    padding: Any = "SAME"
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.he_normal()
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x):
        k = self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,) * 2
        conv = nn.Conv(self.features, k, self.strides, self.padding, kernel_dilation=self.dilation, feature_group_count=self.groups, use_bias=self.use_bias, dtype=self.dtype, param_dtype=self.param_dtype, kernel_init=self.kernel_init, bias_init=self.bias_init, parent=None)
        kernel = self.param("kernel", self.kernel_init, (*k, x.shape[-1] // self.groups, self.features), self.param_dtype)
        p = {"kernel": kernel}
        if self.use_bias:
            p["bias"] = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        return conv.apply({"params": p}, x)


class ConvTranspose(nn.Module):
    features: int
    kernel_size: int = 2
    strides: int = 2
    use_bias: bool = True
    dtype: Any = None
    param_dtype: Any = jnp.float32
    kernel_init: Callable = nn.initializers.he_normal()
    bias_init: Callable = nn.initializers.zeros

    @nn.compact
    def __call__(self, x):
        n, h, w, c = x.shape
        kernel = self.param("kernel", self.kernel_init, (2, 2, c, self.features), self.param_dtype)
        b = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        y = x.reshape(-1, c) @ kernel.transpose(2, 0, 1, 3).reshape(c, -1)
        y = y.reshape(n, h, w, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, -1)
        return y + b
