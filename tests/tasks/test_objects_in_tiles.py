"""Large images in tiles: what the network gives is put together before objects are looked for, so none ends at a seam."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from fcn import tasks
from fcn.inference import Predictor
from fcn.layers import Conv
from fcn.preprocessing import Preprocessing
from tests.tasks.perfect import perfect

LOW, HIGH = -16.0, 48.0
SQUARES = [(2, 2, 9), (2, 11, 9), (9, 30, 17), (20, 8, 16), (29, 47, 9), (30, 30, 9)]
"""Row, column and side; two touch, and seams of tiles of 16 cross most of them."""


def scene():
    label = np.zeros((40, 56), np.int32)
    for number, (row, column, side) in enumerate(SQUARES, 1):
        label[row : row + side, column : column + side] = number
    return label


@pytest.mark.parametrize(
    ("name", "options"), [("boundary", {}), ("stardist", {"rays": 8, "grid": 2}), ("flows", {}), ("condinst", {})]
)
def test_objects_are_those_of_the_whole_image(name, options):
    """The image holds the logits; the network, a 3x3 convolution, passes them on."""
    task, label = tasks.make(name, ["cell"], **options), scene()
    count = task.channels
    kernel = np.zeros((3, 3, count, count), np.float32)
    kernel[1, 1] = (HIGH - LOW) * np.eye(count)
    variables = {"params": {"kernel": kernel, "bias": np.full(count, LOW, np.float32)}}
    predictor = Predictor(Conv(count, 3), variables, Preprocessing((0.0,) * count, (1.0,) * count), task, bucket=None)
    image = ((perfect(task, label)[0] - LOW) / (HIGH - LOW)).astype(np.float32)
    whole, tiled = predictor(image), predictor(image, tile=16)
    np.testing.assert_array_equal(tiled, whole)
    middles = [whole[row + side // 2, column + side // 2] for row, column, side in SQUARES]
    assert sorted(middles) == [1, 2, 3, 4, 5, 6] == np.unique(whole)[1:].tolist()


class Averaged(nn.Module):
    """Sees the whole image, so that tiles are blended."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Dropout(0.5)(jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape), deterministic=not train)
        return jnp.broadcast_to(x, (*x.shape[:3], 183))


TASK = tasks.make("condinst", ["cell"])
IMAGE = np.zeros((16, 16, 1), np.uint8)


@pytest.mark.parametrize(
    ("given", "call", "message"),
    [
        ({}, {"tile": 8}, r"tiles would be blended \(.*\): take a larger tile, or none"),
        ({}, {"size": (8, 8)}, "let the network see images as they are: --scale 1"),
        ({"variables": [{}, {}]}, {}, "leave the ensemble out"),
        ({"dropout": 2}, {}, "leave dropout out"),
    ],
)
def test_no_mean_is_taken_of_networks(given, call, message):
    """Of those that are predicted for each object; also where classes are told beside."""
    for task in (TASK, tasks.make("panoptic", ["cell"], finder="condinst")):
        expected = f"the task '{task.name}' predicts networks, whose mean is none of them; {message}"
        with pytest.raises(ValueError, match=expected):
            options = {"variables": {}, "preprocessing": Preprocessing((0.0,), (1.0,)), "bucket": None, **given}
            Predictor(Averaged(), task=task, **options).scores(IMAGE, **call)
