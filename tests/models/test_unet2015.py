"""The U-Net of the paper: its sizes, counts and initialisation, and its logits against plain lax operations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import fcn
from fcn.models.unet2015 import output_size, valid_sizes
from tests.variables import count_parameters, random_variables, shapes_of


def slow_output_size(size, depth):
    """The side of the logits, by following figure 1; None where a max-pool sees an odd side or nothing is left."""
    for _ in range(depth):
        size -= 4
        if size % 2 or size <= 0:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = 2 * size - 4
    return size if size > 0 else None


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_valid_sizes(depth):
    expected = {size: slow_output_size(size, depth) for size in range(1, 700)}
    expected = {size: out for size, out in expected.items() if out}
    assert valid_sizes(1, 699, depth) == list(expected)
    assert [output_size(size, depth) for size in expected] == list(expected.values())
    assert valid_sizes(500, 572, 4) == [508, 524, 540, 556, 572]


def test_published_figures():
    """572 -> 388, 23 convolutions, 31.03 M parameters."""
    model = fcn.create_model("unet2015", num_classes=2)
    variables = shapes_of(model, 1, 572, 572, 1)
    logits = jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((1, 572, 572, 1), jnp.float32))
    assert logits.shape == (1, 388, 388, 2) and logits.dtype == jnp.float32
    kernels = [leaf for path, leaf in flatten_dict(variables["params"]).items() if path[-1] == "kernel"]
    assert len(kernels) == 23 and max(kernel.shape[-1] for kernel in kernels) == 1024
    assert count_parameters(model, 1, 572, 572, 1) == 31_030_658


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((570, 572), "a side of 570 pixels is not valid for unet2015 of depth 4; the nearest are 556 or 572"),
        ((572, 573), "a side of 573 pixels is not valid for unet2015 of depth 4; the nearest are 572 or 588"),
        ((100, 572), "a side of 100 pixels is not valid for unet2015 of depth 4; the nearest are 188"),
    ],
)
def test_other_sizes_are_refused(size, message):
    model = fcn.create_model("unet2015", num_classes=2)
    with pytest.raises(ValueError) as error:
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *size, 1)))
    assert str(error.value) == message


def plain_unet(params, x, depth):
    axes = ("NHWC", "HWIO", "NHWC")

    def conv(x, p):
        return jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), "VALID", dimension_numbers=axes) + p["bias"]

    def up(x, p):
        return jax.lax.conv_transpose(x, p["kernel"], (2, 2), "VALID", dimension_numbers=axes) + p["bias"]

    def block(x, name):
        return jnp.maximum(conv(jnp.maximum(conv(x, params[f"{name}_conv1"]), 0), params[f"{name}_conv2"]), 0)

    skips = []
    for level in range(depth):
        skips.append(block(x, f"encoder{level}"))
        x = jax.lax.reduce_window(skips[-1], -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = block(x, f"encoder{depth}")
    for level in reversed(range(depth)):
        x = up(x, params[f"up{level}"])
        cut = (skips[level].shape[1] - x.shape[1]) // 2
        x = block(jnp.concatenate([skips[level][:, cut:-cut, cut:-cut], x], axis=-1), f"decoder{level}")
    return conv(x, params["head"])


def test_logits():
    model = fcn.create_model("unet2015", num_classes=3, base_features=4, depth=2)
    x = jax.random.normal(jax.random.key(0), (2, 60, 52, 2))
    variables = random_variables(model, *x.shape)
    expected = jax.jit(plain_unet, static_argnums=2)(variables["params"], x, 2)
    given = jax.jit(model.apply)(variables, x)
    assert given.shape == (2, 20, 12, 3)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_dropout_at_the_end_of_the_contracting_path():
    """With a rate near 1 the two coarsest levels fall silent: the logits depend no longer on their weights."""
    model = fcn.create_model("unet2015", num_classes=2, base_features=2, depth=2, dropout_rate=0.999999)
    x = jax.random.normal(jax.random.key(0), (1, 44, 44, 1))
    variables = random_variables(model, *x.shape)

    @jax.jit
    @jax.grad
    def gradient(params):
        return model.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(1)}).sum()

    silent = {name for name, layer in gradient(variables["params"]).items() if not np.any(layer["kernel"])}
    assert silent == {"encoder1_conv1", "encoder1_conv2", "encoder2_conv1", "encoder2_conv2", "up1"}


def test_initial_standard_deviation():
    """sqrt(2 / N), N the inputs of a unit (section 3); within 3 % of it for 4,096 weights and more (1.1 % is one deviation)."""
    model = fcn.create_model("unet2015", num_classes=2, base_features=32, depth=1)
    names = ("up0", "decoder0_conv1")
    init = jax.jit(lambda: [model.init(jax.random.key(0), jnp.zeros((1, 20, 20, 1)))["params"][name] for name in names])
    for layer in init():
        kernel = layer["kernel"]
        np.testing.assert_allclose(kernel.std(), np.sqrt(2 / np.prod(kernel.shape[:3])), rtol=0.03)
        assert not np.any(layer["bias"])
