"""Receptive fields: what the paper says of U-Net, what is known by hand, and networks that have none."""

import copy
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fcn
from fcn.inference import receptive_field
from fcn.inference.field import ReceptiveField, Side
from fcn.inference.rows import all_rows
from fcn.layers import Conv, max_pool, resize, resize_bilinear, resize_nearest
from fcn.models.unet2015 import output_size, valid_sizes
from tests.variables import shapes_of


def test_unet2015_is_that_of_its_paper():
    """572 -> 388, and the sizes that it takes, from the network alone."""
    field = receptive_field(fcn.create_model("unet2015", num_classes=2, base_features=1), channels=1)
    assert field.margins == field.halo == ((92, 92), (92, 92))
    assert 572 - sum(field.margins[0]) == 388 == output_size(572)
    assert field.stride == field.alignment == (16, 16)
    assert field.legal_sizes(100, 700) == valid_sizes(100, 700)


class Small(nn.Module):
    """Two convolutions of 3 around a pool and an enlargement, or something that sees the whole image."""

    last: str = "enlarged"

    @nn.compact
    def __call__(self, x, *, train=False):
        size = x.shape[1:3]
        x = max_pool(Conv(1, (3, 1), name="first")(x), 2)
        x = Conv(1, (3, 5), dilation=(2, 1), name="second")(x)
        if self.last == "pooled":
            x = x * nn.Dense(1, name="gate")(x.mean((1, 2), keepdims=True))
        if self.last == "bins":
            x = x + resize_bilinear(resize(x, (6, 6), "area"), x.shape[1:3])
        if self.last == "many bins":
            x = x + resize_nearest(resize(x, (16, 16), "area"), x.shape[1] // 16)[:, : x.shape[1], : x.shape[2]]
        if self.last == "placed":
            x = x + self.param("places", nn.initializers.ones, (1, x.shape[1], 1, 1))
        if self.last == "attention":
            x = jnp.einsum("bhwc,bgwc,bgwd->bhwd", x, x, x)
        return resize_bilinear(x, size, align_corners=self.last == "corners")


def test_by_hand():
    """Bilinear: 2 rows of the small map; dilated: 4 more; pooled: 2 * 6 rows; the first: 1 on each side."""
    field = receptive_field(Small())
    assert field.size == (14, 12)
    assert field.stride == field.alignment == (2, 2)
    assert field.margins == ((0, 0), (0, 0)) and field.legal_sizes(5, 8) == [5, 6, 7, 8]
    assert (field.rows.size, field.columns.size) == field.size


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda field: pickle.loads(pickle.dumps(field))])
def test_copies_are_the_same(copied):
    side = Side(3, 1, 1, (1, 1), (0, 0), 1)
    field = ReceptiveField(side._replace(size=9), side._replace(size=5), side)
    assert copied(field) == field and copied(field).size == (9, 5, 3)
    assert copied(field).rows.size == 5 and copied(field).columns.size == 3


class Flat(nn.Module):
    """What leaves the slices of a volume apart, and sees rows and columns as one line; or what a signal is seen by."""

    @nn.compact
    def __call__(self, x, *, train=False):
        window, taps = ((1, 2, 2), (1, 3, 5)) if x.ndim == 5 else (2, 3)
        return resize_bilinear(Conv(1, taps)(max_pool(x, window)), x.shape[1:-1])


@pytest.mark.parametrize(("dimensions", "size", "stride"), [(1, (8,), (2,)), (3, (1, 8, 12), (1, 2, 2))])
def test_signals_and_volumes(dimensions, size, stride):
    """By hand: bilinear 2 of the small map's, the convolution 2 or 4 more, pooled twice as many."""
    field = receptive_field(Flat(), 1, dimensions=dimensions)
    assert (field.size, field.stride) == (size, stride)
    assert receptive_field(Flat(), 1, (512,) * dimensions) == field


def test_is_the_support_of_gradients():
    """Of the pixels that the logits in the middle depend on, one phase after the other."""
    model, images = Small(), np.ones((1, 40, 40, 1), np.float32)
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes_of(model, *images.shape))
    gradient = jax.jit(jax.grad(lambda x, row: model.apply(variables, x)[0, row, 20, 0]))
    widths = [int((np.asarray(gradient(images, row)).sum((0, 2, 3)) != 0).sum()) for row in (20, 21)]
    assert max(widths) <= receptive_field(model, channels=1).size[0] <= max(widths) + 1  # a pool's gradient takes one of two


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ("pooled", "sees all rows at once, by a sum, mean or maximum"),
        ("bins", "resizes 256 rows to 6, with other weights for each size"),
        ("many bins", "resizes, by another factor for each size"),
        ("placed", "treats rows by their place in the image"),
        ("attention", "compares rows with each other"),
        ("corners", "with other weights for each size of the image"),
    ],
)
def test_networks_without_one(last, said):
    with pytest.raises(ValueError, match=rf"Small has no finite receptive field: .*{said}"):
        receptive_field(Small(last))


def test_the_layer_is_named():
    model = fcn.create_model("unet", num_classes=2, encoder="se_resnet50", encoder_depth=3, decoder_channels=(8, 8, 8))
    with pytest.raises(ValueError, match="encoder/layer1_0/se"):
        receptive_field(model)


def test_sizes_that_no_stride_divides():
    """48 rows are enlarged to 97: that is another scale for each size."""
    assert receptive_field(Small(), size=(98, 96)) == receptive_field(Small())
    with pytest.raises(ValueError, match=r"resizes .* with other weights for each size"):
        receptive_field(Small(), size=(97, 96))


def test_repeated_borders():
    """A border of one row or column, as of a map that is enlarged."""
    model = fcn.create_model(
        "fcn16s", num_classes=2, encoder="vgg11", width_multiplier=1 / 64, fc_features=2, input_padding=None
    )
    assert receptive_field(model).stride == (32, 32)


def test_rows_of_windows():
    """Zeros between rows that are drawn apart are no border; those that follow are."""
    rows = all_rows(4, 1).windowed(2, 1, (1, 1), spacing=2)
    assert rows.bounds.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2
    before, inside, behind = all_rows(3, 1).windowed(3, 1, (1, 1)).bounds.T.tolist()
    assert (before, inside, behind) == ([-np.inf, 1], [0, 2], [1, np.inf])
