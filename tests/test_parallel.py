"""One device, eight sharded and eight under pmap must train and evaluate alike."""

from types import SimpleNamespace
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fcn
from fcn.data import Prepared, eval_batches, normalise
from fcn.losses import cross_entropy, dice_loss
from fcn.metrics import confusion_matrix
from fcn.parallel import Pmapped, Sharded, compiler_options, lost_process, make_parallel, sharing_devices, start_processes
from fcn.training import create_state, make_eval_step, make_train_step

CLASSES, STEPS, BATCH = 3, 20, 8
WAYS = {
    "8x1": Sharded,
    "4x2-shard-params": lambda: Sharded(height=2, shard_params=True),
    "1x8": lambda: Sharded(height=8),
    "pmap": Pmapped,
}


class _Source:
    """Thirteen random images, so that the last evaluation batch of eight is short; each ignores another share of its pixels."""

    name, classes, ignore_index = "random", ("a", "b", "c"), 255
    palette = np.zeros((CLASSES, 3), np.uint8)

    def __init__(self):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (13, 16, 24, 3), dtype=np.uint8)
        bright = self.images.mean(-1) // 86
        hidden = rng.random((13, 16, 24)) < np.linspace(0, 0.9, 13)[:, None, None]
        self.labels = np.where(hidden, 255, bright).astype(np.int32)

    def __len__(self):
        return 13

    def __getitem__(self, index):
        return {"image": self.images[index], "label": self.labels[index], "name": str(index)}


def _prepare(batch):
    return normalise(batch["image"], (0.5,) * 3, (0.25,) * 3), batch["label"]


def _model(axis_name=None):
    return fcn.create_model("unet", num_classes=CLASSES, base_features=4, depth=2, axis_name=axis_name)


def _train(parallel):
    """Losses of all steps and the state after them."""
    tx = optax.sgd(0.05, momentum=0.9)

    def objective(logits, labels):
        axis = parallel.axis_name
        return cross_entropy(logits, labels, axis_name=axis) + 0.5 * dice_loss(logits, labels, axis_name=axis)

    model = _model(parallel.axis_name)
    step = parallel.train_step(
        make_train_step(model, tx, objective, _prepare, key=jax.random.key(1), ema_decay=0.9, axis_name=parallel.axis_name)
    )
    state = parallel.put_state(create_state(_model(), tx, jax.random.key(0), (16, 24, 3), ema=True))
    source, losses = Prepared(_Source()), []
    for number in range(STEPS):
        indices = np.arange(BATCH) * (number + 1) % 13
        state, metrics = step(state, parallel.put_batch(source.batch(indices, np.zeros(BATCH, int))))
        losses.append(float(parallel.read(metrics)["loss"]))
    return losses, jax.tree.map(np.asarray, parallel.get_state(state))


def _evaluate(parallel, variables):
    task, axis_name = fcn.tasks.make("semantic", _Source.classes, terms="ce+dice"), parallel.axis_name

    def prepare(batch):
        images, labels = _prepare(batch)
        return images, {"label": labels}

    step = make_eval_step(_model(axis_name), task, prepare, with_loss=True, axis_name=axis_name)
    step, metric = parallel.eval_step(step), task.metric()
    variables, state, losses = parallel.put_state(variables), metric.init(), []
    for batch in eval_batches(Prepared(_Source()), BATCH):
        found, loss = parallel.read(step(variables, parallel.put_batch(batch)))
        state = metric.merge(state, found)
        losses.append(loss)
    return state.matrix, np.stack(losses)


@pytest.fixture(scope="module")
def single():
    return _train(Sharded(jax.devices()[:1]))


@pytest.mark.parametrize("way", WAYS)
def test_eight_devices_train_as_one_does(single, way):
    assert jax.device_count() == 8
    losses, state = _train(WAYS[way]())
    np.testing.assert_allclose(losses, single[0], rtol=1e-4)
    assert losses[-1] < losses[0]
    # Sums in another order differ in the last digits, and twenty steps of momentum amplify them.
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(single[1])):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_confusion_matrices_and_losses_are_identical_and_count_every_pixel_once(single):
    """The cross-entropy of all images is the mean of two batches by their pixels; of Dice losses there is one for each."""
    variables = single[1].eval_variables
    source = _Source()
    logits = jax.jit(_model().apply)(variables, normalise(source.images, (0.5,) * 3, (0.25,) * 3))
    expected = np.asarray(confusion_matrix(jnp.argmax(logits, -1).astype(jnp.int32), source.labels, CLASSES))
    assert expected.sum() == (source.labels != 255).sum()
    parts = [(slice(0, 8), 8), (slice(8, 13), 5)]
    cross_entropies = cross_entropy(logits, source.labels)
    dice = [dice_loss(logits[part], source.labels[part]) for part, _ in parts]
    for parallel in (Sharded(jax.devices()[:1]), *(make() for make in WAYS.values())):
        matrix, losses = _evaluate(parallel, variables)
        np.testing.assert_array_equal(matrix, expected)
        values, weights = losses[..., 0], losses[..., 1]
        np.testing.assert_array_equal(weights, [[np.sum(source.labels[part] != 255), images] for part, images in parts])
        np.testing.assert_allclose(np.average(values[:, 0], weights=weights[:, 0]), cross_entropies, rtol=1e-5)
        np.testing.assert_allclose(values[:, 1], dice, rtol=1e-5)


