"""Large images in tiles: what the network gives is put together before objects are looked for, so none ends at a seam."""

import numpy as np
import pytest

from fcn import tasks
from fcn.inference import Predictor
from fcn.instances import boundary_classes, edge_probabilities, instance_flows, star_distances
from fcn.layers import Conv
from fcn.preprocessing import Preprocessing

LOW, HIGH = -16.0, 48.0
SQUARES = [(2, 2, 9), (2, 11, 9), (9, 30, 17), (20, 8, 16), (29, 47, 9), (30, 30, 9)]
"""Row, column and side; two touch, and seams of tiles of 16 cross most of them."""


def scene():
    label = np.zeros((40, 56), np.int32)
    for number, (row, column, side) in enumerate(SQUARES, 1):
        label[row : row + side, column : column + side] = number
    return label


def logits(task, label):
    if task.name == "boundary":
        return 20.0 * np.eye(3)[boundary_classes(label)]
    if task.name == "flows":
        return np.concatenate([5 * instance_flows(label), np.where(label > 0, 9.0, -9.0)[..., None]], -1)
    p = np.clip(edge_probabilities(label), 1e-6, 1 - 1e-6)[..., None]
    return np.concatenate([np.log(p / (1 - p)), star_distances(label, task.rays)], -1)


@pytest.mark.parametrize(("name", "options"), [("boundary", {}), ("stardist", {"rays": 8, "grid": 2}), ("flows", {})])
def test_objects_are_those_of_the_whole_image(name, options):
    """The image holds the logits; the network, a 3x3 convolution, passes them on."""
    task, label = tasks.make(name, ["cell"], **options), scene()
    count = task.channels
    kernel = np.zeros((3, 3, count, count), np.float32)
    kernel[1, 1] = (HIGH - LOW) * np.eye(count)
    variables = {"params": {"kernel": kernel, "bias": np.full(count, LOW, np.float32)}}
    predictor = Predictor(Conv(count, 3), variables, Preprocessing((0.0,) * count, (1.0,) * count), task, bucket=None)
    image = ((logits(task, label) - LOW) / (HIGH - LOW)).astype(np.float32)
    whole, tiled = predictor(image), predictor(image, tile=16)
    np.testing.assert_array_equal(tiled, whole)
    middles = [whole[row + side // 2, column + side // 2] for row, column, side in SQUARES]
    assert sorted(middles) == [1, 2, 3, 4, 5, 6] == np.unique(whole)[1:].tolist()
