"""Random variables for any model, without its initialisers (whose compilation costs more than most tests)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict


def shapes_of(model, *shape: int) -> dict:
    """The shapes and types of a model's variables for images [B, H, W, C] of the given shape."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))


def count_parameters(model, *shape: int) -> int:
    """The number of a model's parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(model, *shape)["params"]))


def random_variables(model, *shape: int, seed: int = 0) -> dict:
    """Random values for all variables: nothing is zero, activations keep their scale, variances and scales are positive."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        values = random.normal(size=leaf.shape)
        if path[-1] in ("scale", "var"):
            values = 0.5 + np.abs(values)
        else:
            values *= np.sqrt(2 / np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 0.1
        return jnp.asarray(values, leaf.dtype)

    return unflatten_dict({path: draw(path, leaf) for path, leaf in flatten_dict(shapes_of(model, *shape)).items()})