def test_a_batch_that_does_not_divide_is_refused_with_the_nearest_that_do():
    with pytest.raises(ValueError, match="batch of 12 does not divide by the 8 devices; the nearest that do: 8 or 16"):
        make_parallel("jit", 12)
    with pytest.raises(ValueError, match="the nearest that do: 8"):
        make_parallel("pmap", 3)
    with pytest.raises(ValueError, match="unknown parallel 'pjit'"):
        make_parallel("pjit", 8)
    for data, height, message in ((4, 3, "the mesh takes 12 devices, but there are 8"), (None, 3, "height=3 does not divide")):
        with pytest.raises(ValueError, match=message):
            make_parallel("jit", 8, data=data, height=height)
    with pytest.raises(ValueError, match="height is 2, but pmap divides batches only; use jit"):
        make_parallel("pmap", 8, height=2)
    with pytest.raises(ValueError, match=r"pmap keeps all parameters on each device; use jit to divide them \(shard_params\)"):
        make_parallel("pmap", 8, shard_params=True)
    assert dict(make_parallel("jit", 8, height=2).mesh.shape) == {"data": 4, "height": 2}
    assert dict(make_parallel("jit", 8, data=2, height=3).mesh.shape) == {"data": 2, "height": 3}
    assert make_parallel("pmap", 8, data=2).size == 2
    with pytest.raises(ValueError, match="height=3 does not divide the 8 devices"):
        Sharded(height=3)


@pytest.mark.parametrize(("hosts", "height"), [((0, 0, 0, 1, 1, 1), 2), ((0, 1, 0, 1), 2), ((0, 0, 1, 1), 4)])
def test_an_image_is_not_divided_among_hosts(hosts, height):
    """Each would take its own images for the rows of one."""
    devices = [SimpleNamespace(process_index=host) for host in hosts]
    with pytest.raises(ValueError, match=f"height={height} divides images among several hosts; it must divide the devices of"):
        Sharded(devices, height=height)


def test_pmap_over_all_devices_of_several_hosts_takes_those_of_its_own(monkeypatch):
    own = jax.devices()[:4]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "local_devices", lambda: own)
    parallel = make_parallel("pmap", 8, data=8)
    assert (parallel.devices, parallel.size) == (own, 8)


@pytest.mark.parametrize(("batch_size", "count"), [(1, 1), (2, 2), (7, 1), (8, 8), (12, 4), (16, 8)])
def test_devices_that_a_batch_can_be_divided_among(batch_size, count):
    assert sharing_devices(batch_size) == jax.devices()[:count]


def test_what_is_divided_is_collected_by_one_program(caplog):
    parallel = Sharded(shard_params=True)
    divided = parallel.put_state({"kernel": np.arange(16.0, dtype=np.float32)})
    assert not divided["kernel"].is_fully_replicated
    with jax.log_compiles():
        for _ in range(2):
            kernel = parallel.whole(divided)["kernel"]
    assert kernel.is_fully_replicated
    np.testing.assert_array_equal(kernel.addressable_shards[7].data, np.arange(16))
    assert caplog.text.count("Finished XLA compilation") == 1


def test_one_process_starts_nothing():
    start_processes(None, None, None)
    assert jax.process_count() == 1


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="accelerators have XLA's own order")
@pytest.mark.parametrize(
    ("text", "is_lost"),
    [
        ("UNAVAILABLE: failed to connect to all addresses", True),
        ("DEADLINE_EXCEEDED: Barrier timed out", True),
        ("ABORTED: task 1 was restarted", True),
        ("CANCELLED: shut down", True),
        ("INTERNAL: NCCL operation ncclAllReduce failed", True),
        ("INTERNAL: the Coordination Service has stopped", True),
        ("UNKNOWN: Gloo all-reduce failed: Read error", True),
        ("FAILED_PRECONDITION: Buffer Definition Event: Gloo all-reduce failed: Connection closed by peer", True),
        ("INTERNAL: a kernel could not be compiled", False),
        ("FAILED_PRECONDITION: the buffer was donated", False),
        ("INVALID_ARGUMENT: shapes differ", False),
        ("RESOURCE_EXHAUSTED: out of memory in NCCL", False),
    ],
)
def test_only_errors_between_processes_are_blamed_on_another_one(text, is_lost, monkeypatch):
    error = jax.errors.JaxRuntimeError(text)
    assert lost_process(error) is None  # there is no other
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    expected = f"another of the 2 processes of this run ended or cannot be reached ({text})" if is_lost else None
    assert lost_process(error) == expected


def test_programs_for_cpus_keep_no_more_than_they_need():
    """Of eight independent products each is summed before the next is computed."""

    def function(kernels, x):
        return sum(jnp.sum(jnp.sin(x @ kernel)) for kernel in kernels)

    arguments = np.ones((8, 64, 64), np.float32), np.ones((64, 64), np.float32)
    early = jax.jit(function, compiler_options={"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_CONCURRENCY_OPTIMIZED"})
    ours = Sharded(jax.devices()[:1]).eval_step(function)
    early, ours = (step.lower(*arguments).compile() for step in (early, ours))
    assert early.memory_analysis().temp_size_in_bytes > 8 * 64 * 64 * 4
    assert ours.memory_analysis().temp_size_in_bytes < 3 * 64 * 64 * 4
    np.testing.assert_allclose(ours(*arguments), early(*arguments), rtol=1e-6)


def test_other_platforms_have_no_options():
    assert compiler_options(jax.devices("cpu"))
    assert compiler_options([*jax.devices("cpu"), Mock(spec=jax.Device, platform="gpu")]) == {}
