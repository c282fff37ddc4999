"""SegNet against the same network written anew with PyTorch's pooling and unpooling."""

from functools import partial

import jax
import pytest

import fcn
from fcn.encoders.vgg import VGG_ENCODERS
from tests.parity.by_hand import F, assert_model_equals, assert_model_gradients_equal_by_hand, images
from tests.variables import count_parameters, shapes_of

VGG11, VGG16 = (1, 1, 2, 2, 2), (2, 2, 3, 3, 3)
NARROW = {"encoder": "vgg16_bn", "width_multiplier": 1 / 16}


def create(**options):
    return fcn.create_model("segnet", num_classes=5, **options)


def reference(x, net, convolutions=VGG16, batch_norm=True, ceil_mode=True):
    def layer(x, stage, i, path, end=""):
        x = net.conv(x, f"{path}conv{stage}_{i}{end}")
        return F.relu(net.norm(x, f"{path}bn{stage}_{i}{end}") if batch_norm else x)

    pooled = []
    for stage, count in enumerate(convolutions, start=1):
        for i in range(1, count + 1):
            x = layer(x, stage, i, "encoder/")
        size = x.shape[2:]
        x, indices = F.max_pool2d(x, 2, ceil_mode=ceil_mode, return_indices=True)
        pooled.append((stage, count, indices, size))
    for stage, count, indices, size in reversed(pooled):
        x = F.max_unpool2d(x, indices, 2, output_size=size)
        for i in reversed(range(1, count + 1)):
            x = net.conv(x, "conv1_1_D") if stage == i == 1 else layer(x, stage, i, "", "_D")
    return x


def test_logits():
    """45 rows are those of CamVid at stride 8: with Caffe's rule, 23 and 12 at strides 16 and 32."""
    assert_model_equals(create(**NARROW), reference, [(45, 60)])


def test_other_encoder():
    options = {"encoder": "vgg11", "width_multiplier": 1 / 16}
    assert_model_equals(create(**options), partial(reference, convolutions=VGG11, batch_norm=False), [(33, 47)])


def test_floor():
    """PyTorch's rule: odd rows and columns are left out, and unpooled to zeros; what is smaller than 32 is extended."""
    options = {"encoder": "vgg11_bn", "width_multiplier": 1 / 16, "ceil_mode": False}
    hand = partial(reference, convolutions=VGG11, ceil_mode=False)
    assert_model_equals(create(**options), hand, [(65, 46)], extended=[((8, 40), (32, 40))])


def test_training():
    hand = partial(reference, convolutions=VGG11)
    create_narrow = partial(create, encoder="vgg11_bn", width_multiplier=1 / 16)
    assert_model_gradients_equal_by_hand(create_narrow, hand, (48, 33))


def decoder_size(convolutions, widths, classes):
    """Weights of the decoder: convolutions with biases, BatchNorm after all but the last."""
    total = 0
    for stage, count in enumerate(convolutions):
        last = widths[stage - 1] if stage else classes
        outputs = [widths[stage]] * (count - 1) + [last]
        total += sum(9 * widths[stage] * o + 3 * o for o in outputs)
    return total - 2 * classes


@pytest.mark.parametrize("classes", [11, 21])
def test_parameters(classes):
    model = fcn.create_model("segnet", num_classes=classes)
    given = count_parameters(model, 1, 32, 32, 3)
    assert given == VGG_ENCODERS["vgg16_bn"].parameters + decoder_size(VGG16, (64, 128, 256, 512, 512), classes)
    if classes == 11:
        assert given == 29_449_355
        statistics = sum(leaf.size for leaf in jax.tree.leaves(shapes_of(model, 1, 32, 32, 3)["batch_stats"]))
        assert round((given + statistics) / 1e6, 1) == 29.5  # as published


def test_takes_the_variables_of_the_encoder():
    """They fit under "encoder", as `experiments.train --init` puts them."""
    shapes, alone = (shapes_of(m, 1, 32, 32, 3) for m in (create(), fcn.create_encoder("vgg16_bn")))
    assert alone == {collection: values["encoder"] for collection, values in shapes.items()}


def test_unknown_encoder():
    with pytest.raises(ValueError, match="unknown encoder of SegNet 'resnet18'; choose one of vgg11"):
        jax.eval_shape(create(encoder="resnet18").init, jax.random.key(0), images(32, 32))
