"""A checkpoint holds all that a step needs, with every option of the trainer switched on."""

import operator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fcn.layers import BatchNorm, Network, PointwiseConv
from fcn.losses import cross_entropy
from fcn.parallel import Pmapped, Sharded
from fcn.training import Best, OptimizerConfig, abstract_state, create_state, make_optimizer, make_train_step, scanned
from fcn.training.checkpoint import Checkpoints, restore


class _Block(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = PointwiseConv(3, dtype=jnp.bfloat16, name="conv")(x)
        return nn.relu(BatchNorm(dtype=jnp.bfloat16, name="bn")(x, train=train))


class _Net(Network):
    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dropout(0.5, deterministic=not train)(_Block(name="encoder")(x, train=train))
        if self.is_initializing() or self.is_mutable_collection("aux_logits"):
            coarse = PointwiseConv(2, name="coarse_head")(x)
            if not self.is_initializing():
                self.sow("aux_logits", "coarse_1", coarse)
        return PointwiseConv(2, name="head")(x)


def _batch(step):
    images = np.random.default_rng(step).normal(size=(4, 4, 4, 3)).astype(np.float32)
    label = (images.sum(-1) > 0).astype(np.int32)
    return {"image": images * np.float32(np.nan if step == 3 else 1), "label": label}


@pytest.mark.skipif(jax.device_count() < 4, reason="takes four devices: --xla_force_host_platform_device_count=8")
def test_what_goes_on_from_a_checkpoint_ends_with_the_same_bits(tmp_path):
    """Killed before the encoder is unfrozen, after an update that was dropped; images and parameters are divided among devices,
    and two steps are a program."""
    frozen = {"frozen": ("encoder",), "unfreeze_after": 5}
    config = OptimizerConfig("adamw", schedule="one-cycle", warmup=0.3, bias_rate=2.0, encoder_rate=0.1, clip_norm=1.0)
    model, tx = _Net(), make_optimizer(config, 8, **frozen)
    options = {"key": jax.random.key(1), "ema_decay": 0.9, "accumulate": 2, "remat": "blocks", **frozen}
    parallel, best = Sharded(jax.devices()[:4], height=2, shard_params=True), Best("val/loss", patience=3)
    prepare = operator.itemgetter("image", "label")
    step = parallel.train_step(make_train_step(model, tx, cross_entropy, prepare, **options), scanned)

    def run(state, programs):
        for first in programs:
            state, _ = step(state, tuple(parallel.put_batch(_batch(number)) for number in (first, first + 1)))
        return state

    state = parallel.put_state(create_state(model, tx, jax.random.key(0), (4, 4, 3), ema=True, skip=True))
    state = run(state, (0, 2))
    with Checkpoints(tmp_path) as checkpoints:
        best.update({"val/loss": 0.25})
        checkpoints.save(4, parallel.get_state(state), {"best": best.get_state()}, {})
    state = run(state, (4, 6))
    template = abstract_state(model, tx, (4, 4, 3), ema=True, skip=True)
    template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
    again, progress = restore(tmp_path, 4, parallel.restorable(template))
    assert progress == {"best": best.get_state()} and list(np.asarray(again.skipped)) == [1, 1]
    again = run(again, (4, 6))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)


class _Plain(Network):
    """No bias before BatchNorm, which takes it away: its gradient would be rounding, which Adam makes as large as any other."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = BatchNorm(axis_name=self.axis_name, name="bn")(PointwiseConv(8, use_bias=False, name="conv")(x), train=train)
        return PointwiseConv(2, name="head")(nn.relu(x))


def _numbered(step):
    images = np.random.default_rng(step).normal(size=(8, 4, 4, 3)).astype(np.float32)
    return {"image": images, "label": (images.sum(-1) > 0).astype(np.int32)}


class _Training:
    """Six steps of a small network, some on these devices and some on those."""

    def __init__(self, way, devices):
        self.parallel, self.tx = way(jax.devices()[:devices]), optax.adamw(1e-2)
        axis_name = self.parallel.axis_name

        def objective(logits, labels):
            return cross_entropy(logits, labels, axis_name=axis_name)

        def prepare(batch):
            return batch["image"], batch["label"]

        options = {"key": jax.random.key(1), "ema_decay": 0.9, "axis_name": axis_name}
        step = make_train_step(_Plain(axis_name=axis_name), self.tx, objective, prepare, **options)
        self.step = self.parallel.train_step(step)

    def begin(self):
        state = create_state(_Plain(), self.tx, jax.random.key(0), (4, 4, 3), ema=True)
        return jax.tree.map(np.array, state)  # a step consumes what it gets

    def run(self, state, steps):
        for number in steps:
            state, _ = self.step(state, self.parallel.put_batch(_numbered(number)))
        return state


@pytest.fixture(scope="module")
def straight():
    """The state after six steps on one device."""
    training = _Training(Sharded, 1)
    return jax.tree.map(np.asarray, training.run(training.parallel.put_state(training.begin()), range(6)))


@pytest.mark.skipif(jax.device_count() < 8, reason="takes eight devices: --xla_force_host_platform_device_count=8")
@pytest.mark.parametrize(
    "way", [Sharded, lambda devices: Sharded(devices, shard_params=True), Pmapped], ids=["jit", "shard-params", "pmap"]
)
def test_a_run_goes_on_with_other_devices(way, straight, tmp_path):
    """Two steps on four, two on two and two on eight of them: up to rounding those of one."""
    for begun, devices in ((0, 4), (2, 2), (4, 8)):
        training = _Training(way, devices)
        parallel, state = training.parallel, training.begin()
        if begun:
            state, _ = restore(tmp_path, begun, parallel.restorable(state))
        state = training.run(parallel.put_state(state), range(begun, begun + 2))
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(begun + 2, parallel.get_state(state), {}, {})
    if getattr(parallel, "shard_params", False):  # the matrix of 3 x 8 and its moments; two classes do not divide by eight
        kernels = [tree["conv"]["kernel"] for tree in (state.params, state.opt_state[0].mu, state.ema["params"])]
        assert {kernel.addressable_shards[0].data.size for kernel in kernels} == {3}
        assert state.params["head"]["bias"].addressable_shards[0].data.size == 2
    for (path, given), expected in zip(
        jax.tree.leaves_with_path(parallel.whole(state)), jax.tree.leaves(straight), strict=True
    ):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))
