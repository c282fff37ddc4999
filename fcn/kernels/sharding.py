"""Meshes with Explicit axes, and what varies over the axes of a `jax.shard_map`."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from fcn.environment import explicit_mesh, varying_axes


def with_auto_axes(apply: Callable[..., Any], variables: Any, arguments: tuple, options: dict[str, Any]) -> Any:
    """`apply(variables, *arguments, **options)`, whose arrays may lie on a mesh with Explicit axes, as of `jax.make_mesh`.

    Inside, XLA divides the work, as with Auto axes: forms of layers reshape and cut what is split. Results are split over the
    batch as the first array among the arguments is; collections of `variables` that come back stay as they were.
    """
    given = variables, arguments, options
    found = explicit_mesh(leaf for leaf in jax.tree.leaves(given) if isinstance(leaf, jax.Array))
    if found is None:
        return apply(variables, *arguments, **options)
    mesh, auto = found
    images = next(leaf for leaf in jax.tree.leaves((arguments, options)) if getattr(leaf, "ndim", 0))
    with jax.sharding.use_abstract_mesh(auto):
        here, arguments_here, options_here = jax.tree.map(_replicated_type, given)
        outputs = apply(here, *arguments_here, **options_here)
    split = _batch_axes(images), images.shape[0]
    if not options.get("mutable"):
        return _put(outputs, mesh, *split)
    logits, state = outputs
    like = partial(_like, mesh=mesh)
    kept = {name: jax.tree.map(like, new, variables[name]) for name, new in state.items() if _same(new, variables.get(name))}
    others = {name: _put(new, mesh, *split) for name, new in state.items() if name not in kept}
    same_kind: Any = type(state)
    return _put(logits, mesh, *split), same_kind({**kept, **others}) if isinstance(state, Mapping) else state


def varying_alike(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, all varying over the same axes of a `jax.shard_map`, as operands of JAX's own operations are made to.

    The gradient with respect to an array that was the same on all devices is then summed over them.
    """
    axes = [varying_axes(array) for array in arrays]
    union = frozenset().union(*axes)
    missing = [tuple(sorted(union - own, key=str)) for own in axes]
    return tuple(jax.lax.pcast(array, names, to="varying") if names else array for array, names in zip(arrays, missing))


def _replicated_type(leaf):
    """The array itself, split as before, without a type that says how."""
    return jax.sharding.reshard(leaf, PartitionSpec()) if isinstance(leaf, jax.Array) else leaf


def _batch_axes(images):
    spec = jax.typeof(images).sharding.spec if isinstance(images, jax.Array) else PartitionSpec()
    return spec[0] if len(spec) else None


def _put(outputs, mesh, axes, batch):
    def put(leaf):
        spec = PartitionSpec(axes) if leaf.ndim and leaf.shape[0] == batch else PartitionSpec()
        return jax.sharding.reshard(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(put, outputs)


def _like(new, old, mesh):
    """As the old array was split; whole on every device where that lay on no mesh."""
    sharding = jax.typeof(old).sharding
    return jax.sharding.reshard(new, NamedSharding(mesh, sharding.spec if sharding.mesh.axis_names else PartitionSpec()))


def _same(new, old):
    return jax.tree.structure(new) == jax.tree.structure(old)
