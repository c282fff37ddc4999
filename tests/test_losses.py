"""Losses against slow loops, PyTorch, and themselves on several shards."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from fcn import losses
from fcn.losses import class_counts, enet_weights, median_frequency_weights

cross_entropy = jax.jit(losses.cross_entropy, static_argnames=("ignore_index", "reduction", "label_smoothing", "axis_name"))
dice_loss = jax.jit(
    partial(losses.dice_loss, absent="skip"), static_argnames=("ignore_index", "axis_name", "smooth", "absent", "classes")
)

K = 5
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.0, 3.0], np.float32)


@pytest.fixture
def unchecked():
    """Without run-time checks of the annotations, which would raise before the function's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def example(seed=0, shape=(4, 6, 7), k=K, ignored=0.3):
    """Logits [B, H, W, K], labels [B, H, W] with ignored pixels, pixel weights [B, H, W]."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (*shape, k)).astype(np.float32)
    labels = rng.integers(0, k, shape).astype(np.int32)
    labels[rng.random(shape) < ignored] = 255
    return logits, labels, rng.random(shape).astype(np.float32)


def slow_cross_entropy(logits, labels, class_weights=None, pixel_weights=None, smoothing=0.0, reduction="mean"):
    k = logits.shape[-1]
    class_weights = np.ones(k) if class_weights is None else class_weights
    total = weight = 0.0
    for index in np.ndindex(labels.shape):
        label = labels[index]
        if label not in range(k):
            continue
        x = logits[index].astype(np.float64)
        logp = x - x.max() - np.log(np.exp(x - x.max()).sum())
        target = np.full(k, smoothing / k)
        target[label] += 1 - smoothing
        pixel = 1.0 if pixel_weights is None else float(pixel_weights[index])
        total -= pixel * float(np.sum(class_weights * target * logp))
        weight += pixel * float(class_weights[label])
    return total if reduction == "sum" else total / weight


def slow_dice(logits, labels, class_weights=None, smooth=0.0):
    k = logits.shape[-1]
    class_weights = np.ones(k) if class_weights is None else class_weights
    overlap, predicted, labelled = np.zeros(k), np.zeros(k), np.zeros(k)
    for index in np.ndindex(labels.shape):
        if labels[index] not in range(k):
            continue
        p = np.exp(logits[index].astype(np.float64))
        p /= p.sum()
        predicted += p
        overlap[labels[index]] += p[labels[index]]
        labelled[labels[index]] += 1
    present = [c for c in range(k) if labelled[c]]
    losses = [1 - (overlap[c] + smooth) / ((predicted[c] + labelled[c]) / 2 + smooth) for c in present]
    return np.average(losses, weights=class_weights[present])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_equals_a_loop_over_pixels(reduction, smoothing, weighted):
    logits, labels, pixel_weights = example()
    weights = {"class_weights": WEIGHTS, "pixel_weights": pixel_weights} if weighted else {}
    loss = cross_entropy(logits, labels, reduction=reduction, label_smoothing=smoothing, **weights)
    expected = slow_cross_entropy(logits, labels, smoothing=smoothing, reduction=reduction, **weights)
    assert loss.dtype == jnp.float32 and loss.shape == ()
    np.testing.assert_allclose(loss, expected, rtol=2e-6)  # float32 sums of 168 pixels


@pytest.mark.parametrize(
    "options",
    [{}, {"class_weights": WEIGHTS, "smooth": 1.0}, {"class_weights": np.array([0, 1, 1, 1, 1])}],
    ids=["plain", "both", "object"],
)
def test_dice_equals_a_loop_over_pixels(options):
    logits, labels, _ = example()
    expected = slow_dice(logits, labels, **{k: np.asarray(v) for k, v in options.items()})
    np.testing.assert_allclose(dice_loss(logits, labels, **options), expected, rtol=2e-6)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.dice_loss])
def test_class_weights_may_be_any_sequence(loss):
    logits, labels, _ = example()
    values = jax.jit(lambda x, y: [loss(x, y, class_weights=w) for w in (WEIGHTS, WEIGHTS.tolist(), (0.5, 1, 2, 0, 3))])
    assert len({float(value) for value in values(logits, labels)}) == 1


def test_dice_leaves_out_classes_without_labels():
    logits, labels, _ = example()
    labels[labels == 2] = 255
    np.testing.assert_allclose(dice_loss(logits, labels), slow_dice(logits, labels), rtol=2e-6)
    confident = 50 * jax.nn.one_hot(jnp.where(labels == 255, 0, labels), K)  # perfect where labelled
    np.testing.assert_allclose(dice_loss(confident, labels), 0, atol=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_any_rank(loss):
    logits, labels, _ = example(shape=(4, 6, 8))
    for shape in [(192,), (4, 48), (2, 2, 6, 8)]:
        np.testing.assert_allclose(loss(logits.reshape(*shape, K), labels.reshape(shape)), loss(logits, labels), rtol=1e-6)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_ignored_pixels_have_no_influence(loss):
    logits, labels, _ = example()
    value, gradient = jax.value_and_grad(loss)(logits, labels)
    ignored = labels == 255
    assert not np.any(np.asarray(gradient)[ignored])
    assert np.all(np.any(np.asarray(gradient)[~ignored], axis=-1))
    logits[ignored] = 1e4
    np.testing.assert_array_equal(loss(logits, labels), value)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
@pytest.mark.parametrize("stray", [-1, -100, K, 254, 1000])
def test_labels_outside_the_classes_count_as_ignored(loss, stray):
    logits, labels, _ = example()
    np.testing.assert_array_equal(loss(logits, np.where(labels == 255, stray, labels)), loss(logits, labels))


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_the_ignore_index_may_be_a_class(loss):
    logits, labels, _ = example()
    elsewhere = np.where(labels == 0, 255, labels)
    np.testing.assert_array_equal(loss(logits, labels, ignore_index=0), loss(logits, elsewhere))


@pytest.mark.parametrize(
    "options", [{}, {"reduction": "sum"}, {"label_smoothing": 0.1}, {"class_weights": np.zeros(K)}, {"class_weights": WEIGHTS}]
)
def test_cross_entropy_of_nothing_is_zero(options):
    logits, labels, _ = example(ignored=1.0 if "class_weights" not in options or options["class_weights"].any() else 0.0)
    value, gradient = jax.value_and_grad(lambda x: cross_entropy(x, labels, **options))(logits)
    assert value == 0 and not np.any(gradient)


def test_dice_of_nothing_is_zero():
    logits, labels, _ = example(ignored=1.0)
    for options in ({}, {"smooth": 1.0}):
        value, gradient = jax.value_and_grad(lambda x, options=options: dice_loss(x, labels, **options))(logits)
        assert value == 0 and not np.any(gradient)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_computes_in_float32(loss):
    logits, labels, _ = example()
    rounded = jnp.asarray(logits, jnp.bfloat16)
    value, gradient = jax.value_and_grad(loss)(rounded, labels)
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(value, loss(rounded.astype(jnp.float32), labels))


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_large_logits_stay_finite_and_exact(loss):
    logits, labels, _ = example()
    logits = np.round(logits * 64) / 64  # so that adding 2^14 loses nothing
    np.testing.assert_allclose(loss(logits + np.float32(2**14), labels), loss(logits, labels), rtol=1e-6)
    value, gradient = jax.value_and_grad(loss)(1e30 * logits, labels)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_classes_masked_by_minus_infinity():
    logits, labels, _ = example()
    labels[labels == 4] = 3
    masked = logits.copy()
    masked[..., 4] = -np.inf
    value, gradient = jax.value_and_grad(cross_entropy)(masked, labels)
    np.testing.assert_allclose(value, cross_entropy(logits[..., :4], labels), rtol=1e-6)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_gradient_equals_central_differences(loss):
    logits, labels, _ = example(shape=(1, 2, 3))
    gradient = np.asarray(jax.grad(loss)(logits, labels))
    slow = slow_dice if loss is dice_loss else slow_cross_entropy
    for index in np.ndindex(logits.shape):
        step = np.zeros(logits.shape)
        step[index] = 1e-4
        expected = (slow(logits + step, labels) - slow(logits - step, labels)) / 2e-4
        np.testing.assert_allclose(gradient[index], expected, atol=2e-7)  # float32 terms of at most 1


LOSSES = {
    "mean": losses.cross_entropy,
    "weighted": lambda *a, **k: losses.cross_entropy(*a, class_weights=WEIGHTS, label_smoothing=0.1, **k),
    "sum": lambda *a, **k: losses.cross_entropy(*a, reduction="sum", **k),
    "dice": losses.dice_loss,
}


@pytest.mark.parametrize("transform", [jax.vmap, jax.pmap])
@pytest.mark.parametrize("name", LOSSES)
def test_shards_give_the_loss_and_gradient_of_the_whole(name, transform):
    """Four devices, one of which sees ignored pixels only: the mean of per-device losses would be far off."""
    if transform is jax.pmap and jax.local_device_count() < 4:
        pytest.skip("needs four devices")
    loss = LOSSES[name]
    logits, labels, _ = example(shape=(8, 5, 6))
    labels[2:4] = 255
    scale = jnp.linspace(0.5, 1.5, K)
    value, gradient = jax.jit(jax.value_and_grad(lambda s: loss(s * logits, labels)))(scale)

    def device(s, x, y):
        mine, slope = jax.value_and_grad(lambda s: loss(s * x, y, axis_name="device"))(s)
        return mine, jax.lax.pmean(slope, "device")

    shards = logits.reshape(4, 2, 5, 6, K), labels.reshape(4, 2, 5, 6)
    values, gradients = jax.jit(transform(device, in_axes=(None, 0, 0), axis_name="device"))(scale, *shards)
    np.testing.assert_allclose(values, np.full(4, value), rtol=1e-6)
    np.testing.assert_allclose(gradients, np.tile(gradient, (4, 1)), rtol=1e-5, atol=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reduction": "men"}, "unknown reduction 'men'; did you mean 'mean'"),
        ({"label_smoothing": 1.5}, "0..1, not 1.5"),
        ({"class_weights": np.ones(4)}, r"\(4,\).*each of 5 classes"),
        ({"pixel_weights": np.ones((4, 6))}, r"\(4, 6\).*\(4, 6, 7\)"),
    ],
)
def test_cross_entropy_refuses_what_does_not_fit(unchecked, options, message):
    logits, labels, _ = example()
    with pytest.raises(ValueError, match=message):
        cross_entropy(logits, labels, **options)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss])
def test_losses_refuse_what_does_not_fit(unchecked, loss):
    logits, labels, _ = example()
    with pytest.raises(ValueError, match="num_classes=2"):
        loss(logits[..., :1], labels)
    with pytest.raises(ValueError, match=r"\(4, 6, 6\).*\(4, 6, 7, 5\)"):
        loss(logits, labels[..., :6])
    with pytest.raises(ValueError, match="float32"):
        loss(logits, labels.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_labels_may_be_any_integers(dtype):
    logits, labels, _ = example()
    np.testing.assert_array_equal(cross_entropy(logits, labels.astype(dtype)), cross_entropy(logits, labels))


def test_class_counts():
    labels = [np.array([[0, 0, 255], [2, 2, 2]]), np.array([[1]], np.uint8), np.full((2, 2), 255)]
    counts = class_counts(iter(labels), 4)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, [[2, 0, 3, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    assert class_counts([], 4).shape == (0, 4)
    with pytest.raises(ValueError, match=r"label 1 has values 0..7; allowed are 0..3 and 255"):
        class_counts([labels[0], np.array([0, 7, 255])], 4)


def test_enet_weights():
    expected = [1 / np.log(1.02 + p) for p in (0.75, 0.25, 0)]
    for counts in ([3, 1, 0], [[2, 1, 0], [1, 0, 0]]):
        np.testing.assert_allclose(enet_weights(np.array(counts)), expected, rtol=1e-6)
    np.testing.assert_allclose(enet_weights(np.array([1, 0])), [1 / np.log(2.02), 1 / np.log(1.02)], rtol=1e-6)
    with pytest.raises(ValueError, match="above 1"):
        enet_weights(np.array([1, 1]), c=1.0)
    with pytest.raises(ValueError, match="no pixel"):
        enet_weights(np.array([0, 0]))


def test_median_frequency_weights_count_only_images_with_the_class():
    counts = np.array([[6, 2, 0, 0], [5, 0, 5, 0], [10, 0, 0, 0]])
    frequency = np.array([21 / 28, 2 / 8, 5 / 10])  # of class 1 in the first image, of class 2 in the second
    weights = median_frequency_weights(counts)
    np.testing.assert_allclose(weights, [*(0.5 / frequency), 0], rtol=1e-6)
    assert weights.dtype == np.float32


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_cross_entropy_equals_torch(reduction, smoothing, weights):
    torch = pytest.importorskip("torch")
    logits, labels, _ = example(seed=1)
    leaf = torch.tensor(np.moveaxis(logits, -1, 1).copy(), requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        leaf,
        torch.tensor(labels, dtype=torch.int64),
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=255,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    expected.backward()
    options = {"class_weights": weights, "reduction": reduction, "label_smoothing": smoothing}
    value, gradient = jax.value_and_grad(lambda x: cross_entropy(x, labels, **options))(logits)
    np.testing.assert_allclose(value, expected.item(), rtol=2e-6)  # two float32 orders of summation
    scale = leaf.grad.abs().max().item()
    np.testing.assert_allclose(gradient, np.moveaxis(leaf.grad.numpy(), 1, -1), rtol=1e-5, atol=1e-6 * scale)


def test_dice_equals_segmentation_models_pytorch():
    reference = pytest.importorskip("tests.parity.reference")
    reference.torchvision()  # without which the package cannot be imported
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch = reference.torch
    logits, labels, _ = example(seed=2)
    loss = smp.losses.DiceLoss("multiclass", ignore_index=255, smooth=0.5)
    expected = loss(torch.tensor(np.moveaxis(logits, -1, 1).copy()), torch.tensor(labels, dtype=torch.int64)).item()
    np.testing.assert_allclose(dice_loss(logits, labels, smooth=0.5), expected, rtol=2e-6)
