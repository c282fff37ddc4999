"""FCN-32s/16s/8s on a narrow VGG11 against plain lax operations with the authors' crops, and where their logits lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from tests.variables import random_variables

SMALL = {"num_classes": 3, "encoder": "vgg11", "width_multiplier": 1 / 16, "fc_features": 8}
NAMES = ["fcn32s", "fcn16s", "fcn8s"]


def conv(x, p, padding=0):
    axes = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, p["kernel"], (1, 1), [(padding, padding)] * 2, dimension_numbers=axes) + p["bias"]


def upsample(x, factor):
    """The transposed convolution with a bilinear kernel, as a sum over the cells of the input."""
    n, h, w, c = x.shape
    line = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    y = np.zeros((n, (h + 1) * factor, (w + 1) * factor, c))
    for i in range(h):
        for j in range(w):
            rows, columns = slice(i * factor, (i + 2) * factor), slice(j * factor, (j + 2) * factor)
            y[:, rows, columns] += (line[:, None] * line)[:, :, None] * np.asarray(x)[:, i : i + 1, j : j + 1]
    return y


def crop(x, offset, like):
    return np.asarray(x)[:, offset : offset + like.shape[1], offset : offset + like.shape[2]]


def paper(name, params, x, scales):
    """The authors' nets, with the numbers that they give for the crops."""
    h = x
    pools = {}
    for stage, count in enumerate((1, 1, 2, 2, 2), start=1):
        for i in range(1, count + 1):
            h = jnp.maximum(conv(h, params["encoder"][f"conv{stage}_{i}"], 100 if stage == i == 1 else 1), 0)
        padding = ((0, 0), (0, h.shape[1] % 2), (0, h.shape[2] % 2), (0, 0))
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), padding)
        pools[stage] = h
    h = jnp.maximum(conv(h, params["fc6"]), 0)
    h = jnp.maximum(conv(h, params["fc7"]), 0)
    score = conv(h, params["score_fr"])
    if name == "fcn32s":
        return crop(upsample(score, 32), 19, x)
    fused = upsample(score, 2)
    fused = fused + crop(conv(pools[4] * scales[0], params["score_pool4"]), 5, fused)
    if name == "fcn16s":
        return crop(upsample(fused, 16), 27, x)
    fused = upsample(fused, 2)
    fused = fused + crop(conv(pools[3] * scales[1], params["score_pool3"]), 9, fused)
    return crop(upsample(fused, 8), 31, x)


@pytest.mark.parametrize(
    ("name", "options", "scales"),
    [("fcn32s", {}, (1, 1)), ("fcn16s", {}, (1, 1)), ("fcn8s", {}, (1, 1)), ("fcn8s", {"at_once": True}, (0.01, 0.0001))],
)
def test_logits(name, options, scales):
    model = fcn.create_model(name, **SMALL, **options)
    x = jax.random.normal(jax.random.key(0), (2, 33, 50, 3))
    variables = random_variables(model, *x.shape)
    expected = paper(name, variables["params"], x, scales)
    given = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def without_biases(variables):
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf * (path[-1].key != "bias"), variables)


@pytest.mark.parametrize("name", NAMES)
def test_any_padding_keeps_the_logits_in_place(name):
    """Without biases black borders stay black, so that k black rows and columns do the same as k pixels of padding.

    Compared where all of the pixel's neighbours in the score maps exist: a map ends earlier the less padding there is.
    """
    x = jax.random.normal(jax.random.key(0), (1, 80, 80, 3))
    inner = np.s_[:, 26:56, 26:56]
    bordered = jnp.pad(x, ((0, 0), (19, 0), (19, 0), (0, 0)))
    reference = fcn.create_model(name, **SMALL)
    variables = without_biases(random_variables(reference, *x.shape))
    expected = jax.jit(reference.apply)(variables, x)[inner]
    scale = np.abs(expected).max()
    with_more = fcn.create_model(name, **SMALL, input_padding=132)  # 100 and the coarsest stride
    np.testing.assert_allclose(jax.jit(with_more.apply)(variables, x)[inner], expected, rtol=0, atol=1e-5 * scale)
    with_less = fcn.create_model(name, **SMALL, input_padding=81)
    given = jax.jit(with_less.apply)(variables, bordered)[:, 19:, 19:][inner]
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learned", [False, True])
def test_without_input_padding_logits_mirror_with_the_image(name, learned):
    """With mirror-symmetric kernels the logits of the mirrored image are the mirrored logits: nothing is off by a pixel."""
    model = fcn.create_model(name, **SMALL, input_padding=None, learned_upsampling=learned)
    x = jax.random.normal(jax.random.key(0), (1, 32, 96, 3))
    variables = random_variables(model, *x.shape)
    variables = jax.tree.map(lambda leaf: leaf + leaf[:, ::-1] if leaf.ndim == 4 else leaf, variables)
    apply = jax.jit(model.apply)
    logits = apply(variables, x)
    np.testing.assert_allclose(apply(variables, x[:, :, ::-1]), logits[:, :, ::-1], rtol=0, atol=1e-5 * np.abs(logits).max())


def test_without_input_padding_an_image_of_any_size_is_extended():
    model = fcn.create_model("fcn8s", **SMALL, input_padding=None)
    x = jax.random.normal(jax.random.key(0), (1, 40, 33, 3))
    variables = random_variables(model, *x.shape)
    larger = jnp.pad(x, ((0, 0), (0, 24), (0, 31), (0, 0)), mode="edge")
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(apply(variables, x), apply(variables, larger)[:, :40, :33], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("padding", [100, None])
def test_learned_upsampling_starts_bilinear(name, padding):
    fixed = fcn.create_model(name, **SMALL, input_padding=padding)
    learned = fcn.create_model(name, **SMALL, input_padding=padding, learned_upsampling=True)
    x = jax.random.normal(jax.random.key(0), (1, 20, 33, 3))
    variables = random_variables(fixed, *x.shape)
    init = jax.jit(lambda: {k: v for k, v in learned.init(jax.random.key(0), x)["params"].items() if k.startswith("upscore")})
    params = init()
    assert len(params) == {"fcn32s": 1, "fcn16s": 2, "fcn8s": 3}[name]
    expected = jax.jit(fixed.apply)(variables, x)
    given = jax.jit(learned.apply)({"params": variables["params"] | params}, x)
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_scores_start_at_zero():
    model = fcn.create_model("fcn8s", **SMALL)
    x = jnp.ones((1, 32, 32, 3))
    variables = random_variables(model, *x.shape)
    assert np.any(jax.jit(model.apply)(variables, x))
    names = ("score_fr", "score_pool4", "score_pool3")
    scores = jax.jit(lambda: [model.init(jax.random.key(0), x)["params"][name] for name in names])()
    assert not np.any(jax.jit(model.apply)({"params": variables["params"] | dict(zip(names, scores))}, x))


def test_errors():
    x = jnp.zeros((1, 32, 32, 3))
    with pytest.raises(ValueError, match=r"input_padding=80 is too small .* at least 81, or None"):
        jax.eval_shape(fcn.create_model("fcn8s", **SMALL, input_padding=80).init, jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"unknown encoder of FCN8s 'vgg161'; did you mean 'vgg16'\?"):
        jax.eval_shape(fcn.models.fcn.FCN8s(2, encoder="vgg161").init, jax.random.key(0), x)
