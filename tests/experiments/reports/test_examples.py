"""The pictures that a training shows at each evaluation."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest

from experiments.reports import examples
from fcn import tasks
from fcn.preprocessing import Preprocessing


class Scaled(nn.Module):
    """Logits that are the image's first channel, scaled."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x):
        return x[..., :1] * self.param("scale", nn.initializers.ones, ())


class State(NamedTuple):
    opt_state: Any
    eval_variables: Any


class Experiment:
    """Three images of other sizes; it notes what is collected."""

    predicting, preprocessing = Scaled(), Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    task = tasks.make("binary", ["ground", "disc"])

    def __init__(self):
        rng, self.collected, self.parallel = np.random.default_rng(0), [], self
        shapes = [(6, 8), (8, 6), (4, 4)]
        images = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
        self.val = [{"image": image, "label": (image[..., 0] > 127).astype(np.int32)} for image in images]

    def whole(self, tree):
        self.collected.append(tree)
        return tree


class Shown:
    def __init__(self):
        self.pictures = []

    def show(self, step, pictures):
        self.pictures.append((step, *pictures.items()))


@pytest.fixture
def hook():
    return examples.Examples(Experiment(), Shown())


STATE = State("moments", {"params": {"scale": np.float32(1)}})


def test_evaluations_collect_and_show_what_is_evaluated(hook):
    hook(2, STATE, {"train/loss": 1.0})
    hook(4, STATE, {"val/miou": 1.0})
    assert hook._experiment.collected == [STATE.eval_variables]
    ((step, (name, picture)),) = hook._records.pictures
    assert (step, name) == (4, "val/examples")
    labels = [sample["label"] for sample in hook._experiment.val]
    expected = hook._experiment.task.panel([sample["image"] for sample in hook._experiment.val], labels, labels)
    np.testing.assert_array_equal(picture, expected)  # what is above a half is the disc


def test_a_picture_that_cannot_be_computed_is_told_once(monkeypatch, capsys):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB are not there\nmore")

    monkeypatch.setattr(examples, "make_predictor", lambda *_: fail)
    hook = examples.Examples(Experiment(), Shown())
    for step, told in ((2, "not shown (RESOURCE_EXHAUSTED: 9 GiB are not there)"), (4, "")):
        hook(step, STATE, {"val/miou": 1.0})
        said = capsys.readouterr().err
        assert told in said and bool(said) == bool(told)
    assert hook._records.pictures == [] and hook.picture(STATE.eval_variables) is None
