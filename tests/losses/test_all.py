"""What every loss of the table promises, and those without a reference against slow versions."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn import losses, tasks
from fcn.losses import parse_terms, total_loss, weighed_losses
from tests.losses.examples import CHANNELS, NAMES, call, example


@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize("name", NAMES)
def test_shards_ignored_pixels_and_extreme_logits(name, mode):
    logits, labels, distances = example(mode)
    both = jax.jit(jax.value_and_grad(lambda x, y: call(name, x, y, distances, mode)))
    value, gradient = both(logits, labels)
    ignored = np.broadcast_to((labels == 255) if mode == "multilabel" else (labels == 255)[..., None], logits.shape)
    assert np.any(gradient) and not np.any(np.asarray(gradient)[ignored])
    for scale in (0.0, 1e4, 1e30):
        assert all(np.all(np.isfinite(part)) for part in both(scale * logits, labels))
    nothing, slope = both(logits, np.full_like(labels, 255))
    assert nothing == 0 and not np.any(slope)

    def device(s, x, y, d):
        mine, slope = jax.value_and_grad(lambda s: call(name, s * x, y, d, mode, axis_name="device"))(s)
        return mine, jax.lax.pmean(slope, "device")

    shards = [a.reshape(4, 1, *a.shape[1:]) for a in (logits, labels, distances)]
    values, slopes = jax.jit(jax.vmap(device, in_axes=(None, 0, 0, 0), axis_name="device"))(1.0, *shards)
    np.testing.assert_allclose(values, np.full(4, value), rtol=1e-5)
    np.testing.assert_allclose(slopes, np.full(4, np.sum(gradient * logits)), rtol=1e-4, atol=1e-5)


def test_border_weights_equal_equation_2():
    from scipy.ndimage import distance_transform_edt

    instances = np.zeros((90, 40), int)
    instances[3:9, 4:9], instances[3:9, 12:20], instances[70:80, 5:30] = 1, 7, 3
    d1, d2 = np.sort([distance_transform_edt(instances != c) for c in (1, 3, 7)], 0)[:2]
    expected = 1 + 10 * np.exp(-((d1 + d2) ** 2) / 50)
    np.testing.assert_allclose(losses.border_weights(instances), expected, atol=2e-6)
    assert np.all(losses.border_weights(np.where(instances == 1, 1, 0)) == 1)


def test_border_cross_entropy_weighs_pixels_between_near_objects():
    label = np.ones((1, 12, 9), np.int32)
    label[0, :, 4], label[0, 5, 5:], label[0, 0, 0] = 0, 0, 255
    logits = np.random.default_rng(0).normal(size=(1, 12, 9, 2)).astype(np.float32)
    instances = np.array([[1] * 4 + [0] + [2] * 4] * 5 + [[1] * 4 + [0] * 5] + [[1] * 4 + [0] + [3] * 4] * 6)
    weights = losses.border_weights(instances, w0=3.0, sigma=2.0)[None]
    assert weights[0, 5, 8] > 2 > weights[0, 11, 0] > 1
    expected = losses.cross_entropy(logits, label, pixel_weights=weights, class_weights=[1, 2])
    task = tasks.make(
        "semantic", ["membrane", "cell"], terms=losses.parse_terms("border(w0=3.0,sigma=2.0,class_weights=[1,2])")
    )
    targets = task.targets({"image": None, "label": label[0], "name": "x"})
    batch = {name: values[None] for name, values in targets.items()}
    np.testing.assert_allclose(task.loss(logits, batch), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"sigma be above 0; given are 10.0 and 0.0"):
        losses.border_cross_entropy(logits, label, distances=batch["border_distances"], sigma=0.0)
    with pytest.raises(ValueError, match=r"distances \(1, 12, 9, 2\) must have the shape of the pixels, \(1, 12, 9, 1\)"):
        losses.border_cross_entropy(logits, label, distances=logits)


@pytest.mark.parametrize("terms", ["border(sigma=30.0)", "border(w0=1.0,sigma=30.0)+2*border(sigma=2.0)"])
@pytest.mark.parametrize("name", ["semantic", "binary", "boundary"])
def test_tasks_see_all_objects_that_add_to_a_weight(name, terms):
    """As far as sigma asks for; of several terms the widest."""
    instances = np.zeros((3, 100), np.int32)
    instances[:, :6], instances[:, 86:] = 1, 2
    task = tasks.make(name, ["cell"] if name == "boundary" else ["ground", "cell"], terms=terms)
    label = instances if name == "boundary" else np.minimum(instances, 1)
    found = task.targets({"image": None, "label": label, "name": "x"})["border_distances"][..., 0]
    expected = losses.border_weights(instances, w0=10.0, sigma=30.0)
    assert 1.2 < expected[0, 5] < 1.3 and expected[0, 45] < 1.3
    np.testing.assert_allclose(1 + 10 * np.exp(-(found**2) / 1800), expected, rtol=1e-6)


def test_topk_and_ohem_keep_the_hardest():
    logits, labels, _ = example("multiclass")
    each = -np.asarray(jax.nn.log_softmax(logits))[labels != 255, labels[labels != 255]]
    hardest = np.sort(each)[::-1]
    top = losses.topk_cross_entropy(logits, labels, keep=0.25)
    np.testing.assert_allclose(top, hardest[: int(np.ceil(0.25 * each.size))].mean(), rtol=1e-5)
    ohem = losses.ohem_cross_entropy(logits, labels, threshold=0.2, min_kept=1)
    np.testing.assert_allclose(ohem, each[each > -np.log(0.2)].mean(), rtol=1e-5)
    np.testing.assert_allclose(
        losses.ohem_cross_entropy(logits, labels, threshold=0.0, min_kept=7), hardest[:7].mean(), rtol=1e-5
    )


def test_signed_distances_and_boundary_loss():
    distances = losses.signed_distances(np.array([[0, 0, 1, 1, 1]]), 2)
    np.testing.assert_array_equal(distances[0, :, 1], [2, 1, 0, -1, -2])
    perfect = jnp.array([[0, 0, 1, 1, 1]])[..., None] * 200.0 - 100
    assert losses.boundary_loss(perfect, np.array([[0, 0, 1, 1, 1]]), "binary", distances=distances[..., 1:]) == pytest.approx(
        -0.6
    )


def test_regression():
    predictions, targets = jnp.array([[0.0], [1.0], [5.0]]), np.array([[0.5], [np.nan], [1.0]], np.float32)
    assert losses.l1_loss(predictions, targets) == pytest.approx((0.5 + 4) / 2)
    assert losses.huber_loss(predictions, targets) == pytest.approx((0.125 + 3.5) / 2)


def test_terms():
    logits, labels, _ = example("multiclass")
    terms = losses.parse_terms("0.5*ce + 2*tversky(alpha=0.3,classes=[1,2])")
    expected = 0.5 * losses.cross_entropy(logits, labels) + 2 * losses.tversky_loss(logits, labels, alpha=0.3, classes=[1, 2])
    np.testing.assert_allclose(losses.total_loss(terms, logits, labels), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "text, message",
    [
        ("0.5*cee", "unknown loss 'cee'; did you mean 'ce'"),
        ("dice(smoth=1)", "unknown option of dice 'smoth'; did you mean 'smooth'"),
        ("0*ce", "above 0"),
        ("ce+", "is no term of a loss"),
        ("ce+l1", "mixes"),
    ],
)
def test_terms_that_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        losses.parse_terms(text)


def test_the_docs_name_every_loss_with_its_paper():
    page = (Path(__file__).resolve().parents[2] / "docs" / "losses.md").read_text()
    for name, row in losses.LOSSES.items():
        assert f"| `{name}` | `{row.function.__name__}` | {row.paper} |" in page, name


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("ce(label_smoothing=0.1)", True),
        ("ce(reduction=sum)", False),
        ("2*ce(class_weights=[1,2,5])", True),
        ("focal", True),
        ("focal(normalized=true)", False),
        ("dice", False),
    ],
)
def test_the_loss_of_several_batches_is_that_of_all_images_where_it_is_a_mean_by_weights(text, whole):
    """Of others each batch weighs as much as it has images."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 3, 4, 3)).astype(np.float32), rng.integers(0, 3, (5, 3, 4)).astype(np.int32)
    labels[:2, 1:] = 255
    terms = parse_terms(text)
    parts = [slice(0, 2), slice(2, 5)]
    rows = [weighed_losses(terms, logits[p], labels[p], jnp.float32(p.stop - p.start)) for p in parts]
    values, weights = np.array(rows)[:, 0].T
    np.testing.assert_allclose(values, [total_loss(terms, logits[p], labels[p]) for p in parts], rtol=1e-6)
    if whole:
        np.testing.assert_allclose(np.average(values, weights=weights), total_loss(terms, logits, labels), rtol=1e-5)
    else:
        np.testing.assert_array_equal(weights, [2, 3])


def test_values_weigh_as_many_as_are_known():
    targets = np.array([[1.0], [np.nan], [3.0]], np.float32)
    (row,) = weighed_losses(parse_terms("3*l1"), np.zeros((3, 1), np.float32), targets, jnp.float32(1))
    np.testing.assert_allclose(row, [6, 2])
