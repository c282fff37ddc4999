"""A task that is none of ours, as codecs of instances are: targets that turn with the image, decoding on the host."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fcn
from experiments.building.build import make_evaluator
from fcn import tasks
from fcn.data import AugmentConfig, Prepared, augment_batch
from fcn.layers import PointwiseConv
from fcn.metrics import PerImage
from fcn.parallel import Pmapped, Sharded
from fcn.preprocessing import Preprocessing
from fcn.tasks import Task
from fcn.training import create_state, make_train_step
from tests.variables import random_variables

HALF = Preprocessing((0.5,) * 3, (0.25,) * 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rays(Task):
    """The way to the left and to the right side of the bright part of a row, in pixels. A prediction is that part's area."""

    name = "rays"
    on_host = True
    suffixes = ("area.npy",)

    channels = 2

    @property
    def fill(self):
        return {"label": self.ignore_index, "rays": 0.0}

    def targets(self, sample):
        inside = sample["label"] == 1
        left = np.cumsum(inside, 1) - 0.5
        rays = np.stack([left, inside.sum(1, keepdims=True) - left], -1) * inside[..., None]
        return {"label": sample["label"], "rays": rays.astype(np.float32)}

    def moved(self, targets, scale, flipped):
        swapped = jnp.where(flipped[1], targets["rays"][..., ::-1], targets["rays"])
        return {**targets, "rays": swapped * scale}

    def loss(self, logits, targets, *, axis_name=None):
        error = jnp.sum(jnp.abs(logits - targets["rays"])), jnp.float32(logits.size)
        error = error if axis_name is None else jax.lax.psum(error, axis_name)
        return error[0] / error[1]

    def scores(self, logits):
        return logits

    def prediction(self, scores):
        return np.sum(scores.sum(-1) > 0.5)

    def truth(self, targets):
        return np.sum(targets["label"] == 1)

    def metric(self):
        return PerImage(lambda found, true: [abs(float(found) - float(true))])

    def scalars(self, result, prefix=""):
        return {f"{prefix}area_error": float(result[0])}

    def table(self, result):
        return str(result[0])

    def files(self, image, scores):
        return {"area.npy": self.prediction(scores)}

    def summary(self, scores):
        return f"{self.prediction(scores)} pixels"

    def panel(self, images, truths, scores):
        return images[0]


class Bars:
    """Eleven images of 8x16 with a bright bar in each row."""

    name, classes, ignore_index, palette = "bars", ("bar",), 255, np.zeros((1, 3), np.uint8)

    def __len__(self):
        return 11

    def __getitem__(self, index):
        label = np.zeros((8, 16), np.int32)
        label[2:7, 3 : 4 + index] = 1
        return {"image": np.repeat(250 * label[..., None], 3, -1).astype(np.uint8), "label": label, "name": str(index)}


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return PointwiseConv(2, name="head")(x)


@pytest.fixture(scope="module")
def data():
    return Prepared(Bars()).encoded(Rays(classes=("bar",)))


def test_targets_of_a_changed_image_are_those_of_a_label_that_is_changed_alike(data):
    batch = data.batch(np.arange(8), np.zeros(8, int))
    config = AugmentConfig(flip=True, vertical_flip=True)
    changed = augment_batch(jax.random.key(3), batch, config, HALF, codec=data.codec)
    kinds = set()
    for label, rays, before in zip(np.asarray(changed["label"]), changed["rays"], batch["label"]):
        np.testing.assert_array_equal(rays, data.codec.targets({"label": label})["rays"])
        kinds.add((bool(np.any(label != before)), bool(label[1].any())))
    assert len(kinds) > 2  # mirrored in several ways


def test_targets_outside_of_an_image_are_filled_and_the_factor_is_told(data):
    batch = data.batch(np.array([10, -1]), np.zeros(2, int))
    assert (batch["label"][1] == 255).all() and not batch["rays"][1].any()
    config = AugmentConfig(scale=(2.0, 2.0), crop=(40, 64))
    changed = augment_batch(jax.random.key(0), batch, config, HALF, codec=data.codec)
    assert changed["rays"].shape == (2, 40, 64, 2) and np.max(changed["rays"]) == 2 * np.max(batch["rays"])
    assert not np.any(np.asarray(changed["rays"])[np.asarray(changed["label"]) == 255])


def test_it_is_saved_and_loaded_once_its_name_is_known(tmp_path, monkeypatch):
    model, task = fcn.create_model("unet", num_classes=2, base_features=4, depth=1), Rays(classes=("left", "right"))
    variables = random_variables(model, 1, 8, 8, 3)
    with pytest.raises(ValueError, match="unknown task 'rays'"):
        fcn.save(tmp_path / "saved", model, variables, task=task)
    monkeypatch.setitem(tasks.TASKS, Rays.name, Rays)
    fcn.save(tmp_path / "saved", model, variables, task=task)
    assert fcn.load(tmp_path / "saved").task == task == tasks.make("rays", ["left", "right"])


@pytest.mark.parametrize("way", [lambda: Sharded(jax.devices()[:1]), Sharded, Pmapped], ids=["one", "jit", "pmap"])
def test_it_is_trained_and_measured_like_ours(way, data):
    """Every image is measured once, the three that fill the last batch of eight are not."""
    parallel, task, model, tx = way(), data.codec, Net(), optax.sgd(0.1)

    def prepare(batch):
        return HALF.apply(batch["image"]), {name: batch[name] for name in task.fill}

    def objective(logits, targets):
        return task.loss(logits, targets, axis_name=parallel.axis_name)

    step = make_train_step(model, tx, objective, prepare, key=jax.random.key(1), axis_name=parallel.axis_name)
    state = parallel.put_state(create_state(model, tx, jax.random.key(0), data.shape))
    run, batch = parallel.train_step(step), parallel.put_batch(data.batch(np.arange(8), np.zeros(8, int)))
    losses = []
    for _ in range(3):
        state, metrics = run(state, batch)
        losses.append(float(parallel.read(metrics)["loss"]))
    assert losses[2] < losses[0]
    variables = parallel.put_state({"params": {"head": {"kernel": np.ones((1, 1, 3, 2), "f"), "bias": np.zeros(2, "f")}}})
    errors = make_evaluator(model, task, HALF, data, 8, parallel)(variables).state
    np.testing.assert_array_equal(errors, np.zeros((11, 1)))
    assert task.scalars(task.metric().compute(errors), "val/") == {"val/area_error": 0.0}
