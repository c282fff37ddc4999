"""`evaluate --tune`: a network keeps its weights and gets the thresholds by which its images are predicted best."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.building.networks import Network
from experiments.building.tuning import tuned
from fcn import tasks
from fcn.data import Prepared
from fcn.parallel import Sharded
from fcn.preprocessing import Preprocessing


class Points:
    """An image whose brightness at four pixels is the probability of a square there; the fainter two are none."""

    name, classes, ignore_index, palette, label_kind = "points", ("square",), 255, np.zeros((1, 3), np.uint8), "instances"

    def __len__(self):
        return 1

    def __getitem__(self, index):
        image, label = np.zeros((24, 24, 1), np.uint8), np.zeros((24, 24), np.int32)
        image[4::14, 4::14, 0] = [[230, 130], [60, 40]]
        label[2:7, 2:7], label[2:7, 16:21] = 1, 2
        return {"image": image, "label": label, "name": "a"}


class Stars(nn.Module):
    def __call__(self, x, *, train=False):
        p = jnp.clip(x, 1e-6, 1 - 1e-6)
        return jnp.concatenate([jnp.log(p / (1 - p)), jnp.full((*x.shape[:3], 8), 2.5)], -1)


def test_a_network_with_the_best_thresholds():
    task = tasks.make("stardist", ["square"], rays=8, threshold=0.05)
    data, parallel = Prepared(Points()).encoded(task), Sharded(jax.devices()[:1])
    network, found, score = tuned(Network(Stars(), {}, task, Preprocessing((0.0,), (1.0,))), data, 1, parallel)
    assert found == {"threshold": 0.25, "overlap": 0.3} and score == 1  # 60 / 255 is no square any more
    assert (network.task.threshold, network.task.rays) == (0.25, 8)
    with pytest.raises(ValueError, match="'flows' has no thresholds to be tuned; leave out --tune"):
        tuned(network._replace(task=tasks.make("flows", ["square"])), data, 1, parallel)
