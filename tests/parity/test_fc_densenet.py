"""FC-DenseNet against the same network written anew in PyTorch."""

from functools import partial

import jax
import numpy as np
import pytest

import fcn
from tests.parity.by_hand import F, assert_model_equals, assert_model_gradients_equal_by_hand, images
from tests.parity.reference import torch
from tests.variables import count_parameters, shapes_of

LAYERS = {
    "fc_densenet56": (4,) * 11,
    "fc_densenet67": (5,) * 11,
    "fc_densenet103": (4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4),
}
GROWTH = {"fc_densenet56": 12, "fc_densenet67": 16, "fc_densenet103": 16}
BATCH_NORM = {"epsilon": 1e-4}
SMALL = {"layers": (1, 2, 3, 2, 1), "growth_rate": 4, "stem_features": 6}


def layer(x, net, path):
    return net.conv(F.relu(net.norm(x, f"{path}/bn")), f"{path}/conv")


def block(x, net, path, layers):
    """The stack, and what was added to it."""
    start = x.shape[1]
    for i in range(layers):
        x = torch.cat([x, layer(x, net, f"{path}/layer{i}")], 1)
    return x, x[:, start:]


def centre(x, size):
    top, left = ((old - new) // 2 for old, new in zip(x.shape[2:], size))
    return x[:, :, top : top + size[0], left : left + size[1]]


def reference(x, net, layers):
    depth, skips = len(layers) // 2, []
    x = net.conv(x, "stem")
    for i in range(depth):
        x, _ = block(x, net, f"down{i}", layers[i])
        skips.append(x)
        x = F.max_pool2d(layer(x, net, f"transition_down{i}"), 2)
    x, new = block(x, net, "bottleneck", layers[depth])
    for i in range(depth):
        new = net.conv_transpose(new, f"transition_up{i}")
        skip = skips.pop()
        x, new = block(torch.cat([centre(new, skip.shape[2:]), skip], 1), net, f"up{i}", layers[depth + 1 + i])
    return net.conv(x, "head")


def test_logits_of_fc_densenet56():
    model = fcn.create_model("fc_densenet56", num_classes=5)
    assert_model_equals(model, partial(reference, layers=LAYERS["fc_densenet56"]), [(33, 47)], **BATCH_NORM)


def test_sizes():
    """Any from 4 pixels on with two steps down; smaller images are extended."""
    model = fcn.create_model("fc_densenet67", num_classes=5, **SMALL)
    sizes = {"sizes": [(31, 18), (7, 4)], "extended": [((3, 9), (4, 9))]}
    assert_model_equals(model, partial(reference, layers=SMALL["layers"]), **sizes, **BATCH_NORM)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fc_densenet67", "fc_densenet103"])
def test_logits(name):
    model = fcn.create_model(name, num_classes=11)
    assert_model_equals(model, partial(reference, layers=LAYERS[name]), [(32, 64)], **BATCH_NORM)


def test_training():
    create = partial(fcn.create_model, "fc_densenet103", num_classes=5, dropout_rate=0.0, **SMALL)
    assert_model_gradients_equal_by_hand(create, partial(reference, layers=SMALL["layers"]), (13, 18), **BATCH_NORM)


def size(layers, growth, stem=48, inputs=3, classes=11):
    """Parameters, and the channels of all BatchNorms.

    A layer on m channels has 2 m of BatchNorm and 9 m k + k of its convolution; a step down 2 m + m^2 + m; a step up of c
    channels 9 c^2 + c.
    """
    depth, m, norms = len(layers) // 2, stem, 0
    total, skips = 9 * inputs * stem + stem, []

    def add(layers):
        nonlocal total, norms
        widths = [m + i * growth for i in range(layers)]
        total += sum(2 * w + 9 * w * growth + growth for w in widths)
        norms += sum(widths)

    for i in range(depth):
        add(layers[i])
        m += layers[i] * growth
        skips.append(m)
        total += 2 * m + m * m + m
        norms += m
    add(layers[depth])
    for i in range(depth):
        c = growth * layers[depth + i]
        total += 9 * c * c + c
        m = c + skips.pop()
        add(layers[depth + 1 + i])
        m += growth * layers[depth + 1 + i]
    return total + m * classes + classes, norms


@pytest.mark.parametrize(
    ("name", "count", "published"),
    [("fc_densenet56", 1_376_795, 1.4), ("fc_densenet67", 3_463_243, 3.5), ("fc_densenet103", 9_322_091, 9.4)],
)
def test_parameters(name, count, published):
    """Published are 1.5, 3.5 and 9.4 million; the authors' code counts BatchNorm's running statistics too.

    With these, FC-DenseNet56 has 1.40 million here and in the authors' code (4 layers a block, 12 channels a layer).
    """
    shapes = shapes_of(fcn.create_model(name, num_classes=11), 1, 32, 32, 3)
    parameters, statistics = (sum(leaf.size for leaf in jax.tree.leaves(shapes[key])) for key in ("params", "batch_stats"))
    total, norms = size(LAYERS[name], GROWTH[name])
    assert (parameters, statistics) == (total, 2 * norms)
    assert parameters == count
    assert round((parameters + statistics) / 1e6, 1) == published


def test_fields():
    """All three can be built otherwise; dropout is on by default, as in the paper."""
    options = {"layers": (2, 1, 3), "growth_rate": 5, "stem_features": 7}
    for name in LAYERS:
        assert fcn.create_model(name, num_classes=4).dropout_rate == 0.2
        model = fcn.create_model(name, num_classes=4, **options)
        assert count_parameters(model, 1, 32, 32, 2) == size((2, 1, 3), 5, 7, inputs=2, classes=4)[0]


def test_kernels_are_drawn_uniformly():
    """He et al., ICCV 2015: within sqrt(6 / fan-in)."""
    model = fcn.create_model("fc_densenet56", num_classes=4, **SMALL)
    params = jax.jit(model.init)(jax.random.key(0), images(16, 16))["params"]
    kernels = [params["stem"], params["down0"]["layer0"]["conv"], params["transition_up0"], params["head"]]
    for kernel in (np.asarray(leaf["kernel"]) for leaf in kernels):
        bound = np.sqrt(6 / np.prod(kernel.shape[:-1]))
        assert 0.9 * bound < np.abs(kernel).max() <= bound * (1 + 1e-6)


def test_error():
    model = fcn.create_model("fc_densenet56", num_classes=4, layers=(2, 2))
    with pytest.raises(ValueError, match=r"layers=\(2, 2\) are 2 blocks; give as many up as down and one between"):
        jax.eval_shape(model.init, jax.random.key(0), images(16, 16))
