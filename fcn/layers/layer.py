"""The base classes of layers and blocks: the fields that all have, in one place."""

from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax.numpy as jnp

if TYPE_CHECKING:  # pyright knows a field that follows those of subclasses under this name only
    from flax.linen.module import module_field as field
else:
    from flax.linen.kw_only_dataclasses import field


class Layer(nn.Module):
    """A Flax module that states its types, by keyword only: `dtype` and `param_dtype` come after the fields of a subclass.

    A subclass does not declare them again: they would take a place among its own fields.

    Attributes:
        dtype: type of the computation; None takes the one that input and parameters promote to.
        param_dtype: type of the parameters.
    """

    dtype: Any = field(default=None, kw_only=True)
    param_dtype: Any = field(default=jnp.float32, kw_only=True)

    @property
    def types(self) -> dict[str, Any]:
        """Options of the layers within."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


class NormLayer(Layer):
    """A `Layer` with BatchNorm in it.

    Attributes (more in `Layer`):
        axis_name: the pmap axis over which BatchNorm takes its statistics; None under jit, which sees the global batch.
    """

    axis_name: str | None = field(default=None, kw_only=True)

    @property
    def norm_types(self) -> dict[str, Any]:
        """Options of the layers within that have BatchNorm."""
        return {"axis_name": self.axis_name, **self.types}
