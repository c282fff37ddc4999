"""Prediction with dropout, and several results of one run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn import tasks
from fcn.inference import Predictor
from fcn.inference.dropout import Dropout
from fcn.inference.probabilities import entropy
from fcn.inference.program import Program
from fcn.layers import Conv, PointwiseConv
from fcn.preprocessing import Preprocessing
from tests.variables import random_variables, shapes_of

PLAIN = Preprocessing((0.5,), (0.5,))


class Net(nn.Module):
    """Layers that training changes; `drops`: with dropout also in evaluation."""

    drops: bool = False

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.BatchNorm(use_running_average=not train, name="norm")(Conv(6, 3, name="conv")(x))
        x = nn.Dropout(0.5, deterministic=not (train or self.drops))(nn.relu(x))
        return PointwiseConv(3, name="head")(x)


VARIABLES = random_variables(Net(), 1, 16, 16, 1)
PHOTO = np.random.default_rng(0).integers(0, 256, (16, 16, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def dropping():
    return Predictor(Net(), VARIABLES, PLAIN, bucket=None, dropout=3, seed=5)


def test_samples_are_averaged(dropping):
    """Dropout as in training, BatchNorm as in evaluation."""
    apply = jax.jit(Net(drops=True).apply)
    keys = [jax.random.split(key, 1)[0] for key in Dropout(3, 5).keys]
    each = [jax.nn.softmax(apply(VARIABLES, PLAIN.apply(PHOTO[None]), rngs={"dropout": key}))[0] for key in keys]
    assert np.abs(each[0] - each[1]).max() > 0.05
    mean, expected = np.mean(each, 0), np.mean([entropy(one, "multiclass") for one in each], 0)
    of_mean = np.asarray(entropy(jnp.asarray(mean), "multiclass"))
    np.testing.assert_allclose(dropping.probabilities(PHOTO), mean, atol=1e-6)
    np.testing.assert_array_equal(dropping(PHOTO), mean.argmax(-1))
    found = dropping.uncertainty(PHOTO)
    np.testing.assert_allclose(found.entropy, of_mean, atol=1e-5)
    np.testing.assert_allclose(found.mutual_information, of_mean - expected, atol=1e-5)
    assert not np.array_equal(*(jax.random.key_data(Dropout(3, seed).keys) for seed in (5, 6)))


def test_results_of_one_run(dropping, monkeypatch):
    """Are those of runs of their own, in tiles and at another size, too."""
    kinds, calls, run = ("scores", "probabilities", "uncertainty"), [], Program.__call__
    photo = np.random.default_rng(1).integers(0, 256, (30, 30, 1)).astype(np.uint8)
    asked = ((dropping, {"size": (16, 16)}), (Predictor(Net(), VARIABLES, PLAIN, bucket=None), {"tile": 14}))
    for predictor, how in asked:
        expected = [getattr(predictor, kind)(photo, **how) for kind in kinds]
        with monkeypatch.context() as patch:
            patch.setattr(Program, "__call__", lambda *args, **known: calls.append(args) or run(*args, **known))
            found = predictor.results(photo, kinds, **how)
        np.testing.assert_array_equal(found["scores"], expected[0])
        np.testing.assert_allclose(found["probabilities"], expected[1], atol=1e-6)
        np.testing.assert_allclose(found["uncertainty"], expected[2], atol=1e-6)
    assert len(calls) == 1 + 4  # once, and once a tile


def test_that_tiles_drop_alike_is_said_once(dropping):
    photo = np.zeros((30, 30, 1), np.uint8)
    with pytest.warns(UserWarning, match="all tiles drop the same features, so that the result is not that") as told:
        assert dropping.parts(photo, tile=14).count == dropping.parts(photo, tile=14).count > 1
    assert len(told) == 1


def test_what_is_refused(dropping):
    model = fcn.create_model("unet", num_classes=3, base_features=2, depth=1)
    with pytest.raises(ValueError, match=r"^UNet drops nothing as it is, so that all samples were one; leave dropout out"):
        Predictor(model, shapes_of(model, 1, 16, 16, 3), Preprocessing(), dropout=2)
    with pytest.raises(ValueError, match="dropout=-1; give the number of times"):
        Predictor(Net(), VARIABLES, PLAIN, dropout=-1)
    values = Predictor(Net(), VARIABLES, PLAIN, tasks.make("regression", [*"abc"]), dropout=3, bucket=None)
    with pytest.raises(ValueError, match="'regression' has values, not probabilities"):
        values.results(PHOTO, ("scores",))
