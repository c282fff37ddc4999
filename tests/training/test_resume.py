"""A checkpoint holds all that a step needs, with every option of the trainer switched on."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fcn.layers import BatchNorm, Network, PointwiseConv
from fcn.losses import cross_entropy
from fcn.training import Best, OptimizerConfig, abstract_state, create_state, make_optimizer, make_train_step
from fcn.training.checkpoint import Checkpoints, restore


class _Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.relu(BatchNorm(name="bn")(PointwiseConv(3, name="conv")(x), train=train))


class _Net(Network):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dropout(0.5, deterministic=not train)(_Encoder(name="encoder")(x, train=train))
        return PointwiseConv(2, name="head")(x)


def _batch(step):
    images = np.random.default_rng(step).normal(size=(4, 4, 4, 3)).astype(np.float32)
    return images * np.float32(np.nan if step == 2 else 1), (images.sum(-1) > 0).astype(np.int32)


def test_what_goes_on_from_a_checkpoint_ends_with_the_same_bits(tmp_path):
    """Killed before the encoder is unfrozen, after an update that was dropped."""
    frozen = {"frozen": ("encoder",), "unfreeze_after": 4}
    config = OptimizerConfig("adamw", schedule="one-cycle", warmup=0.3, bias_rate=2.0, encoder_rate=0.1, clip_norm=1.0)
    model, tx = _Net(), make_optimizer(config, 6, **frozen)
    options = {"key": jax.random.key(1), "ema_decay": 0.9, "accumulate": 2, "remat": "blocks", **frozen}
    step = jax.jit(make_train_step(model, tx, cross_entropy, lambda batch: batch, **options))
    state = create_state(model, tx, jax.random.key(0), (4, 4, 3), ema=True, skip=True)
    best = Best("val/loss", patience=3)
    for number in range(6):
        if number == 3:
            with Checkpoints(tmp_path) as checkpoints:
                best.update({"val/loss": 0.25})
                checkpoints.save(number, state, {"best": best.get_state()}, {})
        state, _ = step(state, _batch(number))
    template = abstract_state(model, tx, (4, 4, 3), ema=True, skip=True)
    template = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), template)
    again, progress = restore(tmp_path, 3, template)
    assert progress == {"best": best.get_state()} and list(again.skipped) == [1, 1]
    for number in range(3, 6):
        again, _ = step(again, _batch(number))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)
