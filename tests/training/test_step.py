"""The training step against a hand-written one."""

import hashlib
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fcn.layers import BatchNorm, PointwiseConv
from fcn.losses import cross_entropy
from fcn.training import OptimizerConfig, create_state, make_optimizer, make_train_step, parameter_digest, scanned
from fcn.training.step import crop_to


class _Net(nn.Module):
    """A scoring layer on normalised pixels, with an auxiliary head."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = BatchNorm(name="bn")(x, train=train)
        if self.is_initializing() or self.is_mutable_collection("aux_logits"):
            aux = PointwiseConv(2, name="aux")(x)
            if not self.is_initializing():
                self.sow("aux_logits", "aux_out", aux)
        return PointwiseConv(2, name="head")(x)


def _batch():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    return images, (images.sum(-1) > 0).astype(np.int32)


def test_step_equals_plain_gradient_descent_with_an_auxiliary_loss():
    model, tx = _Net(), optax.sgd(0.1)
    images, labels = _batch()
    state = create_state(model, tx, jax.random.key(0), (4, 4, 3), ema=True)
    assert set(state.model_state) == {"batch_stats"}
    step = make_train_step(model, tx, cross_entropy, lambda batch: batch, key=jax.random.key(1), aux_weight=0.5, ema_decay=0.99)
    new, metrics = jax.jit(step)(state, (images, labels))

    def loss(params):
        mean, var = images.mean((0, 1, 2)), images.var((0, 1, 2))
        x = (images - mean) / np.sqrt(var + 1e-5) * params["bn"]["scale"] + params["bn"]["bias"]

        def one(head):
            logits = x @ head["kernel"][0, 0] + head["bias"]
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return one(params["head"]) + 0.5 * one(params["aux"])

    value, gradient = jax.value_and_grad(loss)(state.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], optax.tree.norm(gradient), rtol=1e-4)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), new.params, expected)
    np.testing.assert_allclose(new.model_state["batch_stats"]["bn"]["mean"], 0.1 * images.mean((0, 1, 2)), rtol=1e-4)
    # The average's decay starts at 1/10, so that it forgets the initial values.
    average = 0.1 * state.params["head"]["kernel"] + 0.9 * expected["head"]["kernel"]
    np.testing.assert_allclose(new.ema["params"]["head"]["kernel"], average, rtol=1e-4, atol=1e-6)
    assert int(new.step) == 1


def test_an_update_that_is_not_finite_is_dropped_and_counted():
    model, tx = _Net(), optax.adam(0.1)
    images, labels = _batch()
    step = jax.jit(make_train_step(model, tx, cross_entropy, lambda batch: batch, key=jax.random.key(1), ema_decay=0.9))
    states = [create_state(model, tx, jax.random.key(0), (4, 4, 3), ema=True, skip=True)]
    found = []
    for factor in (1.0, np.nan, np.inf, 1.0):
        state, metrics = step(states[-1], (images * np.float32(factor), labels))
        states.append(state)
        found.append([int(metrics[name]) for name in ("skipped", "skipped_in_a_row")])
    assert found == [[0, 0], [1, 1], [2, 2], [2, 0]]
    for dropped in states[2:4]:
        pairs = zip(*(jax.tree.leaves(state.replace(step=0, skipped=None)) for state in (dropped, states[1])))
        assert all(np.array_equal(a, b) for a, b in pairs)
    assert [int(state.step) for state in states] == [0, 1, 2, 3, 4]
    assert not np.array_equal(states[4].params["head"]["kernel"], states[3].params["head"]["kernel"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[4]))


def test_a_dropped_update_does_not_count_for_the_end_of_freezing():
    model, config = _Net(), OptimizerConfig("sgd", learning_rate=0.1, schedule="constant", warmup=0.0)
    frozen = {"frozen": ("head",), "unfreeze_after": 1}
    tx, (images, labels) = make_optimizer(config, 9, **frozen), _batch()
    state = create_state(model, tx, jax.random.key(0), (4, 4, 3), skip=True)
    step = make_train_step(model, tx, cross_entropy, lambda batch: batch, key=jax.random.key(1), **frozen)
    compiled, kernels = jax.jit(step), [state.params["head"]["kernel"]]
    for factor in (np.nan, 1.0, 1.0):
        state, _ = compiled(state, (images * np.float32(factor), labels))
        kernels.append(state.params["head"]["kernel"])
    assert [bool(np.array_equal(a, b)) for a, b in itertools.pairwise(kernels)] == [True, True, False]


def test_labels_are_cropped_to_the_middle():
    labels = jnp.arange(36).reshape(1, 6, 6)
    np.testing.assert_array_equal(crop_to(labels, (2, 4)), labels[:, 2:4, 1:5])


def test_digest_is_sha256_over_the_bytes_in_order_of_paths():
    a, b = np.arange(3, dtype=np.float32), np.ones(2, np.float32)
    expected = hashlib.sha256(a.tobytes() + b.tobytes()).hexdigest()
    assert parameter_digest({"z": {"kernel": b}, "a": {"kernel": a}}) == expected


def test_scanned_steps_are_those_steps_one_after_the_other():
    def step(state, batch):
        new = {"count": state["count"] + 1, "sum": 0.5 * state["sum"] + batch["x"]}
        return new, {"loss": new["sum"] * state["count"]}

    state = {"count": jnp.zeros((), jnp.int32), "sum": jnp.float32(4)}
    batches = tuple({"x": jnp.float32(x)} for x in (1, 2, 3))
    given, metrics = jax.jit(scanned(step))(state, batches)
    losses = []
    for batch in batches:
        state, each = step(state, batch)
        losses.append(each["loss"])
    assert given == state and metrics["loss"].tolist() == losses
