"""Frozen parts, and parts that learn more slowly."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fcn.layers import BatchNorm, PointwiseConv
from fcn.losses import cross_entropy
from fcn.training import OptimizerConfig, create_state, make_optimizer, make_train_step
from fcn.training.finetuning import learning_rates


class _Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return BatchNorm(name="bn")(PointwiseConv(3, name="conv")(x), train=train)


class _Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return PointwiseConv(2, name="head")(_Encoder(name="encoder")(x, train=train))


def _tree(*paths):
    return unflatten_dict({tuple(path.split("/")): jnp.ones(1) for path in paths})


def test_a_frozen_encoder_keeps_parameters_and_statistics_until_it_is_unfrozen():
    images = np.random.default_rng(0).normal(2.0, 1.0, (2, 4, 4, 3)).astype(np.float32)
    labels = (images.sum(-1) > 6).astype(np.int32)
    frozen = {"frozen": ("encoder",), "unfreeze_after": 2}
    tx = make_optimizer(OptimizerConfig("sgd", learning_rate=0.1, momentum=0.0, schedule="constant", warmup=0.0), 9, **frozen)
    model = _Net()
    states = [create_state(model, tx, jax.random.key(0), (4, 4, 3))]
    step = jax.jit(make_train_step(model, tx, cross_entropy, lambda batch: batch, key=jax.random.key(1), **frozen))
    losses = []
    for _ in range(3):
        state, metrics = step(states[-1], (images, labels))
        states.append(state)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[0], cross_entropy(model.apply(states[0].variables, images), labels), rtol=1e-5)

    def moved(a, b):
        pairs = zip(flatten_dict(a.variables).items(), flatten_dict(b.variables).values())
        return {"/".join(path[1:3]) for (path, x), y in pairs if not np.array_equal(x, y)}

    assert moved(states[0], states[2]) == {"head/kernel", "head/bias"}
    # The bias before BatchNorm has no gradient but rounding.
    assert moved(states[2], states[3]) >= {"head/kernel", "head/bias", "encoder/conv", "encoder/bn"}
    assert not np.array_equal(*(s.model_state["batch_stats"]["encoder"]["bn"]["mean"] for s in states[2:]))


def test_what_is_unfrozen_begins_with_fresh_moments_and_the_rate_of_the_others():
    config = OptimizerConfig("adam", learning_rate=0.1, schedule="poly", warmup=0.0, weight_decay=0.0)
    tx = make_optimizer(config, 10, frozen=("encoder",), unfreeze_after=5)
    params = _tree("encoder/conv/kernel", "head/kernel")
    state, update = tx.init(params), jax.jit(tx.update)
    for step in range(6):
        updates, state = update(params, state, params)
        rate = -0.1 * (1 - step / 10) ** 0.9
        np.testing.assert_allclose(updates["head"]["kernel"], rate, rtol=1e-4)
        np.testing.assert_allclose(updates["encoder"]["conv"]["kernel"], rate if step == 5 else 0.0, rtol=1e-4)


def test_frozen_parameters_take_no_memory_of_the_optimizer():
    params = _tree("encoder/conv/kernel", "head/kernel")
    sizes = [
        sum(x.size for x in jax.tree.leaves(make_optimizer(OptimizerConfig(), 9, frozen=frozen).init(params)))
        for frozen in ((), ("encoder",))
    ]
    assert sizes[0] - sizes[1] == 2  # both moments


@pytest.mark.parametrize(
    ("paths", "layers"),
    [
        (
            "patch_embed/proj/kernel pos_embed blocks_0/norm1/scale blocks_1/mlp/fc1/kernel blocks_10/attn/qkv/bias",
            [4, 4, 3, 2, 1],
        ),
        (
            "patch_embed1/norm/x block1_0/norm1/x block1_1/norm1/x norm1/x patch_embed2/proj/kernel block2_0/x norm2/x",
            [4, 3, 2, 2, 2, 1, 0],
        ),
        (
            "patch_embed/norm/x layers_0/blocks_0/x layers_1/downsample/norm/x layers_1/blocks_0/x layers_1/blocks_1/x",
            [4, 3, 3, 2, 1],
        ),
        ("stem_0/x stages_0/blocks_0/x stages_1/downsample_1/x stages_1/blocks_0/x", [3, 2, 2, 1]),
    ],
)
def test_the_rate_of_a_transformer_s_layers_falls_from_block_to_block(paths, layers):
    inside = [f"encoder/{path}" for path in paths.split()]
    rates = learning_rates(_tree(*inside, "head/kernel", "head/bias"), layer_decay=0.5, encoder_rate=0.1, bias_rate=2.0)
    assert rates["head"] == {"kernel": 1.0, "bias": 2.0}
    found = flatten_dict(rates, sep="/")
    expected = [0.1 * 0.5**n * (2 if path.endswith("bias") else 1) for path, n in zip(inside, layers)]
    np.testing.assert_allclose([found[path] for path in inside], expected, rtol=1e-12)


def test_the_encoder_learns_at_its_rate_and_decays_at_it():
    config = OptimizerConfig("adamw", learning_rate=0.1, encoder_rate=0.1, weight_decay=0.5, schedule="constant", warmup=0.0)
    tx, params = make_optimizer(config, 9, encoder="backbone"), _tree("backbone/conv/kernel", "head/kernel")
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.1 * (1 + 0.5), rtol=1e-5)
    np.testing.assert_allclose(updates["backbone"]["conv"]["kernel"], -0.01 * (1 + 0.5), rtol=1e-5)


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (
            "encoder/conv/kernel head/kernel",
            {"frozen": ("encodr",)},
            "unknown part of the network 'encodr'; did you mean 'encoder'",
        ),
        ("encoder/conv/kernel head/kernel", {"frozen": ("encoder/cnv",)}, "did you mean 'encoder/conv'"),
        ("encoder/conv/kernel head/kernel", {"frozen": ("encoder", "head")}, "encoder, head is all of the network"),
        ("conv/kernel head/kernel", {"config": {"encoder_rate": 0.1}}, "this one has none: leave them out"),
        ("encoder/layer1_0/kernel head/kernel", {"config": {"layer_decay": 0.9}}, "layer_decay is for encoders of blocks"),
    ],
)
def test_parts_that_are_not_there_are_refused(paths, options, message):
    params = _tree(*paths.split())
    tx = make_optimizer(OptimizerConfig(**options.get("config", {})), 9, frozen=options.get("frozen", ()))
    with pytest.raises(ValueError, match=message):
        tx.update(params, tx.init(params), params)
