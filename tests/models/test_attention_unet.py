"""Attention U-Net against its equations written out, the plain U-Net, and another writing of the common form."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

import fcn
from fcn.models.attention_unet import GridGate, NormedGate
from tests.variables import count_parameters, random_variables, shapes_of

SIZE = (1, 16, 24, 3)
create = partial(fcn.create_model, "attention_unet", num_classes=3, base_features=4)


def random_images(shape=SIZE):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def gate_variables(gate, x, g, seed=0):
    shapes = jax.eval_shape(gate.init, jax.random.key(0), x, g)
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.5 + 0.5 * random.normal(size=leaf.shape).astype(np.float32) ** 2, shapes)


def sigmoid(q):
    return 1 / (1 + np.exp(-q))


def enlarged(coefficients):
    """Bilinear, by 2: a new pixel lies a quarter of an old one before or after its centre."""
    height, width = coefficients.shape
    result = np.zeros((2 * height, 2 * width))
    for i, j in np.ndindex(result.shape):
        y, x = (i - 0.5) / 2, (j - 0.5) / 2
        for k, m in np.ndindex(height, width):
            inside = [np.clip(place, 0, side - 1) for place, side in ((y, height), (x, width))]
            result[i, j] += max(0, 1 - abs(inside[0] - k)) * max(0, 1 - abs(inside[1] - m)) * coefficients[k, m]
    return result


def test_grid_gate():
    """Equations 1 and 2, one pixel after the other."""
    x, g = random_images((2, 6, 8, 5)), random_images((2, 3, 4, 7))
    gate = GridGate(3)
    variables = gate_variables(gate, x, g)
    params = jax.tree.map(lambda leaf: np.asarray(leaf) - 0.7, variables["params"])
    expected = np.zeros_like(x)
    for image, _ in enumerate(x):
        coefficients = np.zeros((3, 4))
        for i, j in np.ndindex(3, 4):
            window = x[image, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            q = np.tensordot(window, params["W_x"]["kernel"], 3)
            q = q + g[image, i, j] @ params["W_g"]["kernel"][0, 0] + params["W_g"]["bias"]
            q = np.maximum(q, 0) @ params["psi"]["kernel"][0, 0] + params["psi"]["bias"]
            coefficients[i, j] = sigmoid(q[0])
        expected[image] = x[image] * enlarged(coefficients)[..., None]
    assert coefficients.std() > 0.05
    np.testing.assert_allclose(jax.jit(gate.apply)({"params": params}, x, g), expected, rtol=0, atol=1e-5)


def test_gate_of_zeros_halves():
    """sigmoid(0) is a half."""
    x, g = random_images((1, 4, 6, 2)), random_images((1, 2, 3, 5))
    zeros = jax.tree.map(jnp.zeros_like, gate_variables(GridGate(2), x, g))
    np.testing.assert_allclose(jax.jit(GridGate(2).apply)(zeros, x, g), x / 2)
    ones = jax.tree.map(jnp.ones_like, gate_variables(NormedGate(2), x, x))
    psi = {"scale": jnp.zeros(1), "bias": jnp.zeros(1)}
    ones = {**ones, "params": ones["params"] | {"psi": ones["params"]["psi"] | {"bn": psi}}}
    np.testing.assert_allclose(jax.jit(NormedGate(2).apply)(ones, x, x), x / 2)


def test_open_gates_leave_the_plain_unet():
    """Where the sigmoid is 1, and not where it is 0."""
    size = (1, 13, 9, 3)
    model, unet = create(depth=3), fcn.create_model("unet", num_classes=3, base_features=4, depth=3)
    variables, x = flatten_dict(random_variables(model, *size)), random_images(size)
    plain = unflatten_dict({path: leaf for path, leaf in variables.items() if not path[1].startswith("gate")})
    assert jax.tree.map(jnp.shape, plain) == jax.tree.map(lambda leaf: leaf.shape, shapes_of(unet, *size))

    apply = jax.jit(model.apply)

    def gated(bias):
        set_bias = {path: jnp.full_like(leaf, bias) for path, leaf in variables.items() if path[-2:] == ("psi", "bias")}
        assert len(set_bias) == 2
        return apply(unflatten_dict(variables | set_bias), x)

    expected = jax.jit(unet.apply)(plain, x)
    np.testing.assert_allclose(gated(1e4), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert np.abs(gated(-1e4) - expected).max() > 0.01 * np.abs(expected).max()


def block(a, b):
    """Weights of two 3x3 convolutions with BatchNorm."""
    return 9 * a * b + 9 * b * b + 4 * b


@pytest.mark.parametrize(("inputs", "classes", "base", "depth"), [(3, 1, 64, 4), (1, 5, 6, 3), (4, 2, 8, 1)])
def test_parameters(inputs, classes, base, depth):
    """Those of the plain U-Net, and 4 a f + (2 a f + f) + (f + 1) of a gate of f = a / 2; none at the finest level."""
    options = {"num_classes": classes, "base_features": base, "depth": depth}
    plain = count_parameters(fcn.create_model("unet", **options), 1, 16, 16, inputs)
    levels = [base * 2**level for level in range(1, depth)]
    expected = plain + sum(6 * a * (a // 2) + 2 * (a // 2) + 1 for a in levels)
    given = count_parameters(fcn.create_model("attention_unet", **options), 1, 16, 16, inputs)
    assert given == expected
    assert (inputs, base) != (3, 64) or given == 32_070_724


@pytest.mark.parametrize(("inputs", "classes", "base", "depth"), [(3, 1, 64, 4), (1, 5, 6, 3)])
def test_parameters_of_the_common_form(inputs, classes, base, depth):
    """34.88 M with three input channels and one class, as the common implementation."""
    options = {"num_classes": classes, "base_features": base, "depth": depth, "variant": "common"}
    widths = [base * 2**level for level in range(depth + 1)]
    expected = base * classes + classes
    expected += sum(block(a, b) + 2 * b for a, b in zip([inputs, *widths], widths))
    for b in widths[:-1]:
        expected += 9 * 2 * b * b + 3 * b + block(2 * b, b) + 2 * b  # the step up, the two convolutions
        expected += 2 * (b * (b // 2) + 3 * (b // 2)) + b // 2 + 1 + 2  # W_x and W_g, psi
    given = count_parameters(fcn.create_model("attention_unet", **options), 1, 16, 16, inputs)
    assert given == expected
    assert (inputs, base) != (3, 64) or given == 34_878_573


def common_form(variables, x, depth):
    """The network with plain lax operations, for sizes that divide by 2**depth."""

    def layer(x, path, size=3):
        params, stats = variables["params"], variables["batch_stats"]
        for name in path.split("/"):
            params, stats = params[name], stats[name]
        conv, bn = params["conv"], params["bn"]
        kernel = conv["kernel"]
        assert kernel.shape[:2] == (size, size)
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + conv["bias"]
        return (y - stats["bn"]["mean"]) / jnp.sqrt(stats["bn"]["var"] + 1e-5) * bn["scale"] + bn["bias"]

    def two(x, name):
        for part in ("block0", "block1"):
            x = jnp.maximum(layer(x, f"{name}/{part}"), 0)
        return x

    skips = []
    for level in range(depth):
        skips.append(two(x, f"encoder{level}"))
        x = jax.lax.reduce_window(skips[-1], -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = two(x, f"encoder{depth}")
    for level in reversed(range(depth)):
        g = jnp.maximum(layer(x.repeat(2, axis=1).repeat(2, axis=2), f"up{level}"), 0)
        q = layer(g, f"gate{level}/W_g", 1) + layer(skips[level], f"gate{level}/W_x", 1)
        q = layer(jnp.maximum(q, 0), f"gate{level}/psi", 1)
        x = two(jnp.concatenate([skips[level] / (1 + jnp.exp(-q)), g], axis=-1), f"decoder{level}")
    head = variables["params"]["head"]
    return x @ head["kernel"][0, 0] + head["bias"]


def test_common_form():
    size = (1, 13, 9, 3)
    model, x = create(depth=2, variant="common"), random_images(size)
    variables = random_variables(model, *size)
    _, height, width, _ = size
    larger = np.pad(x, ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0)), mode="edge")
    expected = jax.jit(common_form, static_argnums=2)(variables, larger, 2)[:, :height, :width]
    given = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("variant", "gates"), [("paper", 2), ("common", 3)])
def test_coefficients_can_be_looked_at(variant, gates):
    model = create(depth=3, variant=variant)
    apply = partial(model.apply, capture_intermediates=True, mutable=["intermediates"])
    _, state = jax.eval_shape(apply, shapes_of(model, *SIZE), random_images())
    for level in range(3 - gates, 3):
        (q,) = state["intermediates"][f"gate{level}"]["psi"]["__call__"]
        stride = 2**level * (2 if variant == "paper" else 1)
        assert q.shape == (1, 16 // stride, 24 // stride, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "comon"}, "unknown variant 'comon'; did you mean 'common'"),
        ({"base_features": 1}, "base_features is 1; .* give at least 2"),
    ],
)
def test_errors(options, message):
    model = fcn.create_model("attention_unet", num_classes=3, **options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), random_images())
