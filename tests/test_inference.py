"""Whole-image prediction."""

import flax.linen as nn
import jax
import numpy as np
import pytest

import fcn
from fcn.inference import Ensemble, make_predictor
from fcn.models.unet2015 import output_size
from fcn.preprocessing import Preprocessing


def test_images_that_need_their_own_range_are_refused():
    """Unless it is said that they were brought to it."""
    model, record = fcn.create_model("unet", num_classes=2, base_features=2, depth=1), Preprocessing(per_image="percentiles")
    with pytest.raises(ValueError, match=r"each image by its own percentiles; take fcn\.inference\.Predictor"):
        make_predictor(model, record)
    assert record.as_read() == Preprocessing() and callable(make_predictor(model, record.as_read()))


@pytest.mark.parametrize("size", [(1, 1), (20, 33), (90, 41)])
def test_the_classes_of_valid_convolutions_lie_where_their_pixels_are(size):
    """Against the plain way: mirror far beyond the image, and pick the logits that belong to its pixels."""
    model = fcn.create_model("unet2015", num_classes=4, base_features=2, depth=2)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 92, 92, 3), np.float32))
    image = np.random.default_rng(0).integers(0, 256, (1, *size, 3)).astype(np.uint8)
    side = 92 + 4 * 18
    margin = (side - output_size(side, 2)) // 2
    around = [(margin, side - margin - length) for length in size]
    padded = np.pad(image, ((0, 0), *around, (0, 0)), mode="symmetric")
    expected = np.argmax(model.apply(variables, (padded / 255 - 0.5) / 0.25), axis=-1)[:, : size[0], : size[1]]
    given = make_predictor(model, Preprocessing((0.5,) * 3, (0.25,) * 3))(variables, image)
    assert given.shape == (1, *size)
    assert np.mean(given == expected) > 0.999  # rounding may decide between two classes


class _Affine(nn.Module):
    """Logits of two classes: the value of the pixel by the first weight, and by the second."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return x * self.param("w", nn.initializers.ones, (2,))


@pytest.mark.parametrize(
    ("name", "probabilities"),
    [
        ("semantic", lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        ("multilabel", lambda x: 1 / (1 + np.exp(-x))),
        ("regression", lambda x: x),
    ],
)
def test_an_ensemble_gives_the_mean_of_probabilities_or_values(name, probabilities):
    weights = np.array([[0.0, 2.0], [1.0, 0.0], [0.0, -1.0]], np.float32)
    images = np.linspace(-3, 3, 12, dtype=np.float32).reshape(1, 3, 4, 1)
    logits = Ensemble(_Affine(), fcn.tasks.make(name, ["a", "b"]), 3).apply({"params": {"w": weights}}, images)
    expected = np.mean([probabilities(images * w) for w in weights], 0)
    np.testing.assert_allclose(probabilities(np.asarray(logits)), expected, rtol=1e-5)
