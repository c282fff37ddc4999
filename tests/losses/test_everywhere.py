"""All losses in one program: on several devices, in bfloat16, of any rank; and two of them against slow versions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn import losses
from tests.losses.examples import CHANNELS, NAMES, call, example

FLAT = [name for name in NAMES if name != "cldice"]  # those that do not see where a pixel lies


def values(mode, logits, labels, distances, names=NAMES, **options):
    """float32 [names]."""
    return jnp.stack([call(name, logits, labels, distances, mode, **options) for name in names])


@pytest.mark.parametrize(("mode", "way"), [("multiclass", "shard_map"), ("multilabel", "pmap")])
def test_on_four_devices(mode, way):
    """As on one, though one of the four sees ignored pixels only; derivatives are those of `test_all`."""
    data, devices = example(mode), jax.devices()[:4]

    def device(*arrays):
        return values(mode, *arrays, axis_name="device")

    if way == "pmap":
        parts = [array.reshape(4, 1, *array.shape[1:]) for array in data]
        given = jax.pmap(device, axis_name="device", devices=devices)(*parts)
    else:
        mesh = jax.make_mesh((4,), ("device",), devices=devices, axis_types=(jax.sharding.AxisType.Auto,))
        split = jax.sharding.PartitionSpec("device")
        given = jax.jit(jax.shard_map(device, mesh=mesh, in_specs=split, out_specs=jax.sharding.PartitionSpec()))(*data)
    expected = jax.jit(lambda *arrays: values(mode, *arrays))(*data)
    np.testing.assert_allclose(given, np.broadcast_to(expected, given.shape), rtol=1e-5, atol=1e-6)


def test_of_one_and_three_dimensions_and_in_bfloat16():
    """Where a pixel lies matters to clDice only; what is computed is float32, whatever the type of the logits."""
    logits, labels, distances = example("multiclass")
    short = jnp.asarray(logits, jnp.bfloat16)

    @jax.jit
    def compute(short, labels, distances):
        logits = short.astype(jnp.float32)
        line, volume = (
            [a.reshape(*shape, *a.shape[3:]) for a in (logits, labels, distances)] for shape in ((4, 30), (4, 5, 3, 2))
        )
        ranks = [values("multiclass", *pixels, names=FLAT) for pixels in (line, (logits, labels, distances), volume)]
        return ranks, values("multiclass", short, labels, distances, names=["cldice", *FLAT])

    (line, plane, volume), low = compute(short, labels, distances)
    np.testing.assert_allclose(line, plane, rtol=1e-5)
    np.testing.assert_allclose(volume, plane, rtol=1e-5)
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low[1:], plane, rtol=1e-6)


@pytest.mark.parametrize("mode", CHANNELS)
def test_pixels_of_weight_2_are_two_pixels_and_those_of_weight_0_are_ignored(mode):
    """The first of losses that count pixels one by one, the second of the others."""
    logits, labels, distances = (np.reshape(a, (1, 120, *a.shape[3:])) for a in example(mode))
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 3, (1, 120))
    repeated = [np.repeat(a, weights[0], axis=1) for a in (logits, labels, distances)]
    once = np.minimum(weights, 1)
    none = np.where(once[..., None] if mode == "multilabel" else once, labels, 255)
    others = ("topk", "ohem", "cldice")
    counting = [name for name in NAMES if name not in others]

    @jax.jit
    def compute(x, y, none, d, repeated):
        weighted = values(mode, x, y, d, names=counting, pixel_weights=jnp.asarray(weights))
        masked = values(mode, x, y, d, names=others, pixel_weights=jnp.asarray(once))
        return (weighted, values(mode, *repeated, names=counting)), (masked, values(mode, x, none, d, names=others))

    for given, expected in compute(logits, labels, none, distances, repeated):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


def overlap(logits, labels, mode, c):
    """Probabilities and truth of a class where labels count, as float64."""
    if mode == "multilabel":
        logits, labels = logits[..., c], labels[..., c]
    counted = labels != 255
    x = logits.astype(np.float64)
    if mode == "multiclass":
        p = (np.exp(x) / np.exp(x).sum(-1, keepdims=True))[..., c]
    else:
        p = 1 / (1 + np.exp(-(x if mode == "multilabel" else x[..., 0])))
    truth = labels == (c if mode == "multiclass" else 1)
    return p * counted, (truth & counted).astype(np.float64)


@pytest.mark.parametrize("mode", CHANNELS)
def test_focal_tversky_equals_its_formula(mode):
    logits, labels, _ = example(mode)
    expected = []
    for c in range(CHANNELS[mode]):
        p, t = overlap(logits, labels, mode, c)
        counted = (labels[..., c] if mode == "multilabel" else labels) != 255
        tp, fp, fn = np.sum(p * t), np.sum(p * (1 - t) * counted), np.sum((1 - p) * t)
        expected.append((1 - tp / (tp + 0.2 * fp + 0.8 * fn)) ** 0.6)
    given = losses.focal_tversky_loss(logits, labels, mode, alpha=0.2, beta=0.8, gamma=0.6)
    np.testing.assert_allclose(given, np.mean(expected), rtol=1e-5)


def pooled(mask, best, steps):
    """The best of each pixel and its neighbours at some steps, pixel by pixel."""
    result = np.empty_like(mask)
    for place in itertools.product(*map(range, mask.shape)):
        near = [tuple(np.add(place, step)) for step in steps]
        result[place] = best(mask[n] for n in near if all(0 <= i < size for i, size in zip(n, mask.shape)))
    return result


def slow_skeleton(mask, iterations):
    """Algorithm 1 of the clDice paper: erosion by a cross, dilation by a cube."""
    cube = list(itertools.product((-1, 0, 1), repeat=mask.ndim))
    cross = [step for step in cube if np.abs(step).sum() <= 1]

    def tops(mask):
        return np.maximum(mask - pooled(pooled(mask, min, cross), max, cube), 0)

    skeleton = tops(mask)
    for _ in range(iterations):
        mask = pooled(mask, min, cross)
        skeleton = skeleton + np.maximum(tops(mask) - skeleton * tops(mask), 0)
    return skeleton


@pytest.mark.parametrize(("mode", "shape"), [("binary", (1, 17)), ("multiclass", (1, 7, 6)), ("multilabel", (1, 4, 5, 3))])
def test_cldice_equals_a_slow_version(mode, shape):
    """Values; the derivative along a direction against that of finite differences."""
    logits, labels, _ = single(mode, shape)

    def slow(logits):
        scores = []
        for c in range(CHANNELS[mode]):
            p, t = overlap(logits, labels, mode, c)
            bones = [np.stack([slow_skeleton(image, 2) for image in mask]) for mask in (p, t)]
            precision = (np.sum(bones[0] * t) + 1) / (np.sum(bones[0]) + 1)
            sensitivity = (np.sum(bones[1] * p) + 1) / (np.sum(bones[1]) + 1)
            scores.append(2 * precision * sensitivity / (precision + sensitivity))
        return 1 - np.mean(scores)

    def fast(logits):
        return losses.cldice_loss(logits, labels, mode, iterations=2)

    way = np.random.default_rng(1).normal(size=logits.shape).astype(np.float32)
    value, slope = jax.jvp(fast, (jnp.asarray(logits),), (jnp.asarray(way),))
    np.testing.assert_allclose(value, slow(logits), rtol=1e-5)
    step = 1e-6
    difference = (slow(logits.astype(np.float64) + step * way) - slow(logits.astype(np.float64) - step * way)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-3, atol=1e-6)


def single(mode, shape):
    """`example` of one image, none of whose pixels is ignored throughout."""
    logits, labels, distances = example(mode, (2, *shape[1:]))
    return logits[:1], labels[:1], distances[:1]
