"""Gradients in parts, and with less kept for the backward pass, equal the plain ones."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fcn
from fcn.layers import BatchNorm, Network, PointwiseConv
from fcn.losses import cross_entropy, dice_loss
from fcn.training import create_state, make_train_step
from fcn.training.remat import rematerialised


class _Block(nn.Module):
    norm: bool

    @nn.compact
    def __call__(self, x, *, train=False):
        x = PointwiseConv(4, name="conv")(x)
        return nn.relu(BatchNorm(name="bn")(x, train=train) if self.norm else x)


class _Net(Network):
    norm: bool = True

    @nn.compact
    def __call__(self, x, *, train=False):
        x = _Block(self.norm, name="first")(x, train=train)
        return PointwiseConv(2, name="head")(_Block(self.norm, name="second")(x, train=train))


def _batch():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 4, 4, 3)).astype(np.float32)
    labels = (images.sum(-1) > 0).astype(np.int32)
    labels[:3] = np.where(rng.random((3, 4, 4)) < 0.8, 255, labels[:3])  # parts weigh differently
    return images, labels


def _objective(logits, labels):
    return cross_entropy(logits, labels) + dice_loss(logits, labels)


def test_a_step_in_parts_equals_one_of_the_whole_batch_for_losses_of_any_kind():
    model, tx = _Net(norm=False), optax.sgd(0.5)
    state = create_state(model, tx, jax.random.key(0), (4, 4, 3))
    results = [
        jax.jit(make_train_step(model, tx, _objective, lambda batch: batch, key=jax.random.key(1), accumulate=parts))(
            state, _batch()
        )
        for parts in (1, 4)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *results)
    assert not np.array_equal(results[0][0].params["head"]["kernel"], state.params["head"]["kernel"])


@pytest.mark.parametrize(("what", "count"), [("blocks", 2), ("all", 1)])
def test_what_is_computed_again_changes_no_gradient(what, count):
    model, (images, labels) = _Net(), _batch()
    variables = model.init(jax.random.key(0), images)

    def network(params, images):
        return model.apply({**variables, "params": params}, images, train=True, mutable=["batch_stats"])

    def loss(params, function):
        logits, new = function(params, images)
        return cross_entropy(logits, labels), new

    def kept(function):
        """Bytes between forward and backward pass."""
        pull_back = jax.eval_shape(lambda params: jax.vjp(lambda p: loss(p, function)[0], params)[1], variables["params"])
        return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pull_back))

    def gradient(function):
        return jax.grad(lambda params: loss(params, function), has_aux=True)

    again = rematerialised(network, what)
    forward = jax.make_jaxpr(lambda params: loss(params, again)[0])(variables["params"])
    assert len(re.findall(r"\b(remat2?|checkpoint)\[", str(forward))) == count
    assert kept(again) < kept(network)
    pair = jax.jit(lambda params: [gradient(function)(params) for function in (network, again)])(variables["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *pair)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [("plain_conv_unet", {}, 3), ("residual_encoder_unet", {"n_blocks_per_stage": (1, 2)}, 5)],
)
def test_blocks_of_encoders_are_computed_again_one_by_one(name, options, count):
    model, x = fcn.create_model(name, num_classes=2, features_per_stage=(2, 2), **options), jnp.zeros((1, 8, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    program = jax.make_jaxpr(rematerialised(model.apply, "blocks"))(variables, x)
    assert len(re.findall(r"\b(remat2?|checkpoint)\[", str(program))) == count


def test_a_step_takes_parts_blocks_and_statistics_together():
    """BatchNorm takes those of each part, one after the other."""
    model, tx = _Net(), optax.sgd(0.0)
    images, labels = _batch()
    state = create_state(model, tx, jax.random.key(0), (4, 4, 3))
    options = {"key": jax.random.key(1), "accumulate": 2, "remat": "blocks"}
    new, _ = jax.jit(make_train_step(model, tx, _objective, lambda batch: batch, **options))(state, (images, labels))
    mean = jnp.zeros(4)
    for part in (images[::2], images[1::2]):
        x = part @ state.params["first"]["conv"]["kernel"][0, 0] + state.params["first"]["conv"]["bias"]
        mean = 0.9 * mean + 0.1 * x.mean((0, 1, 2))
    np.testing.assert_allclose(new.model_state["batch_stats"]["first"]["bn"]["mean"], mean, rtol=1e-4, atol=1e-6)
