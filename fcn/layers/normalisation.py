from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from fcn.layers.convolution import Conv


class BatchNorm(nn.Module):
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, train=False):
        norm = nn.BatchNorm(use_running_average=not train, momentum=self.momentum, epsilon=self.epsilon, axis_name=self.axis_name, dtype=self.dtype, param_dtype=self.param_dtype)
        nn.share_scope(self, norm)
        return norm(x)


class ConvNormRelu(nn.Module):
    features: int
    kernel_size: int = 3
    strides: int = 1
    dilation: int = 1
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, *, train=False):
        x = Conv(self.features, self.kernel_size, self.strides, dilation=self.dilation, use_bias=False, dtype=self.dtype, param_dtype=self.param_dtype, name="conv")(x)
        x = BatchNorm(axis_name=self.axis_name, dtype=self.dtype, param_dtype=self.param_dtype, name="bn")(x, train=train)
        return nn.relu(x)
