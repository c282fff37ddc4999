"""The base class of models and encoders: `init` draws their variables without running them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

from fcn.environment import QUICK_INIT, ClosedJaxpr, Literal, dce_jaxpr, jaxpr_as_fun
from fcn.kernels.sharding import with_auto_axes
from fcn.layers.initialisers import Note, draw, noting
from fcn.layers.layer import NormLayer

INPUTS = {1: "signals [B, L, C]", 2: "images [B, H, W, C]", 3: "volumes [B, D, H, W, C]"}
"""What arrays of so many spatial dimensions are."""


class Network(NormLayer):
    """A Flax module whose `init` is quick.

    Flax's own runs the network layer by layer, or, compiled, compiles a random number generator for every kernel: 9 s for
    FCN-8s, 51 s for a U-Net on EfficientNet-B7 on two cores. Here the network is only traced, and all its kernels are drawn
    from a few rows of numbers: 3 and 5 s. The values are the same inside `jax.jit`, where it takes longer.

    Attributes (more in `NormLayer`):
        dtype: type of the computation; logits are float32 in any case.
    """

    dimensions: ClassVar[tuple[int, ...] | None] = None
    """Numbers of spatial dimensions that its first argument may have; None: it may be anything."""

    @nn.nowrap
    def init(self, rngs: Array | Mapping[str, Array], *args, **kwargs) -> Mapping[str, Any]:
        """The variables, as `flax.linen.Module.init` gives them, with its arguments.

        Raises:
            ValueError: the first argument has other dimensions than the network takes.
        """
        self._check_dimensions(args, kwargs)
        key = rngs.get("params") if isinstance(rngs, Mapping) else rngs
        init = partial(super().init, rngs, *args, **kwargs)
        return init() if key is None else QUICK_INIT.attempt(partial(initialise, init, key), init)

    @nn.nowrap
    def apply(self, variables: Mapping[str, Any], *args, **kwargs) -> Any:
        """What `flax.linen.Module.apply` gives, also for arrays on a mesh with Explicit axes.

        Raises:
            ValueError: the first argument has other dimensions than the network takes.
        """
        self._check_dimensions(args, kwargs)
        return with_auto_axes(super().apply, variables, args, kwargs)

    @nn.nowrap
    def _check_dimensions(self, args, kwargs):
        shape = getattr(args[0], "shape", None) if args and "method" not in kwargs else None
        if shape is not None and self.dimensions is not None and len(shape) - 2 not in self.dimensions:
            known = " or ".join(INPUTS[number] for number in self.dimensions)
            raise ValueError(f"{type(self).__name__} takes {known}, not an array of shape {tuple(shape)}")


class ImageNetwork(Network):
    """A `Network` that refuses arrays that are no images [B, H, W, C]."""

    dimensions: ClassVar[tuple[int, ...]] = (2,)


def initialise(init: Callable[[], Any], key: Array) -> Any:
    """What `init` returns, with the kernels of `fcn.layers` drawn from `key`, and nothing computed that is not returned."""
    with noting():
        traced, variables = jax.make_jaxpr(init, return_shape=True)()
    leaves, tree = jax.tree.flatten(variables, is_leaf=lambda leaf: isinstance(leaf, Note))
    drawn = [isinstance(leaf, Note) for leaf in leaves]
    arrays = iter(draw(key, [leaf for leaf in leaves if isinstance(leaf, Note)]))
    fill = jnp.full if isinstance(key, Tracer) else _fill
    others = iter(_evaluate(traced, [not note for note in drawn], fill))
    return jax.tree.unflatten(tree, [next(arrays if note else others) for note in drawn])


def _evaluate(traced: Any, wanted: list[bool], fill: Callable) -> list[Array]:
    """Some of the outputs of a jaxpr; `fill` makes those that are one number everywhere, which are most."""
    jaxpr, _ = dce_jaxpr(traced.jaxpr, wanted, instantiate=True)
    numbers: dict[Any, Any] = {}
    for equation in jaxpr.eqns:
        if equation.primitive.name == "broadcast_in_dim" and isinstance(number := equation.invars[0], Literal):
            numbers[equation.outvars[0]] = number.val
    outputs: list[tuple[Any, Any]] = [(v.aval, v.val if isinstance(v, Literal) else numbers.get(v)) for v in jaxpr.outvars]
    rest, _ = dce_jaxpr(jaxpr, [number is None for _, number in outputs], instantiate=True)
    computed = iter(jaxpr_as_fun(ClosedJaxpr(rest, traced.consts))())
    return [
        jnp.asarray(next(computed)) if number is None else fill(shape.shape, number, shape.dtype) for shape, number in outputs
    ]


def _fill(shape, number, dtype) -> Array:
    """`jnp.full` without a compilation for each shape."""
    return jax.device_put(np.full(shape, number, dtype))
